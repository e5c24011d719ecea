"""What is optimised, one module per objective; importing this package registers them."""

from raynas.training.objectives import classification as classification
from raynas.training.objectives import contrast as contrast
from raynas.training.objectives import distillation as distillation
from raynas.training.objectives import linear_probe as linear_probe
from raynas.training.objectives import masked as masked
from raynas.training.objectives import masked_supernet as masked_supernet
from raynas.training.objectives import masked_with_teacher as masked_with_teacher
from raynas.training.objectives import supernet as supernet
from raynas.training.objectives import token_distillation as token_distillation
