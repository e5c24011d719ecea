"""Which workers a pool computes with: those on one device type, and with the driver's code."""

from __future__ import annotations

from collections.abc import Callable

from raynas.scoring.door import Ready, Unfit
from raynas.space.results import MIXED_DEVICES


class WorkerAdmission:
    """Decides on workers as they come, and names the nodes of those that are left idle, once each.

    Args:
        device_type: What evaluations are to be computed on; None: what the first worker has; `MIXED_DEVICES`: whatever
            there is.
        log: Called with lines for people.
    """

    def __init__(self, device_type: str | None, log: Callable[[str], None]) -> None:
        self.device_type = device_type
        self._log = log
        self._said: set[str] = set()

    def say(self, found: Ready | Unfit, reason: str) -> None:
        """Say that a node is not used, and why, unless it was said."""
        line = f"node {found.node[:8]} ({found.host}) is not used: {reason}"
        if line not in self._said:
            self._said.add(line)
            self._log(line)

    def reason_against(self, found: Ready | Unfit) -> str:
        """Why a worker is not used; empty if it is."""
        if isinstance(found, Unfit):
            return found.reason
        if self.device_type is None:
            self.device_type = found.device_type
        if self.device_type in (found.device_type, MIXED_DEVICES):
            return ""
        return f"it computes on {found.device_type}, and this run on {self.device_type}"
