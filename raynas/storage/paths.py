"""Paths of runs: on the disks of this machine, or in an object store, which text with a scheme names.

A path in a store is a `pathlib.Path` like others, so that whoever joins names to it need not know. Its text is its URI,
and whatever would look for it on a disk raises: all goes through `raynas.storage.files`.
"""

from __future__ import annotations

import importlib.util
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path, PosixPath, PurePath, PurePosixPath
from typing import Any, NoReturn

from raynas.errors import ConfigError
from raynas.installing import extra_line

SCHEMES = {"s3": "S3 and what speaks its protocol", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}
"""Schemes of the stores that run folders can be in, and what they are."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_COLLAPSED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_NAMED = re.compile(r"[^/?#%\\]+")


class ObjectPath(PosixPath):
    """A place in an object store: s3://BUCKET/NAME/NAME. Nothing below the bucket need be there."""

    if not hasattr(PurePath, "with_segments"):  # Python 3.11, whose own classes have slots alone
        __slots__ = ()

    def __str__(self) -> str:
        scheme, *names = self.parts
        return f"{scheme}//{'/'.join(names)}"

    def __fspath__(self) -> NoReturn:
        raise TypeError(f"{self} is in an object store, and no file of this machine: raynas.storage.files reads it")

    @property
    def bucket(self) -> str:
        """The URI of the bucket, or container, that the place is in."""
        scheme, bucket, *_ = self.parts
        return f"{scheme}//{bucket}"

    @property
    def key(self) -> str:
        """The name of the place in its bucket; empty for the bucket itself."""
        return "/".join(self.parts[2:])

    @property
    def parent(self) -> ObjectPath:
        """The folder that it is in; the bucket is in none."""
        return type(self)(*self.parts[:-1]) if self.key else self

    @property
    def parents(self) -> Sequence[ObjectPath]:  # type: ignore[override]
        """The folders that it is in, up to the bucket."""
        return tuple(type(self)(*self.parts[:length]) for length in range(len(self.parts) - 1, 1, -1))

    def is_absolute(self) -> bool:
        """A URI says where it is, whoever reads it."""
        return True

    def absolute(self) -> ObjectPath:
        """The path itself."""
        return self

    def expanduser(self) -> ObjectPath:
        """The path itself."""
        return self

    def resolve(self, strict: bool = False) -> ObjectPath:
        """The path without names that lead up; there are no links."""
        scheme, bucket, *names = self.parts
        return type(self)(scheme, bucket, *PurePosixPath(posixpath.normpath("/" + "/".join(names))).parts[1:])

    def is_symlink(self) -> bool:
        """There are no links."""
        return False

    def relative_to(self, other: Any, *more: Any, **settings: Any) -> PurePosixPath:  # type: ignore[override]
        """The names that lead here from a folder above."""
        return PurePosixPath(*self.parts).relative_to(PurePosixPath(*type(self)(other, *more).parts), **settings)

    def iterdir(self, *given: Any, **more: Any) -> NoReturn:
        """Nothing on a disk is in it."""
        self.__fspath__()

    glob = rglob = walk = iterdir  # each takes another way to the disk, in one version of Python or another


def as_path(text: str | Path) -> Path:
    """What a user names a file or folder by, as a path: the one reader of such texts.

    Args:
        text: A path on a disk, or the URI of a place in an object store; also one whose two slashes have become one,
            as in what `pathlib.Path` makes of it.

    Raises:
        ConfigError: The scheme is no store's, the URI is incomplete, or a package is missing.
    """
    if isinstance(text, ObjectPath):
        return text
    if isinstance(text, Path) and is_collapsed(text):
        text = str(text).replace(":/", "://", 1)
    match = _SCHEME.match(str(text))
    if match is None:
        return Path(text)
    scheme, names = match[1], str(text)[match.end() :].rstrip("/").split("/")
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}:// ({what})" for name, what in SCHEMES.items())
        raise ConfigError(f"{text} is in no store that is known: a run folder is on a disk, or begins with {known}")
    if not all(_NAMED.fullmatch(name) and name not in (".", "..") for name in names):
        raise ConfigError(
            f"{text} names no place in a store: it is {scheme}://BUCKET/NAME/NAME, without ? # % or \\ in it"
        )
    if importlib.util.find_spec("obstore") is None:
        raise ConfigError(f"{text} is in an object store, for which a package is missing: {extra_line('storage')}")
    return ObjectPath(f"{scheme}:", *names)


def is_collapsed(path: Path) -> bool:
    """Whether a path is what `pathlib.Path` makes of a URI."""
    return not isinstance(path, ObjectPath) and _COLLAPSED.match(str(path)) is not None


def on_a_disk(path: Path, what: str) -> Path:
    """The path, if it is none in an object store.

    Args:
        path: The path.
        what: What is written there, for the message, and why it must be on a disk.

    Raises:
        ConfigError: It is in a store.
    """
    if isinstance(path, ObjectPath):
        raise ConfigError(f"{what}: name a folder on a disk in place of {path}")
    return path
