"""The lock of a run folder in an object store: a lease, which its holder renews and others take once it stands still.

The lease is an object, written under conditions alone: created if it is not there, and replaced if it still has the
content that was seen last. No clock is compared with another's: whoever wants a lease that another one holds watches,
by its own clock, whether it is renewed, and takes it when that has not happened for as long as the lease says. Each
holder has a higher number than the one before, the epoch, which a lease keeps when it is given back.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any
from uuid import uuid4

from raynas.errors import ConfigError, on_one_line
from raynas.storage.buckets import Bucket, Outdated, Tag
from raynas.texts import parse_json

SECONDS_VARIABLE = "RAYNAS_LEASE_S"
"""The variable of the environment that says for how many seconds leases of this process last; default 30."""

_DEFAULT_S = 30.0
_SHORTEST_S, _LONGEST_S = 1.0, 600.0
_RENEWED_EVERY = 1 / 3
"""The part of its seconds after which a lease is renewed."""
_SURE_FOR = 2 / 3
"""The part of its seconds after which its holder no longer relies on it."""
_LOOKED_EVERY = 1 / 12
_OUTAGE_S = 120.0
"""For how long whoever must be sure of a lease waits for a store that cannot be reached."""
_PATIENCE_S = 5.0
_LONG_AGO = timedelta(minutes=2)
"""Those who only look at a lease say without a wait that it is nobody's, if it is older than its seconds by that much,
which is more than clocks differ."""
_LONGEST_HOLDER = 200


class LeaseLost(OSError):
    """Another process has taken a lease that this one held, and the folder with it."""


def lease_seconds() -> float:
    """For how many seconds leases of this process last.

    Raises:
        ConfigError: The variable of the environment is no number, or out of bounds.
    """
    text = os.environ.get(SECONDS_VARIABLE, str(_DEFAULT_S))
    with suppress(ValueError):
        if _SHORTEST_S <= (seconds := float(text)) <= _LONGEST_S:
            return seconds
    raise ConfigError(f"{SECONDS_VARIABLE} is {text!r}; it takes {_SHORTEST_S:g} to {_LONGEST_S:g} seconds")


@dataclass(frozen=True)
class _Content:
    """What a lease says.

    Args:
        holder: Who has it; None: it was given back.
        id: Another one for each holder.
        epoch: How many have had it.
        seconds: For how long nobody else takes it after it was renewed.
        renewals: How often its holder has renewed it.
    """

    holder: str | None
    id: str
    epoch: int
    seconds: float
    renewals: int = 0

    def written(self) -> bytes:
        return f"{json.dumps(asdict(self))}\n".encode()

    @classmethod
    def read(cls, content: bytes, where: str) -> _Content:
        """What a lease says.

        Raises:
            OSError: It is none.
        """
        try:
            said = parse_json(content[:4096].decode())
            holder = None if said["holder"] is None else on_one_line(str(said["holder"]), _LONGEST_HOLDER)
            seconds = min(max(float(said["seconds"]), _SHORTEST_S), _LONGEST_S)
            return cls(holder, str(said["id"]), int(said["epoch"]), seconds, int(said["renewals"]))
        except (ValueError, LookupError, TypeError) as error:
            raise OSError(f"{where} is no lease: remove it, if no process writes there ({error})") from None


@dataclass(frozen=True)
class _Look:
    """What was seen of a lease.

    Args:
        content, tag: What it said, and the tag of that.
        written: When that was written, by the store's clock.
        first, last: When it was seen with that content, by this process's clock.
        is_renewed: Whether it was written anew while it was watched.
    """

    content: _Content
    tag: Tag
    written: datetime
    first: float
    last: float
    is_renewed: bool = False

    @property
    def stands_still(self) -> bool:
        """Whether it was not renewed for as long as it says."""
        return self.last - self.first > self.content.seconds


class Leases:
    """The leases in a bucket, as this process sees and has them.

    Args:
        bucket: Where the leases are.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._seen: dict[str, _Look] = {}
        self._held: dict[str, Lease] = {}

    def lease_on(self, key: str) -> Lease | None:
        """The lease of this process on the folder that an object is in, or on one above, if it has one."""
        folder = key
        while self._held:
            folder, slash, _ = folder.rpartition("/")
            if folder in self._held or not slash:
                return self._held.get(folder)
        return None

    def holder(self, key: str) -> str | None:
        """Who holds a lease, watched until that is known; None if it is given back, stands still, or is not there."""
        while (look := self._look(key)) is not None:
            content = look.content
            if content.holder is None or look.stands_still:
                return None
            if look.is_renewed:
                return content.holder
            if datetime.now(UTC) - look.written > timedelta(seconds=content.seconds) + _LONG_AGO:
                return None
            sleep(content.seconds * _LOOKED_EVERY)
        return None

    def take(self, key: str, holder: str) -> Lease:
        """Take a lease that nobody holds, or whose holder no longer renews it.

        Raises:
            BlockingIOError: Another one holds it; its text is that holder.
        """
        own = _Content(holder, uuid4().hex, 1, lease_seconds())
        while True:
            asked = _now()
            try:
                if (look := self._look(key)) is None:
                    tag = self._bucket.create(key, own.written())
                elif look.content.holder is None or look.stands_still:
                    own = replace(own, epoch=look.content.epoch + 1)
                    tag = self._bucket.replace(key, own.written(), look.tag)
                elif look.is_renewed:
                    raise BlockingIOError(look.content.holder)
                else:
                    sleep(look.content.seconds * _LOOKED_EVERY)
                    continue
            except (FileExistsError, Outdated):  # another one was faster, whom the next look names
                continue
            return self._begun(key, own, tag, asked)

    def _begun(self, key: str, own: _Content, tag: Tag, asked: float) -> Lease:
        folder = key.rpartition("/")[0]
        lease = Lease(self._bucket, key, own, tag, asked, lambda: self._held.pop(folder, None))
        self._held[folder] = lease
        try:
            lease.check_conditions()
        except BaseException:
            lease.close()
            raise
        return lease

    def _look(self, key: str) -> _Look | None:
        """Look at a lease; None if it is not there."""
        try:
            text, found = self._bucket.read(key)
        except FileNotFoundError:
            self._seen.pop(key, None)
            return None
        content, now, before = _Content.read(text, f"{self._bucket.uri}/{key}"), _now(), self._seen.get(key)
        look = _Look(content, found.tag, found.written, first=now, last=now)
        if before is not None and now - before.last <= content.seconds:
            is_same = before.tag == found.tag
            # A change that was seen stays seen, until another process has looked away for long.
            look = replace(look, first=before.first if is_same else now, is_renewed=before.is_renewed or not is_same)
        elif before is not None and before.tag == found.tag:
            look = replace(look, first=before.first)
        self._seen[key] = look
        return look


class Lease(AbstractContextManager["Lease"]):
    """A lease that this process holds, renewed by a thread until it is given back.

    Args:
        bucket: Where the lease is.
        key: The name of the lease there.
        content: What it says.
        tag: What that content is known by.
        sure_since: When it was known to be held, by this process's clock.
        given_back: Called when it ends.
    """

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        content: _Content,
        tag: Tag,
        sure_since: float,
        given_back: Callable[[], Any],
    ) -> None:
        self._bucket, self._key, self._content, self._tag = bucket, key, content, tag
        self._sure_since, self._given_back = sure_since, given_back
        self._lost_to: str | None = None
        self._renewing = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int:
        """How many have held the lease, this process included."""
        return self._content.epoch

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self, *, renews: bool = True) -> None:
        """Make sure that the lease is still held.

        Args:
            renews: Whether to renew it, if the last renewal is long ago; otherwise, it is lost if that is known.

        Raises:
            LeaseLost: Another process has taken it.
            OSError: The store cannot be reached for long.
        """
        until = _now() + _OUTAGE_S
        while renews and self._lost_to is None and not self._is_sure:
            try:
                self._renew()
            except OSError:
                if _now() > until:
                    raise
                sleep(self._content.seconds * _LOOKED_EVERY)
        if self._lost_to is not None:
            raise LeaseLost(
                f"{self._lost_to} has taken over the folder, as this process had not renewed its lease for "
                f"{self._content.seconds:g} s; this process writes nothing more there"
            )

    @property
    def _is_sure(self) -> bool:
        """Whether the last renewal is so recent that nobody else can have taken the lease."""
        return _now() - self._sure_since <= self._content.seconds * _SURE_FOR

    def check_conditions(self) -> None:
        """Refuse a store that writes without looking at conditions: there, two processes could hold one lease.

        Raises:
            OSError: It is such a store.
        """
        with self._renewing, suppress(FileExistsError, Outdated):
            self._bucket.create(self._key, self._content.written())
            raise OSError("the store does not refuse to create what is there (If-None-Match), so nothing can be locked")
        with self._renewing, suppress(Outdated):
            self._bucket.replace(self._key, self._content.written(), Tag('"0"', "0"))
            raise OSError("the store replaces what has another ETag (If-Match), so nothing can be locked in it")

    def close(self) -> None:
        """Give the lease back, so that others need not wait; its epoch is kept."""
        if self._is_over.is_set():
            return
        self._is_over.set()
        self._given_back()
        if not self._renewing.acquire(timeout=_PATIENCE_S):
            return  # for a store that does not answer; the lease stands still from now on
        with suppress(OSError, Outdated):
            if self._lost_to is None:
                self._bucket.replace(self._key, replace(self._content, holder=None).written(), self._tag)
        self._renewing.release()

    def _keep_renewing(self) -> None:
        every = again = self._content.seconds * _RENEWED_EVERY
        while not self._is_over.wait(again) and self._lost_to is None:
            try:
                self._renew()
                again = every
            except OSError:  # of the network; the next try may do better
                again = self._content.seconds * _LOOKED_EVERY

    def _renew(self) -> None:
        with self._renewing:
            if self._is_over.is_set():
                return
            asked = _now()
            renewed = replace(self._content, renewals=self._content.renewals + 1)
            try:
                self._tag = self._bucket.replace(self._key, renewed.written(), self._tag)
                self._content, self._sure_since = renewed, asked
            except Outdated:
                self._look_who_has_it()

    def _look_who_has_it(self) -> None:
        asked = _now()
        try:
            text, found = self._bucket.read(self._key)
        except FileNotFoundError:
            self._lost_to = "whoever removed its lock"
            return
        content = _Content.read(text, f"{self._bucket.uri}/{self._key}")
        if content.id == self._content.id and content.holder is not None:
            # The answer to a renewal was lost, and to all that asked for it again.
            self._content, self._tag, self._sure_since = content, found.tag, asked
        else:
            self._lost_to = content.holder or "another process"


def _now() -> float:
    """Seconds by a clock of this machine that goes on while a process is stopped, or the machine asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
