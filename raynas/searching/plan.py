"""A configuration with its names resolved to values; everything is checked here, before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from raynas.data.inspection import Inspection
from raynas.errors import ConfigError, SpaceError
from raynas.proxies.probe import Proxy
from raynas.proxies.registered import proxies
from raynas.registry import file_hashes, is_in_file
from raynas.scoring.inherited import ACCURACY
from raynas.scoring.task import Task
from raynas.searchers.admission import admission
from raynas.searchers.base import Searcher
from raynas.searchers.given import GivenArchitectures
from raynas.searchers.protocols import start_of
from raynas.searchers.registered import searchers
from raynas.searching.checks import check_admission, check_divisors, check_start, chosen_searcher
from raynas.searching.config import KIND, ResolvedRun, RunConfig
from raynas.searching.inherited import InheritedScoring, open_supernet
from raynas.searching.joined import JoinedScoring
from raynas.searching.latencies import (
    described_predictions,
    predicted_costs,
    prediction_lines,
    with_latency_named,
    with_predicted,
)
from raynas.searching.own_files import NO_FILES, OwnFiles
from raynas.searching.scores import (
    Score,
    UntrainedScoring,
    batches,
    check_batches,
    check_names,
    chosen_proxies,
    inspected,
    objective_of,
    of_all_outputs,
    teacher_of,
)
from raynas.searching.windows import AS_ASKED, Window, default_window
from raynas.seeds import seed_from
from raynas.space.architecture import Architecture
from raynas.space.cost import closed_form
from raynas.space.registered import spaces
from raynas.space.results import Constraint, Objective, Platform, parse_bounds
from raynas.space.search_space import SearchSpace
from raynas.storage.run_folder import run_description
from raynas.wording import plural


class TaskMaker(Protocol):
    """Makes the task of a run once its device is known; a value, since sweeps ship plans to their trials."""

    def __call__(self, device: str, threads: int) -> Task:
        """The task on a device, "cpu" or "cuda", with this many threads of torch."""
        ...


@dataclass(frozen=True)
class Plan:
    """What a run will do, in values.

    Args:
        config: The configuration with all defaults filled in, save those that depend on the cluster.
        space: The space that architectures come from.
        scores: Outputs of the task in the order of its groups, then the costs.
        make_task: Makes what workers carry out, whose groups of outputs the scores name.
        objectives: What is optimised; none where architectures are only scored.
        constraints: Bounds on scores and costs.
        architectures: What to score; None if a searcher decides.
        proxies: Proxies that score untrained networks, in the order of their groups; none where the task is another
            one.
        window_origin: Where the window is from, in words that continue "up to 64 candidates at a time: ".
        inspection: What was found in the data set; None where there are no files.
        notes: Lines for people on what is predicted, and on the images.
        own_files: The files of the user's that the space or a proxy is from.
    """

    config: ResolvedRun
    space: SearchSpace
    scores: tuple[Score, ...]
    make_task: TaskMaker
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    architectures: tuple[Architecture, ...] | None = None
    proxies: tuple[Proxy, ...] = ()
    window_origin: str = AS_ASKED
    inspection: Inspection | None = None
    notes: tuple[str, ...] = ()
    own_files: OwnFiles = NO_FILES

    @property
    def window(self) -> int:
        """Candidates in flight, once it is known."""
        assert self.config.window is not None, "the window follows from workers that are not known yet"
        return self.config.window

    def with_window(self, window: Window) -> Plan:
        """The plan with a number of candidates in flight."""
        return replace(self, config=self.config.resolved(window=window.size), window_origin=window.origin)

    def default_window(self, workers: int) -> Window:
        """The number of candidates in flight for a number of workers, the most that there may be."""
        name = None if self.architectures is not None else self.config.searcher
        return default_window(None if name is None else searchers.get(name), workers, self.config.budget)

    def costs(self, architecture: Architecture) -> dict[str, float]:
        """The costs that are known before scoring, by name: those with closed forms."""
        closed = [score.name for score in self.scores if score.group is None]
        forms = {name: form for name in closed if (form := closed_form(self.space, name)) is not None}
        size = self.config.img_size, self.config.num_classes
        return {name: float(form(architecture, *size)) for name, form in forms.items()}

    @property
    def _size(self) -> dict[str, int]:
        return {"img_size": self.config.img_size, "num_classes": self.config.num_classes}

    def searcher(self) -> Searcher:
        """A fresh searcher."""
        if self.architectures is not None:
            return GivenArchitectures(self.architectures)
        assert self.config.searcher is not None
        return searchers.get(self.config.searcher)(
            self.space,
            self.objectives,
            self.constraints,
            seed=self.config.seed,
            admits=admission(self.space, self.constraints, **self._size),
            **self.config.settings.get("searcher", {}),
        )

    def task(self, device: str) -> Task:
        """What workers carry out on a device, "cpu" or "cuda"."""
        return self.make_task(device, self.config.threads)

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the stored one; names of files, workers and limits are not in it."""
        return {
            "space": self.space.name,
            "space_fields": self.space.fingerprint,
            "img_size": self.config.img_size,
            "num_classes": self.config.num_classes,
            "model_version": self.space.model_version,
            "scores": {score.name: asdict(score.identity) for score in self.scores},
            "objectives": [str(objective) for objective in self.objectives],
            "constraints": [str(constraint) for constraint in self.constraints],
            "searcher": self.config.searcher,
            "searcher_settings": dict(self.config.settings.get("searcher", {})),
            "architectures": None
            if self.architectures is None
            else f"{seed_from(*(a.key for a in self.architectures)):016x}",
            "window": self.config.window,
            "seed": self.config.seed,
            "score_seed": self.config.score_seed,
        }


def make_plan(config: RunConfig, *, space: SearchSpace | None = None, own_proxies: Sequence[Proxy] = ()) -> Plan:
    """Resolve a configuration of a run that scores untrained networks, or sub-networks of a supernet.

    Args:
        config: What was asked for.
        space: The space itself, where it is not a registered one.
        own_proxies: Proxies that are not registered; found by their names before the registered ones.

    Raises:
        UnknownNameError: A space, proxy, score, searcher or setting that does not exist.
        ConfigError: Values that do not go together, or constraints on costs that nothing meets.
        SpaceError: An architecture that cannot be built.
        DataError: Images that cannot be read.
    """
    config = with_latency_named(config)
    if config.supernet is not None:
        return _plan_of_supernet(config, space, own_proxies)
    if given := [name for name in ("holdout", "test_data") if getattr(config, name) is not None]:
        raise ConfigError(f"{', '.join(given)} go with a supernet, and none is given")
    space = space or spaces.get(config.space)
    img_size = config.img_size or space.search_img_size
    if img_size % space.img_size_multiple:
        raise ConfigError(f"img_size of {space.name} is a multiple of {space.img_size_multiple}, not {img_size}")
    architectures = _read_all(space, config.architectures) if config.architectures else None
    wanted_objectives = space.objectives if config.objectives is None else config.objectives
    constraints = parse_bounds(config.constraints, config.bands)
    chosen, references = _chosen(config, wanted_objectives, constraints, own_proxies)
    check_divisors(space, chosen, architectures)
    config = config.resolved(objectives=tuple(wanted_objectives), img_size=img_size)
    scoring, config, inspection = _untrained(config, space, img_size, chosen, constraints)
    config = config.resolved(proxies=references)
    plan = plan_of_task(config, space, scoring.scores(), scoring, architectures=architectures, proxies=chosen)
    return replace(plan, inspection=inspection)


def _chosen(
    config: RunConfig,
    objectives: Sequence[str],
    constraints: Sequence[Constraint],
    own_proxies: Sequence[Proxy],
    others: Sequence[str] = (),
) -> tuple[tuple[Proxy, ...], tuple[str, ...]]:
    """The proxies of a run, and what each is called in its configuration."""
    in_files = [proxies.get(name) for name in config.proxies if is_in_file(name)]
    references = {proxy.name: proxies.reference(proxy) for proxy in in_files}
    named = [*in_files, *own_proxies]  # what no file has registered is known by its name, too
    chosen = chosen_proxies(config, objectives, constraints, named, (*others, *predicted_costs(config)))
    return chosen, tuple(references.get(proxy.name, proxy.name) for proxy in chosen)


def _untrained(
    config: RunConfig,
    space: SearchSpace,
    img_size: int,
    chosen: tuple[Proxy, ...],
    constraints: tuple[Constraint, ...],
) -> tuple[UntrainedScoring, RunConfig, Inspection | None]:
    """What scores untrained networks by proxies; the configuration with what the data say; and what was found there."""
    check_batches(chosen, config, img_size)
    dataset, config, inspection = inspected(chosen, config)
    num_classes, objectives = config.num_classes or dataset.num_classes, config.objectives or ()
    images, labels = batches(chosen, dataset, config, img_size)
    teacher = teacher_of(config, chosen, objectives, constraints, dataset)
    scoring = UntrainedScoring(
        space, img_size, num_classes, chosen, config.score_seed, images, labels, teacher, constraints
    )
    resolved = config.resolved(num_classes=num_classes, objectives=tuple(of_all_outputs(objectives, chosen)))
    return scoring, resolved, inspection


def _plan_of_supernet(config: RunConfig, space: SearchSpace | None, own_proxies: Sequence[Proxy]) -> Plan:
    constraints = parse_bounds(config.constraints, config.bands)
    accuracy = [output.name for output in ACCURACY]
    chosen, references = _chosen(config, config.objectives or (), constraints, own_proxies, accuracy)
    if given := [name for name in ("teacher", "width_divisor") if getattr(config, name) is not None and not chosen]:
        raise ConfigError(
            f"{', '.join(given)} go with proxies, and none is asked for beside the sub-networks' accuracy"
        )
    opened = open_supernet(config, space)
    scoring: InheritedScoring | JoinedScoring = opened.scoring
    space, config, inspection = opened.scoring.space, opened.config, None
    architectures = _read_all(space, config.architectures) if config.architectures else None
    if chosen:
        check_divisors(space, chosen, architectures)
        untrained, config, inspection = _untrained(config, space, opened.scoring.img_size, chosen, constraints)
        scoring, config = JoinedScoring(opened.scoring, untrained), config.resolved(proxies=references)
    if architectures is None and config.searcher is None and len(config.objectives or ()) == 1:
        config = config.resolved(searcher="evolution")
    plan = plan_of_task(config, space, scoring.scores(), scoring, architectures=architectures, proxies=chosen)
    notes = [
        plural(number, "image of the hold-out is", "images of the hold-out are") + f" {where}, too, and left out"
        for where, number in opened.left_out.items()
    ]
    notes.append(f"sub-networks are evaluated on {plural(len(opened.scoring.labels), 'image', 'images')}")
    return replace(plan, inspection=inspection, notes=(*plan.notes, *notes))


def plan_of_task(
    config: RunConfig,
    space: SearchSpace,
    scores: Sequence[Score],
    make_task: TaskMaker,
    *,
    architectures: Sequence[Architecture] | None = None,
    proxies: Sequence[Proxy] = (),
) -> Plan:
    """The plan of a run whose workers carry out any task.

    Args:
        config: What was asked for; `img_size` and `num_classes`, at which costs are told, are in it.
        space: The space that architectures come from.
        scores: Outputs of the task in the order of its groups, then the costs.
        make_task: Makes the task.
        architectures: What to score; None if a searcher decides.
        proxies: Proxies that score untrained networks, in the order of their groups.

    Raises:
        UnknownNameError: A score, searcher or setting that does not exist.
        ConfigError: Values that do not go together, or constraints on costs that nothing meets.
        SpaceError: The searcher's start cannot be scored.
    """
    reference = spaces.reference(space)
    space, predicted = with_predicted(config, space)
    scores = (*scores, *predicted)
    objectives = tuple(objective_of(text, scores) for text in config.objectives or ())
    constraints = parse_bounds(config.constraints, config.bands)
    check_names([constraint.name for constraint in constraints], scores)
    if config.device_type is not None and config.mixed_devices:
        raise ConfigError(f"device_type is {config.device_type!r}, but mixed_devices asks for whatever there is")
    if architectures is None:
        searcher = chosen_searcher(config.searcher, config.settings.get("searcher", {}), objectives)
        budget = config.budget
    elif config.searcher:
        raise ConfigError("a searcher and a list of architectures exclude each other")
    else:
        searcher, budget = None, len(architectures)
    resolved = ResolvedRun.of(
        config,
        space=reference,
        objectives=tuple(str(objective) for objective in objectives),
        searcher=searcher,
        budget=budget,
        data=config.data or "random",
    )
    given = None if architectures is None else tuple(architectures)
    references = (resolved.space, *resolved.proxies)
    own_files = OwnFiles.of(file_hashes(references), references)
    plan = Plan(
        resolved,
        space,
        scores,
        make_task,
        objectives,
        constraints,
        given,
        tuple(proxies),
        notes=prediction_lines(space),
        own_files=own_files,
    )
    size = resolved.pool_size
    if resolved.window is None and size is not None and size.most is not None:
        plan = plan.with_window(plan.default_window(size.most))
    start = start_of(plan.searcher())  # its settings are checked by its constructor
    if start is not None:
        check_start(space, start, constraints, plan.costs, plan.proxies)
    elif given is None:
        check_admission(space, constraints, plan.costs, resolved.seed)
    return plan


def _read_all(space: SearchSpace, texts: Sequence[str]) -> tuple[Architecture, ...]:
    found = []
    for number, text in enumerate(texts, 1):
        try:
            found.append(space.read(text))
        except SpaceError as error:
            raise SpaceError(f"architecture {number} of {len(texts)}: {error}") from None
    return tuple(found)


def search_description(plan: Plan, platform: Platform | None, own_files: Mapping[str, str] | None = None) -> str:
    """run.yaml of a search, a scoring run or a growth.

    Args:
        plan: The plan of the run.
        platform: What its scores are computed with; None: no worker has said it yet.
        own_files: Files of the user's, each with the hash that it had when the run began to use it.
    """
    directions = {score.name: "max" if score.higher_is_better else "min" for score in plan.scores}
    more: dict[str, Any] = {"directions": directions}
    if platform is not None:
        more["platform"] = asdict(platform)
    if plan.inspection is not None:
        more["images"] = {"used": plan.inspection.plain()}
    if predicted := described_predictions(plan.space):
        more["predicted"] = predicted
    if own_files:
        more["own_files"] = dict(own_files)
    return run_description(KIND, plan.config.model_dump(), plan.identity(), **more)
