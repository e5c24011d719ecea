"""Spaces and proxies as a caller gives them: by name, or themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raynas.config import several
from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path

if TYPE_CHECKING:
    from raynas.proxies.probe import Proxy

ArchitectureSource = str | Path | Architecture | Mapping[str, object]
"""A run folder, a file with one architecture, or an architecture as a value, JSON or text."""


def space_name(space: str | SearchSpace | None) -> str | None:
    """How a configuration calls a space."""
    return space.name if isinstance(space, SearchSpace) else space


def own_space(space: str | SearchSpace | None) -> SearchSpace | None:
    """The space itself, where it is not named."""
    return space if isinstance(space, SearchSpace) else None


def named_proxies(given: Sequence[str | Proxy]) -> tuple[list[str], list[Proxy]]:
    """Names of all proxies, and those that are not registered."""
    entries = several(given)
    own = [entry for entry in entries if not isinstance(entry, str)]
    return [entry if isinstance(entry, str) else entry.name for entry in entries], own


def reused(given: Sequence[str | Path]) -> list[Path]:
    """Folders of other runs whose scores are taken."""
    return [as_path(folder) for folder in several(given)]


def source_text(source: ArchitectureSource) -> str:
    """A source as `raynas.storage.sources.read_source` takes it."""
    if isinstance(source, Path):
        return str(as_path(source))
    return json.dumps(dict(source)) if isinstance(source, Mapping) else str(source)
