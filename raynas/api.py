"""The same as the commands, for notebooks and programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.searching.config import RunConfig
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.storage.runs import Run, default_folder, load_run

if TYPE_CHECKING:
    from torch import nn

    from raynas.bench.folder import Bench
    from raynas.proxies.probe import Proxy
    from raynas.searching.plan import Plan
    from raynas.searching.run import SearchListener
    from raynas.sweeps.folder import Sweep
    from raynas.sweeps.run import SweepListener
    from raynas.training.folder import Training
    from raynas.training.run import TrainingListener


def search(
    space: str | SearchSpace,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    proxies: Sequence[str | Proxy] = (),
    listener: SearchListener | None = None,
    **config: Any,
) -> Run:
    """Search a space.

    Args:
        space: A registered name, or a space.
        out: The run folder; default runs/<space>-<date>-<time>.
        resume: Continue the run in `out`.
        reuse: Folders of other runs whose scores are taken where their keys are equal.
        proxies: Scores to compute beside the objectives; names, or proxies of your own.
        listener: Hears of progress; default: shown on standard error. `raynas.searching.run.SearchListener()` is
            silent.
        config: Fields of `raynas.searching.config.RunConfig`, such as objectives=["length_distortion"], budget=500,
            workers=2.

    Returns:
        The finished run.

    Raises:
        RaynasError: Bad input, before anything is started or written; or a cluster or disk that fails later.
    """
    from raynas.searching.plan import make_plan

    own_space = None if isinstance(space, str) else space
    names, own_proxies = _named(proxies)
    values = {"space": space if isinstance(space, str) else space.name, "proxies": names, **config}
    plan = make_plan(RunConfig.make(values), space=own_space, own_proxies=own_proxies)
    return _executed("search", plan, out, resume, reuse, listener)


def score(
    space: str | SearchSpace,
    architectures: Sequence[Architecture | Mapping[str, Any] | str] | int,
    *,
    proxies: Sequence[str | Proxy],
    **settings: Any,
) -> Run:
    """Score architectures, given or sampled, with any proxies.

    Args:
        space: A registered name, or a space.
        architectures: Architectures as values, JSON or the space's text; or how many to sample.
        proxies: Names, or proxies of your own.
        settings: As for `search`.

    Returns:
        The finished run.

    Raises:
        RaynasError: As for `search`.
    """
    if isinstance(architectures, int):
        chosen: dict[str, Any] = {"searcher": "random", "budget": architectures}
    else:
        chosen = {"architectures": [json.dumps(dict(a)) if isinstance(a, Mapping) else a for a in architectures]}
    return search(space, proxies=proxies, objectives=(), **chosen, **settings)


def scale(
    source: str | Path | Architecture | Mapping[str, Any],
    *,
    space: str | SearchSpace | None = None,
    stop: str | None = None,
    rates: Sequence[float] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    proxies: Sequence[str | Proxy] = (),
    listener: SearchListener | None = None,
    **config: Any,
) -> Run:
    """Grow an architecture in depth and width; the run's `family` holds every state.

    Args:
        source: A run folder, a file with one architecture, or an architecture as a value, JSON or text.
        space: Of the source, where several spaces can read it; or a space of your own.
        stop: The cost at which growth ends, such as "num_params>=80e6"; default: the space's own, with its constraints.
        rates: By which a step may widen.
        out, resume, reuse, proxies, listener: As for `search`.
        config: Fields of `raynas.searching.config.RunConfig`; objectives and width_divisor have the space's own
            defaults.

    Returns:
        The finished run.

    Raises:
        RaynasError: As for `search`.
    """
    from raynas.searching.scaling import growth_plan
    from raynas.storage.sources import read_source

    names, own_proxies = _named(proxies)
    text = json.dumps(dict(source)) if isinstance(source, Mapping) else str(source)
    found = read_source(text, space=space)
    plan = growth_plan({"proxies": names, **config}, found, stop=stop, rates=rates, own_proxies=own_proxies)
    return _executed("scale", plan, out, resume, reuse, listener)


def sweep(
    space: str | SearchSpace,
    *,
    searchers: Sequence[str] = (),
    repeat: int = 5,
    level: float | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    proxies: Sequence[str | Proxy] = (),
    listener: SweepListener | None = None,
    **config: Any,
) -> Sweep:
    """Compare searchers: whole searches of a space, with several seeds each, as Ray Tune trials.

    Args:
        space: A registered name, or a space.
        searchers: Names; none: the default for the objectives.
        repeat: Searches of each searcher, with the seeds seed, seed + 1, ...
        level: A value whose calls are reported, beside one that more than half of the seeds of every searcher reach.
        out: The folder, which has a run folder for each search; default runs/<space>-<date>-<time>.
        resume: Continue the sweep in `out`; its budget and repeat may grow.
        reuse, proxies: As for `search`.
        listener: Hears of progress; default: shown on standard error. `raynas.sweeps.run.SweepListener()` is silent.
        config: Fields of `raynas.searching.config.RunConfig`, shared by all searches; `workers` are those of each,
            default 1.

    Returns:
        The sweep: its `summary` has the searchers side by side, its `runs` are the searches. A search that failed
        raises nothing; it is told in the summary, and tried again when the sweep is resumed.

    Raises:
        RaynasError: As for `search`.
    """
    from raynas.console.sweeps import SweepConsole
    from raynas.sweeps.config import SweepConfig
    from raynas.sweeps.folder import load_sweep
    from raynas.sweeps.plan import make_sweep_plan
    from raynas.sweeps.run import execute_sweep

    own_space = None if isinstance(space, str) else space
    names, own_proxies = _named(proxies)
    values = {"space": space if isinstance(space, str) else space.name, "proxies": names, **config}
    values |= {"searchers": searchers, "repeat": repeat, "level": level}
    plan = make_sweep_plan(SweepConfig.make(values), space=own_space, own_proxies=own_proxies)
    folder = Path(out) if out is not None else default_folder(plan.config.space)
    with SweepConsole() if listener is None else nullcontext(listener) as heard:
        execute_sweep(plan, folder, resume=resume, reuse=[Path(path) for path in reuse], listener=heard)
    return load_sweep(folder)


def bench_proxies(
    space: str | SearchSpace,
    truth: str | Path | None = None,
    *,
    labels: Sequence[str] = (),
    proxies: Sequence[str | Proxy] = (),
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    listener: SearchListener | None = None,
    **config: Any,
) -> Bench:
    """Hold proxies against what architectures reached once they were trained.

    Args:
        space: A registered name, or a space.
        truth: A CSV file with a column for each field of an architecture, and labels; None: that of the run in `out`.
        labels: Columns of it: NAME where higher is better, or NAME:min.
        proxies: Names, "all", or proxies of your own; none: the objectives of the space. Counts of parameters, MACs,
            depth and width always stand beside them.
        out: The run folder; default runs/<space>-bench-<date>-<time>.
        resume: Continue the run in `out`; where all is scored, only what follows from the scores is made again.
        reuse, listener: As for `search`.
        config: Fields of `raynas.bench.config.BenchConfig`, such as combine=["dss+tvt"], within=["embed_dim"],
            rows=100, data="digits", workers=2.

    Returns:
        The benchmark: its `correlations` and `scores` are Arrow tables.

    Raises:
        RaynasError: Bad input, before anything is started or written; or a cluster or disk that fails later.
    """
    from raynas.bench.config import BenchConfig
    from raynas.bench.run import execute_bench, make_bench_plan, stored_bench
    from raynas.console.runs import ConsoleListener

    own_space = None if isinstance(space, str) else space
    names, own_proxies = _named(proxies)
    name = space if isinstance(space, str) else space.name
    folder = Path(out) if out is not None else default_folder(f"{name}-bench")
    given = {"labels": labels, "proxies": names, "truth": None if truth is None else str(truth)}
    values = {**(stored_bench(folder) if resume else {}), **{key: value for key, value in given.items() if value}}
    plan = make_bench_plan(
        BenchConfig.make({**values, "space": name, **config}), folder=folder, space=own_space, own_proxies=own_proxies
    )
    with ConsoleListener("bench proxies") if listener is None else nullcontext(listener) as heard:
        return execute_bench(plan, folder, resume=resume, reuse=[Path(path) for path in reuse], listener=heard)


def train(
    source: str | Path | Architecture | Mapping[str, Any],
    *,
    space: str | SearchSpace | None = None,
    pick: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    listener: TrainingListener | None = None,
    **config: Any,
) -> Training:
    """Train an architecture on images.

    Args:
        source: A run folder, a file with one architecture, or an architecture as a value, JSON or text.
        space: Of the source, where several spaces can read it; or a space of your own.
        pick: Of a run folder, the member that meets these constraints, such as num_params<=30e6.
        out: The training's folder; default runs/<space>-training-<date>-<time>.
        resume: Continue the training in `out`.
        listener: Hears of progress; default: shown on standard error. `raynas.training.run.TrainingListener()` is
            silent.
        config: Fields of `raynas.training.config.TrainConfig`, such as data="parquet:train.parquet", epochs=30.

    Returns:
        The finished training, with its metrics and its model.

    Raises:
        RaynasError: Bad input, before anything is started or written; or what fails later.
    """
    from raynas.console.training import TrainingConsole
    from raynas.storage.sources import read_source
    from raynas.training.config import TrainConfig
    from raynas.training.folder import load_training
    from raynas.training.plan import make_training_plan
    from raynas.training.run import execute_training

    text = json.dumps(dict(source)) if isinstance(source, Mapping) else str(source)
    found = read_source(text, space=space, pick=pick)
    values = {
        "space": spaces.reference(found.space),
        "architecture": found.architecture.to_json(),
        "img_size": found.img_size,
    }
    plan = make_training_plan(TrainConfig.make({**values, **config}), space=found.space)
    folder = Path(out) if out is not None else default_folder(f"{plan.space.name}-training")
    with TrainingConsole() if listener is None else nullcontext(listener) as heard:
        execute_training(plan, folder, resume=resume, listener=heard)
    return load_training(folder)


def build(space: str | SearchSpace, architecture: Architecture | Mapping[str, Any] | str, **settings: Any) -> nn.Module:
    """The model that an architecture stands for, initialised as for training.

    Args:
        space: A registered name, or a space.
        architecture: As a value, JSON, the space's text or a published name.
        settings: img_size=224, num_classes=1000, and the model family's own.

    Raises:
        RaynasError: The space is unknown or the architecture cannot be built.
    """
    from raynas.space.build import build as build_model

    found = spaces.get(space) if isinstance(space, str) else space
    return build_model(found, found.read(architecture), **settings)


def _named(given: Sequence[str | Proxy]) -> tuple[list[str], list[Proxy]]:
    """Names of all, and those that are not registered."""
    own = [entry for entry in given if not isinstance(entry, str)]
    return [entry if isinstance(entry, str) else entry.name for entry in given], own


def _executed(
    command: str,
    plan: Plan,
    out: str | Path | None,
    resume: bool,
    reuse: Sequence[str | Path],
    listener: SearchListener | None,
) -> Run:
    from raynas.console.runs import ConsoleListener
    from raynas.searching.run import execute

    folder = Path(out) if out is not None else default_folder(plan.space.name)
    with ConsoleListener(command) if listener is None else nullcontext(listener) as heard:
        execute(plan, folder, resume=resume, reuse=[Path(path) for path in reuse], listener=heard)
    return load_run(folder)
