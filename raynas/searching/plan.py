"""A configuration with its names resolved to values; everything is checked here, before anything starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from raynas.data.batch import input_hash, load_batch
from raynas.data.dataset import ImageDataset
from raynas.data.opening import open_dataset
from raynas.errors import ConfigError, SpaceError, UnknownNameError
from raynas.models.teachers import Teacher
from raynas.proxies.probe import Proxy
from raynas.proxies.registered import proxies
from raynas.registry import is_in_file, normalised
from raynas.scoring.task import EvaluationTask
from raynas.searchers.admission import admission
from raynas.searchers.base import Searcher, own_settings
from raynas.searchers.given import GivenArchitectures
from raynas.searchers.registered import searchers
from raynas.searching.config import KIND, RunConfig
from raynas.seeds import input_seed, seed_from
from raynas.space.architecture import Architecture
from raynas.space.build import builder
from raynas.space.cost import COSTS, cost
from raynas.space.registered import spaces
from raynas.space.results import Constraint, Objective, ScoreIdentity, named_direction
from raynas.space.search_space import SearchSpace
from raynas.storage.run_folder import run_description
from raynas.training.teachers import FORMS, read_teacher

_ADMISSION_TRIES = 2000


@dataclass(frozen=True)
class Score:
    """A column of results: one output of a proxy, or a cost."""

    name: str
    identity: ScoreIdentity
    higher_is_better: bool
    proxy: int | None  # its number; None for a cost


@dataclass(frozen=True)
class Plan:
    """What a run will do, in values.

    Args:
        config: With all defaults filled in, save those that depend on the cluster.
        space: Where architectures come from.
        proxies: With their settings, in the order in which workers know them.
        scores: Outputs of the proxies in order, then the costs.
        objectives, constraints: On scores.
        images, labels: (R, B, 3, S, S) and (R, B), a batch for each repeat; None if no proxy needs them.
        teacher: Of the proxies that compare with one.
        architectures: What to score; None if a searcher decides.
    """

    config: RunConfig
    space: SearchSpace
    proxies: tuple[Proxy, ...]
    scores: tuple[Score, ...]
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    images: np.ndarray | None
    labels: np.ndarray | None
    teacher: Teacher | None
    architectures: tuple[Architecture, ...] | None

    @property
    def window(self) -> int:
        """Candidates in flight."""
        assert self.config.window is not None
        return self.config.window

    def costs(self, architecture: Architecture) -> dict[str, float]:
        """All costs by name."""
        return {name: float(cost(self.space, architecture, name, **self._size)) for name in COSTS}

    @property
    def _size(self) -> dict[str, int]:
        return {"img_size": self.config.img_size or 0, "num_classes": self.config.num_classes or 0}

    def searcher(self) -> Searcher:
        """A fresh searcher."""
        if self.architectures is not None:
            return GivenArchitectures(self.architectures)
        return searchers.get(self.config.searcher or "")(
            self.space,
            self.objectives,
            self.constraints,
            seed=self.config.seed,
            admits=admission(self.space, self.constraints, **self._size),
            **self.config.settings.get("searcher", {}),
        )

    def task(self, device: str) -> EvaluationTask:
        """What workers need."""
        return EvaluationTask(
            builder(self.space),
            {"img_size": self.config.img_size, "num_classes": self.config.num_classes, **self.space.scoring},
            self.proxies,
            growth=self.space.growth,
            score_seed=self.config.score_seed,
            images=self.images,
            labels=self.labels,
            teacher=self.teacher,
            device=device,
            threads=self.config.threads,
        )

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
            "window": self.window,
            "seed": self.config.seed,
            "score_seed": self.config.score_seed,
        }


def make_plan(config: RunConfig, *, space: SearchSpace | None = None, own_proxies: Sequence[Proxy] = ()) -> Plan:
    """Resolve a configuration.

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
    space = space or spaces.get(config.space)
    img_size = config.img_size or space.search_img_size
    if img_size % space.img_size_multiple:
        raise ConfigError(f"img_size of {space.name} is a multiple of {space.img_size_multiple}, not {img_size}")
    architectures = _read_all(space, config.architectures) if config.architectures else None
    wanted_objectives = space.objectives if config.objectives is None else config.objectives
    constraints = tuple(Constraint.parse(text) for text in config.constraints)
    in_files = [proxies.get(name) for name in config.proxies if is_in_file(name)]  # then they are known by name, too
    references = {proxy.name: proxies.reference(proxy) for proxy in in_files}
    chosen = _chosen_proxies(config, wanted_objectives, constraints, own_proxies)
    _check_divisors(space, chosen, architectures)
    dataset = open_dataset(config.data or "random")
    num_classes = config.num_classes or dataset.num_classes
    images, labels = _batches(chosen, dataset, config, img_size)
    teacher = _teacher(config, chosen, wanted_objectives, constraints, dataset)
    scores = _scores(space, chosen, config.score_seed, img_size, num_classes, images, labels, teacher)
    objectives = tuple(_objective(text, scores) for text in _spread(wanted_objectives, chosen))
    _check_names([c.name for c in constraints], scores)
    searcher = _check_searcher(config, objectives, architectures)
    config = config.resolved(
        space=spaces.reference(space),
        img_size=img_size,
        num_classes=num_classes,
        proxies=tuple(references.get(proxy.name, proxy.name) for proxy in chosen),
        objectives=tuple(str(objective) for objective in objectives),
        searcher=searcher,
        budget=len(architectures) if architectures else config.budget,
        window=config.window or (searchers.get(searcher).default_window if searcher else 64),
        data=config.data or "random",
    )
    plan = Plan(config, space, chosen, scores, objectives, constraints, images, labels, teacher, architectures)
    start = getattr(plan.searcher(), "start", None)  # its settings are checked by its constructor
    if start is None:
        _check_admission(plan)
    else:
        _check_start(plan, start)
    return plan


def _read_all(space: SearchSpace, texts: Sequence[str]) -> tuple[Architecture, ...]:
    found = []
    for number, text in enumerate(texts, 1):
        try:
            found.append(space.read(text))
        except SpaceError as error:
            raise SpaceError(f"architecture {number} of {len(texts)}: {error}") from None
    return tuple(found)


def _chosen_proxies(
    config: RunConfig, objectives: Sequence[str], constraints: Sequence[Constraint], own: Sequence[Proxy]
) -> tuple[Proxy, ...]:
    """Every proxy that is asked for by name or through a score, once, with its settings."""
    named = {normalised(proxy.name): proxy for proxy in own}

    def find(name: str) -> Proxy:
        return named[normalised(name)] if normalised(name) in named else proxies.get(name)

    def find_by_score(name: str) -> Proxy:
        everything = [*named.values(), *(proxies.get(known) for known in proxies)]
        for proxy in everything:
            if normalised(name) in map(normalised, proxy.outputs):
                return proxy
        if normalised(name) in proxies or normalised(name) in named:
            return find(name)  # its outputs have other names, which the caller tells
        known = sorted({output for proxy in everything for output in proxy.outputs} | COSTS.keys())
        raise UnknownNameError(f"unknown score {name!r}. Known scores: {', '.join(known)}")

    scores = [named_direction(text)[0] for text in objectives] + [constraint.name for constraint in constraints]
    chosen: dict[str, Proxy] = {}
    for proxy in [
        *(find_by_score(name) for name in scores if normalised(name) not in COSTS),
        *(find(name) for name in config.proxies if normalised(name) not in COSTS or normalised(name) in named),
    ]:
        chosen.setdefault(proxy.name, proxy)
    settings = {normalised(name): values for name, values in config.settings.items() if name != "searcher"}
    for name in config.settings:
        if name != "searcher" and normalised(name) not in map(normalised, chosen):
            find(name)
            raise ConfigError(f"settings for {name!r}, which is not among the proxies: {', '.join(chosen) or 'none'}")
    common = {} if config.width_divisor is None else {"width_divisor": config.width_divisor}
    return tuple(
        proxy.configured(**{**common, **settings.get(normalised(proxy.name), {})}) for proxy in chosen.values()
    )


def _check_divisors(space: SearchSpace, chosen: Sequence[Proxy], architectures: Sequence[Architecture] | None) -> None:
    """Refuse to score narrower networks where they are not known to exist."""
    for proxy in chosen:
        divisor = proxy.width_divisor
        if divisor == 1:
            continue
        if space.growth is None:
            raise ConfigError(
                f"{proxy.name}.width_divisor is {divisor}, but space {space.name!r} does not say how it grows, "
                "and so not which field is its width"
            )
        for architecture in architectures or ():
            check_narrowed(space, architecture, divisor)


def check_narrowed(space: SearchSpace, architecture: Architecture, divisor: int) -> None:
    """Refuse an architecture that cannot be built with its width divided.

    Raises:
        SpaceError: Naming the architecture and the divisor.
    """
    assert space.growth is not None
    try:
        space.validate(space.growth.narrowed(architecture, divisor))
    except SpaceError as error:
        raise SpaceError(f"{space.text(architecture)} cannot be scored at its width / {divisor}: {error}") from None


def _batches(
    chosen: Sequence[Proxy], dataset: Any, config: RunConfig, img_size: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """A batch for each repeat of the proxies that need one."""
    repeats = max((proxy.repeats for proxy in chosen if proxy.needs_images or proxy.needs_labels), default=0)
    if not repeats:
        return None, None
    batches = [
        load_batch(dataset, batch_size=config.batch_size, img_size=img_size, seed=input_seed(config.score_seed, repeat))
        for repeat in range(repeats)
    ]
    return np.stack([batch.images for batch in batches]), np.stack([batch.labels for batch in batches])


def _teacher(
    config: RunConfig,
    chosen: Sequence[Proxy],
    objectives: Sequence[str],
    constraints: Sequence[Constraint],
    dataset: ImageDataset,
) -> Teacher | None:
    """The teacher, read; refuses one that nothing compares with, and proxies that need one without."""
    pupils = [proxy for proxy in chosen if proxy.needs_teacher]
    if config.teacher is None:
        if not pupils:
            return None
        asked = {normalised(named_direction(text)[0]) for text in [*objectives, *(one.name for one in constraints)]}
        known = {normalised(name) for proxy in pupils for name in (proxy.name, *proxy.outputs)}
        named = asked & known or {proxy.name for proxy in pupils}
        raise ConfigError(f"{', '.join(sorted(named))} needs a teacher: --teacher takes {FORMS}")
    if not pupils:
        names = ", ".join(proxy.name for proxy in chosen) or "none"
        raise ConfigError(f"teacher is {config.teacher!r}, but no proxy of this run needs one: {names}")
    return read_teacher(config.teacher, num_classes=None if dataset.source == "random" else dataset.num_classes)


def _scores(
    space: SearchSpace,
    chosen: Sequence[Proxy],
    score_seed: int,
    img_size: int,
    num_classes: int,
    images: np.ndarray | None,
    labels: np.ndarray | None,
    teacher: Teacher | None,
) -> tuple[Score, ...]:
    common: dict[str, Any] = {
        "space": space.name,
        "img_size": img_size,
        "num_classes": num_classes,
        "model_version": space.model_version,
    }
    scoring = [f"{name}={value!r}" for name, value in sorted(space.scoring.items())]
    scores = []
    for number, proxy in enumerate(chosen):
        if taken := COSTS.keys() & set(proxy.outputs):
            raise ConfigError(f"proxy {proxy.name!r} has the name of a cost: {', '.join(taken)}")
        # Scores at the architecture's own width keep the keys that they had before there were others.
        narrower = {"width_divisor": proxy.width_divisor} if proxy.width_divisor != 1 else {}
        compared = {"teacher": teacher and teacher.label} if proxy.needs_teacher else {}
        settings = {**proxy.settings, **narrower, **compared}
        needs_input = proxy.needs_images or proxy.needs_labels
        hashed = ""
        if needs_input and images is not None and labels is not None:
            hashed = input_hash(images[: proxy.repeats], labels[: proxy.repeats])
        for output in proxy.outputs:
            identity = ScoreIdentity(
                **common,
                proxy=output,
                proxy_version=proxy.version,
                settings=json.dumps(settings, sort_keys=True, separators=(",", ":")),
                repeats=proxy.repeats,
                init=", ".join([proxy.init, *(["shared draws"] if proxy.shared_draws else []), *scoring]),
                dtype=proxy.dtype,
                score_seed=score_seed,
                input_hash=hashed,
            )
            scores.append(Score(output, identity, proxy.higher_is_better, number))
    return (*scores, *(Score(name, ScoreIdentity(**common, proxy=name), False, None) for name in COSTS))


def _spread(objectives: Sequence[str], chosen: Sequence[Proxy]) -> list[str]:
    """Objectives by the names of scores: a proxy that has several stands for all of them."""
    several = {normalised(proxy.name): proxy.outputs for proxy in chosen if proxy.outputs != (proxy.name,)}
    found = []
    for text in objectives:
        name, colon, direction = text.partition(":")
        found += [f"{output}{colon}{direction}" for output in several.get(normalised(name), (name,))]
    return found


def _objective(text: str, scores: Sequence[Score]) -> Objective:
    name, maximize = named_direction(text)
    _check_names([name], scores)
    score = next(score for score in scores if normalised(score.name) == normalised(name))
    return Objective(score.name, score.higher_is_better if maximize is None else maximize)


def _check_names(names: Sequence[str], scores: Sequence[Score]) -> None:
    known = [score.name for score in scores]
    for name in names:
        if normalised(name) not in map(normalised, known):
            raise UnknownNameError(f"unknown score {name!r}. This run computes: {', '.join(known)}")


def _check_searcher(
    config: RunConfig, objectives: Sequence[Objective], architectures: Sequence[Architecture] | None
) -> str | None:
    """The searcher's name in the registry; None if the architectures are given."""
    if architectures is not None:
        if config.searcher:
            raise ConfigError("a searcher and a list of architectures exclude each other")
        return None
    names = [objective.name for objective in objectives]
    if len(set(names)) < len(names):
        raise ConfigError(f"an objective is named twice: {', '.join(names)}")
    name = config.searcher or ("nsga2" if len(objectives) > 1 else "reinforce")
    made = searchers.get(name)
    if not objectives and normalised(name) != "random":
        raise ConfigError(f"searcher {name!r} needs an objective")
    own = own_settings(made)
    for setting in config.settings.get("searcher", {}):
        if setting not in own:
            known = ", ".join(own) or "none"
            raise UnknownNameError(f"searcher {name!r} has no setting {setting!r}. Known settings: {known}")
    return next(known for known in searchers if normalised(known) == normalised(name))


def _check_admission(plan: Plan) -> None:
    """Refuse constraints on costs that no sampled architecture meets."""
    bounds = [constraint for constraint in plan.constraints if constraint.name in COSTS]
    if not bounds or plan.architectures is not None:
        return
    rng = np.random.default_rng(seed_from(plan.config.seed, "admission"))
    found = []
    for _ in range(_ADMISSION_TRIES):
        found.append(plan.costs(plan.space.sample(rng)))
        if all(constraint.violation(found[-1]) == 0 for constraint in bounds):
            return
    for constraint in bounds:
        values = [costs[constraint.name] for costs in found]
        if all(constraint.violation(costs) for costs in found):
            raise ConfigError(
                f"no architecture of {len(found)} drawn from {plan.space.name} meets {constraint}: "
                f"{constraint.name} is from {min(values):,.0f} to {max(values):,.0f}"
            )
    raise ConfigError(f"no architecture of {len(found)} meets all of {', '.join(map(str, bounds))} at once")


def _check_start(plan: Plan, start: Architecture) -> None:
    """Refuse a start that violates constraints on costs, or that cannot be scored at the width that is asked for."""
    costs = plan.costs(start)
    for constraint in plan.constraints:
        if constraint.name in COSTS and constraint.violation(costs):
            raise ConfigError(
                f"the start {plan.space.text(start)} violates {constraint}: "
                f"its {constraint.name} is {costs[constraint.name]:,.0f}"
            )
    _check_divisors(plan.space, plan.proxies, [start])


def search_description(plan: Plan) -> str:
    """run.yaml of a search, a scoring run or a growth."""
    directions = {score.name: "max" if score.higher_is_better else "min" for score in plan.scores}
    return run_description(KIND, plan.config.model_dump(), plan.identity(), directions=directions)
