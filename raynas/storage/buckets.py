"""Requests to a bucket of an object store, through obstore; what fails is an OSError of one line.

Requests that change nothing, or do the same when done twice, obstore repeats by itself. A write under a condition is
not of that kind: its answer may be lost after it was done, and the next try is then refused because of the first. So
each carries a mark of its own, by which it is recognised.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from time import sleep
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

from raynas.errors import on_one_line

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_REQUEST_S = 60.0  # with a body of at most `_PIECE_BYTES`
_RETRIES = 4  # of obstore
_TRIES = 3
_PAUSE_S = 0.5
_PIECE_BYTES = 8 << 20

_MARK = "raynaswrite"  # a name that Azure takes, too
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_STATUS = re.compile(r"status code: (\d+ [A-Za-z ]+)")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")


@dataclass(frozen=True)
class Tag:
    """Which content an object has. S3 and Azure tell it by the one, Google by the other."""

    e_tag: str | None
    version: str | None


@dataclass(frozen=True)
class Found:
    """What a bucket says of an object.

    Args:
        key: Its name.
        tag: Which content it has.
        size: Of the content, in bytes.
        written: When it was written, by the store's clock.
    """

    key: str
    tag: Tag
    size: int
    written: datetime


class Outdated(Exception):
    """An object has another content than the one that was to be replaced, or is gone."""


class Bucket:
    """A bucket; credentials, region and endpoint come from the environment, as obstore reads it.

    Args:
        uri: Scheme and name, such as s3://models.
        request_s: The longest that one request takes; of a failed one, others follow for about that long.
    """

    def __init__(self, uri: str, request_s: float = _REQUEST_S) -> None:
        self.uri = uri
        self._longest = timedelta(seconds=request_s)
        self._opened: ObjectStore | None = None

    def _store(self) -> ObjectStore:
        if self._opened is None:
            from obstore.store import from_url

            self._opened = from_url(
                self.uri,
                # An endpoint without TLS is one that the environment names.
                client_options={"allow_http": True, "timeout": self._longest},
                retry_config={"max_retries": _RETRIES, "retry_timeout": self._longest},
            )
        return self._opened

    # -- reading -------------------------------------------------------------------------------------------------------

    def find(self, key: str) -> Found | None:
        """What there is to know of an object without its content; None if it is not there."""
        import obstore

        try:
            with self._telling(key):
                return _found(obstore.head(self._store(), key))
        except FileNotFoundError:
            return None

    def read(self, key: str) -> tuple[bytes, Found]:
        """The content of an object, and what else there is to know of it."""
        content = io.BytesIO()
        found = self.read_into(key, content)
        return content.getvalue(), found

    def read_into(self, key: str, file: IO[bytes]) -> Found:
        """Write the content of an object, all of one write, into an empty file; returns what else there is to know."""
        from obstore import exceptions

        with self._telling(key):
            for tries_left in reversed(range(_TRIES)):
                try:
                    return self._fetch(key, file)
                except exceptions.PreconditionError:  # it was replaced while it was read
                    if not tries_left:
                        raise
                    file.seek(0)
                    file.truncate()
        raise AssertionError

    def _fetch(self, key: str, file: IO[bytes]) -> Found:
        import obstore

        got = obstore.get(self._store(), key)
        found = _found(got.meta)
        if found.size <= _PIECE_BYTES:
            file.write(got.bytes())
            return found
        for first in range(0, found.size, _PIECE_BYTES):
            wanted: Any = {"range": (first, min(first + _PIECE_BYTES, found.size)), "if_match": found.tag.e_tag}
            file.write(obstore.get(self._store(), key, options=wanted).bytes())
        return found

    def below(self, prefix: str) -> Iterator[Found]:
        """All objects whose names begin with those of a folder."""
        import obstore

        with self._telling(prefix):
            for some in obstore.list(self._store(), prefix or None, chunk_size=1000):
                yield from map(_found, some)

    def names(self, prefix: str) -> list[str]:
        """What is directly in a folder: objects, and beginnings of the names of others."""
        import obstore

        with self._telling(prefix):
            listed = obstore.list_with_delimiter(self._store(), prefix or None)
            keys = [*listed["common_prefixes"], *(one["path"] for one in listed["objects"])]
        return sorted({key.rstrip("/").rpartition("/")[2] for key in keys})

    # -- writing -------------------------------------------------------------------------------------------------------

    def put(self, key: str, content: Any) -> None:
        """Write an object, in place of what is there."""
        import obstore

        with self._telling(key):
            obstore.put(self._store(), key, content)

    def create(self, key: str, content: bytes) -> Tag:
        """Write an object that is not there.

        Raises:
            FileExistsError: It is there.
        """
        try:
            return self._put_if(key, content, "create")
        except Outdated:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), f"{self.uri}/{key}") from None

    def replace(self, key: str, content: bytes, tag: Tag) -> Tag:
        """Write an object in place of the content that a tag stands for.

        Raises:
            Outdated: It has another content, or is not there.
        """
        return self._put_if(key, content, {name: value for name, value in asdict(tag).items() if value is not None})

    def _put_if(self, key: str, content: bytes, condition: Any) -> Tag:
        import obstore
        from obstore import exceptions

        mark = uuid4().hex
        with self._telling(key):
            for tries_left in reversed(range(_TRIES)):
                try:
                    done = obstore.put(self._store(), key, content, mode=condition, attributes={_MARK: mark})
                    return Tag(done["e_tag"], done["version"])
                except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                    own = self._tag_of(key, mark)
                    if own is None:
                        raise Outdated from None
                    return own  # it was done by a request whose answer was lost
                except exceptions.GenericError:
                    if not tries_left:
                        raise
                    sleep(_PAUSE_S)
        raise AssertionError

    def _tag_of(self, key: str, mark: str) -> Tag | None:
        """The tag of an object, if it was written with a mark."""
        import obstore

        try:
            got = obstore.get(self._store(), key, options={"head": True})
        except FileNotFoundError:
            return None
        return _found(got.meta).tag if got.attributes.get(_MARK) == mark else None

    def copy(self, key: str, to: str) -> None:
        """Write an object with the content of another, in place of what is there."""
        import obstore

        with self._telling(key):
            obstore.copy(self._store(), key, to)

    def remove(self, *keys: str) -> None:
        """Remove objects; those that are not there are not missed."""
        import obstore

        with suppress(FileNotFoundError), self._telling(keys[0] if keys else ""):
            obstore.delete(self._store(), list(keys))

    @contextmanager
    def _telling(self, key: str) -> Iterator[None]:
        """A context in which what obstore raises becomes an OSError."""
        from obstore import exceptions

        where = f"{self.uri}/{key}"
        try:
            yield
        except FileNotFoundError as error:
            if any(text in str(error) for text in _NO_BUCKET):
                raise OSError(errno.ENXIO, f"there is no bucket {self.uri}", where) from None
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where) from None
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise PermissionError(errno.EACCES, f"the store refuses it: {_words(error)}", where) from None
        except exceptions.BaseError as error:
            raise OSError(errno.EIO, f"the store cannot be reached: {_words(error)}", where) from None
        except ValueError as error:  # a name that no object has
            raise OSError(errno.EINVAL, _words(error), where) from None


def _found(meta: Any) -> Found:
    return Found(meta["path"], Tag(meta["e_tag"], meta["version"]), meta["size"], meta["last_modified"])


def _words(error: BaseException) -> str:
    """What an error of obstore says, without its source code."""
    text = str(error).partition("\n\nDebug source:")[0]
    status = _STATUS.search(text)
    message = _MESSAGE.search(text)
    if message or status:
        return on_one_line(" ".join(found[1].strip().rstrip(".") for found in (status, message) if found))
    return on_one_line(text)
