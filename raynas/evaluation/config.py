"""The configurations of an evaluation and of predictions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raynas.config import MOST, MOST_SIDE, MOST_THREADS, Config
from raynas.data.options import DataOptions


class PassConfig(Config):
    """How a trained network is taken over images; None means the default that its source gives."""

    checkpoint: Literal["last", "best"] | None = Field(
        None,
        description="Weights of a training: last or best, of their moving average where there is one. Default last.",
    )
    img_size: int | None = Field(
        None,
        ge=1,
        le=MOST_SIDE,
        description="Image side in pixels, to which position embeddings are resized. Default: as trained.",
    )
    eval_crop: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Below 1, the shorter side of an image is resized to img_size / eval_crop and the centre is cut "
        "out; 1 squeezes it to the image side. Default: as the training evaluated.",
    )
    batch_size: int = Field(128, ge=1, le=MOST, description="Images of one pass.")
    device: str = Field("auto", description="Device: auto (a GPU if there is one), cpu, cuda or cuda:N.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] | None = Field(
        None,
        description="Precision: auto (bfloat16 on GPUs, float32 on CPUs), float32, bfloat16 or float16. Default: that "
        "of the training; auto for exports.",
    )
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads of the network. Default: torch's own."
    )
    loader_processes: int | None = Field(
        None,
        ge=0,
        le=MOST_THREADS,
        description="Processes that prepare images; 0: this one does. Default: by the device and its cores.",
    )


class EvaluateConfig(PassConfig, DataOptions):
    """On which images a trained network is evaluated, and how; None means the default that its source gives."""

    data: str | None = Field(
        None,
        description="Labelled images: digits, folder:DIR, parquet:FILE, archive:FILE, webdataset:GLOB, "
        "torchvision:NAME:ROOT. Default: those that the training evaluated on.",
    )
    max_images: int | None = Field(
        None, ge=1, description="Use no more than this many images, drawn by the seed and spread over the classes."
    )
    seed: int = Field(0, ge=0, description="Seed of what max_images draws.")
    shown_images: int = Field(
        24,
        ge=0,
        le=1000,
        description="Images on the page: the most confidently wrong, and as many of the least certain.",
    )


class PredictConfig(PassConfig, DataOptions):
    """What is predicted of images without labels, and how; None means the default that the network's source gives."""

    top_k: int = Field(1, ge=1, le=MOST, description="The most probable classes of each image, with probabilities.")
    all_probabilities: bool = Field(False, description="The probability of every class, in a column each.")


OF_LABELS = ("image_column", "label_column", "renumber_labels", "keep_empty_classes")
"""Fields on the reading of tables and labels, which are no options of predictions."""
