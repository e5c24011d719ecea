"""What an examination has found: nodes, pairs of them, and what is to be said of each check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from raynas.errors import PoolError
from raynas.examination.clock import ClockDifference
from raynas.wording import first_of, plural

State: TypeAlias = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What came of a check.

    Args:
        check: The name of the check.
        state: Whether all is well, something may hurt, or something will not work.
        where: The nodes that it is found on; none where it is true of all.
        text: What is found, and what to do.
    """

    check: str
    state: State
    where: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class NodeReport:
    """A node of the cluster.

    Args:
        name: What it is called here: its address, with the start of its id where several have the same.
        hostname: The name of the machine.
        node_id: The id that it has in Ray.
        has_driver: Whether the examination was started on it.
        cpus, gpus, object_store_bytes: What Ray counts there.
        facts: What it says of itself, see `raynas.examination.probe.Probe.facts`; None if it does not answer.
        clock: How far its clock is from that of the driver; None if it does not answer.
        silent: Why it does not answer, or has stopped to.
    """

    name: str
    hostname: str
    node_id: str
    has_driver: bool
    cpus: float
    gpus: float
    object_store_bytes: float
    facts: Mapping[str, Any] | None = None
    clock: ClockDifference | None = None
    silent: str | None = None


@dataclass(frozen=True)
class PairReport:
    """Two nodes, of which the first called the second, and took an object from there.

    Args:
        taker, giver: The names of the two.
        call_s: The median of small calls, there and back.
        transfer_s: How long the object took.
        size_bytes: How large it was.
        error: Why nothing was measured; None if it was.
    """

    taker: str
    giver: str
    call_s: float | None = None
    transfer_s: float | None = None
    size_bytes: int = 0
    error: str | None = None

    @property
    def bytes_per_s(self) -> float | None:
        """How fast the object was."""
        return None if not self.transfer_s else self.size_bytes / self.transfer_s


@dataclass(frozen=True)
class Examination:
    """What was found.

    Args:
        address: HOST:PORT of the cluster's head.
        nodes: The living nodes.
        pairs: Those pairs that were to be measured.
        findings: What came of the checks, at least one for each.
    """

    address: str
    nodes: Sequence[NodeReport]
    pairs: Sequence[PairReport]
    findings: Sequence[Finding]

    @property
    def is_ready(self) -> bool:
        """Whether no check fails."""
        return all(one.state != "fail" for one in self.findings)

    def check_ready(self) -> None:
        """Refuse a cluster on which a check fails.

        Raises:
            PoolError: One does; the message names such checks.
        """
        if not self.is_ready:
            failing = list(dict.fromkeys(one.check for one in self.findings if one.state == "fail"))
            raise PoolError(
                f"the cluster at {self.address} is not ready: {plural(len(failing), 'check fails', 'checks fail')}, "
                f"{first_of(failing)}"
            )

    def plain(self) -> dict[str, Any]:
        """All of it as values for JSON."""
        return {
            "address": self.address,
            "is_ready": self.is_ready,
            "nodes": [
                {**asdict(one), "clock": None if one.clock is None else one.clock._asdict()} for one in self.nodes
            ],
            "pairs": [{**asdict(one), "bytes_per_s": one.bytes_per_s} for one in self.pairs],
            "findings": [asdict(one) for one in self.findings],
        }
