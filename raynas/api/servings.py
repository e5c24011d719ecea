"""Runs in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from raynas.errors import ConfigError
from raynas.installing import missing_packages_line

_PACKAGES = ("starlette", "uvicorn")


def serve(
    folder: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    open_page: bool = False,
    on_ready: Callable[[str], None] = print,
) -> None:
    """Serve the runs below a folder to browsers: their list, their pages while they go on, runs side by side.

    It goes on until the process is interrupted, and writes nothing. Whoever reaches the address may read.

    Args:
        folder: The folder, or the URI of one in an object store.
        host: The address at which to listen. The default is reached from this machine alone.
        port: The port; 0 takes a free one.
        open_page: Whether to open the page in a browser.
        on_ready: Told the address of the page, once it is there.

    Raises:
        ConfigError: Packages are missing, the port is taken, or the address is none of this machine.
        StoreError: There is no such folder.
    """
    if missing := missing_packages_line(_PACKAGES, "serve"):
        raise ConfigError(f"raynas serve {missing}")
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port is {port}; it is from 0, which takes a free one, to 65535")
    from raynas.serving.server import serve_runs

    serve_runs(folder, host, port, open_page=open_page, on_ready=on_ready)
