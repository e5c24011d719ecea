"""What a proxy is given, and what it declares.

A `Probe` is one network with one draw of weights, and the images. Passes through the network are the unit of cost, so
they are functions of the probe that it calls once and remembers; proxies are arithmetic on what passes leave behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from raynas.config import check_count
from raynas.errors import ConfigError, NotApplicableError, UnknownNameError
from raynas.models.features import batch_norms, batch_statistics
from raynas.models.networks import INIT_SCHEMES
from raynas.seeds import input_seed
from raynas.space.architecture import Architecture

R = TypeVar("R")
DTYPES = {"float32": torch.float32, "float64": torch.float64}

MOST_REPEATS = 10_000
"""Upper bound of the draws of the weights that values are averaged over."""

BATCH_NORMS = {
    "batch": "normalises by the batch, as the source, which leaves the network in training mode; its averages stay as "
    "they are, and the batch is never split",
    "running": "normalises by its running averages, which are 0 and 1 in a fresh network: images do not enter each "
    "other's features",
    "left_out": "is left out, as in the source, and with it the activation that timm's layers of norm and activation "
    "hold",
    "none": "does not matter, since nothing passes through the network",
}
"""What a proxy can have BatchNorms do. Dropout and stochastic depth rest for all of them."""


class Probe:
    """One network with one draw of weights, and one batch of images, for all proxies that want this draw.

    A proxy leaves the network as it found it: weights, buffers, mode and hooks.

    Args:
        architecture: The architecture that is scored.
        model: The network in eval mode, its parameters frozen (no gradients); or a function that builds it, which is
            called on first use.
        img_size: Side of the images in pixels.
        score_seed, repeat: Seed of the run's scores and number of the draw of weights, from which all other random
            draws follow, too.
        images: (B, 3, img_size, img_size) normalised images; None where no proxy needs images.
        labels: (B,) class numbers of the images; None where no proxy needs labels.
        max_batch: The largest number of samples in one pass; None: all at once.
        teacher: A function that gives the feature maps of some stages of a teacher on the images; None where there is
            no teacher.
    """

    def __init__(
        self,
        architecture: Architecture,
        model: nn.Module | Callable[[], nn.Module],
        *,
        img_size: int,
        score_seed: int = 0,
        repeat: int = 0,
        images: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        max_batch: int | None = None,
        teacher: Callable[[tuple[int, ...]], Sequence[torch.Tensor]] | None = None,
    ) -> None:
        self.architecture = architecture
        self._model = model
        self.img_size = img_size
        self.score_seed = score_seed
        self.repeat = repeat
        self.max_batch = max_batch
        self._images = images
        self._labels = labels
        self._teacher = teacher
        self._by_batch = False
        self._passes: dict[Any, Any] = {}

    @property
    def model(self) -> nn.Module:
        """The network, in eval mode, its parameters frozen."""
        if not isinstance(self._model, nn.Module):
            self._model = self._model()
        return self._model

    @property
    def device(self) -> torch.device:
        """The device that the network is on."""
        return next(self.model.parameters(), torch.empty(0)).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the network's parameters."""
        return next(self.model.parameters(), torch.empty(0)).dtype

    @property
    def images(self) -> torch.Tensor:
        """The batch, (B, 3, img_size, img_size), in the network's dtype and on its device.

        Raises:
            NotApplicableError: There is none.
        """
        if self._images is None:
            raise NotApplicableError("needs images")
        return self._images

    @property
    def labels(self) -> torch.Tensor:
        """The batch's class numbers, (B,).

        Raises:
            NotApplicableError: There are none.
        """
        if self._labels is None:
            raise NotApplicableError("needs labels")
        return self._labels

    def teacher_features(self, stages: Sequence[int]) -> Sequence[torch.Tensor]:
        """Feature maps (B, C, h, w) of some stages of the teacher on the images; -1 is its last stage.

        Raises:
            NotApplicableError: There is no teacher, or it has no such stage.
        """
        if self._teacher is None:
            raise NotApplicableError("needs a teacher, which --teacher names")
        return self._teacher(tuple(stages))

    def rng(self) -> np.random.Generator:
        """A generator for curves and perturbations: fresh at every call, equal for all candidates of one repeat."""
        return np.random.default_rng(input_seed(self.score_seed, self.repeat))

    def once(self, function: Callable[..., R], **settings: Any) -> R:
        """function(self, **settings), called the first time only; for passes that several proxies share."""
        key = (function, self._by_batch, tuple(sorted(settings.items())))
        if key not in self._passes:
            self._passes[key] = function(self, **settings)
        result: R = self._passes[key]
        return result

    @contextmanager
    def normalised(self, *, by_batch: bool) -> Iterator[None]:
        """A context within which BatchNorms use the batch's statistics, or else their running ones."""
        if not by_batch:
            yield
            return
        self._by_batch = True
        try:
            with batch_statistics(self.model):
                yield
        finally:
            self._by_batch = False

    def slices(self, n: int) -> Iterator[slice]:
        """Consecutive slices of n samples, each small enough for one pass; one slice while BatchNorm uses the batch."""
        step = min(n, self.max_batch or n)
        if step < n and any(norm.running_mean is None for norm in batch_norms(self.model)):
            step = n
        return (slice(start, min(start + step, n)) for start in range(0, n, step))


ProxyFunction = Callable[..., float | Mapping[str, float]]


@dataclass(frozen=True)
class Proxy:
    """A score of an untrained network, with all that says what its values mean.

    Args:
        name: The proxy's name in the registry.
        function: What computes it, (probe, **settings) -> value, or several named values.
        version: A number that is raised when the same network would get another value.
        higher_is_better: Whether a network with a higher value is thought the better one.
        outputs: Names of the values; the proxy's own name unless it returns several.
        settings: Keyword arguments of the function, with their defaults.
        repeats: Number of draws of the weights over which values are averaged.
        dtype: Type of the network's parameters and of the images, "float32" or "float64".
        init: Initial distribution of the weights, one of `raynas.models.networks.INIT_SCHEMES`; values of different
            ones do not compare.
        width_divisor: The network that is scored has the architecture's width divided by it, and the weights of the
            architecture with that width; for spaces that say how they grow.
        needs_images, needs_labels, needs_teacher: Whether the probe must hold images, their labels, and a teacher.
        batch_norm: What BatchNorms do in the proxy's passes, one of `BATCH_NORMS`.
        shared_draws: Whether weights are the same numbers for all candidates, instead of a draw for each.
        is_measured: Whether the value depends on the clock, so that the same network gets another one each time.
            The network is then built and computes as it is used: with the space's keywords for training, torch's own
            choice of attention and convolutions, and alone on its device.
        check: A function that is called with the settings as keywords whenever they are set, and raises ConfigError
            for what is not allowed.
        summary, paper: What the proxy is, in a line, and where it was published.
        departures: Where values differ from those of the source, a sentence each; None if nobody has said it.
    """

    name: str
    function: ProxyFunction
    version: int = 1
    higher_is_better: bool = True
    outputs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    repeats: int = 1
    dtype: str = "float32"
    init: str = "model"
    width_divisor: int = 1
    needs_images: bool = False
    needs_labels: bool = False
    needs_teacher: bool = False
    batch_norm: str = "running"
    shared_draws: bool = False
    is_measured: bool = False
    check: Callable[..., None] | None = None
    summary: str = ""
    paper: str = ""
    departures: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", self.outputs or (self.name,))
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        defaults = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
        object.__setattr__(self, "settings", {**defaults, **self.settings})
        if self.batch_norm not in BATCH_NORMS:
            known = ", ".join(BATCH_NORMS)
            raise ConfigError(f"batch_norm of the proxy {self.name} is one of {known}, not {self.batch_norm!r}")
        if self.check is not None:
            self.check(**self.settings)

    def __call__(self, probe: Probe) -> dict[str, float]:
        """The named values on this probe."""
        # Torch's fused attention has no second derivatives.
        attention = nullcontext() if self.is_measured else sdpa_kernel(SDPBackend.MATH)
        with attention, probe.normalised(by_batch=self.batch_norm == "batch"):
            values = self.function(probe, **self.settings)
        named = values if isinstance(values, Mapping) else {self.outputs[0]: values}
        return {name: float(value) for name, value in named.items()}

    def couples_images(self, probe: Probe) -> bool:
        """Whether the images of a batch enter each other's values, so that it cannot be passed in parts."""
        norms = batch_norms(probe.model)
        return any(self.batch_norm == "batch" or norm.running_mean is None for norm in norms)

    def configured(self, **settings: Any) -> Proxy:
        """A copy with other settings; `repeats`, `dtype`, `init` and `width_divisor` are settings of every proxy.

        Raises:
            UnknownNameError: The proxy has no such setting; the message lists those it has.
            ConfigError: A value is of another type than the default, or not allowed.
        """
        own = dict(self.settings)
        common: dict[str, Any] = {name: getattr(self, name) for name in ("repeats", "dtype", "init", "width_divisor")}
        for name, value in settings.items():
            target = common if name in common else own
            if name not in target:
                known = ", ".join([*own, *common])
                raise UnknownNameError(f"proxy {self.name!r} has no setting {name!r}. Known settings: {known}")
            target[name] = _converted(f"{self.name}.{name}", value, target[name])
        for name, known_values in (("dtype", DTYPES), ("init", INIT_SCHEMES)):
            if common[name] not in known_values:
                raise ConfigError(f"{self.name}.{name} is one of {', '.join(known_values)}, not {common[name]!r}")
        check_count(f"{self.name}.repeats", common["repeats"], 1, MOST_REPEATS)
        check_count(f"{self.name}.width_divisor", common["width_divisor"], 1)
        return replace(self, settings=own, **common)


def _converted(name: str, value: Any, default: Any) -> Any:
    """The value in the type of the default: 1 for a default of 1.0 is 1.0, "a" for a default of 1 is an error."""
    if isinstance(default, bool) or default is None or isinstance(value, bool):
        accepted = default is None or isinstance(value, bool) is isinstance(default, bool)
    elif isinstance(default, float):
        accepted = isinstance(value, int | float)
        value = float(value) if accepted else value
    else:
        accepted = isinstance(value, type(default))
    if not accepted:
        raise ConfigError(f"{name} is of type {type(default).__name__}, not {value!r}")
    return value
