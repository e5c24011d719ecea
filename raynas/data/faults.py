"""All that is wrong with a data set in one message, so that nobody mends it and is refused for the next thing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from raynas.errors import DataError, RaynasError


class Faults:
    """Errors that are collected first, and raised together.

    Args:
        others: Those that it begins with.
    """

    def __init__(self, others: Faults | None = None) -> None:
        self._errors: list[RaynasError] = [] if others is None else [*others._errors]

    def __bool__(self) -> bool:
        return bool(self._errors)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """A context whose error is kept, and raised by `check`."""
        try:
            yield
        except RaynasError as error:
            self._errors.append(error)

    def check(self) -> None:
        """Raise what was collected.

        Raises:
            RaynasError: The only error, as it was; or a DataError that says what all of them do.
        """
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            first, *others = dict.fromkeys(map(str, self._errors))
            data = first.partition(": ")[0] + ": "  # which begins all that is about the same data
            raise DataError("; and ".join([first, *(text.removeprefix(data) for text in others)]))
