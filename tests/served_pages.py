"""Fixtures for pages of `raynas serve` in a browser; test modules name this one in `pytest_plugins`, beside
`report_browser`, and do not import it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import uvicorn

from raynas.serving.application import application
from raynas.serving.server import hosts_of, listening_at
from raynas.serving.watched import Watched

WAITS_MS = 120_000


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The address of a server over a folder, in a thread."""
    (tmp_path / "runs").mkdir()
    listening = listening_at("127.0.0.1", 0)
    config = uvicorn.Config(
        application(Watched(tmp_path / "runs"), hosts_of("127.0.0.1", True)), lifespan="off", log_level="warning"
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture
def shown(browser: Any, url: str) -> Iterator[Callable[..., Any]]:
    """Opens a page of the server, and fails at the end on any message on a console and any request to elsewhere."""
    problems: list[str] = []
    contexts = []

    def show(path: str = "", width: int = 1280, **settings: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        context.set_default_timeout(WAITS_MS)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request", lambda request: None if request.url.startswith((url, "data:")) else problems.append(request.url)
        )
        page.goto(url + path)
        return page

    yield show
    for context in contexts:
        context.close()
    assert problems == []
