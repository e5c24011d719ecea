"""Names to objects: one mechanism for spaces, models, proxies and searchers.

Built-in members register themselves when their package is imported, which the registry does on first use. Members of
other wheels come in through entry points of the same group, so a third party's space needs no change here; and those of
a file of one's own by its path, FILE.py:NAME.

A member may stand for many: NAME@TEXT is what its function `variants` makes of the text, such as the space of the parts
of another largest network. Variants are looked up as members are, and are in no list.

A file is imported, and so run, only for those who named it. A program that calls a registry has; in the folder of a
run, which may come from anybody, such a name is data. `named_code` is the context in which that difference is known.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from hashlib import blake2b
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Generic, ParamSpec, TypeVar

from raynas.errors import ConfigError, RaynasError, UnknownNameError, error_line
from raynas.interruption import is_interrupt
from raynas.wording import meant, nearest

T = TypeVar("T")
P = ParamSpec("P")


def normalised(name: str) -> str:
    """The form in which names are compared: hyphens and underscores are the same."""
    return name.strip().lower().replace("-", "_")


def is_in_file(name: str) -> bool:
    """Whether a name is of the form FILE.py:NAME."""
    return name.rpartition(":")[0].endswith(".py")


def _parted(name: str) -> tuple[str, str | None]:
    """A name without what follows its @, and that text; None if it has none. Folders of files may have an @, too."""
    file, colon, own = name.rpartition(":") if is_in_file(name) else ("", "", name)
    base, at, text = own.partition("@")
    return file + colon + base, text if at else None


def file_hashes(given: Any) -> dict[str, str]:
    """What files of code held when they were imported: a hash of each, by its path as it is named.

    Args:
        given: Texts, also in lists and mappings; those of the form FILE.py:NAME count, whose file has been imported.
    """
    files = [text.rpartition(":")[0] for text in _texts(given) if is_in_file(text)]
    hashes = {file: _hashes.get(Path(file).expanduser().absolute()) for file in files}
    return {file: found for file, found in hashes.items() if found is not None}


# -- whose code is run -------------------------------------------------------------------------------------------------


class _Named:
    """Files of code that the user of a command or function has named.

    Args:
        trust_code: Whether all others may be run, too.
    """

    def __init__(self, trust_code: bool) -> None:
        self.trust_code = trust_code
        self.files: set[Path] = set()


_named: ContextVar[_Named | None] = ContextVar("named", default=None)
"""None: no command and no function of raynas's is at work, so whoever asks is the user's own program."""


@contextmanager
def named_code(*given: Any, trust_code: bool = False) -> Iterator[None]:
    """A context in which FILE.py:NAME is imported only if the user has named that file.

    Within another such context, that one decides: what is given here may come from a folder by then.

    Args:
        given: What the user gave: texts, also in lists and mappings; anything else is passed over.
        trust_code: Whether to import what others have named, too.
    """
    if _named.get() is not None:
        yield
        return
    token = _named.set(_Named(trust_code))
    try:
        name_code(given)
        yield
    finally:
        _named.reset(token)


def name_code(given: Any) -> None:
    """Take texts of the form FILE.py:NAME for named by the user, in the context that is at work.

    Args:
        given: A text, or lists and mappings with texts.
    """
    named = _named.get()
    if named is not None:
        named.files |= {_resolved(text) for text in _texts(given) if is_in_file(text)}


def names_own_code(given: Any) -> bool:
    """Whether there is a text of the form FILE.py:NAME in lists and mappings of any depth."""
    return any(map(is_in_file, _texts(given)))


def is_trusted() -> bool:
    """Whether folders may say what is run and where: the user has said so, or nothing here was read from one."""
    named = _named.get()
    return named is None or named.trust_code


def runs_named_code(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator of functions that users call: FILE.py:NAME is run if their arguments name it, or trust_code is true."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with named_code(args, kwargs, trust_code=bool(kwargs.get("trust_code"))):
            return function(*args, **kwargs)

    return called


def _texts(given: Any) -> Iterator[str]:
    if isinstance(given, str | Path):
        yield str(given)
    elif isinstance(given, Mapping):
        for value in given.values():
            yield from _texts(value)
    elif isinstance(given, list | tuple | set | frozenset):
        for value in given:
            yield from _texts(value)


def _resolved(text: str) -> Path:
    return Path(text.rpartition(":")[0]).expanduser().resolve()


def _check_named(file: Path) -> None:
    named = _named.get()
    if named is not None and not named.trust_code and file.resolve() not in named.files:
        raise ConfigError(
            f"{file} holds code that a folder names, and you have not: name it yourself, or allow all of the folder's "
            "with --trust-code if you know who wrote it"
        )


# -- registries --------------------------------------------------------------------------------------------------------


class Registry(Generic[T]):
    """Named objects of one kind.

    Args:
        kind: What a member is called in messages, such as "proxy".
        plural: What several members are called in messages, such as "proxies".
        package: Package whose import registers the built-in members; None if there are none.
        group: The group of the entry points that bring in further members; default raynas.<plural>.
    """

    def __init__(self, kind: str, plural: str, package: str | None = None, group: str | None = None) -> None:
        self.kind = kind
        self.plural = plural
        self.group = group or f"raynas.{plural}"
        self._package = package
        self._is_loaded = False
        self._members: dict[str, tuple[str, T | EntryPoint]] = {}
        self._files: dict[int, str] = {}  # by the identity of members that files of the user's brought
        self._variants: dict[str, T] = {}  # by what finds them again
        self._registered_in: dict[str, str] = {}  # by normalised name, the module of the user's file that did it

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an object under a name.

        Raises:
            RaynasError: The name is taken.
        """

        def add(member: T) -> T:
            if _being_imported and self._is_of_earlier_import(name, _being_imported[-1]):
                self._drop(name)  # a file that is imported anew replaces what it registered before
            self._add(name, member)
            if _being_imported:
                self._registered_in[normalised(name)] = _being_imported[-1].name
                _being_imported[-1].registered.append((self, name, _running_module()))
            return member

        return add

    def get(self, name: str) -> T:
        """The member of that name; hyphens and underscores are alike.

        Args:
            name: The name of the member; or FILE.py:NAME, which imports the file: NAME is what it registers under that
                name, or calls so. Either may be followed by @TEXT, for a variant of that member.

        Raises:
            UnknownNameError: There is none, or it has no variants; the message lists the known names.
            ConfigError: The file cannot be imported; or it is a folder that names it, and not the user.
            RaynasError: The text after the @ names no variant.
        """
        self._load()
        base, text = _parted(name)
        return self._member(base) if text is None else self._variant(base, text)

    def _member(self, name: str) -> T:
        if is_in_file(name):
            return self._in_file(name)
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
        """Whether a member has that name, or the one before an @; whether it has that variant, `get` says."""
        self._load()
        return normalised(_parted(name)[0]) in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _add(self, name: str, member: T | EntryPoint) -> None:
        if normalised(name) in self._members:
            raise RaynasError(f"two {self.plural} are named {name!r}")
        self._members[normalised(name)] = (name, member)

    def _is_of_earlier_import(self, name: str, now: _Import) -> bool:
        """Whether a file that is being imported registered a name when it was imported before."""
        is_new = any(
            registry is self and normalised(other) == normalised(name) for registry, other, _ in now.registered
        )
        return self._registered_in.get(normalised(name)) == now.name and not is_new

    def _drop(self, name: str) -> None:
        del self._members[normalised(name)]
        del self._registered_in[normalised(name)]

    def _variant(self, base: str, text: str) -> T:
        member = self._member(base)
        make = getattr(member, "variants", None)
        if make is None:
            raise UnknownNameError(f"{self.kind} {base!r} has no variants, so no @{text:.80} can follow its name")
        made = make(text)
        if made is member:
            return member
        reference = f"{self.reference(member)}@{made.name.partition('@')[2]}"
        found = self._variants.setdefault(reference, made)
        if id(member) in self._files:
            self._files[id(found)] = reference
        return found

    def _in_file(self, name: str) -> T:
        file, _, own = name.rpartition(":")
        module = _imported(Path(file).expanduser())
        member: Any = getattr(module, own, None)
        if self._registered_in.get(normalised(own)) == module.__name__:
            member = self.get(own)
        elif not hasattr(member, "name"):  # members have one; a function or a number that is called so has none
            raise UnknownNameError(f"{file} has no {self.kind} {own!r}. {self._has(module, own)}")
        found: T = member
        self._files[id(found)] = f"{Path(file).expanduser().absolute()}:{own}"
        return found

    def _has(self, module: ModuleType, wanted: str) -> str:
        """What a file has instead of what was wanted, in words: what it registers, and its objects of such a type."""
        types = {type(one) for _, one in self._members.values() if not isinstance(one, EntryPoint | type)}
        names = [
            shown for name, (shown, _) in self._members.items() if self._registered_in.get(name) == module.__name__
        ]
        if not types and self._members:  # none of those that are installed was needed yet
            types = {type(self.get(next(iter(self._members))))}
        kinds = tuple(types)
        names += [name for name, one in vars(module).items() if isinstance(one, kinds) and name not in names]
        return f"{meant(wanted, names)} It has: {', '.join(names) or 'none'}".strip()

    def reference(self, member: T) -> str:
        """What finds a member again, in another process too: its name, or FILE.py:NAME with the absolute path."""
        return self._files.get(id(member)) or str(member.name)  # type: ignore[attr-defined]

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True
        if self._package is not None:
            importlib.import_module(self._package)
        for entry in entry_points(group=self.group):
            self._add(entry.name, entry)

    def _unknown(self, name: str) -> UnknownNameError:
        if name.endswith(".py"):
            return UnknownNameError(f"{name!r} is a file; a {self.kind} in it is FILE.py:NAME, such as {name}:NAME")
        return UnknownNameError(
            f"unknown {self.kind} {name!r}.{self._hint(name)} Known {self.plural}: {', '.join(self.names())}"
        )

    def _hint(self, name: str) -> str:
        """What may help with a name that no member has, in words with a blank before them; empty where nothing does."""
        close = nearest(normalised(name), self._members)
        return f" Did you mean {self._members[close][0]!r}?" if close else ""


class _Import:
    """The import of a file of the user's.

    Args:
        name: The name of its module.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.registered: list[tuple[Registry[Any], str, str]] = []
        """Registry, name and module of each member that was registered meanwhile."""

    def undo(self) -> None:
        """Drop what modules have registered that are gone, so that they can be imported again."""
        for registry, name, module in self.registered:
            if module not in sys.modules:
                registry._drop(name)


_being_imported: list[_Import] = []
"""Imports of the user's files whose code is running; the last one is the innermost."""


_hashes: dict[Path, str] = {}
"""A hash of each imported file, by its absolute path; the file may have been edited since."""


class _ReadOnce(SourceFileLoader):
    """Runs the text that its hash is of.

    The file may be edited between two reads, and compiled code that lies beside it be of before an edit in the same
    second.
    """

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file as it is now, whose hash is kept."""
        content = self.get_data(self.path)
        _hashes[Path(self.path)] = blake2b(content, digest_size=8).hexdigest()
        code: CodeType = self.source_to_code(content, self.path)
        return code


def _running_module() -> str:
    """The name of the innermost module whose body is running."""
    frame = sys._getframe()
    while frame.f_code.co_name != "<module>" and frame.f_back is not None:
        frame = frame.f_back
    return str(frame.f_globals["__name__"])


def _imported(file: Path) -> ModuleType:
    """The module of a file, imported once; workers get its code by value."""
    path = file.absolute()
    name = f"raynas_file_{path.stem}_{blake2b(str(path).encode(), digest_size=4).hexdigest()}"
    if name in sys.modules:
        return sys.modules[name]
    _check_named(path)
    spec = importlib.util.spec_from_file_location(name, path, loader=_ReadOnce(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _being_imported.append(_Import(name))
    token = _named.set(None)  # what it asks for, it names itself
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # it is the user's code, which may call sys.exit
        del sys.modules[name]
        _being_imported[-1].undo()
        if is_interrupt(error):
            raise
        raise ConfigError(f"cannot import {file}: {error_line(error)}") from error
    finally:
        _named.reset(token)
        _being_imported.pop()
    return module
