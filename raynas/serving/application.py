"""The application: paths to pages and JSON. It answers GET and HEAD alone, and only to names that are the server's.

What is sent cannot be framed or read by pages of others, is kept by nobody, and runs no script but the page's own.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raynas.errors import ConfigError, RaynasError, error_line, error_words
from raynas.report.asset_files import filled
from raynas.serving.watched import NoRunError, Watched

_LOOKS_AGAIN_S = 5

_HEADERS = {
    # Pages say by themselves what they load and run, which is their own script and style.
    "content-security-policy": "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def application(watched: Watched, hosts: Sequence[str]) -> Starlette:
    """The application over the runs of a folder.

    Args:
        watched: The folder.
        hosts: Names and addresses by which browsers may ask for it: a page of anybody's can make its own name lead
            here, but not make a browser ask by one of these.
    """
    return Starlette(
        routes=[
            Route("/", _page(lambda request: watched.list_page()), methods=["GET"]),
            Route("/runs.json", _json(lambda request: {"runs": watched.rows()}), methods=["GET"]),
            Route("/state.json", _json(lambda request: watched.state(_runs_of(request))), methods=["GET"]),
            Route("/compare", _page(lambda request: watched.comparison_page(_runs_of(request))), methods=["GET"]),
            Route("/runs/report.html", _page(lambda request: watched.run_page("")), methods=["GET"]),
            Route(
                "/runs/{name:path}/report.html",
                _page(lambda request: watched.run_page(request.path_params["name"])),
                methods=["GET"],
            ),
            Route("/runs", _to_page, methods=["GET"]),
            Route("/runs/{name:path}", _to_page, methods=["GET"]),
        ],
        middleware=[
            Middleware(_WithHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        ],
        exception_handlers={HTTPException: _refused},
    )


def _runs_of(request: Request) -> list[str]:
    return [str(name) for name in request.query_params.getlist("run")]


def _to_page(request: Request) -> Response:
    """Leads from the address of a run, or of all, without the name of its page to the page.

    Addresses are relative, so that they also lead there behind a proxy that serves the pages below a path.
    """
    last = request.url.path.rpartition("/")[2]
    if request.url.path in ("/runs", "/runs/"):
        return RedirectResponse("./" if last else "../")
    return RedirectResponse(f"./{last}/report.html" if last else "./report.html")


Answer = Callable[[Request], Response]


def _page(make: Callable[[Request], str]) -> Answer:
    """Answers with a page, also where a run is damaged or gone; Starlette has it made in a thread."""

    def answer(request: Request) -> Response:
        try:
            return HTMLResponse(make(request))
        except Exception as error:
            status, text = _told(error)
            return HTMLResponse(_error_page(request, status, text, looks_again=status == 404), status)

    return answer


def _json(make: Callable[[Request], Any]) -> Answer:
    def answer(request: Request) -> Response:
        try:
            return JSONResponse(make(request))
        except Exception as error:
            status, text = _told(error)
            return JSONResponse({"error": text}, status)

    return answer


def _told(error: Exception) -> tuple[int, str]:
    """The status and the text of an answer where there is no other: damaged runs come from anywhere."""
    if isinstance(error, NoRunError):
        return 404, str(error)
    if isinstance(error, ConfigError):
        return 400, str(error)
    if isinstance(error, RaynasError | OSError):
        return 422, error_words(error)
    return 500, f"no page can be made of this run: {error_line(error)}"


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = {404: "there is no such page", 405: "runs are only looked at here"}.get(error.status_code, error.detail)
    return HTMLResponse(_error_page(request, error.status_code, text), error.status_code, error.headers)


def _error_page(request: Request, status: int, text: str, *, looks_again: bool = False) -> str:
    # As many folders up as the path is deep, so that it also leads home behind a proxy that serves it below a path.
    home = "../" * max(0, request.url.path.count("/") - 1) or "./"
    title = "There is no such run" if status == 404 else "This cannot be shown"
    parts = {"title": title, "text": html.escape(text), "home": html.escape(home)}
    refresh = f'<meta http-equiv="refresh" content="{_LOOKS_AGAIN_S}">' if looks_again else ""
    again = "<p>If it begins, this page shows it.</p>" if looks_again else ""
    return filled("error.html", {**parts, "refresh": refresh, "again": again})


class _WithHeaders:
    """Adds the headers to whatever is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, sent)
