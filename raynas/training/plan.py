"""A training's configuration resolved to values; everything is checked here, before anything starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.data.inspection import Inspection
from raynas.data.opening import absolute
from raynas.data.options import DataOptions
from raynas.errors import ConfigError
from raynas.space.architecture import Architecture
from raynas.space.build import builder, built, takes
from raynas.space.cost import cost
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.space.tokens import Phase, check_schedule, parse_schedule, phase_macs, retokenizable
from raynas.training.batch_size import check_batches, check_workers
from raynas.training.best_epoch import BestEpoch
from raynas.training.config import (
    BASE_BATCH_SIZE,
    BASE_LR,
    OF_NETWORKS,
    ResolvedTraining,
    TrainConfig,
)
from raynas.training.identity import identity_text, training_identity
from raynas.training.image_choice import ChosenImages, check_images, choose_images
from raynas.training.image_record import ImageRecord
from raynas.training.images import train_transform
from raynas.training.objective_choice import chosen_objective
from raynas.training.objectives.objective import PreparedObjective, Setup, objectives
from raynas.training.starting_weights import absolute_text, fitted_weights, read_starting_weights, weights_hash
from raynas.training.step import check_passes
from raynas.training.task import TrainingTask

_CLASSES_WITHOUT_LABELS = 1000  # outputs of a head that no objective looks at, as timm has them


@dataclass(frozen=True)
class TrainingPlan:
    """What a training will do, in values.

    Args:
        config: What was asked for, with the defaults filled in.
        space: The space of the architecture.
        architecture: What is trained.
        objective: What is optimised, in values.
        num_params: Parameters of the model.
        macs: Multiply-adds of one forward pass of one image without re-tokenization.
        phases: Phases of the re-tokenization, with the MACs of an image; one phase without stride if there is none.
        data: The text by which workers open the images to train on, with an absolute path.
        val_data: The text by which workers open the images to evaluate on, likewise; None: some of the others.
        rows: Indices of the images to train on in their data set.
        first_rows: The indices that those to train on had when the training began.
        val_rows: Indices of the images to evaluate on in theirs.
        label_names: Names of the classes in label order; empty if unknown.
        data_hash: A hash of the labels of all rows and the pixels of some, so that another set is noticed.
        record: The images by name, for sessions to come; None where they are no files.
        image_notes: Lines on images that are no longer what the training began with.
        inspections: What was found in the data sets that are files, by `train` and `val`.
        class_counts: The fewest and the most images of a class, by `train` and `val`; empty without labels.
    """

    config: ResolvedTraining
    space: SearchSpace
    architecture: Architecture
    objective: PreparedObjective
    num_params: int
    macs: int
    phases: tuple[tuple[int, int | None, int | None, int], ...]
    data: str
    val_data: str | None
    rows: np.ndarray
    first_rows: np.ndarray
    val_rows: np.ndarray
    label_names: tuple[str, ...]
    data_hash: str
    record: ImageRecord | None
    image_notes: tuple[str, ...]
    inspections: Mapping[str, Inspection]
    class_counts: Mapping[str, Mapping[str, int]]

    @property
    def best(self) -> BestEpoch:
        """How the best epoch is chosen."""
        return self.objective.kind.best

    @property
    def settings(self) -> dict[str, Any]:
        """Keywords with which the model is built."""
        return _model_settings(self.space, self.config)

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return len(self.rows) // self.config.batch_size

    def training_macs(self, *, epochs: int | None = None, full: bool = False) -> int:
        """Multiply-adds of training, forward and backward passes counted as three forward ones.

        Args:
            epochs: How many epochs are counted, from the first on; default all.
            full: Whether to count them without re-tokenization.
        """
        images = 3 * self.steps * self.config.batch_size
        done = range(self.config.epochs if epochs is None else epochs)
        return sum(images * (self.macs if full else self._phase_macs(epoch)) for epoch in done)

    def _phase_macs(self, epoch: int) -> int:
        return [phase for phase in self.phases if phase[0] <= epoch][-1][3]

    def task(self, device: str, *, threads: int | None, loader_processes: int) -> TrainingTask:
        """What workers need.

        Args:
            device: "cpu" or "cuda".
            threads: Threads of torch in a worker; None: as many as it has.
            loader_processes: How many processes prepare images for each worker.
        """
        config = self.config
        return TrainingTask(
            builder=builder(self.space),
            architecture=self.architecture,
            settings=self.settings,
            objective=self.objective.make,
            data=self.data,
            val_data=self.val_data,
            data_options=DataOptions.of(config),
            skipped_val_images=config.skipped_val_images,
            rows=self.rows,
            first_rows=self.first_rows,
            val_rows=self.val_rows,
            img_size=config.img_size,
            eval_crop=config.eval_crop,
            augmentation=config.augmentation(),
            epochs=config.epochs,
            batch_size=config.batch_size,
            accumulation=config.accumulation,
            optimizer={
                "opt": config.optimizer,
                "lr": config.lr,
                "weight_decay": config.weight_decay,
                **({} if config.betas is None else {"betas": config.betas}),
            },
            schedule={
                "sched": "cosine",
                "min_lr": config.min_lr,
                "warmup_lr": min(config.min_lr, config.lr),
                "warmup_epochs": config.warmup_epochs,
                **({"warmup_prefix": True} if config.warmup_prefix else {}),
            },
            layer_decay=config.layer_decay,
            initialise=self.objective.kind.initialise,
            clip_grad=config.clip_grad,
            ema_decay=config.ema_decay,
            precision=config.precision_on(device),
            weights=config.weights and absolute_text(config.weights),
            weights_policy=config.weights_policy,
            kept_blocks=config.kept_blocks,
            seed=config.seed,
            identity=identity_text(self.identity()),
            checkpoint_every_s=config.checkpoint_every_s,
            phases=self.phases,
            threads=threads,
            loader_processes=loader_processes,
        )

    def check_workers(self, workers: int) -> None:
        """Refuse what so many workers cannot share.

        Raises:
            ConfigError: A batch has too few images, or fewer workers are asked for than may be left.
        """
        check_workers(self.config, workers)

    def identity(self) -> dict[str, Any]:
        """What a resumed training must share with the stored one."""
        return training_identity(
            self.config,
            architecture=self.architecture.to_json(),
            model_version=self.space.model_version,
            phases=[phase[:3] for phase in self.phases if phase[1]],
            images=self.data_hash,
            weights=self.config.weights and weights_hash(self.config.weights),
            objective={"name": self.objective.kind.name, **self.objective.identity},
        )

    def description(self) -> dict[str, Any]:
        """What run.yaml says beside configuration and identity."""
        best = {"column": self.best.column, "higher_is_better": self.best.higher_is_better}
        return {
            "model": self.model(),
            "objective": {"name": self.objective.kind.name, "best": best},
            **self.objective.description,
            **({"images": self.images()} if self.inspections else {}),
        }

    def images(self) -> dict[str, Any]:
        """What run.yaml says of the images, where they are files."""
        train, val = self.inspections.get("train"), self.inspections.get("val")
        found = {} if train is None else {"train": train.plain()}
        if val is not None and val is not train:
            found["val"] = val.plain()
        per_class = {part: dict(counts) for part, counts in self.class_counts.items()}
        return {**found, "per_class": per_class}

    def model(self) -> dict[str, Any]:
        """What run.yaml says of the model."""
        return {
            "space": self.config.space,  # the space itself may have travelled, and its file not been imported here
            "architecture": {name: self.architecture[name] for name in self.architecture},
            "text": self.space.text(self.architecture),
            "num_params": self.num_params,
            "macs": self.macs,
            "img_size": self.config.img_size,
            "num_classes": self.config.num_classes,
            "settings": self.settings,
            "label_names": list(self.label_names),
        }


def make_training_plan(
    config: TrainConfig,
    *,
    space: SearchSpace | None = None,
    images: ChosenImages | None = None,
    record: ImageRecord | None = None,
) -> TrainingPlan:
    """Resolve a configuration.

    Args:
        config: What was asked for.
        space: The space itself, where it is not a registered one.
        images: What is trained on, where several trainings share it; None: it is chosen here.
        record: The images of the training that is gone on with; None: it begins.

    Raises:
        UnknownNameError: A space that does not exist.
        SpaceError: An architecture that cannot be built.
        ConfigError: Values that do not go together; classes of the data and of the head that differ.
        DataError: Images that cannot be opened or read.
        StoreError: Weights to start from, or of a teacher, that are those of another architecture.
    """
    space = space or spaces.get(config.space)
    architecture = space.read(config.architecture)
    img_size = config.img_size or space.search_img_size
    if img_size % space.img_size_multiple:
        raise ConfigError(f"img_size of {space.name} is a multiple of {space.img_size_multiple}, not {img_size}")
    # What is checked at once comes before the images, which take their time.
    _check_optimizer(config)
    train_transform(img_size, config.augmentation())
    images = images or choose_images(config, record)
    data, rows = images.data, images.rows
    drop_path_rate = config.drop_path_rate if takes(space, "drop_path_rate") else 0.0
    if "drop_path_rate" in config.model_fields_set and config.drop_path_rate != drop_path_rate:
        raise ConfigError(f"models of the space {space.name!r} have no stochastic depth: drop_path_rate must be 0")
    if config.pool is not None and not takes(space, "pool"):
        raise ConfigError(f"models of the space {space.name!r} have one way to pool: pool must be left out")
    kind = chosen_objective(config)
    num_classes = config.num_classes or data.num_classes or _CLASSES_WITHOUT_LABELS
    check_images(config, images, needs_labels=kind.needs_labels)
    if kind.needs_labels:
        num_classes = data.num_classes
    check_batches(config, len(rows), img_size, in_pairs=kind.needs_labels and config.mixes_images())
    resolved = ResolvedTraining.of(
        config,
        objective=config.objective and objectives.reference(kind),
        space=spaces.reference(space),
        architecture=architecture.to_json(),
        img_size=img_size,
        num_classes=num_classes,
        drop_path_rate=drop_path_rate,
        lr=_lr(config),
        base_lr=None,
        warmup_epochs=kind.default_warmup_epochs(config.epochs)
        if config.warmup_epochs is None
        else config.warmup_epochs,
        skipped_images=images.options.skipped_images,
        skipped_val_images=images.skipped_val_images,
    )
    if resolved.warmup_epochs >= resolved.epochs:
        raise ConfigError(f"warmup_epochs is {resolved.warmup_epochs}; it must be below the {config.epochs} epochs")
    phases, macs = _phases(resolved, space, architecture)
    model_settings = _model_settings(space, resolved)
    objective = kind.prepare(Setup(resolved, space, architecture, model_settings, has_classes=data.source != "random"))
    plan = TrainingPlan(
        config=resolved.resolved(
            retokenize=tuple(phase[:3] for phase in phases if phase[1]) or None, **objective.resolved
        ),
        space=space,
        architecture=architecture,
        objective=objective,
        num_params=cost(space, architecture, "num_params", **_of_network(resolved)),
        macs=macs,
        phases=phases,
        data=absolute(config.data),
        val_data=config.val_data and absolute(config.val_data),
        rows=rows,
        first_rows=images.first_rows,
        val_rows=images.val_rows,
        label_names=tuple(data.label_names),
        data_hash=images.hash,
        record=images.record,
        image_notes=images.notes,
        inspections=images.inspections,
        class_counts=images.class_counts(),
    )
    if config.weights is not None:
        weights = read_starting_weights(config.weights)
        policy, kept = config.weights_policy, config.kept_blocks
        fitted_weights(_on_meta(plan), weights, policy, config.weights, kept_blocks=kept)
    elif config.kept_blocks is not None:
        raise ConfigError("kept_blocks go with a file of weights, and none is given")
    elif config.weights_policy != "exact":
        raise ConfigError(f"weights_policy {config.weights_policy} goes with a file of weights, and none is given")
    if config.accumulation > 1:
        # Not on the meta device, on which some of timm's models cannot be built.
        with torch.random.fork_rng(devices=[]):
            model = built(builder(space), architecture, **model_settings)
            check_passes(objective.make(model), config.accumulation)
    return plan


def _lr(config: TrainConfig) -> float:
    if config.lr is not None:
        return config.lr
    if config.base_lr is not None:
        return config.base_lr * config.batch_size / 256
    return BASE_LR * math.sqrt(config.batch_size / BASE_BATCH_SIZE)


def _check_optimizer(config: TrainConfig) -> None:
    from timm.optim import get_optimizer_info, list_optimizers

    name = config.optimizer
    if name.lower() not in (known := list_optimizers()):
        raise ConfigError(f"optimizer {name!r} is not one of timm's: {', '.join(known)}")
    if config.betas is not None and not get_optimizer_info(name.lower()).has_betas:
        raise ConfigError(f"optimizer {name!r} has no betas, and betas are {config.betas}")


def _phases(
    config: ResolvedTraining, space: SearchSpace, architecture: Architecture
) -> tuple[tuple[tuple[int, int | None, int | None, int], ...], int]:
    """The phases with their MACs, and the MACs without re-tokenization."""
    size = {"img_size": config.img_size, "num_classes": config.num_classes}
    macs = cost(space, architecture, "macs", **_of_network(config))
    if config.retokenize is None:
        return ((0, None, None, macs),), macs
    with torch.device("meta"):
        model: Any = built(builder(space), architecture, **_model_settings(space, config))
    kernel = retokenizable(model, f"models of the space {space.name!r}").patch_kernel()
    if isinstance(config.retokenize, str):
        schedule = parse_schedule(config.retokenize, config.epochs)
    else:
        schedule = tuple(Phase(*phase) for phase in config.retokenize)
    schedule = check_schedule(schedule, img_size=config.img_size, kernel=kernel, epochs=config.epochs)
    counts = phase_macs(space, architecture, schedule, **size)
    return tuple((p.epoch, p.stride, p.dilation, n) for p, n in zip(schedule, counts, strict=True)), macs


def _of_network(config: ResolvedTraining) -> dict[str, Any]:
    """Settings that say what a network computes, those that have a value."""
    own = {name: value for name in OF_NETWORKS if (value := getattr(config, name)) is not None}
    return {"img_size": config.img_size, "num_classes": config.num_classes, **own}


def _model_settings(space: SearchSpace, config: ResolvedTraining) -> dict[str, Any]:
    settings = {**_of_network(config), **space.training}
    if takes(space, "drop_path_rate"):
        settings["drop_path_rate"] = config.drop_path_rate
    return settings


def _on_meta(plan: TrainingPlan) -> nn.Module:
    with torch.device("meta"):
        return built(builder(plan.space), plan.architecture, **plan.settings)
