"""The configuration of an analysis."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raynas.config import MOST, MOST_SIDE, MOST_THREADS
from raynas.data.options import DataOptions


class AnalysisConfig(DataOptions):
    """What is analysed, on which images, and how."""

    model: str = Field(
        description="The network: the folder of a training, of finalists or variants, whose most accurate is taken, or "
        "of an export; timm:NAME:FILE, or random:NAME for one that knows nothing."
    )
    against: str | None = Field(None, description="Another network to compare it with, in any of these forms.")
    data: str = Field(
        description="Images: digits, folder:DIR, parquet:FILE, archive:FILE, webdataset:GLOB, torchvision:NAME:ROOT."
    )
    max_images: int = Field(1024, ge=4, description="Use no more than this many images, drawn by the seed.")
    seed: int = Field(0, ge=0, description="Seed of what max_images draws, and of the order of images.")
    checkpoint: Literal["last", "best"] = Field(
        "last", description="Weights of a training: last or best, of their moving average where there is one."
    )
    img_size: int | None = Field(
        None,
        ge=1,
        le=MOST_SIDE,
        description="Image side in pixels, to which position embeddings are resized. Default: as each was trained.",
    )
    batch_size: int = Field(128, ge=4, le=MOST, description="Images of one pass, which are compared with one another.")
    shown_images: int = Field(8, ge=0, le=64, description="Images over which attention is drawn.")
    device: str = Field("auto", description="Device: auto (a GPU if there is one), cpu, cuda or cuda:N.")
    threads: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="CPU threads of the networks. Default: torch's own."
    )
    loader_processes: int | None = Field(
        None,
        ge=0,
        le=MOST_THREADS,
        description="Processes that prepare images; 0: this one does. Default: by the device and its cores.",
    )
