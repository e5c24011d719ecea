"""Requests to a bucket of an object store, through obstore; what fails is an OSError of one line.

What fails for a reason that may pass is tried again, for as long as networks and stores are away now and then: a run
outlives that. Until a bucket has answered once, it is tried for a moment, since then the reason is what was typed. A
write under a condition may be done though its answer is lost, so that the next try is refused because of the first: so
each carries a mark of its own, by which it is recognised.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from raynas.errors import on_one_line

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

_REQUEST_S = 60.0  # the longest that one takes, with a body of at most `_PIECE_BYTES`
_OUTAGE_S = 120.0
_FIRST_TRIES = 3
_CHANGES = 5
_PAUSE_S = 0.1
_LONGEST_PAUSE = 1 / 20
"""The part of the time in which requests are tried again that passes between two of them at most."""
_PIECE_BYTES = 8 << 20

_MARK = "raynaswrite"  # a name that Azure takes, too
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_STATUS = re.compile(r"status code: ((\d+) [A-Za-z ]+)")
_ASKED = re.compile(r"Error performing \w+ (\w+://[^/\s]+)\S* in \S+ - (.*)", re.DOTALL)
_MAY_PASS = (408, 409, 425, 429)
"""Statuses that say that a request is a wrong one, and may be another one later."""
_REFUSED = (401, 403)
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
        key: The name of the object.
        tag: Which content it has.
        size: The length of the content, in bytes.
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
        request_s: The longest that one request takes.
        outage_s: For how long requests that fail are tried again.
    """

    def __init__(self, uri: str, request_s: float = _REQUEST_S, outage_s: float = _OUTAGE_S) -> None:
        self.uri = uri
        self._request_s, self._outage_s = request_s, outage_s
        self._opened: ObjectStore | None = None
        self._has_answered = False

    # -- reading -------------------------------------------------------------------------------------------------------

    def find(self, key: str) -> Found | None:
        """What there is to know of an object without its content; None if it is not there."""
        import obstore

        try:
            return self._tried(key, lambda store: _found(obstore.head(store, key)))
        except FileNotFoundError:
            return None

    def read(self, key: str) -> tuple[bytes, Found]:
        """The content of an object, and what else there is to know of it."""
        content = io.BytesIO()
        found = self.read_into(key, content)
        return content.getvalue(), found

    def read_into(self, key: str, file: IO[bytes]) -> Found:
        """Write the content of an object, all of one write, into an empty file; returns what else there is to know."""
        import obstore
        from obstore import exceptions

        def piece(store: ObjectStore, first: int, found: Found) -> bytes:
            wanted: Any = {"range": (first, min(first + _PIECE_BYTES, found.size)), "if_match": found.tag.e_tag}
            return bytes(obstore.get(store, key, options=wanted).bytes())

        def whole_if_small(store: ObjectStore) -> tuple[bytes | None, Found]:
            got = obstore.get(store, key)
            found = _found(got.meta)
            return (bytes(got.bytes()) if found.size <= _PIECE_BYTES else None), found

        for _ in range(_CHANGES):
            content, found = self._tried(key, whole_if_small)
            if content is not None:
                file.write(content)
                return found
            try:
                for first in range(0, found.size, _PIECE_BYTES):
                    file.write(self._tried(key, partial(piece, first=first, found=found)))
                return found
            except exceptions.PreconditionError:  # it was replaced while it was read
                file.seek(0)
                file.truncate()
        raise OSError(errno.EAGAIN, "it is replaced faster than it is read", f"{self.uri}/{key}")

    def below(self, prefix: str) -> list[Found]:
        """All objects whose names begin with those of a folder."""
        import obstore

        return self._tried(
            prefix, lambda store: [_found(one) for some in obstore.list(store, prefix or None) for one in some]
        )

    def has_below(self, prefix: str) -> bool:
        """Whether there are objects whose names begin with those of a folder."""
        import obstore

        return self._tried(prefix, lambda store: any(some for some in obstore.list(store, prefix or None)))

    def names(self, prefix: str) -> list[str]:
        """What is directly in a folder: objects, and beginnings of the names of others."""
        import obstore

        listed = self._tried(prefix, lambda store: obstore.list_with_delimiter(store, prefix or None))
        keys = [*listed["common_prefixes"], *(one["path"] for one in listed["objects"])]
        return sorted({key.rstrip("/").rpartition("/")[2] for key in keys})

    # -- writing -------------------------------------------------------------------------------------------------------

    def put(self, key: str, content: Any) -> None:
        """Write an object, in place of what is there."""
        import obstore

        self._tried(key, lambda store: obstore.put(store, key, content))

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

        def put(store: ObjectStore) -> Tag:
            done = obstore.put(store, key, content, mode=condition, attributes={_MARK: mark})
            return Tag(done["e_tag"], done["version"])

        try:
            return self._tried(key, put)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            own = self._tag_of(key, mark)
            if own is None:
                raise Outdated from None
            return own  # it was done by a request whose answer was lost

    def _tag_of(self, key: str, mark: str) -> Tag | None:
        """The tag of an object, if it was written with a mark."""
        import obstore

        try:
            got = self._tried(key, lambda store: obstore.get(store, key, options={"head": True}))
        except FileNotFoundError:
            return None
        return _found(got.meta).tag if got.attributes.get(_MARK) == mark else None

    def copy(self, key: str, to: str) -> None:
        """Write an object with the content of another, in place of what is there."""
        import obstore

        self._tried(key, lambda store: obstore.copy(store, key, to))

    def remove(self, *keys: str) -> None:
        """Remove objects; those that are not there are not missed."""
        import obstore

        if keys:
            with suppress(FileNotFoundError):
                self._tried(keys[0], lambda store: obstore.delete(store, list(keys)))

    # -- requests ------------------------------------------------------------------------------------------------------

    def _store(self) -> ObjectStore:
        if self._opened is None:
            from obstore.store import from_url

            self._opened = from_url(
                self.uri,
                # An endpoint without TLS is one that the environment names.
                client_options={"allow_http": True, "timeout": timedelta(seconds=self._request_s)},
                retry_config={"max_retries": 0},
            )
        return self._opened

    def _tried(self, key: str, work: Callable[[ObjectStore], T]) -> T:
        """What comes of requests that may be done again, which they are while they fail for a reason that may pass.

        Raises:
            OSError: They fail.
            BaseError: Of obstore: a condition is not met.
        """
        from obstore import exceptions

        tries, until = 0, monotonic() + self._outage_s
        with self._telling(key):
            while True:
                try:
                    done = work(self._store())
                except exceptions.GenericError as error:
                    tries += 1
                    is_given_up = monotonic() > until or (tries >= _FIRST_TRIES and not self._has_answered)
                    if is_given_up or (400 <= _status(error) < 500 and _status(error) not in _MAY_PASS):
                        raise
                    sleep(min(_PAUSE_S * 2**tries, self._outage_s * _LONGEST_PAUSE))
                except (FileNotFoundError, exceptions.BaseError):
                    self._has_answered = True
                    raise
                else:
                    self._has_answered = True
                    return done

    @contextmanager
    def _telling(self, key: str) -> Iterator[None]:
        """A context in which what obstore raises becomes an OSError."""
        from obstore import exceptions

        where = f"{self.uri}/{key}"
        try:
            yield
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
            raise
        except (FileNotFoundError, exceptions.BaseError) as error:
            if any(text in str(error) for text in _NO_BUCKET):
                raise OSError(errno.ENXIO, f"there is no bucket {self.uri}", where) from None
            if isinstance(error, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), where) from None
            words = _words(error)
            is_refused = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
            if is_refused or _status(error) in _REFUSED:
                told = f"the store refuses it, or the environment has no credentials for it: {words}"
                raise PermissionError(errno.EACCES, told, where) from None
            raise OSError(errno.EIO, f"the store cannot be reached: {words}", where) from None
        except ValueError as error:  # a name that no object has
            raise OSError(errno.EINVAL, _words(error), where) from None


def _found(meta: Any) -> Found:
    return Found(meta["path"], Tag(meta["e_tag"], meta["version"]), meta["size"], meta["last_modified"])


def _status(error: BaseException) -> int:
    """The status of the answer that an error is about; 0 if there was none."""
    found = _STATUS.search(str(error))
    return int(found[2]) if found else 0


def _words(error: BaseException) -> str:
    """What an error of obstore says, without where in the store, and without source code."""
    text = str(error).partition("\n\nDebug source:")[0]
    status, message, asked = _STATUS.search(text), _MESSAGE.search(text), _ASKED.search(text)
    if message or status:
        return on_one_line(" ".join(found[1].strip().rstrip(".") for found in (status, message) if found))
    return on_one_line(f"{asked[2]}, {asked[1]}" if asked else text)
