"""Architecture to nn.Module, one module per family; importing this package registers them.

`vit` and `pit` are entry points, so that timm is imported only where one is asked for.
"""

from raynas.models.families import as_vit as as_vit
from raynas.models.families import autoformer as autoformer
from raynas.models.families import resnet as resnet
from raynas.models.families import vit_elastic as vit_elastic
from raynas.models.families import vit_res as vit_res
