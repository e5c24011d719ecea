"""What a run computes: its scores with all that they depend on, and the task that computes those of untrained nets."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raynas.data.batch import batch_rows, check_memory, input_hash, load_batch
from raynas.data.dataset import ImageDataset, check_classes, check_labelled, rows_named
from raynas.data.faults import Faults
from raynas.data.inspection import Inspection, check_readable, inspect, unknown_left_out
from raynas.data.opening import needs_inspection, open_dataset, open_labelled
from raynas.data.options import DataOptions
from raynas.errors import ConfigError, DataError, RaynasWarning, UnknownNameError
from raynas.models.teachers import Teacher
from raynas.proxies.probe import Proxy
from raynas.proxies.registered import proxies
from raynas.registry import normalised
from raynas.scoring.evaluator import EvaluationTask
from raynas.searching.config import RunConfig
from raynas.seeds import input_seed
from raynas.space.build import builder
from raynas.space.cost import COSTS, counted_costs
from raynas.space.results import Constraint, Objective, Platform, ScoreIdentity, named_direction
from raynas.space.search_space import SearchSpace
from raynas.training.teachers import FORMS, read_teacher
from raynas.wording import first_of, meant, plural


@dataclass(frozen=True)
class Score:
    """A column of results: an output of the task that workers carry out, or a cost with a closed form.

    Args:
        name: The score's name in objectives, constraints and results.
        identity: All that its values depend on beside the architecture; with an architecture's key, a row's key.
        higher_is_better: The direction in which it is a score.
        group: Number of the task's group of outputs that it belongs to; None for a cost with a closed form, which the
            driver computes before.
        is_measured: Whether it is taken by the clock.
    """

    name: str
    identity: ScoreIdentity
    higher_is_better: bool
    group: int | None
    is_measured: bool = False

    def platform(self, of_run: Platform) -> Platform:
        """What values of this score depend on, of what a run computes with."""
        if self.name in COSTS or self.group is None:
            return Platform()
        return of_run if self.is_measured else of_run.of_arithmetic


@dataclass(frozen=True)
class UntrainedScoring:
    """Makes the task of scoring untrained networks; a `raynas.searching.plan.TaskMaker`.

    Args:
        space: The space that the architectures come from.
        img_size: Image side in pixels.
        num_classes: Outputs of the head.
        proxies: The proxies with their settings, in the order in which workers know them.
        score_seed: Seed of weights, batches and curves.
        images: A batch for each repeat, (R, B, 3, img_size, img_size); None if no proxy needs images.
        labels: The classes of these images, (R, B).
        teacher: The network that some proxies compare with; None if there is none.
        constraints: The run's bounds; where one is on a cost that is counted on the model, nothing else is computed
            for an architecture that violates it.
    """

    space: SearchSpace
    img_size: int
    num_classes: int
    proxies: tuple[Proxy, ...]
    score_seed: int
    images: np.ndarray | None
    labels: np.ndarray | None
    teacher: Teacher | None
    constraints: tuple[Constraint, ...] = ()

    def __call__(self, device: str, threads: int) -> EvaluationTask:
        """The task on a device."""
        return EvaluationTask(
            builder(self.space),
            {"img_size": self.img_size, "num_classes": self.num_classes, **self.space.scoring},
            self.proxies,
            growth=self.space.growth,
            score_seed=self.score_seed,
            images=self.images,
            labels=self.labels,
            teacher=self.teacher,
            counted=counted_costs(self.space),
            constraints=self.constraints,
            device=device,
            threads=threads,
            used_settings={"img_size": self.img_size, "num_classes": self.num_classes, **self.space.training},
        )

    def scores(self) -> tuple[Score, ...]:
        """Outputs of the proxies in order, then the costs.

        Raises:
            ConfigError: A proxy has the name of a cost.
        """
        common = _of_every_score(self.space, self.img_size, self.num_classes)
        scores = []
        for number, proxy in enumerate(self.proxies):
            if taken := COSTS.keys() & set(proxy.outputs):
                raise ConfigError(f"proxy {proxy.name!r} has the name of a cost: {', '.join(taken)}")
            keywords = self.space.training if proxy.is_measured else self.space.scoring
            built = [f"{name}={value!r}" for name, value in sorted(keywords.items())]
            # Scores at the architecture's own width keep the keys that they had before there were others.
            narrower = {"width_divisor": proxy.width_divisor} if proxy.width_divisor != 1 else {}
            compared = {"teacher": self.teacher and self.teacher.label} if proxy.needs_teacher else {}
            settings = {**proxy.settings, **narrower, **compared}
            needs_input = proxy.needs_images or proxy.needs_labels
            hashed = ""
            if needs_input and self.images is not None and self.labels is not None:
                hashed = input_hash(self.images[: proxy.repeats], self.labels[: proxy.repeats])
            for output in proxy.outputs:
                identity = ScoreIdentity(
                    **common,
                    proxy=output,
                    proxy_version=proxy.version,
                    settings=json.dumps(settings, sort_keys=True, separators=(",", ":")),
                    repeats=proxy.repeats,
                    init=", ".join([proxy.init, *(["shared draws"] if proxy.shared_draws else []), *built]),
                    dtype=proxy.dtype,
                    score_seed=self.score_seed,
                    input_hash=hashed,
                )
                scores.append(Score(output, identity, proxy.higher_is_better, number, proxy.is_measured))
        return (*scores, *cost_scores(self.space, self.img_size, self.num_classes, counted_in=len(self.proxies)))


def cost_scores(
    space: SearchSpace, img_size: int, num_classes: int, *, counted_in: int | None = None
) -> tuple[Score, ...]:
    """The costs as scores, which follow those of a task in every run.

    Args:
        space: The space whose architectures cost.
        img_size: Side of the images in pixels.
        num_classes: Outputs of the head.
        counted_in: Number of the task's group of outputs that has the costs without closed forms, in the order of
            `COSTS`; None: the task counts none.

    Raises:
        ConfigError: The space has a cost without a closed form, and the task does not count it.
    """
    counted = counted_costs(space)
    if counted and counted_in is None:
        raise ConfigError(f"space {space.name!r} has no closed form of {' and '.join(counted)}, which this task needs")
    common = _of_every_score(space, img_size, num_classes)
    groups = {name: counted_in if name in counted else None for name in COSTS}
    return tuple(Score(name, ScoreIdentity(**common, proxy=name), False, groups[name]) for name in COSTS)


def _of_every_score(space: SearchSpace, img_size: int, num_classes: int) -> dict[str, Any]:
    return {
        "space": space.name,
        "img_size": img_size,
        "num_classes": num_classes,
        "model_version": space.model_version,
    }


def chosen_proxies(
    config: RunConfig,
    objectives: Sequence[str],
    constraints: Sequence[Constraint],
    own: Sequence[Proxy],
    others: Sequence[str] = (),
) -> tuple[Proxy, ...]:
    """Every proxy that is asked for by name or through a score, once, with its settings.

    Args:
        config: What was asked for.
        objectives: Objectives in the form NAME, NAME:max or NAME:min.
        constraints: Bounds on scores and costs.
        own: Proxies that are not registered; found by their names before the registered ones.
        others: Scores of the run, beside costs, that are none of proxies.

    Raises:
        UnknownNameError: A score, proxy or setting that does not exist.
        ConfigError: Settings for a proxy that is not among those asked for.
    """
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
        known = sorted({output for proxy in everything for output in proxy.outputs} | COSTS.keys() | {*others})
        raise _unknown_score(name, known, "Known scores")

    scores = [named_direction(text)[0] for text in objectives] + [constraint.name for constraint in constraints]
    chosen: dict[str, Proxy] = {}
    for proxy in [
        *(find_by_score(name) for name in scores if normalised(name) not in {*COSTS, *others}),
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


def inspected(chosen: Sequence[Proxy], config: RunConfig) -> tuple[ImageDataset, RunConfig, Inspection | None]:
    """The data set of a run, opened, with what is in it.

    All images are looked at where unreadable ones are to be skipped, otherwise those of the batches.

    Returns:
        The data set; the configuration, with the names of images that are left out; and what was found, None where
        there are no files.

    Raises:
        DataError: Data that cannot be opened, or images that cannot be read; the message names them.
    """
    spec, options = config.data or "random", DataOptions.of(config)
    dataset = open_dataset(spec, options)
    if told := unknown_left_out(dataset):  # misspelt, or gone since the run began
        warnings.warn(told, RaynasWarning, stacklevel=2)
    check_labelled(dataset)
    faults = Faults()
    with faults.collected():
        check_classes(dataset, options)
    if not needs_inspection(dataset):
        faults.check()
        return dataset, config, None
    found = None
    if config.skip_unreadable:
        found = inspect(dataset, everything=True)
        with faults.collected():
            check_readable(found, skip=True)
        faults.check()
        config = config.resolved(skipped_images=tuple(sorted({*config.skipped_images, *found.unreadable})))
        dataset = open_labelled(spec, DataOptions.of(config))
    drawn = _drawn(chosen, dataset, config)
    if found is None:
        found = inspect(dataset, np.concatenate([np.empty(0, dtype=np.int64), *drawn]))
        with faults.collected():
            check_readable(found)
        faults.check()
    names = tuple(tuple(dataset.name(row) for row in rows.tolist()) for rows in drawn)
    return dataset, config.resolved(batch_images=names), found


def _drawn(chosen: Sequence[Proxy], dataset: ImageDataset, config: RunConfig) -> list[np.ndarray]:
    """The rows (batch_size,) of the batch of each repeat: those that the run began with, or drawn by its seed.

    Rows move when files come or go, so that a run that is gone on with takes its images by their names.

    Raises:
        DataError: Images that the run began with are not there; or the data set has fewer than a batch.
    """
    seeds = _batch_seeds(chosen, config)
    if [len(names) for names in config.batch_images] == [config.batch_size] * len(seeds):
        rows = [rows_named(dataset, names) for names in config.batch_images]
        gone = [
            name
            for names, found in zip(config.batch_images, rows, strict=True)
            for name in np.array(names)[found < 0].tolist()
        ]
        if not gone:
            return rows
        if len(gone) < config.batch_size * len(seeds):  # else they are another data set, or stored in another form
            raise DataError(
                f"data {dataset.source!r}: {plural(len(gone), 'image is', 'images are')} not there, or left out, on "
                f"which this run has scored: {first_of(gone)}; put them back, or score anew in another folder, since "
                "scores of other images cannot be compared"
            )
    return [batch_rows(dataset, batch_size=config.batch_size, seed=seed) for seed in seeds]


def _batch_seeds(chosen: Sequence[Proxy], config: RunConfig) -> list[int]:
    """What the batch of each repeat follows from; none where no proxy needs images."""
    repeats = max((proxy.repeats for proxy in chosen if proxy.needs_images or proxy.needs_labels), default=0)
    return [input_seed(config.score_seed, repeat) for repeat in range(repeats)]


def check_batches(chosen: Sequence[Proxy], config: RunConfig, img_size: int) -> None:
    """Refuse batches that can never be in memory.

    Raises:
        ConfigError: They take more than there is.
    """
    if seeds := _batch_seeds(chosen, config):
        check_memory(len(seeds) * config.batch_size, img_size, "batch_size, img_size or repeats")


def batches(
    chosen: Sequence[Proxy], dataset: ImageDataset, config: RunConfig, img_size: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Images (R, B, 3, img_size, img_size) and labels (R, B) for each repeat of the proxies that need them.

    Raises:
        DataError: Images that cannot be read.
    """
    seeds = _batch_seeds(chosen, config)
    if not seeds:
        return None, None
    drawn = _drawn(chosen, dataset, config) if needs_inspection(dataset) else [None] * len(seeds)
    loaded = [
        load_batch(dataset, batch_size=config.batch_size, img_size=img_size, seed=seed, rows=rows)
        for seed, rows in zip(seeds, drawn, strict=True)
    ]
    return np.stack([batch.images for batch in loaded]), np.stack([batch.labels for batch in loaded])


def teacher_of(
    config: RunConfig,
    chosen: Sequence[Proxy],
    objectives: Sequence[str],
    constraints: Sequence[Constraint],
    dataset: ImageDataset,
) -> Teacher | None:
    """The teacher, read; None if no proxy compares with one.

    Raises:
        ConfigError: A teacher that nothing compares with, or a proxy that needs one where there is none.
    """
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


def of_all_outputs(objectives: Sequence[str], chosen: Sequence[Proxy]) -> list[str]:
    """Objectives by the names of scores: a proxy that has several stands for all of them."""
    several = {normalised(proxy.name): proxy.outputs for proxy in chosen if proxy.outputs != (proxy.name,)}
    found = []
    for text in objectives:
        name, maximize = named_direction(text)
        direction = "" if maximize is None else ":max" if maximize else ":min"
        found += [f"{output}{direction}" for output in several.get(normalised(name), (name,))]
    return found


def objective_of(text: str, scores: Sequence[Score]) -> Objective:
    """An objective from NAME, NAME:max or NAME:min; without a direction, that of its score.

    Raises:
        ConfigError: The text has another form.
        UnknownNameError: The run computes no such score.
    """
    name, maximize = named_direction(text)
    check_names([name], scores)
    score = next(score for score in scores if normalised(score.name) == normalised(name))
    return Objective(score.name, score.higher_is_better if maximize is None else maximize)


def check_names(names: Sequence[str], scores: Sequence[Score]) -> None:
    """Refuse names of scores that the run does not compute.

    Raises:
        UnknownNameError: There is no such score; the message names what the run computes.
    """
    known = [score.name for score in scores]
    for name in names:
        if normalised(name) not in map(normalised, known):
            raise _unknown_score(name, known, "This run computes")


def _unknown_score(name: str, known: Sequence[str], heading: str) -> UnknownNameError:
    return UnknownNameError(f"unknown score {name!r}.{meant(name, known)} {heading}: {', '.join(known)}")
