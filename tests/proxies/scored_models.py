"""What tests of scores share: small networks, and a fingerprint by which to see that a score left one as it was."""

import torch
from torch import nn

from raynas.models.families.as_vit import AsViT
from raynas.proxies.probe import Probe
from raynas.proxies.registered import proxies
from raynas.space.architecture import Architecture
from searchspaces.as_vit import as_vit

SEED = as_vit.named["seed"]
TINY = SEED.replace(embed_dim=4, num_heads=16, kernel=(5, 3, 2, 3), mlp_ratio=(2, 1, 2, 1))
NONE = Architecture({})


def as_vit_probe(architecture=TINY, *, img_size=32, dtype=torch.float64, seed=0, **probe_arguments):
    """A probe of an As-ViT with frozen random weights of a size at which its nonlinearities matter."""
    torch.manual_seed(seed)
    model = AsViT(architecture, img_size=img_size, num_classes=3, pos_embed=False, dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
    return Probe(architecture, model.eval().requires_grad_(False), img_size=img_size, **probe_arguments)


class Features(nn.Module):
    """Any function of the images as a network."""

    def __init__(self, function, dtype=torch.float64):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.zeros(1, dtype=dtype), requires_grad=False)

    def pooled_features(self, images):
        return self.function(images.flatten(1))


def probe_of(function, img_size=4, **arguments):
    return Probe(NONE, Features(function), img_size=img_size, **arguments)


def score(name, probe, **settings):
    return proxies.get(name).configured(**settings)(probe)[name]


def fingerprint(model: nn.Module):
    """Everything of a network that a score must leave as it was."""
    return (
        {name: (tensor.clone(), id(tensor)) for name, tensor in model.state_dict(keep_vars=True).items()},
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad for parameter in model.parameters()],
        [module.training for module in model.modules()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
        [len(module._backward_hooks) + len(module._backward_pre_hooks) for module in model.modules()],
        [sorted(vars(module)) for module in model.modules()],
        [type(module) for module in model.modules()],
    )


def assert_unchanged(model: nn.Module, before):
    tensors, *rest = fingerprint(model)
    assert tensors.keys() == before[0].keys()
    for name, (tensor, identity) in tensors.items():
        assert torch.equal(tensor, before[0][name][0]), name
        assert identity == before[0][name][1], name
    assert rest == list(before[1:])
