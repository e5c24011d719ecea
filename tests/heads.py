"""Heads of Ray clusters that listen on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

_STARTS_S = 60.0
_CURRENT = Path("/tmp/ray/ray_current_cluster")


@contextmanager
def listening_head(env: Mapping[str, str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a head, and end it with the block; it listens, but may not be a node of its cluster yet.

    Args:
        env: What its environment has beside that of this process.

    Yields:
        Its address, and the process that starts the others of the head.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}", "--num-cpus=2",
         "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats"],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env},
    )  # fmt: skip
    try:
        deadline = monotonic() + _STARTS_S
        while not _is_open(port):
            assert process.poll() is None, "the head has ended"
            assert monotonic() < deadline, "the head does not listen"
            sleep(0.02)
        yield f"127.0.0.1:{port}", process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if _CURRENT.exists() and _CURRENT.read_text().endswith(f":{port}"):
            _CURRENT.unlink()  # else whoever asks Ray for the cluster of this machine is sent there


def _is_open(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
