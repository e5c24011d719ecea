"""What kind of device this process computes on, as far as it changes scores."""

from __future__ import annotations

import platform
from pathlib import Path

from raynas.errors import StoreError
from raynas.space.results import OF_PROCESSOR
from raynas.storage.text_files import read_text


def device_type(device: str, *, is_timed: bool = False) -> str:
    """What computes, as far as it changes scores.

    Args:
        device: "cpu" or "cuda".
        is_timed: Whether some scores are taken by the clock, for which one processor is not as another one with the
            same instructions; `raynas.space.results.Platform.of_arithmetic` takes its name away again.

    Returns:
        The name of this process's GPU, such as "NVIDIA H100 80GB HBM3"; or the vector instructions that torch uses on
        this processor, such as "AVX2", or "AVX2 of AMD EPYC 7763 64-Core Processor".
    """
    import torch

    if device != "cpu":
        return torch.cuda.get_device_name()
    instructions = str(torch.backends.cpu.get_cpu_capability())
    return f"{instructions}{OF_PROCESSOR}{processor()}" if is_timed else instructions


def processor() -> str:
    """The name of the processor, such as "AMD EPYC 7763 64-Core Processor"."""
    try:
        lines = read_text(Path("/proc/cpuinfo")).splitlines()
    except StoreError:  # another system
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
