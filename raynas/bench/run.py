"""Carries out a benchmark of proxies: a truth table and a configuration to a scoring run, and then to statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raynas.bench.combination import Combination
from raynas.bench.config import BenchConfig, BenchSettings
from raynas.bench.folder import TRUTH, Bench, is_bench, load_bench, parsed_labels, read_settings, write_inputs
from raynas.bench.predictors import check_combinations, known_names
from raynas.bench.truth import MIN_ROWS, Truth, load_truth, read_truth, strata
from raynas.errors import ConfigError
from raynas.proxies.probe import Proxy
from raynas.proxies.registered import proxies
from raynas.registry import normalised
from raynas.searchers.base import SearchProgress
from raynas.searching.config import KIND
from raynas.searching.plan import Plan, make_plan
from raynas.searching.ranking import Ranking
from raynas.searching.run import SearchListener, execute
from raynas.space.cost import COSTS
from raynas.space.registered import spaces
from raynas.space.results import Evaluation, Objective, named_direction
from raynas.space.search_space import SearchSpace
from raynas.storage.files import exists
from raynas.storage.paths import as_path
from raynas.storage.run_folder import holds_run, read_description

ALL = "all"
"""Stands for the names of all proxies that are registered and have what they need."""

_ALWAYS_THERE = ("needs_images", "needs_labels")


@dataclass(frozen=True)
class BenchPlan:
    """What a benchmark will do, in values.

    Args:
        plan: The plan of the scoring run under it.
        settings: Labels, strata and combinations that the scores are held against.
        truth: The truth table: what the architectures reached.
        about: The file that the truth table came from, and the proxies that are left out.
    """

    plan: Plan
    settings: BenchSettings
    truth: Truth
    about: Mapping[str, Any]


def make_bench_plan(
    config: BenchConfig,
    *,
    folder: Path | None = None,
    space: SearchSpace | None = None,
    own_proxies: Sequence[Proxy] = (),
) -> BenchPlan:
    """Resolve a configuration; everything is checked here, before anything starts.

    Args:
        config: What the user said; fields that are None get their defaults here.
        folder: The folder of a run that is resumed; its truth table is taken if none is named.
        space: The space itself, where it is not a registered one.
        own_proxies: Proxies that are not registered.

    Raises:
        DataError: A truth table that cannot be read, or a label that says nothing.
        SpaceError: One of its architectures cannot be read; the message names its row.
        UnknownNameError: A proxy, a label or a part of a combination that does not exist.
        ConfigError: Values that do not go together.
    """
    space = space or spaces.get(config.space)
    labels = parsed_labels(config.settings_of_bench)
    combinations = [Combination.parse(text, config.combine_by) for text in config.combine]
    truth, where, about = _truth(config, space, labels, folder)
    if not labels:
        raise ConfigError(f"name a label of {where}: {', '.join(truth.labels) or 'it has none'}")
    for label in labels:
        truth.label(label.name, where)
    for field in config.within:
        parts = strata(truth.architectures, field, space)
        if max(map(parts.count, set(parts))) < MIN_ROWS:
            raise ConfigError(
                f"no value of {field!r} is that of {MIN_ROWS} architectures, so nothing can be told within"
            )
    names, left_out = _proxies(config, space, own_proxies, known_names((), truth))
    plan = make_plan(
        config.run(
            architectures=[architecture.to_json() for architecture in truth.architectures],
            objectives=(),
            searcher=None,
            proxies=names,
        ),
        space=space,
        own_proxies=own_proxies,
    )
    check_combinations(combinations, known_names([score.name for score in plan.scores], truth))
    return BenchPlan(plan, config.settings_of_bench, truth, {**about, "left_out": left_out})


def execute_bench(
    bench: BenchPlan,
    folder: Path,
    *,
    resume: bool = False,
    reuse: Sequence[Path] = (),
    listener: SearchListener | None = None,
) -> Bench:
    """Score what is not stored yet, and write what follows.

    Args:
        bench: The checked plan to carry out.
        folder: The run folder, which is created unless it exists.
        resume: Continue the run that the folder holds; without one, start. What is asked of the scores may change.
        reuse: Folders of other runs whose scores are taken where their keys are equal.
        listener: Receives progress and lines for people.

    Returns:
        The folder, read.

    Raises:
        RaynasError: As `raynas.searching.run.execute`.
    """
    keeper = _Keeper(bench, listener or SearchListener())
    execute(bench.plan, folder, resume=resume, reuse=reuse, listener=keeper)
    done = load_bench(folder)
    done.write()
    return done


def stored_bench(folder: Path) -> dict[str, Any]:
    """Fields of BenchConfig from the folder of a run that is resumed; nothing if there is no run.

    Raises:
        StoreError: What is there cannot be read.
    """
    if not holds_run(folder):
        return {}
    of_bench = read_settings(folder)[0].model_dump() if is_bench(folder) else {}
    values = {**read_description(folder, kind=KIND)["config"], **of_bench}
    return {**values, "proxies": values.get("proxies") or list(COSTS)}  # none at all would be the space's objectives


class _Keeper(SearchListener):
    """Writes the truth table into the folder as soon as it is the run's, and passes on what it hears."""

    def __init__(self, bench: BenchPlan, listener: SearchListener) -> None:
        self._bench = bench
        self._listener = listener

    def on_start(self, folder: Path, budget: int) -> None:
        write_inputs(folder, self._bench.settings, self._bench.truth, self._bench.about)
        self._listener.on_start(folder, budget)

    def on_tell(self, evaluation: Evaluation, told: int, ranking: Ranking) -> None:
        self._listener.on_tell(evaluation, told, ranking)

    def on_progress(self, progress: SearchProgress) -> None:
        self._listener.on_progress(progress)

    def on_log(self, line: str) -> None:
        self._listener.on_log(line)


def _truth(
    config: BenchConfig, space: SearchSpace, labels: Sequence[Objective], folder: Path | None
) -> tuple[Truth, str, dict[str, Any]]:
    """The table, how messages call it, and what is known of it."""
    if config.truth is None:
        if folder is None or not exists(folder / TRUTH):
            raise ConfigError(
                "a benchmark needs a truth table: --truth FILE.csv, with a column for each field and labels"
            )
        return load_truth(folder / TRUTH), str(folder / TRUTH), read_settings(folder)[1]
    path = as_path(config.truth)
    truth = read_truth(path, space, [label.name for label in labels])
    rows = int(truth.merged.sum())
    if config.rows is not None:
        truth = truth.sampled(config.rows, config.seed)
    return truth, str(path), {"file": path.name, "rows": rows, "architectures": truth.total, "seed": config.seed}


def _proxies(
    config: BenchConfig, space: SearchSpace, own: Sequence[Proxy], counted: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Names of what is computed, and of what `all` leaves out, with the reason; what fields tell is not computed."""
    counts = set(map(normalised, counted))
    wanted = [name for name in config.proxies if normalised(name) not in counts]  # those are always there
    if not config.proxies:
        return [named_direction(text)[0] for text in space.objectives], {}
    if ALL not in wanted:
        return wanted, {}
    left_out: dict[str, str] = {}
    names = [name for name in wanted if name != ALL]
    for proxy in [*own, *(proxies.get(name) for name in proxies if normalised(name) not in counts)]:
        lacks = [
            name.removeprefix("needs_")
            for name, is_needed in vars(proxy).items()
            if name.startswith("needs_") and name not in _ALWAYS_THERE and is_needed
        ]
        if normalised(proxy.name) in map(normalised, names):
            continue
        if proxy.is_measured:
            left_out[proxy.name] = "depends on the clock"
        elif missing := [what for what in lacks if not getattr(config, what, None)]:
            left_out[proxy.name] = f"needs a {' and a '.join(missing)}"
        else:
            names.append(proxy.name)
    return names, left_out
