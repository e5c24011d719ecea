"""What a search or a scoring run can be told, and what it is once all defaults are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from raynas.cluster.options import ClusterOptions, PoolSize, pool_size, read_workers
from raynas.config import MOST, MOST_SIDE, MOST_THREADS, Flags, Found, Setting
from raynas.data.options import DataOptions

KIND = "search"
"""The kind of the run folders of searches, scoring runs and growths."""
LEAST_WORKER_MEMORY_GIB = 0.1
"""Less than any worker takes before it scores: with Ray and raynas alone, without torch, it is 0.13 GiB on Linux."""


class RunConfig(DataOptions, ClusterOptions):
    """Everything that a search or a scoring run can be told; None: the default that is found when it is resolved."""

    space: str = Field(description="Search space, see `raynas list spaces`; or FILE.py:NAME.")
    img_size: int | None = Field(
        None, ge=1, le=MOST_SIDE, description="Image side in pixels. Default: the space's own."
    )
    num_classes: int | None = Field(
        None, ge=1, le=MOST, description="Outputs of the head. Default: those of the data, else 10."
    )
    proxies: Annotated[tuple[str, ...], Flags(("--proxy", "-p"))] = Field(
        (), description="Score to compute; see `raynas list proxies`."
    )
    objectives: Annotated[tuple[str, ...] | None, Flags(("--objective", "-o"))] = Field(
        None, description="Score to optimise: NAME, NAME:max or NAME:min. Default: the space's own."
    )
    constraints: Annotated[tuple[str, ...], Flags(("--constraint", "-c"))] = Field(
        (), description='Bound on a cost or a score, such as "macs<=2e9".'
    )
    bands: Annotated[tuple[str, ...], Flags(("--band",))] = Field(
        (),
        description="Two bounds on one cost or score: NAME:LOW:HIGH, such as macs:1.75e9:1.79e9, is NAME>=LOW and "
        "NAME<=HIGH.",
    )
    settings: Mapping[str, Mapping[str, Setting]] = Field(
        default_factory=dict, description="Settings of proxies by their names, and of the searcher under 'searcher'."
    )
    searcher: str | None = Field(
        None,
        description="Searcher, see `raynas list searchers`. Default: reinforce for one objective, nsga2 for several.",
    )
    budget: int = Field(500, ge=1, le=1_000_000_000, description="Candidates to evaluate.")
    architectures: tuple[str, ...] = Field((), description="Architectures to score, instead of asking a searcher.")
    window: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="Candidates in flight. Default: 4 for each worker, and at least what suits the searcher; of those "
        "that learn from every result, at most a share of the budget.",
    )
    seed: int = Field(0, ge=0, description="Seed of the searcher.")
    score_seed: int = Field(0, ge=0, description="Seed of weights, batches and curves.")
    data: str | None = Field(
        None,
        description="Images: digits, folder:DIR, parquet:FILE, archive:FILE, webdataset:GLOB, torchvision:NAME:ROOT or "
        "random (normal numbers, the default).",
    )
    teacher: str | None = Field(
        None,
        description="Trained network of scores that compare with one: a training's folder or checkpoint, "
        "timm:NAME:FILE, or random:NAME.",
    )
    supernet: str | None = Field(
        None,
        description="Score sub-networks by inherited weights: the folder of the training of a supernet, or of a "
        "network that contains others; or timm:NAME:FILE. Space, image side and images are those of the training.",
    )
    holdout: str | None = Field(
        None,
        description="Images to evaluate sub-networks on, none of which the supernet was trained on. Default: those "
        "that its training left out.",
    )
    test_data: str | None = Field(
        None, description="Images that are kept for the end: those of the hold-out that are among them are left out."
    )
    latency: str | None = Field(
        None,
        description="Folder of `raynas latency SPACE`, which predicts the latency of each architecture: the cost "
        "predicted_latency_ms, which objectives and constraints may call latency.",
    )
    compare: int = Field(
        0,
        ge=0,
        le=MOST,
        description="Set the winner beside the uniform network of equal MACs, and beside so many random networks that "
        "meet the constraints on costs; 0: do not.",
    )
    batch_size: int = Field(16, ge=1, le=MOST, description="Images that a proxy sees.")
    batch_images: Annotated[tuple[tuple[str, ...], ...], Found()] = Field(
        (),
        description="Names of the images of the batch of each repeat, where they are files; they are drawn when a run "
        "begins.",
    )
    width_divisor: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="Score networks with their width divided by it. Default: each proxy's own, which is 1.",
    )
    workers: Annotated[int | str | None, BeforeValidator(read_workers)] = Field(
        None,
        description="Processes that score: a number; MIN:MAX, as many of them as there is work for, on nodes that join "
        "later too; or all, as many as the window has work for. 0: this process. Default: one per GPU, without GPUs "
        "one per core up to 2.",
    )
    threads: int = Field(1, ge=1, le=MOST_THREADS, description="CPU threads of one evaluation.")
    device_type: str | None = Field(
        None,
        description="What scores are computed on: the name of a GPU, or AVX2, AVX512, ... of a processor, with its own "
        "name where latency is measured, as run.yaml has it. Workers that have something else stay idle. Default: what "
        "the first worker has.",
    )
    mixed_devices: bool = Field(
        False,
        description="Compute scores on whatever devices there are, which gives up that a run repeated gives the same "
        "values.",
    )
    worker_memory_gib: Annotated[float | None, Flags(("--worker-memory",))] = Field(
        None,
        ge=LEAST_WORKER_MEMORY_GIB,
        description="GiB of memory at which a worker is ended. Default: an equal share of its node.",
    )
    time_limit_s: Annotated[float, Flags(("--time-limit",))] = Field(
        600.0, gt=0, description="Seconds that one evaluation may take, on workers."
    )

    @property
    def pool_size(self) -> PoolSize | None:
        """How many workers are asked for; None: what the cluster suggests."""
        return None if self.workers is None else pool_size(self.workers)


class ResolvedRun(RunConfig):
    """A `RunConfig` with every default filled in that the driver finds, as run.yaml has it.

    What depends on the cluster may still be None: `workers`, `gpus_per_worker`, `worker_memory_gib`, and, where it
    follows from the number of workers, `window`. `searcher` is None
    only where the architectures are given; `teacher` and `width_divisor` where there is none.
    """

    img_size: int = Field(ge=1, le=MOST_SIDE)
    num_classes: int = Field(ge=1, le=MOST)
    objectives: tuple[str, ...]
    data: str
