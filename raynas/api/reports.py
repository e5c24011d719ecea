"""Pages from run folders."""

from __future__ import annotations

from pathlib import Path

from raynas.storage.paths import as_path


def report(folder: str | Path) -> Path:
    """Write report.html, one self-contained page, into a run folder, finished or not.

    Returns:
        The page.

    Raises:
        StoreError: The folder holds no run, one of a kind that has no report, or cannot be written.
    """
    from raynas.report.page import write_report

    return write_report(as_path(folder))
