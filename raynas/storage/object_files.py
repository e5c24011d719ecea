"""Files of runs in an object store: a file is an object, a folder the beginning of the names of those in it.

An object is written by one request, so that there are no temporary files, and nothing is half there. The lock of a
folder is a lease; while this process has one, it makes sure of it before each change in that folder.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import IO

from raynas.storage.buckets import Bucket, Found, Outdated
from raynas.storage.leases import Lease, Leases
from raynas.storage.paths import ObjectPath

_IN_MEMORY_BYTES = 64 << 20
_LEASE_REQUEST_S = 10.0  # as for other tries of a lease, well below the time that it lasts
_APPENDS = 10


@lru_cache(maxsize=64)
def object_files(bucket: str) -> ObjectFiles:
    """The files in the bucket with a URI: one for all that this process does there, with the leases that it has."""
    return ObjectFiles(bucket)


class ObjectFiles:
    """The files in one bucket.

    Args:
        bucket: The URI of the bucket.
    """

    has_folders = False

    def __init__(self, bucket: str) -> None:
        self._bucket = Bucket(bucket)
        self._leases = Leases(Bucket(bucket, _LEASE_REQUEST_S, outage_s=_LEASE_REQUEST_S))

    def exists(self, path: Path) -> bool:
        """Whether an object is there, or one below."""
        return self._found(path) is not None or self.is_folder(path)

    def is_folder(self, path: Path) -> bool:
        """Whether an object is below."""
        return self._bucket.has_below(_key(path))

    def read(self, path: Path) -> bytes:
        """The content of an object."""
        return self._bucket.read(_key(path))[0]

    @contextmanager
    def open(self, path: Path) -> Iterator[IO[bytes]]:
        """A copy of an object to read from, in memory or, if it is large, in a temporary file."""
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
            self._bucket.read_into(_key(path), file)
            file.seek(0)
            yield file

    def version(self, path: Path) -> str | None:
        """The tag of an object."""
        found = self._found(path)
        return None if found is None else f"{found.tag.e_tag} {found.tag.version}"

    def written_at(self, path: Path) -> datetime | None:
        """When an object was written, by the store's clock."""
        found = self._found(path)
        return None if found is None else found.written

    def names(self, folder: Path) -> list[str]:
        """What is directly in a folder, sorted by name."""
        return self._bucket.names(_key(folder))

    def below(self, folder: Path) -> list[Path]:
        """All objects below, by one request for each thousand of them."""
        bucket = ObjectPath(self._bucket.uri)
        return sorted(bucket / found.key for found in self._bucket.below(_key(folder)))

    @contextmanager
    def write(self, path: Path, *, once: bool, is_durable: bool) -> Iterator[IO[bytes]]:
        """A file in memory, which becomes an object when the block has ended; it is durable by then, as all are."""
        content = io.BytesIO()
        yield content
        self._make_sure(path)
        if once:
            self._bucket.create(_key(path), content.getvalue())
        else:
            self._bucket.put(_key(path), content.getbuffer())

    def append(self, path: Path, content: bytes) -> None:
        """Put content at the end of an object, which is written anew."""
        for _ in range(_APPENDS):
            self._make_sure(path)
            try:
                try:
                    before, found = self._bucket.read(_key(path))
                except FileNotFoundError:
                    self._bucket.create(_key(path), content)
                else:
                    self._bucket.replace(_key(path), before + content, found.tag)
                return
            except (FileExistsError, Outdated):  # by another one, meanwhile
                continue
        raise OSError(errno.EAGAIN, "others write to it all the time", str(path))

    def move(self, path: Path, to: Path) -> None:
        """Give an object another name: it has both for a moment."""
        self.copy(path, to)
        self.remove(path)

    def copy(self, path: Path, to: Path) -> None:
        """Keep what an object holds under another name too; the store copies it."""
        if self._found(path) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self._make_sure(to)
        self._bucket.copy(_key(path), _key(to))

    def remove(self, *paths: Path) -> None:
        """Remove objects, those that are there, by one request."""
        for path in paths:
            self._make_sure(path)
        self._bucket.remove(*map(_key, paths))

    def remove_folder(self, path: Path) -> None:
        """Remove all objects below, if there are any."""
        self._make_sure(path)
        self._bucket.remove(*(found.key for found in self._bucket.below(_key(path))))

    def remove_empty_folder(self, path: Path) -> None:
        """Nothing, as a folder in which there is nothing is not there."""

    def make_folder(self, path: Path) -> None:
        """Nothing, as a folder is there with the first object in it."""

    def holder(self, path: Path) -> str | None:
        """Who has a lease, which is watched for as long as it lasts."""
        return self._leases.holder(_key(path))

    def lock(self, path: Path, holder: str) -> Lease:
        """Take a lease, after watching it for as long as it lasts where it was not given back."""
        return self._leases.take(_key(path), holder)

    def check_lock(self, path: Path) -> None:
        """Raise an OSError if this process is known to have lost the lease on the folder that a path is in."""
        if (lease := self._leases.lease_on(_key(path))) is not None:
            lease.check(renews=False)

    def _make_sure(self, path: Path) -> None:
        """Raise an OSError unless this process has the lease on the folder that a path is in, if it had it."""
        if (lease := self._leases.lease_on(_key(path))) is not None:
            lease.check()

    def _found(self, path: Path) -> Found | None:
        key = _key(path)
        return self._bucket.find(key) if key else None


def _key(path: Path) -> str:
    assert isinstance(path, ObjectPath)
    return path.key
