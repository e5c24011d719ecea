"""The errors raynas raises on purpose, and any error as a line of text; every other error of ours is a defect."""

from __future__ import annotations

import errno
import os

_LONGEST_LINE = 500  # characters of an error that are told where it is one of many
LONGEST_MESSAGE = 2000
"""Characters of an error that a command ends with, which may list what is known."""


class RaynasError(Exception):
    """Base of all errors that a user can cause and mend."""


class UnknownNameError(RaynasError, KeyError):
    """A space, model, proxy, searcher or setting that does not exist; the message lists those that do."""

    def __str__(self) -> str:
        # KeyError would print the message in quotes.
        return str(self.args[0]) if self.args else ""


class ConfigError(RaynasError, ValueError):
    """A setting, or a combination of settings, that cannot be run."""


class SpaceError(RaynasError, ValueError):
    """An architecture outside its space's grammar, or text that cannot be read as one."""


class DataError(RaynasError, ValueError):
    """Images or labels that cannot be read."""


class StoreError(RaynasError, RuntimeError):
    """A run folder that cannot be used: locked, of another run, or not writable."""


class ProxyError(RaynasError, RuntimeError):
    """A proxy that cannot be computed on this model."""


class NotApplicableError(ProxyError):
    """The model lacks something that a proxy needs; the message names it."""


class PoolError(RaynasError, RuntimeError):
    """Workers that cannot be started or reached."""


class ClusterLostError(PoolError):
    """The cluster that a run was carried out on is gone; what is done is stored, and can be gone on with elsewhere."""


class TrainingError(RaynasError, RuntimeError):
    """A training that cannot go on."""


class RaynasWarning(UserWarning):
    """What is not as it should be, and keeps nothing from going on; commands print it as a line."""


def on_one_line(text: str, most: int = _LONGEST_LINE) -> str:
    """A text of any length and content as one line, which any terminal and file takes.

    Runs of white space become a space; characters that cannot be printed, such as the escapes of terminals, NUL and
    lone surrogates, are written as backslash escapes.

    Args:
        text: The text.
        most: How many characters the line has at most.
    """
    line = printable(" ".join(text[: 20 * most].split()))
    return line if len(line) <= most else f"{line[: most - 4]} ..."


def printable(text: str) -> str:
    """A text in which all is escaped that would steer a terminal, break a line, or cannot be encoded."""
    if text.isprintable():
        return text
    steering = {char for char in text if not char.isprintable()}
    return text.translate({ord(char): char.encode("unicode_escape", "surrogatepass").decode() for char in steering})


def error_line(error: BaseException) -> str:
    """The class and the text of an error as one line, whatever the error is; of a group, its first member too."""
    line = f"{type(error).__name__}: {text_of(error)}"
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
        line += f", the first of them {type(error).__name__}: {text_of(error)}"
    return on_one_line(line.removesuffix(": "))


def error_words(error: BaseException) -> str:
    """The text of an error as one line, without its class; of an OSError, the reason alone, without number and file."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk is full ({os.strerror(error.errno)})"
        if error.strerror and isinstance(error.strerror, str):
            return on_one_line(error.strerror)
    return on_one_line(text_of(error))


def text_of(error: BaseException) -> str:
    """The whole text of an error, also where to make one raises."""
    try:
        return str(error)
    except BaseException as failure:  # it is the user's code
        return f"(its text cannot be read, as that raises {type(failure).__name__})"
