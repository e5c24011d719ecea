"""Names to objects: one mechanism for spaces, models, proxies and searchers.

Built-in members register themselves when their package is imported, which the registry does on first use. Members of
other wheels come in through entry points of the same group, so a third party's space needs no change here.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from raynas.errors import RaynasError, UnknownNameError

if TYPE_CHECKING:
    from raynas.proxies.probe import Proxy
    from raynas.searchers.base import SearcherClass
    from raynas.space import SearchSpace

T = TypeVar("T")


def normalised(name: str) -> str:
    """The form in which names are compared: hyphens and underscores are the same."""
    return name.strip().lower().replace("-", "_")


class Registry(Generic[T]):
    """Named objects of one kind.

    Args:
        kind: What a member is called in messages, such as "proxy".
        plural: The same for several.
        package: Package whose import registers the built-in members; None if there are none.
        group: Of the entry points that bring in further members; default raynas.<plural>.
    """

    def __init__(self, kind: str, plural: str, package: str | None = None, group: str | None = None) -> None:
        self.kind = kind
        self.plural = plural
        self.group = group or f"raynas.{plural}"
        self._package = package
        self._is_loaded = False
        self._members: dict[str, tuple[str, T | EntryPoint]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an object under a name.

        Raises:
            RaynasError: The name is taken.
        """

        def add(member: T) -> T:
            self._add(name, member)
            return member

        return add

    def get(self, name: str) -> T:
        """The member of that name; hyphens and underscores are alike.

        Raises:
            UnknownNameError: There is none; the message lists the known names.
        """
        self._load()
        try:
            shown, member = self._members[normalised(name)]
        except KeyError:
            raise self._unknown(name) from None
        if isinstance(member, EntryPoint):
            member = member.load()
            self._members[normalised(name)] = (shown, member)
        return member

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(shown for shown, _ in self._members.values())

    def __contains__(self, name: str) -> bool:
        self._load()
        return normalised(name) in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _add(self, name: str, member: T | EntryPoint) -> None:
        if normalised(name) in self._members:
            raise RaynasError(f"two {self.plural} are named {name!r}")
        self._members[normalised(name)] = (name, member)

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        if self._package is not None:
            importlib.import_module(self._package)
        for entry in entry_points(group=self.group):
            self._add(entry.name, entry)

    def _unknown(self, name: str) -> UnknownNameError:
        close = difflib.get_close_matches(normalised(name), list(self._members), n=1)
        hint = f" Did you mean {self._members[close[0]][0]!r}?" if close else ""
        return UnknownNameError(f"unknown {self.kind} {name!r}.{hint} Known {self.plural}: {', '.join(self.names())}")


spaces: Registry[SearchSpace] = Registry("space", "spaces", group="raynas.searchspaces")
models: Registry[Callable[..., Any]] = Registry("model", "models", "raynas.models")
proxies: Registry[Proxy] = Registry("proxy", "proxies", "raynas.proxies")
searchers: Registry[SearcherClass] = Registry("searcher", "searchers", "raynas.searchers")
