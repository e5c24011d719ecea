"""Copies of what is in object stores, on a disk of this machine: images and weights, which are read again and again.

A copy is of one content: its folder is named after what the store says of all objects in it, and comes to be by a
rename once all are there. So whoever reads one reads it to the end, though the objects are replaced meanwhile; and of
several processes of a machine, one fetches, and the others wait for it. A copy stays until somebody removes it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from raynas.storage.buckets import Bucket, Found
from raynas.storage.files import exists, is_folder, make_folder, move, write_atomically
from raynas.storage.local_files import waited_lock
from raynas.storage.paths import ObjectPath
from raynas.wording import duration, plural

FOLDER_VARIABLE = "RAYNAS_CACHE"
"""What names the folder of the copies on a machine; default: raynas in XDG_CACHE_HOME, or in ~/.cache."""

_SAID_EVERY_S = 10.0
_AT_ONCE = 8
_MAGIC = re.compile(r"[*?\[]")
_STRANGE = re.compile(r"[^A-Za-z0-9._-]+")


def on_stderr(line: str) -> None:
    """Show a line for people where nobody else takes it."""
    print(line, file=sys.stderr, flush=True)


_say: ContextVar[Callable[[str], None]] = ContextVar("say", default=on_stderr)


@contextmanager
def told_to(say: Callable[[str], None]) -> Iterator[None]:
    """A context in which a function takes the lines on what is fetched; elsewhere they go to standard error."""
    token = _say.set(say)
    try:
        yield
    finally:
        _say.reset(token)


def cache_folder() -> Path:
    """The folder of the copies on this machine, which need not be there."""
    if own := os.environ.get(FOLDER_VARIABLE):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raynas"


def on_this_machine(path: Path) -> Path:
    """Where programs can read a path: itself or, of one in an object store, a copy of it, which is fetched if need be.

    Args:
        path: A file or folder; in a store also a pattern with *, ? or [ in it, which the copy of what fits has, too.

    Raises:
        FileNotFoundError: Nothing is there in the store.
        OSError: The store cannot be reached, or the disk is full.
    """
    if not isinstance(path, ObjectPath):
        return path
    bucket = Bucket(path.bucket)
    objects, inside = _objects(bucket, path)
    folder = cache_folder() / _name(path, objects)
    if not is_folder(folder):
        _fetch(bucket, path, objects, folder)
    return folder / inside


class _Object(NamedTuple):
    """An object, and what its copy is called in the folder of all."""

    name: str
    found: Found


def _objects(bucket: Bucket, path: ObjectPath) -> tuple[list[_Object], str]:
    """What a path in a store names, and where in the folder of the copies it is."""
    magic = next((at for at, name in enumerate(path.parts) if at > 1 and _MAGIC.search(name)), len(path.parts))
    is_pattern = magic < len(path.parts)
    if not is_pattern and path.key and (found := bucket.find(path.key)) is not None:
        return [_Object(path.name, found)], path.name
    top, patterns = type(path)(*path.parts[:magic]), path.parts[magic:]
    below = [_Object(found.key[len(top.key) :].lstrip("/"), found) for found in bucket.below(top.key)]
    folders = {"/".join(parts[:end]) for name, _ in below for parts in [name.split("/")] for end in range(len(parts))}
    objects = sorted(
        (one for one in below if one.name not in folders and (not is_pattern or _fits(one.name.split("/"), patterns))),
        key=lambda one: one.name,
    )
    if not objects:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    for name, found in objects:
        if any(part in ("", ".", "..") for part in name.split("/")):  # of whoever writes into the bucket
            raise OSError(errno.EINVAL, f"the object {found.key!r} has a name that no file has", str(path))
    return objects, "/".join(patterns)


def _fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the names of a path are what patterns stand for, each for one, and ** for any number of them."""
    if not patterns:
        return not names
    if patterns[0] == "**":
        return _fits(names, patterns[1:]) or (bool(names) and _fits(names[1:], patterns))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and _fits(names[1:], patterns[1:])


def _name(path: ObjectPath, objects: Sequence[_Object]) -> str:
    """The name of the folder of copies: another one whenever one of the objects has another content."""
    digest = blake2b(str(path).encode(), digest_size=12)
    for name, found in objects:
        told = (*astuple(found.tag), "" if any(astuple(found.tag)) else found.written.isoformat())
        digest.update(repr((name, found.size, *told)).encode())
    return f"{_STRANGE.sub('_', path.name)[:60]}-{digest.hexdigest()}"


def _fetch(bucket: Bucket, path: ObjectPath, objects: Sequence[_Object], folder: Path) -> None:
    """Have the objects in a folder, by this process or by another one that has begun before."""
    make_folder(folder.parent)
    with waited_lock(folder.with_name(f"{folder.name}.lock"), is_shared=False):
        if is_folder(folder):
            return
        part = folder.with_name(f"{folder.name}.part")
        make_folder(part)
        missing = [one for one in objects if not exists(part / one.name)]  # others an earlier process has fetched
        size = sum(one.found.size for one in missing)
        if (free := shutil.disk_usage(part).free) < size:
            told = (
                f"it takes {_megabytes(size)}, and {_megabytes(free)} are free in {folder.parent}: make room there, or "
                f"name another folder by {FOLDER_VARIABLE}"
            )
            raise OSError(errno.EFBIG, told, str(path))
        _Fetching(bucket, path, part).carry_out(missing, size)
        move(part, folder)


class _Fetching:
    """Fetches objects into a folder, and says how far it is."""

    def __init__(self, bucket: Bucket, path: ObjectPath, folder: Path) -> None:
        self._bucket, self._path, self._folder = bucket, path, folder

    def carry_out(self, objects: Sequence[_Object], size: int) -> None:
        """Fetch all objects, which have so many bytes together."""
        say = _say.get()
        say(
            f"fetching {self._path} ({plural(len(objects), 'file', 'files')}, {_megabytes(size)}) to "
            f"{self._folder.parent}"
        )
        started = said = monotonic()
        done = 0
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                for fetched in pool.map(self._one, objects):
                    done += fetched
                    if monotonic() - said > _SAID_EVERY_S:
                        said = monotonic()
                        say(f"fetching {self._path}: {_megabytes(done)} of {_megabytes(size)}")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        say(f"fetched {self._path} in {duration(monotonic() - started)}")

    def _one(self, one: _Object) -> int:
        """Write the copy of an object, under its name once it is whole; its size."""
        file, key = self._folder / one.name, one.found.key
        make_folder(file.parent)
        with write_atomically(file, is_durable=False) as opened:
            found = self._bucket.read_into(key, opened)
            if (found.tag, found.size) != (one.found.tag, one.found.size):
                raise OSError(errno.ESTALE, "it was replaced while it was fetched", f"{self._bucket.uri}/{key}")
        return found.size


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"
