"""Pages from run folders."""

from __future__ import annotations

from pathlib import Path


def report(folder: str | Path) -> Path:
    """Write report.html, one self-contained page, into a run folder, finished or not.

    Returns:
        The page.

    Raises:
        StoreError: The folder holds no run, one of a kind that has no report, or cannot be written.
    """
    from raynas.report.page import write_report

    return write_report(Path(folder))
