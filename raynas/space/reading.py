"""Reads an architecture from what people type: JSON, a published name, or a space's own text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from raynas.errors import SpaceError
from raynas.space.architecture import Architecture
from raynas.wording import first_of, nearest

_NAME = re.compile(r"[a-z][\w.+-]{0,79}", re.IGNORECASE)
_SHOWN = 24  # names, in messages


def parsed(
    text: str, space: str, named: Mapping[str, Architecture], parse: Callable[[str], Architecture] | None
) -> Architecture:
    """An architecture from a text, not checked.

    Args:
        text: The text.
        space: The space's name, for messages.
        named: Published architectures, by their names, of which upper and lower case are the same.
        parse: Reads the space's own text; None: it has none.

    Raises:
        SpaceError: The text cannot be read; where it is nearly a published name, the message has that alone.
    """
    if text.lstrip().startswith("{"):
        return Architecture.from_json(text)
    for name, architecture in named.items():
        if name.lower() == text.strip().lower():
            return architecture
    if parse is None:
        refusal = f"space {space!r}: an architecture is a JSON object{names_first(named, ' or one of ')}, not {text!r}"
    else:
        try:
            return parse(text)
        except SpaceError as error:
            refusal = str(error)
    if (meant := published(text, named)) is not None:
        raise SpaceError(f"space {space!r} has no architecture {text.strip()!r}; did you mean {meant!r}?")
    if parse is not None and is_like_a_name(text):
        refusal = f"{names_first(named, f'space {space!r} has by name ', '; ')}{refusal}"
    raise SpaceError(refusal)


def is_like_a_name(text: str) -> bool:
    """Whether a text may be meant for the name of an architecture, not for its fields."""
    return _NAME.fullmatch(text.strip()) is not None


def published(text: str, names: Iterable[str]) -> str | None:
    """The published name that a text with a slip in it may be meant for; None where it is like none."""
    return nearest(text.strip(), names) if is_like_a_name(text) else None


def names_first(names: Iterable[str], before: str = "", after: str = "") -> str:
    """The published names, with words around them; empty where there are none."""
    known = list(dict.fromkeys(names))
    return f"{before}{first_of(known, _SHOWN)}{after}" if known else ""
