"""The files that pages are made of, as they are installed with raynas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def asset(*names: str) -> str:
    """The text of some files, one after another."""
    folder = files("raynas.report") / "assets"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def filled(name: str, parts: Mapping[str, str]) -> str:
    """A page's template with its parts in the places that name them in double braces.

    Args:
        name: The file of the template.
        parts: What stands for each name; it is not looked into.
    """
    return _PLACEHOLDER.sub(lambda match: parts[match[1]], asset(name))
