"""A server that speaks S3, in a process of its own, and a proxy before it that does harm."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from raynas.storage.leases import SECONDS_VARIABLE
from raynas.storage.object_files import object_files
from raynas.storage.paths import ObjectPath

LEASE_S = 6.0
"""For how long leases last in tests: long enough for a busy machine."""


@contextmanager
def s3_server(host: str = "127.0.0.1") -> Iterator[str]:
    """A server with nothing in it; its endpoint."""
    with socket.create_server((host, 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://{host}:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{endpoint}/moto-api/").close()
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def made_bucket(endpoint: str) -> ObjectPath:
    """A new bucket."""
    name = f"bucket-{uuid4().hex[:12]}"
    own = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"}
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT", headers=own)).close()
    return ObjectPath("s3:", name)


def credentials(endpoint: str) -> dict[str, str]:
    """What the environment says of a server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_REGION": "us-east-1",
        SECONDS_VARIABLE: str(LEASE_S),
    }


def pointed_to(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process and those that it starts use a server."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in credentials(endpoint).items():
        monkeypatch.setenv(name, value)
    object_files.cache_clear()


class Request:
    """What a proxy has received.

    Args:
        method, key, headers, body: Its parts; the key is the path without the bucket, with its question.
    """

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.key = path.lstrip("/").partition("/")[2]


Harm = Callable[["Request"], str | None]
"""Says what becomes of a request: None; "500" or "403", refused at once; "500 after", done and said to have failed;
"lost", done without an answer; "hang", neither; "half", done, and the answer cut off; "hold", done when the proxy is
told."""


class Proxy:
    """A proxy for HTTP that forwards what it is asked, as it is, and does harm to some of it.

    Args:
        upstream: Where to forward to.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream.removeprefix("http://")
        self.requests: list[Request] = []
        self.harm: Harm = lambda request: None
        self.without: tuple[str, ...] = ()
        """Headers that are not forwarded."""
        self.held = threading.Event()
        """Set once a request is held."""
        self.released = threading.Event()
        """To be set so that those that are held go on."""
        self._is_over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def harms(self, what: str, *, times: int = 1, method: str = "PUT", key: str = "") -> None:
        """Do the same harm to the next requests of a method whose key has a text in it."""
        left = [times]

        def harm(request: Request) -> str | None:
            if request.method == method and key in request.key and left[0]:
                left[0] -= 1
                return what
            return None

        self.harm = harm

    def _forwarded(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in self.without}
        connection.request(request.method, request.path, request.body, headers)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, dict(self.headers), body)
                proxy.requests.append(request)
                harm = proxy.harm(request)
                if harm == "hang":
                    proxy._is_over.wait()
                if harm == "hold":
                    proxy.held.set()
                    proxy.released.wait()
                if harm in ("hang", "500", "403"):
                    self._send(403 if harm == "403" else 500, {}, b"<Error><Message>no</Message></Error>")
                    return
                status, headers, content = proxy._forwarded(request)
                if harm == "500 after":
                    status, content = 500, b"<Error><Message>no</Message></Error>"
                if harm == "lost":
                    self.close_connection = True
                    return
                self._send(status, headers, content, is_cut=harm == "half")

            def _send(self, status: int, headers: dict[str, str], content: bytes, *, is_cut: bool = False) -> None:
                self.send_response(status)
                length = headers.get("Content-Length", len(content)) if self.command == "HEAD" else len(content)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    with suppress(BrokenPipeError, ConnectionResetError):  # of a client that has given up, or is killed
                        self.wfile.write(content[: len(content) // 2] if is_cut else content)
                self.close_connection = is_cut

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@contextmanager
def python_process(code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs code beside the tests' helpers; it is killed in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
