"""Which cluster is joined and how much of it is used, for which nothing but pydantic is imported."""

from __future__ import annotations

import re
from typing import NamedTuple

from pydantic import Field

from raynas.config import MOST_PROCESSES, Config


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


class PoolSize(NamedTuple):
    """How many workers a pool may have.

    Args:
        least: Workers that it has all the time, or waits for.
        most: Workers that it has while there is work for all of them; None: as many as there is work for.
    """

    least: int
    most: int | None

    @property
    def is_fixed(self) -> bool:
        """Whether it has the same number all the time."""
        return self.least == self.most


def read_workers(given: object) -> int | str | None:
    """A number of workers as a configuration keeps it: 4, "2:8" or "all".

    Args:
        given: A number or a text; None, which stays so, where nothing is asked for.

    Raises:
        ValueError: It is something else.
    """
    text = str(given).strip() if isinstance(given, int | str) else ""
    if given is None or text == "all":
        return given if given is None else text
    if re.fullmatch(r"\d{1,18}", text) and int(text) <= MOST_PROCESSES:
        return int(text)
    sizes = re.fullmatch(r"(\d{1,18}):(\d{1,18})", text if ":" in text else f"{text}:{text}")
    if sizes is None or not 1 <= int(sizes[1]) <= int(sizes[2]):
        raise ValueError("it is a number, MIN:MAX with a MIN of at least 1, or all")
    if int(sizes[2]) > MOST_PROCESSES:
        raise ValueError(f"it is at most {MOST_PROCESSES:,}")
    return int(sizes[1]) if int(sizes[1]) == int(sizes[2]) else f"{int(sizes[1])}:{int(sizes[2])}"


def pool_size(workers: int | str) -> PoolSize:
    """The size that a configuration asks for.

    Args:
        workers: As `read_workers` returns it.
    """
    if isinstance(workers, int):
        return PoolSize(workers, workers)
    if workers == "all":
        return PoolSize(1, None)
    least, _, most = workers.partition(":")
    return PoolSize(int(least), int(most))
