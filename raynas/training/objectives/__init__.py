"""What is optimised, one module per objective; importing this package registers them."""

from raynas.training.objectives import classification as classification
from raynas.training.objectives import distillation as distillation
from raynas.training.objectives import supernet as supernet
