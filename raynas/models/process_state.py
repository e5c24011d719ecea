"""Torch's part of what is process-wide: random generators and threads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from raynas.seeds import seed_from


def seed_generators(*parts: int | str) -> None:
    """Make the process-wide generators of torch, NumPy and Python, which timm draws from, follow from a seed.

    Args:
        parts: What the seed depends on, see `raynas.seeds.seed_from`.
    """
    seed = seed_from(*parts)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


@contextmanager
def kept_process_state() -> Iterator[None]:
    """A context after which the process has the number of threads and the random generators that it had before."""
    threads = torch.get_num_threads()
    of_torch, of_numpy, of_python = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
