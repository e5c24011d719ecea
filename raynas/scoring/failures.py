"""What went wrong in an evaluation: whose fault it is, and whether the process can go on."""

from __future__ import annotations

import traceback

import torch

from raynas.errors import NotApplicableError, error_line, error_words, on_one_line, text_of
from raynas.interruption import is_interrupt
from raynas.scoring.task import DeviceLostError
from raynas.space.results import Status


def is_out_of_memory(error: BaseException) -> bool:
    """The device or the host had no memory for an allocation; the process itself is sound."""
    texts = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in text_of(error) for text in texts)


def is_device_lost(error: BaseException) -> bool:
    """A CUDA error other than lack of memory: later calls in this process would fail too."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in text_of(error)


def error_text(error: BaseException) -> str:
    """The error and where it rose, on one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"{error_line(error)} {on_one_line(where)}".rstrip()


def failure(error: BaseException) -> tuple[Status, str]:
    """Status and text of an error that stays with its architecture.

    Args:
        error: What was raised, which need not be an Exception: extensions, and `sys.exit`, raise others.

    Raises:
        DeviceLostError: It is an error of the device, after which this process is of no use.
        KeyboardInterrupt: It is that of a signal, and not one that the code raised by itself.
    """
    if is_interrupt(error) or isinstance(error, DeviceLostError):
        raise error
    if isinstance(error, NotApplicableError):
        return Status.NOT_APPLICABLE, error_words(error)
    if is_device_lost(error):
        raise DeviceLostError(error_line(error)) from error
    return (Status.OUT_OF_MEMORY if is_out_of_memory(error) else Status.FAILED), error_text(error)
