"""What a shell offers for an option or argument when Tab is pressed: names, found without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

PROXIES = (
    "attention_distance",
    "attention_entropy",
    "autoprox_a",
    "az_nas",
    "curvature",
    "depth",
    "dss",
    "entropic_score",
    "entropy",
    "epe_nas",
    "fisher",
    "fisher_compat",
    "gauss_length",
    "grad_norm",
    "grasp",
    "jacob_cov",
    "l2_norm",
    "latency",
    "layer_width_sum",
    "length_distortion",
    "logsynflow",
    "macs",
    "mae_loss",
    "meco",
    "meco_opt",
    "naswot",
    "ntk_condition",
    "ntk_condition_logits",
    "num_params",
    "plain",
    "snip",
    "synflow",
    "tvt",
    "width",
    "zen",
    "zico",
    "zico_layerwise",
)
"""Names of proxies and costs, which stand here too, since to ask their registry takes torch and seconds."""


def completion_of(name: str, annotation: Any = None) -> Callable[[str], list[str]] | None:
    """What completes the value of an option or argument; None: what the shell itself does, such as names of files.

    Args:
        name: The name by which the command receives it.
        annotation: The type of the field that it is made of; one of a few words is completed by these.
    """
    words = _words(annotation)
    names = _NAMES.get(name, (lambda: words) if words else None)
    if names is None:
        return None

    def complete(incomplete: str) -> list[str]:
        return [one for one in names() if one.startswith(incomplete)]

    return complete


def _words(annotation: Any) -> list[str]:
    """The words that a type consists of, also where it may be None or a list."""
    if get_origin(annotation) is Literal:
        return [one for one in get_args(annotation) if isinstance(one, str)]
    return [word for one in get_args(annotation) for word in _words(one)]


def _spaces() -> Iterable[str]:
    from raynas.space.registered import spaces

    return spaces


def _searchers() -> Iterable[str]:
    from raynas.searchers.registered import searchers

    return searchers


def _recipes() -> Iterable[str]:
    from raynas.recipes.reading import recipe_names

    return recipe_names()


_NAMES: Mapping[str, Callable[[], Iterable[str]]] = {
    "space": _spaces,
    "searcher": _searchers,
    "searchers": _searchers,
    "recipe": _recipes,
    "proxies": lambda: PROXIES,
    "objectives": lambda: PROXIES,
}
