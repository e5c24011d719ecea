"""Which cluster is joined: settings that searches and trainings share, for which nothing but pydantic is imported."""

from __future__ import annotations

from pydantic import Field

from raynas.config import Config


class ClusterOptions(Config):
    """What is said of the cluster that carries a run out, and of a worker's share of it."""

    gpus_per_worker: float | None = Field(None, ge=0, description="Share of a GPU for each worker, such as 0.25.")
    address: str | None = Field(
        None,
        description="Address of a running Ray cluster: HOST:PORT, or auto. Default: RAY_ADDRESS, which jobs have; "
        "without one, or with local, Ray is started on this machine.",
    )
    join: bool = Field(
        False,
        description="Make this machine a node of the cluster, without cores, while the run lasts, if it is none.",
    )
