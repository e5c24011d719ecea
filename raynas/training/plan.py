"""A training's configuration resolved to values; everything is checked here, before anything starts."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.data.dataset import ImageDataset
from raynas.data.opening import open_dataset
from raynas.errors import ConfigError, StoreError
from raynas.hooks import offered
from raynas.models.feature_maps import feature_widths
from raynas.models.protocols import Retokenizable
from raynas.models.teachers import FrozenTeacher, Teacher, evenly_spaced_pairs, parse_pairs
from raynas.seeds import seed_from
from raynas.space.architecture import Architecture
from raynas.space.build import builder
from raynas.space.cost import cost
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.space.tokens import Phase, check_schedule, parse_schedule, phase_macs
from raynas.training.checkpoints import check_weights, read_weights
from raynas.training.config import BASE_BATCH_SIZE, BASE_LR, DISTILLATION, WITHOUT_EFFECT, TrainConfig
from raynas.training.images import train_transform
from raynas.training.objectives.distillation import Distillation, Guidance
from raynas.training.objectives.recipe import Classification, Recipe
from raynas.training.task import TrainingTask
from raynas.training.teachers import read_teacher

_RANDOM_IMAGES = 10_000
_HASHED_IMAGES = 16  # of either set: enough for another set, cheap with files of millions
_WITH_PATH = ("parquet", "folder")


@dataclass(frozen=True)
class TrainingPlan:
    """What a training will do, in values.

    Args:
        config: With all defaults filled in, save those that depend on the machine.
        space, architecture: What is trained.
        num_params, macs: Of the model; MACs of one forward pass of one image without re-tokenization.
        phases: Of the re-tokenization, with the MACs of an image; one phase without stride if there is none.
        data, val_data: What the workers open, with absolute paths.
        rows, val_rows: Of either.
        label_names: In label order; empty if unknown.
        data_hash: Of the labels of all rows and the pixels of some, so that another set is noticed.
        teacher: To learn from.
        guidance: Blocks of the student and stages of the teacher whose feature maps are compared.
    """

    config: TrainConfig
    space: SearchSpace
    architecture: Architecture
    num_params: int
    macs: int
    phases: tuple[tuple[int, int | None, int | None, int], ...]
    data: str
    val_data: str
    rows: np.ndarray
    val_rows: np.ndarray
    label_names: tuple[str, ...]
    data_hash: str
    teacher: Teacher | None = None
    guidance: tuple[Guidance, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Keywords with which the model is built."""
        return _model_settings(self.space, self.config)

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return len(self.rows) // self.config.batch_size

    def training_macs(self, *, epochs: int | None = None, full: bool = False) -> int:
        """Multiply-adds of training, forward and backward passes counted as three forward ones.

        Args:
            epochs: The first so many; default all.
            full: Without re-tokenization.
        """
        images = 3 * self.steps * self.config.batch_size
        done = range(self.config.epochs if epochs is None else epochs)
        return sum(images * (self.macs if full else self._phase_macs(epoch)) for epoch in done)

    def _phase_macs(self, epoch: int) -> int:
        return [phase for phase in self.phases if phase[0] <= epoch][-1][3]

    def recipe(self) -> Callable[[], Recipe]:
        """Makes the recipe on a worker."""
        augmentation = self.config.augmentation()
        phases = [Phase(epoch, stride, dilation or 1) for epoch, stride, dilation, _ in self.phases if stride]
        classification = partial(
            Classification,
            self.config.num_classes or 0,
            label_smoothing=self.config.label_smoothing,
            mixup=augmentation["mixup"],
            cutmix=augmentation["cutmix"],
            phases=phases,
        )
        if self.teacher is None:
            return classification
        return partial(
            Distillation,
            classification,
            self.teacher,
            guidance=self.guidance,
            guidance_weight=self.config.guidance_weight,
            logit_weight=self.config.logit_weight,
            temperature=self.config.temperature,
            targets=self.config.logit_targets,
        )

    def task(self, device: str, *, threads: int | None, loader_processes: int) -> TrainingTask:
        """What workers need.

        Args:
            device: "cpu" or "cuda".
            threads: Of torch in a worker.
            loader_processes: That prepare images, for each worker.
        """
        config = self.config
        return TrainingTask(
            builder=builder(self.space),
            architecture=self.architecture,
            settings=self.settings,
            recipe=self.recipe(),
            data=self.data,
            val_data=self.val_data,
            rows=self.rows,
            val_rows=self.val_rows,
            img_size=config.img_size or 0,
            augmentation=config.augmentation(),
            epochs=config.epochs,
            batch_size=config.batch_size,
            accumulation=config.accumulation,
            optimizer={"opt": config.optimizer, "lr": config.lr, "weight_decay": config.weight_decay},
            schedule={
                "sched": "cosine",
                "min_lr": config.min_lr,
                "warmup_lr": min(config.min_lr, config.lr or 0.0),
                "warmup_epochs": config.warmup_epochs,
            },
            clip_grad=config.clip_grad,
            ema_decay=config.ema_decay,
            precision=config.precision_on(device),
            weights=config.weights and str(Path(config.weights).absolute()),
            seed=config.seed,
            identity=f"{seed_from(repr(sorted(self.identity().items()))):016x}",
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
        _check_workers(self.config, workers)

    def identity(self) -> dict[str, Any]:
        """What a resumed training must share with the stored one."""
        settings = self.config.model_dump(
            exclude={*WITHOUT_EFFECT, *DISTILLATION, "architecture", "augment", "retokenize"}
        )
        return {
            **settings,
            **self._distillation(),
            **self.config.augmentation(),
            "architecture": self.architecture.to_json(),
            "model_version": self.space.model_version,
            "retokenize": [list(phase[:3]) for phase in self.phases if phase[1]],
            "images": self.data_hash,
            "weights": self.config.weights and _file_hash(Path(self.config.weights)),
        }

    def _distillation(self) -> dict[str, Any]:
        """Nothing without a teacher, so that such trainings are what they were before there were teachers."""
        if self.teacher is None:
            return {}
        settings = {name: getattr(self.config, name) for name in DISTILLATION}
        return {"teacher": self.teacher.label, **settings}

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


def make_training_plan(config: TrainConfig, *, space: SearchSpace | None = None) -> TrainingPlan:
    """Resolve a configuration.

    Args:
        config: What was asked for.
        space: The space itself, where it is not a registered one.

    Raises:
        UnknownNameError: A space that does not exist.
        SpaceError: An architecture that cannot be built.
        ConfigError: Values that do not go together; classes of the data and of the head that differ.
        DataError: Images that cannot be opened.
        StoreError: Weights to start from, or of a teacher, that are those of another architecture.
    """
    space = space or spaces.get(config.space)
    architecture = space.read(config.architecture)
    img_size = config.img_size or space.search_img_size
    if img_size % space.img_size_multiple:
        raise ConfigError(f"img_size of {space.name} is a multiple of {space.img_size_multiple}, not {img_size}")
    data, val_data = open_dataset(config.data), open_dataset(config.val_data or config.data)
    rows, val_rows = _rows(config, data, val_data)
    labels, val_labels = data.labels(rows), val_data.labels(val_rows)
    num_classes = _checked_classes(config, data, val_data, labels, val_labels)
    _check_batches(config, len(rows))
    config = config.resolved(
        space=spaces.reference(space),
        architecture=architecture.to_json(),
        img_size=img_size,
        num_classes=num_classes,
        lr=config.lr or BASE_LR * math.sqrt(config.batch_size / BASE_BATCH_SIZE),
        warmup_epochs=config.epochs // 15 if config.warmup_epochs is None else config.warmup_epochs,
    )
    if (config.warmup_epochs or 0) >= config.epochs:
        raise ConfigError(f"warmup_epochs is {config.warmup_epochs}; it must be below the {config.epochs} epochs")
    _check_optimizer(config.optimizer)
    train_transform(img_size, config.augmentation())
    phases, macs = _phases(config, space, architecture)
    teacher, guidance = _teacher(config, space, architecture, None if data.source == "random" else num_classes)
    plan = TrainingPlan(
        config=config.resolved(
            retokenize=tuple(phase[:3] for phase in phases if phase[1]) or None,
            guidance_pairs=",".join(f"{block}:{stage}" for block, stage in (one.pair for one in guidance)) or None,
        ),
        space=space,
        architecture=architecture,
        num_params=cost(space, architecture, "num_params", img_size=img_size, num_classes=num_classes),
        macs=macs,
        phases=phases,
        data=_absolute(config.data),
        val_data=_absolute(config.val_data or config.data),
        rows=rows,
        val_rows=val_rows,
        label_names=tuple(data.label_names),
        data_hash=_data_hash((data, rows, labels), (val_data, val_rows, val_labels)),
        teacher=teacher,
        guidance=guidance,
    )
    if config.weights is not None:
        check_weights(_on_meta(plan), read_weights(Path(config.weights)), config.weights)
    return plan


def _rows(config: TrainConfig, data: ImageDataset, val_data: ImageDataset) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and to evaluate on."""
    most = config.max_images or (_RANDOM_IMAGES if data.source == "random" else len(data))
    rows = np.arange(min(most, len(data)))
    if config.val_data is not None:
        return rows, np.arange(min(config.max_val_images or len(val_data), len(val_data)))
    order = np.random.default_rng(seed_from(config.seed, "split")).permutation(rows)
    held_out = min(max(1, round(config.val_fraction * len(rows))), config.max_val_images or len(rows))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _data_hash(*parts: tuple[ImageDataset, np.ndarray, np.ndarray]) -> str:
    """Of the labels of all rows, and the pixels of rows that are evenly spaced among them."""
    digest = blake2b(digest_size=8)
    for dataset, rows, labels in parts:
        digest.update(labels.astype("<i8").tobytes())
        some = rows[np.linspace(0, len(rows) - 1, min(_HASHED_IMAGES, len(rows)), dtype=int)]
        for image in dataset.read(some.tolist())[0]:
            digest.update(f"{image.size}".encode())
            digest.update(image.tobytes())
    return digest.hexdigest()


def _checked_classes(
    config: TrainConfig, data: ImageDataset, val_data: ImageDataset, labels: np.ndarray, val_labels: np.ndarray
) -> int:
    """The number of classes; refuses data whose classes do not fit together, or the head."""
    if len(np.unique(labels)) < 2:
        raise ConfigError(
            f"data {config.data!r}: the {len(labels)} images to train on are all of one class; at least 2 are needed"
        )
    if config.num_classes is not None and config.num_classes != data.num_classes:
        raise ConfigError(
            f"num_classes is {config.num_classes}, but data {config.data!r} has {data.num_classes} classes: the head "
            "has an output for each"
        )
    if int(val_labels.max()) >= data.num_classes:
        raise ConfigError(
            f"data {config.val_data!r} has the class {int(val_labels.max())}, but {config.data!r} has only "
            f"{data.num_classes} classes"
        )
    if data.label_names and val_data.label_names and data.label_names != val_data.label_names:
        raise ConfigError(
            f"the classes of {config.val_data!r} ({', '.join(val_data.label_names[:5])}, ...) are not those of "
            f"{config.data!r} ({', '.join(data.label_names[:5])}, ...)"
        )
    return data.num_classes


def _check_batches(config: TrainConfig, n: int) -> None:
    if config.batch_size % 2:
        raise ConfigError(f"batch_size is {config.batch_size}; it must be even, since images are mixed in pairs")
    if n < config.batch_size:
        raise ConfigError(f"batch_size is {config.batch_size}, but there are only {n} images to train on")
    known = config.min_workers if config.workers is None else config.workers  # the machine may say later
    _check_workers(config, known or 1)


def _check_workers(config: TrainConfig, workers: int) -> None:
    parts = workers * config.accumulation
    if config.batch_size < 2 * parts:
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be divided over {workers} workers with accumulation "
            f"{config.accumulation}: it must be at least {2 * parts}"
        )
    if config.min_workers is not None and config.min_workers > workers:
        raise ConfigError(f"min_workers is {config.min_workers}, more than the {workers} workers")


def _check_optimizer(name: str) -> None:
    from timm.optim import list_optimizers

    if name.lower() not in (known := list_optimizers()):
        raise ConfigError(f"optimizer {name!r} is not one of timm's: {', '.join(known)}")


def _phases(
    config: TrainConfig, space: SearchSpace, architecture: Architecture
) -> tuple[tuple[tuple[int, int | None, int | None, int], ...], int]:
    """The phases with their MACs, and the MACs without re-tokenization."""
    size = {"img_size": config.img_size or 0, "num_classes": config.num_classes or 0}
    macs = cost(space, architecture, "macs", **size)
    if config.retokenize is None:
        return ((0, None, None, macs),), macs
    with torch.device("meta"):
        model: Any = builder(space)(architecture, **_model_settings(space, config))
    if offered(model, Retokenizable) is None:
        raise ConfigError(f"models of the space {space.name!r} cannot be re-tokenized")
    if isinstance(config.retokenize, str):
        schedule = parse_schedule(config.retokenize, config.epochs)
    else:
        schedule = tuple(Phase(*phase) for phase in config.retokenize)
    kernel = model.patch_embed.proj.kernel_size[0]
    schedule = check_schedule(schedule, img_size=config.img_size or 0, kernel=kernel, epochs=config.epochs)
    counts = phase_macs(space, architecture, schedule, **size)
    return tuple((p.epoch, p.stride, p.dilation, n) for p, n in zip(schedule, counts, strict=True)), macs


def _teacher(
    config: TrainConfig, space: SearchSpace, architecture: Architecture, num_classes: int | None
) -> tuple[Teacher | None, tuple[Guidance, ...]]:
    """The teacher, and the pairs of feature maps to compare."""
    if config.teacher is None:
        if given := [name for name in DISTILLATION if getattr(config, name) != TrainConfig.model_fields[name].default]:
            raise ConfigError(f"{', '.join(given)} go with a teacher, and none is given")
        return None, ()
    if not (config.guidance_weight or config.logit_weight):
        raise ConfigError("guidance_weight and logit_weight are both 0: nothing would be learned from the teacher")
    teacher = read_teacher(config.teacher, num_classes=num_classes)
    if config.logit_weight and teacher.num_classes != config.num_classes:
        raise ConfigError(
            f"logit_weight needs a teacher with the {config.num_classes} classes of the images, not "
            f"{teacher.num_classes}"
        )
    if not config.guidance_weight:
        return teacher, ()
    with torch.device("meta"):
        student = builder(space)(architecture, **_model_settings(space, config))
        try:
            blocks = feature_widths(student, config.img_size or 0)
        except ValueError as error:
            raise ConfigError(f"the student has no feature maps to guide: {error}") from None
    # Not on the meta device, on which some of timm's models cannot be built.
    stages = feature_widths(FrozenTeacher(teacher, torch.device("cpu")).model, teacher.img_size)
    if not blocks:
        raise ConfigError(f"models of the space {space.name!r} do not say where their blocks are: guidance_weight is 0")
    if not stages:
        raise ConfigError(f"teacher {teacher.name} has no stages with known feature maps: guidance_weight is 0")
    pairs = (
        parse_pairs(config.guidance_pairs) if config.guidance_pairs else evenly_spaced_pairs(len(blocks), len(stages))
    )
    for block, stage in pairs:
        if block >= len(blocks) or stage >= len(stages):
            raise ConfigError(
                f"pair {block}:{stage} is beyond the {len(blocks)} blocks of the student or the {len(stages)} stages "
                f"of the teacher {teacher.name}, counted from 0"
            )
    return teacher, tuple(Guidance((block, stage), (blocks[block], stages[stage])) for block, stage in pairs)


def _model_settings(space: SearchSpace, config: TrainConfig) -> dict[str, Any]:
    settings = {"img_size": config.img_size, "num_classes": config.num_classes, **space.training}
    parameters = inspect.signature(builder(space)).parameters
    if "drop_path_rate" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        settings["drop_path_rate"] = config.drop_path_rate
    elif "drop_path_rate" in config.model_fields_set and config.drop_path_rate:
        raise ConfigError(f"models of the space {space.name!r} have no stochastic depth: drop_path_rate must be 0")
    return settings


def _on_meta(plan: TrainingPlan) -> nn.Module:
    with torch.device("meta"):
        return builder(plan.space)(plan.architecture, **plan.settings)


def _absolute(spec: str) -> str:
    """With an absolute path, since workers start in other folders."""
    kind, _, where = spec.strip().partition(":")
    if kind in _WITH_PATH:
        return f"{kind}:{Path(where).absolute()}"
    if kind == "torchvision":
        name, _, root = where.partition(":")
        return f"{kind}:{name}:{Path(root).absolute()}"
    return spec


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = blake2b(digest_size=8)
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise StoreError(f"cannot read weights {path}: {error.strerror}") from None
    return digest.hexdigest()
