"""What a search or a scoring run can be told, and what it is once all defaults are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from raynas.config import Config, Setting


class RunConfig(Config):
    """Everything that a search or a scoring run can be told; None: the default that is found when it is resolved."""

    space: str
    img_size: int | None = Field(None, ge=1, description="image side in pixels")
    num_classes: int | None = Field(None, ge=1, description="outputs of the head; default: of the data, else 10")
    proxies: tuple[str, ...] = Field((), description="scores to compute beside the objectives")
    objectives: tuple[str, ...] | None = Field(None, description="NAME, NAME:max or NAME:min; default: the space's")
    constraints: tuple[str, ...] = Field((), description="such as macs<=2e9")
    settings: Mapping[str, Mapping[str, Setting]] = Field(
        default_factory=dict, description="by proxy name, or under 'searcher'"
    )
    searcher: str | None = None
    budget: int = Field(500, ge=1, description="candidates to evaluate")
    architectures: tuple[str, ...] = Field((), description="what to score, instead of asking a searcher")
    window: int | None = Field(None, ge=1, description="candidates in flight")
    seed: int = Field(0, ge=0, description="drives the searcher")
    score_seed: int = Field(0, ge=0, description="drives weights, batches and curves")
    data: str | None = None
    teacher: str | None = Field(None, description="network that some scores compare with")
    batch_size: int = Field(16, ge=1, description="images that a proxy sees")
    width_divisor: int | None = Field(None, ge=1, description="of all proxies; default: each proxy's own, which is 1")
    workers: int | None = Field(None, ge=0, description="actors; 0: in this process")
    gpus_per_worker: float | None = Field(None, ge=0)
    address: str | None = Field(None, description="of a running Ray cluster")
    threads: int = Field(1, ge=1, description="of one evaluation")
    worker_memory_gib: float | None = Field(None, gt=0, description="resident memory at which a worker is ended")
    time_limit_s: float = Field(600.0, gt=0, description="for one evaluation")


class ResolvedRun(RunConfig):
    """The same with every default filled in that the driver finds, as run.yaml has it.

    What depends on the cluster may still be None: `workers`, `gpus_per_worker`, `worker_memory_gib`. `searcher` is None
    only where the architectures are given; `teacher` and `width_divisor` where there is none.
    """

    img_size: int = Field(ge=1)
    num_classes: int = Field(ge=1)
    objectives: tuple[str, ...]
    window: int = Field(ge=1)
    data: str

    @classmethod
    def of(cls, config: RunConfig, **found: Any) -> ResolvedRun:
        """A configuration with defaults filled in.

        Args:
            config: What was asked for; fields that a subclass adds are left out.
            found: Values of the fields that were None, or that have another form once they are resolved.
        """
        asked = {name: getattr(config, name) for name in RunConfig.model_fields}
        return cls(**{**asked, **found})
