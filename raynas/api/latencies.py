"""Latency: measured of a network, learned over a space, and predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import ArchitectureSource, own_space, source_text, space_name
from raynas.api.layers import base_values
from raynas.api.searches import executed
from raynas.config import several
from raynas.errors import ConfigError
from raynas.latency.config import LatencyConfig, LearnConfig
from raynas.registry import runs_named_code
from raynas.searching.config import KIND, RunConfig
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.latencies import Prediction, latency_predictor
from raynas.storage.learned import RATIO
from raynas.storage.paths import as_path
from raynas.storage.run_folder import reading
from raynas.storage.runs import Run

if TYPE_CHECKING:
    from raynas.latency.measuring import LatencyListener, LatencyReport
    from raynas.searching.run import SearchListener

_SEARCHER = "uncertainty"


@runs_named_code
def measure_latency(
    source: ArchitectureSource,
    *,
    architecture: str | Mapping[str, object] | None = None,
    space: str | SearchSpace | None = None,
    pick: Sequence[str] = (),
    listener: LatencyListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> LatencyReport:
    """Measure how long a network takes on this device: by PyTorch, torch.compile and ONNX Runtime, which take turns.

    Args:
        source: The folder of an export or of a run, an architecture, or timm:NAME; with `architecture`, a space.
        architecture: An architecture of the space that the source names.
        space: The space of an architecture that several can read, or one of your own.
        pick: Constraints that choose among the architectures of a run, such as num_params<=3e6.
        listener: Receives progress; default: shown on standard error. `raynas.latency.measuring.LatencyListener()` is
            silent.
        trust_code: Whether to run code that a folder names; what the arguments name is run anyway.
        fields: Fields of `raynas.latency.config.LatencyConfig`, such as batch_sizes=[1, 16], engines=["torch"]; None
            where nothing is said.

    Returns:
        What was measured, one entry for each condition.

    Raises:
        RaynasError: Bad input, before anything is measured; or an engine that was asked for by name is not to be had.
    """
    config = LatencyConfig.make({name: value for name, value in fields.items() if value is not None})

    from raynas.console.latency import LatencyConsole  # torch is behind these
    from raynas.latency.measuring import check_conditions, measure
    from raynas.latency.source import read_measured

    check_conditions(config)
    text = None if architecture is None else source_text(architecture)
    network = read_measured(source_text(source), config, architecture=text, space=space, pick=pick)
    with LatencyConsole() if listener is None else nullcontext(listener) as receiver:
        return measure(network, config, receiver)


@runs_named_code
def learn_latency(
    space: str | SearchSpace | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    listener: SearchListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Run:
    """Measure architectures of a space until the latency of all others can be predicted.

    Args:
        space: A registered name, or a space; None: that of the run in `out`.
        out: The run folder, from which searches predict (`latency=DIR`); default runs/<space>-<date>-<time>.
        resume: Continue the run in `out`, with its settings where none are given; start it if there is none.
        listener: Receives progress; default: shown on standard error.
        trust_code: Argument with the meaning that it has in `raynas.search`.
        fields: Fields of `raynas.latency.config.LearnConfig`, such as measurements=40, img_size=64; None where nothing
            is said.

    Returns:
        The run, which `raynas.predict_latency` predicts from.

    Raises:
        RaynasError: Bad input, before anything is measured; or a disk that fails later.
    """
    said = {name: value for name, value in fields.items() if value is not None}
    stored = base_values(RunConfig, KIND, config=None, out=out, resume=resume, given={})
    if space is None and "space" not in stored:
        raise ConfigError("name a space to learn the latency of; `raynas list spaces` has them")
    named = {} if space is None else {"space": space_name(space)}
    config = LearnConfig.make({**(_as_learned(as_path(out or ""), stored) if stored else {}), **said, **named})

    from raynas.searching.plan import make_plan  # torch is behind it

    _check_precision(config.precision)
    of = own_space(space) or spaces.get(config.space)
    plan = make_plan(_run_of(config, of), space=of)
    return executed("latency", plan, out, resume, (), listener)


@runs_named_code
def predict_latency(
    folder: str | Path,
    architectures: Sequence[Architecture | Mapping[str, object] | str],
    *,
    space: SearchSpace | None = None,
    trust_code: bool = False,
) -> list[Prediction]:
    """Predict the latency of architectures, with an interval that holds 90 % of measurements.

    Args:
        folder: The folder of `learn_latency`, or of another run that has measured latencies.
        architectures: Architectures of its space, as values, JSON or the space's text.
        space: The space itself, where it is not a registered one.
        trust_code: Whether to run code that the folder names, such as its space in a file.

    Raises:
        RaynasError: The folder holds too few latencies, or an architecture cannot be read or drawn: what is measured
            is drawn from the space, and says nothing of values that are none of its choices.
    """
    predictor = latency_predictor(folder, space)
    found = [predictor.space.read(source_text(one)) for one in several(architectures)]
    for one in found:
        predictor.space.encode(one)  # refuses what was never measured
    return predictor.predict(found)


def _run_of(config: LearnConfig, space: SearchSpace) -> RunConfig:
    """The search that measures where it is unsure."""
    img_size, num_classes = config.img_size or space.search_img_size, config.num_classes or 10
    measured = config.model_dump(include={"batch_size", "precision", "runs", "warmup", "seconds"})
    return RunConfig.make(
        {
            **config.model_dump(include={"space", "threads", "seed"}),
            "objectives": (f"{RATIO}:min",),
            "searcher": _SEARCHER,
            "settings": {
                "latency": measured,
                "searcher": {"img_size": img_size, "num_classes": num_classes},
            },
            "img_size": img_size,
            "num_classes": num_classes,
            "budget": config.measurements,
            "window": 1,
            "workers": 0,
        }
    )


def _as_learned(folder: Path, stored: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored run was told, as `LearnConfig` has it."""
    if stored.get("searcher") != _SEARCHER:
        raise ConfigError(f"{folder} holds a run that was not made by `raynas latency`: name another --out")
    with reading(folder):
        names = ("space", "threads", "seed", "img_size", "num_classes")
        own = {name: stored[name] for name in names if name in stored}
        return {**own, "measurements": stored["budget"], **stored["settings"]["latency"]}


def _check_precision(precision: str) -> None:
    import torch

    if precision != "float32" and not torch.cuda.is_available():
        raise ConfigError(f"precision {precision} over a space needs a GPU; on CPUs it is float32")
