"""Architecture to nn.Module, one module per family; importing this package registers them."""

from raynas.models import as_vit as as_vit
