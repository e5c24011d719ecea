"""Whether all nodes see one folder, and whether it keeps two runs apart.

All is done by probes, and by nothing but the functions that runs use: file systems that hang, hang there.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.examination.probes import Failure, Probes
from raynas.examination.report import Finding, State
from raynas.wording import plural

_CHECK = "storage"
_STEP_S = 10.0


def findings_on_storage(probes: Probes, out: Path, first: str, names: Mapping[str, str]) -> list[Finding]:
    """Write, lock and read in a folder of its own, and remove it.

    Args:
        probes: The probes of the nodes.
        out: Where runs are to be; made if it is missing, and removed again then.
        first: The id of the node that the driver is on, which writes first.
        names: What nodes are called, by id.
    """
    folder = out / f"doctor-{uuid.uuid4().hex[:12]}"
    try:
        return _Visit(probes, folder, names).findings(first)
    finally:
        actors = {node: probes.of(node) for node in probes.answering}
        # The driver's node comes last: others have made nothing but what it has, if they see the same.
        for some in ([node for node in actors if node != first], [node for node in actors if node == first]):
            probes.ask({node: actors[node].clear.remote(folder) for node in some}, _STEP_S)


class _Visit:
    """One visit of a folder.

    Args:
        probes: The probes.
        folder: The folder, which is not there yet.
        names: What nodes are called.
    """

    def __init__(self, probes: Probes, folder: Path, names: Mapping[str, str]) -> None:
        self._probes, self._folder, self._names = probes, folder, names
        self._found: list[Finding] = []

    def findings(self, first: str) -> list[Finding]:
        """Go through all steps, and say what came of them."""
        if first not in self._probes.answering:
            return [Finding(_CHECK, "warn", (), "it is not looked at, since the driver's node does not answer")]
        if not self._written([first]):
            return self._found
        seeing = self._seeing(first)
        writing = self._written([node for node in seeing if node != first])
        there = [first, *writing]
        self._write_again(there)
        self._lock(there)
        self._read(there)
        if not self._found:
            nodes = plural(len(there), "node", "nodes")
            well = "files are written once and seen at once, and a lock keeps others out"
            self._say("ok", (), f"in {self._folder.parent}, on {nodes}, {well}")
        return self._found

    def _say(self, state: State, where: Sequence[str], text: str) -> None:
        self._found.append(Finding(_CHECK, state, tuple(self._names[node] for node in where), text))

    def _asked(self, calls: Mapping[str, Any]) -> dict[str, Any]:
        """Answers of nodes; those that raise are told of, and left out, as those that are silent."""
        answers = self._probes.ask(calls, _STEP_S)
        by_text: dict[str, list[str]] = {}
        for node, answer in answers.items():
            if isinstance(answer, Failure):
                by_text.setdefault(answer.text, []).append(node)
        for text, nodes in by_text.items():
            self._say(
                "fail",
                nodes,
                f"{self._folder.parent} cannot be used there ({text}): see to its rights, and to what is free",
            )
        return {node: answer for node, answer in answers.items() if not isinstance(answer, Failure)}

    def _written(self, nodes: Sequence[str]) -> list[str]:
        """Nodes that have written a file of their own."""
        calls = {node: self._probes.of(node).write.remote(self._folder, *_file(node)) for node in nodes}
        return list(self._asked(calls))

    def _seeing(self, first: str) -> list[str]:
        """Nodes that see what the first one has written."""
        name, content = _file(first)
        nodes = [node for node in self._probes.answering if node != first]
        answers = self._asked({node: self._probes.of(node).read.remote(self._folder, [name]) for node in nodes})
        if apart := [node for node, found in answers.items() if found != [content]]:
            self._say(
                "fail",
                apart,
                f"{self._folder.parent} is not shared: what {self._names[first]} writes is not there; name a folder on "
                "storage that all nodes mount, which trainings over several nodes need (a search needs it on the "
                "driver's alone)",
            )
        return [first, *(node for node in answers if node not in apart)]

    def _write_again(self, nodes: Sequence[str]) -> None:
        """Each node tries to write what the one before it has written."""
        before = dict(zip(nodes, [nodes[-1], *nodes[:-1]], strict=True))
        calls = {
            node: self._probes.of(node).writes_again.remote(self._folder, _file(other)[0])
            for node, other in before.items()
        }
        if wrong := [node for node, is_written in self._asked(calls).items() if is_written]:
            self._say(
                "fail",
                wrong,
                f"{self._folder.parent} lets a file be written a second time as a new one, so that two runs could "
                "write one folder: name storage with conditional writes",
            )

    def _lock(self, nodes: Sequence[str]) -> None:
        """The first node holds a lock, which the others are refused; once it is let go, the last one may have it."""
        locked = self._folder / "locked"
        holder, others = nodes[0], nodes[1:] or nodes
        if not self._asked({holder: self._probes.of(holder).hold.remote(locked)}):
            return
        for node in others:  # one after the other, as one that gets it keeps it for a moment
            if self._asked({node: self._probes.of(node).is_refused.remote(locked)}).get(node) is False:
                self._say(
                    "fail",
                    [node],
                    f"{self._folder.parent} can be locked there while {self._names[holder]} holds the lock, so that "
                    "two runs could write one folder: mount it with locks (of NFS, without nolock and local_lock)",
                )
        let_go = self._asked({holder: self._probes.of(holder).let_go.remote()})
        last = others[-1]
        if let_go and self._asked({last: self._probes.of(last).is_refused.remote(locked)}).get(last):
            self._say("fail", [last], f"a lock in {self._folder.parent} stays when it is let go: runs would not resume")

    def _read(self, nodes: Sequence[str]) -> None:
        """All nodes read what all have written."""
        files = dict(map(_file, nodes))
        calls = {node: self._probes.of(node).read.remote(self._folder, list(files)) for node in nodes}
        if wrong := [node for node, found in self._asked(calls).items() if found != list(files.values())]:
            self._say(
                "fail",
                wrong,
                f"what others have written in {self._folder.parent} is missing or other there: name storage that shows "
                "each node at once what another has written",
            )


def _file(node: str) -> tuple[str, bytes]:
    """The name and the content of the file that a node writes."""
    return f"of-{node}", f"written by {node}\n".encode()
