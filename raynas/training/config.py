"""The configuration of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from raynas.cluster.options import ClusterOptions
from raynas.config import MOST, MOST_PROCESSES, MOST_SIDE, MOST_THREADS, Flags
from raynas.data.options import DataOptions
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
WeightsPolicy = Literal["exact", "encoder", "resized", "encoder-resized", "inherited"]


class TrainConfig(DataOptions, ClusterOptions):
    """All settings of a training; None means the default that is found when it is resolved."""

    space: str = Field(description="The space that the architecture belongs to.")
    architecture: str = Field(description="The architecture: JSON, the space's text or a published name.")
    img_size: int | None = Field(
        None, ge=1, le=MOST_SIDE, description="Image side in pixels. Default: that of the run, or the space's."
    )
    num_classes: int | None = Field(
        None, ge=2, le=MOST, description="Outputs of the head. Default: the classes of the data; labels allow no other."
    )
    data: str = Field(
        "digits",
        description="Images to train on: digits, folder:DIR, parquet:FILE, archive:FILE, webdataset:GLOB, "
        "torchvision:NAME:ROOT.",
    )
    val_data: str | None = Field(
        None, description="Images to evaluate on. Default: a tenth of the others, left out of training."
    )
    val_fraction: float = Field(
        0.1, gt=0, lt=1, description="Part of the images to evaluate on, where there is no val_data."
    )
    max_images: int | None = Field(
        None, ge=1, description="Use no more than this many images, drawn by the seed and spread over the classes."
    )
    label_fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the images to train on that is used, drawn by the seed and spread over the classes.",
    )
    max_val_images: int | None = Field(
        None, ge=1, description="Evaluate on no more than this many images, chosen likewise."
    )
    image_choice: Literal["spread", "first"] = Field(
        "spread",
        description="How images are chosen that are limited or held out: spread over the classes, or the first ones, "
        "as trainings did before there was a choice.",
    )
    eval_crop: float = Field(
        1.0,
        gt=0,
        le=1,
        description="How images are prepared that are evaluated: below 1, the shorter side is resized to img_size / "
        "eval_crop and the centre is cut out, as published with 0.875; 1 squeezes them to the image side.",
    )
    skipped_val_images: Annotated[tuple[str, ...], Flags(("--skip-val-image",))] = Field(
        (), description="Image to evaluate on that is left out, as skipped_images says it of those to train on."
    )

    epochs: int = Field(30, ge=1, le=MOST, description="Passes over the images.")
    batch_size: int = Field(128, ge=2, le=MOST, description="Images of one step, over all workers.")
    accumulation: int = Field(1, ge=1, le=MOST, description="Passes into which a worker divides its part of a step.")
    optimizer: str = Field("adamw", description="Optimizer, one of timm's.")
    betas: tuple[float, float] | None = Field(
        None, description="Decays of the optimizer's two moving averages. Default: the optimizer's own."
    )
    lr: float | None = Field(None, gt=0, description="Learning rate. Default: 1e-3 * sqrt(batch size / 1024).")
    base_lr: float | None = Field(
        None, gt=0, description="Learning rate for each 256 images of a step, where lr is not given."
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor of the learning rate from each block to the one before it; the head has the whole rate.",
    )
    min_lr: float = Field(1e-6, ge=0, description="Learning rate at the end.")
    weight_decay: float = Field(0.05, ge=0, description="Decay of weights; biases and norms have none.")
    warmup_epochs: int | None = Field(
        None, ge=0, le=MOST, description="Epochs in which the learning rate rises. Default: a fifteenth of the epochs."
    )
    warmup_prefix: bool = Field(
        False,
        description="Whether the learning rate is at its peak when the warm-up ends; otherwise it is where it would be "
        "by then without one.",
    )
    clip_grad: float | None = Field(None, gt=0, description="Largest norm of the gradient. Default: none.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Share of a label that is spread over all classes.")
    pool: Literal["token", "mean", "both"] | None = Field(
        None,
        description="What the head is given, where models leave the choice: the class token (token), the mean over "
        "patches, normalised then (mean), or each of them in a head of its own, whose logits are averaged (both). "
        "Default: the model's own.",
    )
    drop_path_rate: Annotated[float, Flags(("--drop-path",))] = Field(
        0.1, ge=0, lt=1, description="Stochastic depth of the last block."
    )
    ema_decay: Annotated[float, Flags(("--ema",))] = Field(
        0.0, ge=0, lt=1, description="Decay of a moving average of the weights; 0: there is none."
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Precision: auto (bfloat16 on GPUs, float32 on CPUs), float32, bfloat16 or float16."
    )

    augment: Literal["strong", "light", "none"] = Field(
        "strong",
        description="Augmentation: strong (RandAugment, erasing, and but for distill Mixup and CutMix), light (crops "
        "and mirrors) or none.",
    )
    auto_augment: str | None = Field(
        None, description="Automatic augmentation in timm's text, such as rand-m9-mstd0.5-inc1; '' for none."
    )
    min_scale: float | None = Field(None, gt=0, le=1, description="Least part of an image that a crop shows.")
    color_jitter: float | None = Field(None, ge=0, description="Largest change of brightness, contrast, saturation.")
    hflip: float | None = Field(None, ge=0, le=1, description="Probability of a mirrored image.")
    erasing: float | None = Field(None, ge=0, le=1, description="Probability of an erased rectangle.")
    mixup: float | None = Field(None, ge=0, description="Alpha of Mixup; 0: none.")
    cutmix: float | None = Field(None, ge=0, description="Alpha of CutMix; 0: none.")

    retokenize: str | tuple[SchedulePhase, ...] | None = Field(
        None,
        description="Schedule of token sizes: EPOCH:STRIDE[:DILATION],... such as 0:16,8:8,13:4; or as-vit, the "
        "published schedule scaled.",
    )
    weights: str | None = Field(
        None,
        description="Start from the weights of this file, or of timm:NAME:FILE, a plain vision transformer of timm. "
        "Default: a fresh initialisation.",
    )
    weights_policy: WeightsPolicy = Field(
        "exact",
        description="What of the file of weights is loaded: all of it, all but the head (encoder), and whether "
        "position embeddings are resized to the image side; or what the network inherits of the largest one of its "
        "supernet (inherited: without a file, of the supernet that SOURCE was found in).",
    )
    kept_blocks: int | None = Field(
        None,
        ge=0,
        le=MOST,
        description="How many of the first blocks get the weights of the file, with what stands before them; later "
        "ones are fresh. Default: all.",
    )
    objective: str | None = Field(
        None, description="The objective, by name. Default: distillation with a teacher, else classification."
    )

    teacher: str | None = Field(
        None,
        description="The teacher: a training's folder or checkpoint, timm:NAME:FILE, or random:NAME for one that knows "
        "nothing.",
    )
    guidance_weight: float = Field(2.5, ge=0, description="Weight of the difference of feature maps; 0: none.")
    guidance_pairs: Annotated[str | None, Flags(("--pairs",))] = Field(
        None,
        description="Pairs of feature maps of student and teacher: BLOCK:STAGE,... from 0, such as 0:0,6:1,11:2. "
        "Default: all stages, with evenly spaced blocks.",
    )
    logit_weight: float = Field(
        0.0, ge=0, le=1, description="Weight of the teacher's logits; the labels have the rest."
    )
    temperature: float = Field(1.0, gt=0, description="Temperature of the teacher's soft targets.")
    logit_targets: Literal["soft", "hard"] = Field(
        "soft", description="soft, the teacher's probabilities, or hard, its most probable class."
    )

    token_labels: bool = Field(
        False,
        description="Learn the classes of patches beside that of the image, with Mixup and patch CutMix in place of "
        "timm's. For models that give tokens of patches.",
    )
    sampling: Literal["multi", "single", "sandwich"] = Field(
        "multi",
        description="Sub-networks of a step: multi, several at once in each block of images; single, one for all; "
        "sandwich, the largest, the smallest and random ones, which learn from the largest.",
    )
    subnets: int = Field(
        2, ge=1, le=MOST, description="Sub-networks that a block of images trains at once; at least 3 with sandwich."
    )
    block_images: int = Field(128, ge=1, le=MOST, description="Images of a block; the batch is one if it is smaller.")
    choice_warmup_epochs: int | None = Field(
        None,
        ge=0,
        le=MOST,
        description="Epochs over which smaller choices are let in one by one, from the largest network alone; 0: all "
        "from the start, as sandwich has it. Default: a quarter of the epochs, at most 30, or with sandwich 0.",
    )
    shared_choices: Annotated[tuple[str, ...], Flags(("--shared-choice",))] = Field(
        (), description="Field of the space that random sub-networks of a step have in common, such as width."
    )

    mask_ratio: float = Field(
        0.75, gt=0, lt=1, description="Share of an image's patches that a masked autoencoder hides, rounded up."
    )
    pixel_targets: Literal["normalised", "raw"] = Field(
        "normalised",
        description="What is reconstructed: pixels of each patch by its own mean and deviation (normalised), or raw.",
    )
    decoder_width: int | None = Field(
        None, ge=1, le=MOST, description="Width of the decoder. Default: half that of the network."
    )
    decoder_depth: int = Field(1, ge=1, le=MOST, description="Blocks of the decoder.")
    decoder_heads: int | None = Field(
        None, ge=1, le=MOST, description="Heads of the decoder. Default: one for each 32 channels."
    )
    early_blocks: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="Blocks after which d2-mae reconstructs. Default: two thirds of them, 8 of 12.",
    )
    attention_weight: float = Field(1.0, ge=0, description="Weight of the difference of attention from the teacher's.")
    attention_pairs: str | None = Field(
        None,
        description="Blocks of student and teacher whose attention is compared: BLOCK:BLOCK,... from 0, such as 11:11. "
        "Default: the last ones.",
    )
    attention_signal: Literal["logits", "softmax"] = Field(
        "logits", description="Attention that is compared: before the softmax (logits), or after it (softmax)."
    )
    momentum: float = Field(
        0.99, ge=0, lt=1, description="Decay of the copy that gives keys, in the first step; it rises to 1."
    )
    contrast_temperature: float = Field(0.2, gt=0, description="Temperature of contrast.")
    projector_width: int = Field(4096, ge=1, le=MOST, description="Width of the projector's hidden layers.")
    projector_dim: int = Field(256, ge=1, le=MOST, description="Length of the vectors that are contrasted.")
    teacher_block: int | None = Field(
        None,
        ge=0,
        le=MOST,
        description="Block of the teacher whose tokens tiny-mim learns, from 0. Default: after three quarters of them.",
    )
    relation_weight: float = Field(1.0, ge=0, description="Weight of the difference of relations between tokens.")
    token_weight: float = Field(1.0, ge=0, description="Weight of the difference of tokens themselves.")

    seed: int = Field(0, ge=0, description="Seed of weights, order and augmentation.")

    workers: int | None = Field(
        None,
        ge=0,
        le=MOST_PROCESSES,
        description="Data-parallel processes; 0: this process. Default: one per GPU if there are several.",
    )
    min_workers: int | None = Field(
        None, ge=1, le=MOST_PROCESSES, description="Go on with as few workers if some are lost for good."
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=MOST_THREADS,
        description="CPU threads of a worker. Default: an equal share of its node; without workers torch's own number, "
        "which OMP_NUM_THREADS sets.",
    )
    loader_processes: int | None = Field(
        None, ge=0, le=MOST_THREADS, description="Processes that prepare images, for each worker."
    )
    checkpoint_every_s: float = Field(
        600.0, gt=0, description="Seconds between checkpoints, beside the one at the end of every epoch."
    )
    loggers: Annotated[tuple[Literal["tensorboard", "mlflow", "wandb"], ...], Flags(("--log",))] = Field(
        ("tensorboard",), description="Logger of metrics: tensorboard, mlflow or wandb."
    )

    @field_validator("betas")
    @classmethod
    def _decays(cls, betas: tuple[float, float] | None) -> tuple[float, float] | None:
        if betas is not None and not all(0 <= beta < 1 for beta in betas):
            raise ValueError("each must be at least 0 and below 1")
        return betas

    @classmethod
    def of_stored(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a stored training, with what it did where it knows nothing of a field."""
        return {"image_choice": "first", **values}

    def precision_on(self, device: str) -> str:
        """The type of numbers in which the model computes on a device, "cpu" or "cuda".

        Raises:
            ConfigError: The device cannot.
        """
        return precision_on(self.precision, device)

    def augmentation(self) -> dict[str, Any]:
        """The settings of the preset, with those that were given by themselves in their place."""
        preset = AUGMENTATIONS[self.augment]
        return {name: value if (own := getattr(self, name)) is None else own for name, value in preset.items()}

    def mixes_images(self) -> bool:
        """Whether an objective with labels mixes images in pairs."""
        augmentation = self.augmentation()
        return augmentation["mixup"] > 0 or augmentation["cutmix"] > 0 or bool(self.token_labels)


def precision_on(precision: str, device: str) -> str:
    """The type of numbers that a setting stands for on a device, "cpu" or "cuda".

    Raises:
        ConfigError: The device does not compute in it.
    """
    if precision == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    if precision == "float16" and device == "cpu":
        raise ConfigError("precision float16 needs a GPU; on CPUs it is float32 or bfloat16")
    return precision


class ResolvedTraining(TrainConfig):
    """A `TrainConfig` with every default filled in that the driver finds, as run.yaml has it.

    What depends on the machine may still be None: `workers`, `gpus_per_worker`, `threads` and `loader_processes`.
    """

    img_size: int = Field(ge=1, le=MOST_SIDE)
    num_classes: int = Field(ge=1, le=MOST)
    lr: float = Field(gt=0)
    warmup_epochs: int = Field(ge=0, le=MOST)


OF_NETWORKS = ("pool",)
"""Settings by which the network has other layers, beside architecture and sizes."""

DISTILLATION = ("guidance_weight", "guidance_pairs", "logit_weight", "temperature", "logit_targets")
"""Settings that go with a teacher."""

SUPERNET = ("sampling", "subnets", "block_images", "choice_warmup_epochs", "shared_choices")
"""Settings that go with the objective supernet."""

PRETRAINING = (
    "mask_ratio", "pixel_targets", "decoder_width", "decoder_depth", "decoder_heads", "early_blocks",
    "attention_weight", "attention_pairs", "attention_signal",
    "momentum", "contrast_temperature", "projector_width", "projector_dim",
    "teacher_block", "relation_weight", "token_weight",
)  # fmt: skip
"""Settings that go with objectives that need no labels, each with those that name it in `Objective.settings`."""

WITHOUT_OPTION = (
    *("val_fraction", "image_choice", "min_lr", "checkpoint_every_s", "warmup_prefix", "teacher"),
    *(*AUGMENTATIONS["none"], *DISTILLATION, *SUPERNET, *PRETRAINING),
)
"""Settings that have no option of their own in `raynas train`: seldom changed, or options of other commands."""

WITHOUT_EFFECT = (
    "workers", "min_workers", "gpus_per_worker", "address", "join", "threads", "loader_processes",
    "checkpoint_every_s", "loggers",
    "data", "val_data",  # by their labels, not by their paths; likewise what follows
    "weights", "teacher", "accumulation",
    *DataOptions.model_fields,  # by the images that are used, and their pixels
    "skipped_val_images",
)  # fmt: skip
"""Settings that change no more than rounding, and may differ when a training is resumed."""
