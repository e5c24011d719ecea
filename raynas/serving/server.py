"""A server for the application: its address, who may ask it, and how it ends."""

from __future__ import annotations

import ipaddress
import socket
import warnings
import webbrowser
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import psutil
import uvicorn

from raynas.errors import ConfigError, RaynasWarning, error_words
from raynas.serving.application import application
from raynas.serving.watched import Watched

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ENDS_S = 2
_OPENS_S = 0.3


def serve_runs(
    where: str | Path, host: str, port: int, *, open_page: bool = False, on_ready: Callable[[str], None] = print
) -> None:
    """Serve the runs below a folder, until the process is interrupted.

    Args:
        where: The folder, or the URI of one in an object store.
        host: The address, or the name of one, at which to listen.
        port: The port; 0 takes a free one.
        open_page: Whether to open the page in a browser.
        on_ready: Told the address of the page, once it is there.

    Raises:
        ConfigError: The address is none of this machine, or the port is taken.
        StoreError: There is no such folder.
    """
    watched = Watched(where)
    listening = listening_at(host, port)
    address, found = listening.getsockname()[:2]
    is_loopback = ipaddress.ip_address(address.partition("%")[0]).is_loopback
    if not is_loopback:
        warnings.warn(
            f"whoever reaches port {found} of this machine may read the runs in {watched.folder}: nobody is asked who "
            "they are. Without --host, only this machine does",
            RaynasWarning,
            stacklevel=2,
        )
    config = uvicorn.Config(
        application(watched, hosts_of(host, is_loopback)),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_ENDS_S,
    )
    url = f"http://{_in_url(host, address)}:{found}/"
    on_ready(url)
    if open_page:
        opening = Timer(_OPENS_S, webbrowser.open, (url,))
        opening.daemon = True
        opening.start()
    with listening:
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:  # which is how it ends
            return


def listening_at(host: str, port: int) -> socket.socket:
    """A socket that listens there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"--host is {host!r}, which is no address of this machine: {error_words(error)}") from None
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()
    except OSError as error:
        found.close()
        raise ConfigError(
            f"port {port} of {host} cannot be listened at: {error_words(error)}. --port takes another one, and 0 any "
            "that is free"
        ) from None
    return found


def hosts_of(host: str, is_loopback: bool) -> list[str]:
    """What browsers may call this server: a name that anybody can let lead here is none of it."""
    hosts = [*_LOOPBACK, "[::1]", host]
    if not is_loopback:
        own = [one.address.partition("%")[0] for found in psutil.net_if_addrs().values() for one in found]
        hosts += [*own, socket.gethostname(), socket.getfqdn()]
    return list(dict.fromkeys(name.lower() for name in hosts if "*" not in name))


def _in_url(host: str, address: str) -> str:
    """The host as it stands in the address of the page: one that listens everywhere is reached here, too."""
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
