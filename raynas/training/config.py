"""The configuration of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from raynas.config import Config
from raynas.errors import ConfigError

AUGMENTATIONS: Mapping[str, Mapping[str, Any]] = {
    "strong": {
        "auto_augment": "rand-m9-mstd0.5-inc1",
        "min_scale": 0.08,
        "color_jitter": 0.4,
        "hflip": 0.5,
        "erasing": 0.25,
        "mixup": 0.8,
        "cutmix": 1.0,
    },
    "light": {
        "auto_augment": "",
        "min_scale": 0.6,
        "color_jitter": 0.0,
        "hflip": 0.5,
        "erasing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    },
    "none": {
        "auto_augment": "",
        "min_scale": 1.0,
        "color_jitter": 0.0,
        "hflip": 0.0,
        "erasing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    },
}
"""What `augment` stands for; each of these settings can be given by itself. strong: as DeiT and Swin train."""

BASE_LR = 1e-3
BASE_BATCH_SIZE = 1024

SchedulePhase = tuple[int, int, int]  # first epoch, stride, dilation
WeightsPolicy = Literal["exact", "encoder", "resized", "encoder-resized"]


class TrainConfig(Config):
    """All settings of a training; None means the default that is found when it is resolved."""

    space: str
    architecture: str = Field(description="JSON, the space's text or a published name")
    img_size: int | None = Field(None, ge=1, description="image side in pixels; default: the space's for searches")
    num_classes: int | None = Field(None, ge=2, description="outputs of the head; default: of the data")
    data: str = Field("digits", description="images to train on")
    val_data: str | None = Field(None, description="images to evaluate on; default: a part of the training images")
    val_fraction: float = Field(0.1, gt=0, lt=1, description="that part")
    max_images: int | None = Field(None, ge=1, description="use the first images only")
    max_val_images: int | None = Field(None, ge=1, description="evaluate on the first images of val_data only")

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(128, ge=2, description="images of one step, over all workers")
    accumulation: int = Field(1, ge=1, description="passes into which a worker's part of a step is divided")
    optimizer: str = Field("adamw", description="timm's name")
    betas: tuple[float, float] | None = Field(
        None, description="decays of the optimizer's two moving averages; default: the optimizer's own"
    )
    lr: float | None = Field(None, gt=0, description="default: 1e-3 * sqrt(batch_size / 1024)")
    min_lr: float = Field(1e-6, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_epochs: int | None = Field(None, ge=0, description="default: a fifteenth of the epochs")
    clip_grad: float | None = Field(None, gt=0, description="largest norm of the gradient")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    ema_decay: float = Field(0.0, ge=0, lt=1, description="of the moving average of the weights; 0: none")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 on GPUs, float32 on CPUs"
    )

    augment: Literal["strong", "light", "none"] = Field("strong", description="preset for what follows")
    auto_augment: str | None = Field(None, description="timm's text, such as rand-m9-mstd0.5-inc1; '' for none")
    min_scale: float | None = Field(None, gt=0, le=1, description="least part of an image that a crop shows")
    color_jitter: float | None = Field(None, ge=0)
    hflip: float | None = Field(None, ge=0, le=1, description="probability of a mirrored image")
    erasing: float | None = Field(None, ge=0, le=1, description="probability of an erased rectangle")
    mixup: float | None = Field(None, ge=0, description="alpha of Mixup; 0: none")
    cutmix: float | None = Field(None, ge=0, description="alpha of CutMix; 0: none")

    retokenize: str | tuple[SchedulePhase, ...] | None = Field(
        None, description="EPOCH:STRIDE[:DILATION],... or as-vit, the published schedule scaled to the epochs"
    )
    weights: str | None = Field(None, description="file of weights to start from; default: a fresh initialisation")
    weights_policy: WeightsPolicy = Field(
        "exact",
        description="what of that file is loaded: all of it, all but the head (encoder), and whether position "
        "embeddings are resized to the image side",
    )
    objective: str | None = Field(
        None, description="what is optimised, by name; default: distillation with a teacher, else classification"
    )

    teacher: str | None = Field(None, description="network to learn from: a training, timm:NAME:FILE or random:NAME")
    guidance_weight: float = Field(2.5, ge=0, description="of the difference of feature maps")
    guidance_pairs: str | None = Field(None, description="BLOCK:STAGE,...; default: all stages, evenly spaced blocks")
    logit_weight: float = Field(0.0, ge=0, le=1, description="of the teacher's logits; the task has the rest")
    temperature: float = Field(1.0, gt=0, description="of the teacher's soft targets")
    logit_targets: Literal["soft", "hard"] = Field("soft", description="the teacher's probabilities, or its classes")

    seed: int = Field(0, ge=0)

    workers: int | None = Field(None, ge=0, description="data-parallel processes; 0: this process")
    min_workers: int | None = Field(None, ge=1, description="go on with as few if some are lost for good")
    gpus_per_worker: float | None = Field(None, ge=0)
    address: str | None = Field(None, description="of a running Ray cluster")
    threads: int | None = Field(None, ge=1, description="CPU threads of a worker; default: an equal share of the cores")
    loader_processes: int | None = Field(None, ge=0, description="that prepare images, for each worker")
    checkpoint_every_s: float = Field(600.0, gt=0, description="beside the one at the end of every epoch")
    loggers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)

    @field_validator("betas")
    @classmethod
    def _decays(cls, betas: tuple[float, float] | None) -> tuple[float, float] | None:
        if betas is not None and not all(0 <= beta < 1 for beta in betas):
            raise ValueError("each must be at least 0 and below 1")
        return betas

    def precision_on(self, device: str) -> str:
        """In what the model computes on a device, "cpu" or "cuda".

        Raises:
            ConfigError: The device cannot.
        """
        if self.precision == "auto":
            return "bfloat16" if device == "cuda" else "float32"
        if self.precision == "float16" and device == "cpu":
            raise ConfigError("precision float16 needs a GPU; on CPUs it is float32 or bfloat16")
        return self.precision

    def augmentation(self) -> dict[str, Any]:
        """The settings of the preset, with those that were given by themselves in their place."""
        preset = AUGMENTATIONS[self.augment]
        return {name: value if (own := getattr(self, name)) is None else own for name, value in preset.items()}


DISTILLATION = ("guidance_weight", "guidance_pairs", "logit_weight", "temperature", "logit_targets")
"""Settings that go with a teacher."""

WITHOUT_EFFECT = (
    "workers",
    "min_workers",
    "gpus_per_worker",
    "address",
    "threads",
    "loader_processes",
    "checkpoint_every_s",
    "loggers",
    "data",  # by its labels, not by its path; likewise what follows
    "val_data",
    "weights",
    "teacher",
    "accumulation",
)
"""Settings that change no more than rounding, and may differ when a training is resumed."""
