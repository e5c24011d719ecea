"""Who computes on a device of this machine: processes side by side, or one that measures, alone.

Processes of one user that take part wait for each other at two files in the system's temporary folder, whose locks the
system releases when a process ends, however it ends. Whoever waits to be alone lets nobody else in before it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Protocol, runtime_checkable

from raynas.storage.local_files import waited_lock
from raynas.storage.stores import Lock


@runtime_checkable
class WaitsForOthers(Protocol):
    """What carries a task out may wait for other processes, which is no time of its own."""

    def waited_s(self) -> float:
        """Seconds that it has waited so far, in all; called from another thread, too."""
        ...


class DeviceUse:
    """One process's use of a device.

    Args:
        device: "cpu", or "cuda" for the GPU that this process computes on.
    """

    def __init__(self, device: str) -> None:
        name = Path(tempfile.gettempdir()) / f"raynas-{os.getuid()}-{_name_of(device)}"
        self._door, self._room = (name.with_name(f"{name.name}-{part}.lock") for part in ("door", "room"))
        self._held: Lock | None = None
        self._waited_s = 0.0
        self._waits_since: float | None = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """A context within which no other process is alone on the device.

        Raises:
            OSError: The files cannot be opened or locked.
        """
        self._enter(is_shared=True)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A context, within that of `shared`, within which no other process that takes part uses the device.

        Raises:
            OSError: The files cannot be opened or locked.
        """
        self._leave()
        self._enter(is_shared=False)
        try:
            yield
        finally:
            self._leave()
            self._enter(is_shared=True)

    def waited_s(self) -> float:
        """Seconds that this process has waited for others so far, in all."""
        since = self._waits_since
        return self._waited_s + (0.0 if since is None else monotonic() - since)

    def _enter(self, *, is_shared: bool) -> None:
        started = self._waits_since = monotonic()
        try:
            # Who stands in the door keeps others out of it: else those who share would go on taking turns for ever.
            with waited_lock(self._door, is_shared=False):
                self._held = waited_lock(self._room, is_shared=is_shared)
        finally:
            self._waited_s += monotonic() - started
            self._waits_since = None

    def _leave(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def _name_of(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    return f"gpu-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
