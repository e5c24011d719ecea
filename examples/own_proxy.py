"""A proxy of one's own: how far apart untrained features of two images are.

raynas search vit --proxy examples/own_proxy.py:feature_spread --objective feature_spread --data digits
raynas score as-vit --samples 20 --proxy examples/own_proxy.py:feature_spread --data digits
"""

import torch

from raynas import Probe, proxy
from raynas.models.features import features_of


@proxy("feature_spread", needs_images=True)
def feature_spread(probe: Probe, *, power: float = 1.0) -> float:
    """Mean distance of two images' pooled features, relative to their length; higher is better."""
    features_of_images = features_of(probe.model)
    with torch.no_grad():
        parts = [features_of_images(probe.images[part]) for part in probe.slices(len(probe.images))]
    features = torch.cat(parts)
    distances = torch.nn.functional.pdist(features) / features.norm(dim=1).mean()
    return float((distances**power).mean())
