"""What errors of Ray and Ray Train are about, without the pages that they put around it."""

from __future__ import annotations

import re

from ray.exceptions import RayActorError
from ray.train.v2.api.exceptions import WorkerGroupError

from raynas.errors import error_line

_IN_CREATION = "error raised in its creation task"


def in_words(error: BaseException) -> str:
    """What became of a worker, in one line; Ray tells the loss of a process in a paragraph."""
    if not isinstance(getattr(error, "health_check_failure", error), RayActorError):
        return error_line(error)
    if _IN_CREATION in (text := str(error)):  # it was never there; Ray's text ends with what it raised
        return text.strip().rpartition("\n")[2]
    found = re.search(r"hostname='([^']*)'.*?\bpid=(\d+)", text, re.DOTALL)
    return f"its process {found[2]} on {found[1]} was lost" if found else "its process was lost"


def causes_of(failure: BaseException) -> list[BaseException]:
    """What went wrong, without what Ray Train puts around it; of several workers, each one's."""
    if isinstance(failure, WorkerGroupError) and failure.worker_failures:
        return [cause for error in failure.worker_failures.values() for cause in causes_of(error)]
    within = getattr(failure, "controller_failure", None) or getattr(failure, "cause", None)
    return causes_of(within) if isinstance(within, BaseException) else [failure]
