"""Runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raynas.errors import ConfigError
from raynas.storage.paths import as_path

if TYPE_CHECKING:
    from raynas.report.compared import Comparison


def compare(runs: Sequence[str | Path], *, out: str | Path | None = None) -> Comparison:
    """Set runs side by side: what they came to, and what differs between their settings.

    Runs of one kind, such as searches, are compared by all that they say, with their courses on the page; of different
    kinds, by what all have in common.

    Args:
        runs: Two run folders or more, finished or not, or their URIs in an object store.
        out: FILE.html for a self-contained page; None: none is written.

    Raises:
        ConfigError: There are fewer than two runs, or one of them twice; `out` is no HTML file.
        StoreError: One holds no run, or one that cannot be read; the page cannot be written.
    """
    from raynas.report.compared import compare_runs
    from raynas.report.compared_page import comparison_data
    from raynas.report.page import page
    from raynas.storage.files import exists, is_folder, make_folder, write_text

    path = None if out is None else as_path(out)
    if path is not None:
        if path.suffix.lower() not in (".html", ".htm"):
            raise ConfigError(f"--out is {str(path)!r}; a page is FILE.html")
        if exists(path) and is_folder(path):
            raise ConfigError(f"--out is {str(path)!r}, which is a folder; a page is FILE.html")
    found = compare_runs(runs)
    if path is not None:
        make_folder(path.parent)
        write_text(path, page(comparison_data(found)))
    return found
