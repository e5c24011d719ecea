"""`raynas serve` as a process: its address, who it warns, requests as they are on the wire, how it ends."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from report_folders import sampled_rows, write_folder

from raynas import api
from raynas.cli import main
from raynas.errors import ConfigError
from raynas.serving.server import hosts_of

ADDRESS = re.compile(r"at http://([^:]+|\[[^\]]+\]):(\d+)/")


@contextmanager
def served(folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A server in a process of its own, with the host and port that it says."""
    command = [sys.executable, "-m", "raynas.cli", "serve", str(folder), "--port", "0", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = ADDRESS.search(line)
        assert found is not None, (line, process.stderr.read() if process.stderr else "")
        yield process, found[1], int(found[2])
    finally:
        process.kill()
        process.communicate()


def asked(port: int, path: str, *, host: str = "127.0.0.1", **headers: str) -> tuple[int, str]:
    """The answer to a path that no library tidies before it is sent."""
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    write_folder(folder / "runs" / "one", sampled_rows(2))
    write_folder(folder / "outside", sampled_rows(2))
    return folder / "runs"


def test_it_serves_this_machine_alone_until_it_is_interrupted(folder: Path) -> None:
    with served(folder) as (process, host, port):
        assert host == "127.0.0.1"
        assert asked(port, "/")[0] == 200
        for path in ("/runs/../../outside/report.html", "/runs/%2e%2e/outside/report.html", "//runs/one/report.html"):
            status, text = asked(port, path)
            assert (status, "as-vit" in text) == (404, False)
        assert asked(port, "/", Host="evil.example")[0] == 400
        with pytest.raises(OSError):
            asked(port, "/", host=own_address())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")


def own_address() -> str:
    """An address of this machine that is not 127.0.0.1, at which what listens everywhere would be reached."""
    return "127.0.0.2" if sys.platform == "linux" else socket.gethostbyname(socket.gethostname())


def test_whoever_listens_for_others_is_warned(folder: Path) -> None:
    with served(folder, "--host", "0.0.0.0") as (process, _, port):
        assert asked(port, "/runs.json", host=own_address(), Host="localhost")[0] == 200
        assert asked(port, "/runs.json", Host="evil.example")[0] == 400
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err.startswith(f"raynas: whoever reaches port {port} of this machine may read the runs in {folder}")
    assert err.count("\n") == 1


def test_names_of_the_machine_are_answered_where_others_may_read() -> None:
    assert socket.gethostname().lower() in hosts_of("0.0.0.0", False)
    assert "*" not in hosts_of("*", False)
    assert hosts_of("127.0.0.1", True) == ["localhost", "127.0.0.1", "::1", "[::1]"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a command is refused."""
    with pytest.raises(SystemExit) as end:
        main(["serve", *arguments])
    out, err = capsys.readouterr()
    assert (end.value.code, out, err.count("\n")) == (1, "", 1)
    return err.removeprefix("raynas: ").rstrip("\n")


def test_wrong_input_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refused(capsys, str(folder), "--port", port)
        assert line.startswith(f"port {port} of 127.0.0.1 cannot be listened at: Address already in use. --port takes")
    assert refused(capsys, str(folder), "--port", "70000").startswith("--port is 70000; it is from 0")
    assert refused(capsys, str(folder), "--host", "no.such.host.invalid").startswith("--host is 'no.such.host.invalid'")
    assert refused(capsys, str(folder / "nowhere"), "--port", "0").startswith(
        f"there is no folder {folder / 'nowhere'}: `mkdir -p "
    )


def test_missing_packages_are_named_with_what_installs_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raynas.api.servings._PACKAGES", ("starlette", "no_such_package"))
    with pytest.raises(ConfigError, match=r"needs the package no_such_package: \w+ .*serve"):
        api.serve(folder)
