"""timm's optimizers, in torch's fused form where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from raynas.errors import ConfigError, TrainingError
from raynas.models.elastic.units import UnitOrder
from raynas.models.protocols import not_decayed
from raynas.models.roles import roles_of
from raynas.training.objectives.objective import ParameterRule

_FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)  # on CPUs and on GPUs


def make_optimizer(
    module: nn.Module,
    *,
    opt: str,
    weight_decay: float = 0.0,
    rule: Callable[[str, nn.Parameter], ParameterRule] | None = None,
    **settings: Any,
) -> torch.optim.Optimizer:
    """An optimizer of all parameters that need gradients, in groups of one learning-rate scale and one weight decay.

    A fused step goes over the parameters once, where the plain one starts several operations for each of them: the
    same numbers up to rounding. With the thousand small tensors of a vision transformer it takes a quarter of the time.

    Args:
        module: What is trained; weight decay is left out where timm or its method `no_weight_decay` says so.
        opt: The optimizer's name in timm.
        weight_decay: Weight decay of parameters whose rule gives none.
        rule: How a parameter is treated, from its name; default: all alike.
        settings: Further keywords of timm's create_optimizer_v2, such as lr and betas.
    """
    from timm.optim import create_optimizer_v2, get_optimizer_info, param_groups_weight_decay

    if get_optimizer_info(opt.lower()).opt_class in _FUSED:
        settings["fused"] = True
    groups = param_groups_weight_decay(module, weight_decay, no_weight_decay_list=not_decayed(module))
    if rule is not None:
        groups = _ruled(module, groups, rule)
    optimizer: torch.optim.Optimizer = create_optimizer_v2(groups, opt=opt, **settings)
    return optimizer


def _ruled(
    module: nn.Module, groups: Sequence[dict[str, Any]], rule: Callable[[str, nn.Parameter], ParameterRule]
) -> list[dict[str, Any]]:
    """Groups divided by the rules of their parameters; the schedule reads the scale of each."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found = []
    for group in groups:
        divided: dict[ParameterRule, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            divided.setdefault(rule(names[id(parameter)], parameter), []).append(parameter)
        for (lr_scale, weight_decay), parameters in divided.items():
            made = {**group, "params": parameters}
            if weight_decay is not None:
                made["weight_decay"] = weight_decay
            if lr_scale != 1:
                made["lr_scale"] = lr_scale
            found.append(made)
    return found


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """Factors of the learning rate by a parameter's place: decay ** (L + 1 - i), with L blocks (arXiv 2106.08254).

    The number i is b + 1 in block b, 0 before the first block, as of tokens, positions and patches, and L + 1 in the
    head and its norms. What stands between two blocks has the number of the one before it.

    Args:
        model: The model.
        decay: The factor from each block to the one before it; 1 leaves all as they are.

    Returns:
        The factors by the names of the parameters; empty where all are 1.

    Raises:
        ConfigError: They are not all 1, and it is not known where the model's blocks are.
    """
    if decay == 1:
        return {}
    roles = roles_of(model)
    if not roles.blocks:
        raise ConfigError(f"layer_decay is {decay:g}, and {type(model).__name__} does not say where its blocks are")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    last = len(roles.blocks) + 1
    numbers = {
        names[id(parameter)]: number
        for number, modules in (
            *((b + 1, (block.module,)) for b, block in enumerate(roles.blocks)),
            (last, (*roles.final_norms, *roles.head)),
        )
        for module in modules
        for parameter in module.parameters()
    }
    reached, scales = 0, {}
    for name, _ in model.named_parameters():
        reached = numbers.get(name, reached)
        scales[name] = decay ** (last - reached)
    return scales


def unscaled_lr(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the schedule, before any group's scale."""
    group = max(optimizer.param_groups, key=lambda one: float(one.get("lr_scale", 1.0)))
    return float(group["lr"]) / float(group.get("lr_scale", 1.0))


@torch.no_grad()
def reorder_units(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    orders: Iterable[UnitOrder],
    averages: Mapping[str, nn.Module],
) -> None:
    """Put units of parameters into another order, with all that the optimizer and moving averages keep of them.

    Args:
        module: What is trained.
        optimizer: The optimizer of its parameters.
        orders: New orders by the names of its parameters and buffers.
        averages: Moving averages by the names of the parts of the module that they are of.

    Raises:
        TrainingError: There is no such parameter or buffer, an order is not one of its units, or the optimizer keeps
            values that have no place for each unit.
    """
    known = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, dim, order in orders:
        if name not in known:
            raise TrainingError(f"units of {name} cannot be reordered: there is no such parameter or buffer")
        values = known[name]
        if sorted(order.tolist()) != list(range(values.shape[dim])):
            raise TrainingError(
                f"units of {name} cannot be reordered: the order is not one of {values.shape[dim]} units"
            )
        kept = [one for one in optimizer.state.get(values, {}).values() if isinstance(one, torch.Tensor) and one.ndim]
        if any(one.shape != values.shape for one in kept):
            kind = type(optimizer).__name__
            raise TrainingError(f"units of {name} cannot be reordered: {kind} keeps values that are not one for each")
        part, _, rest = name.partition(".")
        if part in averages:
            kept.append(averages[part].state_dict()[rest])
        for one in (values, *kept):
            one.copy_(one.index_select(dim, order.to(one.device)))
