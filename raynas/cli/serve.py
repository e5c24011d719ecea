"""raynas serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raynas.cli.options import Parameters, argument, option

EXAMPLES = """
Examples:

    raynas serve runs

    raynas serve runs --port 0 --open

    raynas serve /shared/runs --host 0.0.0.0
"""


def parameters() -> Parameters:
    """Arguments of `raynas.api.serve`."""
    return [
        argument("folder", Path, "The folder of the runs, or its URI in an object store.", is_required=True),
        option(
            "host",
            str,
            "The address at which to listen; 0.0.0.0 lets everybody read who reaches this machine. Default 127.0.0.1, "
            "which this machine alone reaches.",
        ),
        option("port", int, "The port; 0 takes a free one. Default 8000."),
        option("open_page", bool, "Open the page in a browser.", "--open"),
    ]


def serve(*, folder: Path, **given: Any) -> None:
    """Serve the runs below a folder to a browser: their list, their pages while they go on, runs side by side."""
    from raynas import api
    from raynas.console.terminal import say

    def on_ready(url: str) -> None:
        say(f"runs in {folder} at {url} (Ctrl-C ends)", stderr=False)

    api.serve(folder, on_ready=on_ready, **given)
