"""What is looked at on a node, by an actor there whose code travels with it.

The node may have another version of raynas or none at all, which is to be found, not to be stumbled over: so nothing of
ours is imported at the head of this file, and what leaves it is plain values.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter, time
from typing import Any

_ENDS_S = 3.0
_CALLS = 9
_WARMS_UP_BYTES = 2**20  # large enough to be transferred as an object, and not with the answer
_IS_UP = "torch is imported"
_ASK_GPUS = f"""
import json, torch
print("{_IS_UP}", flush=True)
found = []
for number in range(torch.cuda.device_count()):
    free, total = torch.cuda.mem_get_info(number)
    name = torch.cuda.get_device_name(number)
    found.append(dict(name=name, total_bytes=total, free_bytes=free))
print("gpus " + json.dumps(found))
"""


class Probe:
    """An actor on one node."""

    def __init__(self) -> None:
        self._made: list[Path] = []
        self._lock: Any = None

    # -- the node ------------------------------------------------------------------------------------------------------

    def facts(self, session: str, address: str) -> dict[str, Any]:
        """What the node says of itself; what it cannot say is missing, and why stands under `errors`.

        Args:
            session: The folder in which Ray keeps its session there.
            address: The node's address in the cluster.
        """
        questions: dict[str, Callable[[], Any]] = {
            "versions": _versions,
            "cpus": os.cpu_count,
            "memory": _memory,
            "session_disk": lambda: _disk(session),
            "temporary_disk": lambda: _disk(tempfile.gettempdir()),
            "shared_memory": lambda: _disk("/dev/shm"),
            "open_files": lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "network": lambda: _network(address),
        }
        answers: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for name, ask in questions.items():
            try:
                answers[name] = ask()
            except Exception as error:  # of a library that is missing there, of a driver, of a file system
                errors[name] = f"{type(error).__name__}: {error}"[:500]
        return {**answers, "errors": errors}

    def gpus(self, limit_s: float) -> list[dict[str, Any]]:
        """Name and memory of each GPU that torch sees there.

        They are asked in a process of its own: a GPU that hangs takes along who asks it.

        Args:
            limit_s: How long they may take; one that hangs does so for ever.

        Raises:
            RuntimeError: They do not tell.
            TimeoutError: They do not in time.
        """
        env = dict(os.environ)
        if env.get("CUDA_VISIBLE_DEVICES") == "":  # as some versions of Ray have it where no GPU is asked for
            del env["CUDA_VISIBLE_DEVICES"]
        process = subprocess.Popen(
            [sys.executable, "-c", _ASK_GPUS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
        )
        late = False
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as expired:
            late, out, err = True, expired.stdout or b"", b""
        finally:
            if process.poll() is None:
                process.kill()
                with suppress(subprocess.TimeoutExpired):  # who waits for a driver cannot be ended
                    process.communicate(timeout=_ENDS_S)
        told, said = (one.decode(errors="replace").splitlines() for one in (out, err))
        answers = [line for line in told if line.startswith("gpus ")]
        if answers:
            return list(json.loads(answers[-1].removeprefix("gpus ")))
        if late and _IS_UP in told:
            raise TimeoutError(f"torch gets no answer of them within {limit_s:.0f} s: see what `nvidia-smi` says there")
        if late:
            raise TimeoutError(f"torch is not imported within {limit_s:.0f} s: look again when less is running there")
        said = [line for line in said if line.strip()]
        raise RuntimeError(said[-1] if said else f"the process that asked ended with status {process.returncode}")

    def clock(self) -> float:
        """The time there, in seconds since 1970."""
        return time()

    # -- between nodes -------------------------------------------------------------------------------------------------

    def echo(self) -> None:
        """Answer."""

    def offer(self, size: int) -> list[Any]:
        """A reference to a new object of some bytes, which lies here."""
        import ray

        return [ray.put(bytes(size))]

    def measure(self, peer: Any, size: int) -> tuple[float, float]:
        """How far the probe of another node is.

        Returns:
            Seconds of the median call, there and back, and of the quicker of two transfers of such an object to here.
        """
        import ray

        calls = []
        for _ in range(_CALLS + 1):  # the first one connects
            started = perf_counter()
            ray.get(peer.echo.remote())
            calls.append(perf_counter() - started)
        transfers = []
        for number in (_WARMS_UP_BYTES, size, size):
            references = ray.get(peer.offer.remote(number))
            started = perf_counter()
            ray.wait(references, num_returns=1, fetch_local=True)
            transfers.append(perf_counter() - started)
        return sorted(calls[1:])[_CALLS // 2], min(transfers[1:])

    # -- storage -------------------------------------------------------------------------------------------------------

    def write(self, folder: Path, name: str, content: bytes) -> None:
        """Write a file that is not there yet, in a folder that is made if it is missing."""
        from raynas.storage.files import exists, make_folder, write_atomically

        self._made += [path for path in (folder, *folder.parents) if not exists(path) and path not in self._made]
        make_folder(folder)
        with write_atomically(folder / name, once=True) as file:
            file.write(content)

    def writes_again(self, folder: Path, name: str) -> bool:
        """Whether a file that is there already can be written as a new one, as must not be."""
        from raynas.storage.files import write_atomically

        try:
            with write_atomically(folder / name, once=True) as file:
                file.write(b"by another one")
        except FileExistsError:
            return False
        return True

    def read(self, folder: Path, names: list[str]) -> list[bytes | None]:
        """What files hold; None for one that is not there."""
        from raynas.storage.files import exists, read_bytes

        return [read_bytes(folder / name) if exists(folder / name) else None for name in names]

    def hold(self, folder: Path) -> None:
        """Lock a run folder, until it is let go."""
        from raynas.storage.locks import held

        self._lock = held(folder)

    def let_go(self) -> None:
        """Let others into that run folder."""
        if self._lock is not None:
            self._lock.close()
        self._lock = None

    def is_refused(self, folder: Path) -> bool:
        """Whether a run folder cannot be locked from here, since another one holds it."""
        from raynas.errors import StoreError
        from raynas.storage.locks import held, is_in_use

        try:
            held(folder).close()
        except StoreError:
            if not is_in_use(folder):  # it cannot be written, say
                raise
            return True
        return False

    def clear(self, folder: Path) -> None:
        """Remove the folder, and those that it is in as far as they were made from here and nothing has come into."""
        from raynas.storage.files import remove_empty_folder, remove_folder

        self.let_go()
        remove_folder(folder)
        for path in self._made:
            remove_empty_folder(path)


def _versions() -> Mapping[str, str]:
    import ray

    from raynas.cluster.installed import code_versions

    return {**code_versions(), "Ray": ray.__version__}


def _memory() -> dict[str, int]:
    """What there is and what is free, in the limits of a container."""
    from ray._common.utils import get_system_memory
    from ray._private.utils import get_used_memory

    total = get_system_memory()
    return {"total_bytes": int(total), "free_bytes": int(total - get_used_memory())}


def _disk(path: str) -> dict[str, Any]:
    import psutil

    usage = psutil.disk_usage(path)
    return {"path": path, "total_bytes": usage.total, "free_bytes": usage.free}


def _network(address: str) -> dict[str, Any]:
    """The interface that has the node's address, what gloo and NCCL are told instead, and what there is."""
    import psutil

    from raynas.cluster.interfaces import VARIABLES, interface_of

    told = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    return {"interface": interface_of(address), "told": told, "interfaces": sorted(psutil.net_if_addrs())}
