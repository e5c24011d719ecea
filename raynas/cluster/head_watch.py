"""Whether the head of the joined cluster is there still, asked by hand: Ray ends a process that finds it gone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import monotonic, sleep

from raynas.errors import ClusterLostError, error_words
from raynas.wording import duration

GIVEN_UP_AFTER_S = 40.0
"""Silence of a head after which a run gives it up. Ray does so after 60 s, by ending the process without a word; a head
with fault tolerance is back within seconds."""
_EVERY_S, _ANSWERS_S = 2.0, 1.0


class HeadWatch:
    """Looks every two seconds whether somebody listens at the address of the head.

    Args:
        address: HOST:PORT of the head of the cluster that this process has joined.
        log: Called with lines for people.
        clock: Seconds that only grow.
    """

    def __init__(
        self, address: str, log: Callable[[str], None] = lambda line: None, clock: Callable[[], float] = monotonic
    ) -> None:
        host, _, port = address.rpartition(":")
        self._place = host.strip("[]"), int(port)
        self._address = address
        self._log = log
        self._clock = clock
        self._looked = clock()
        self._silent_since: float | None = None

    def is_there(self, *, at_once: bool = False) -> bool:
        """Whether the head answered when it was asked last.

        Args:
            at_once: Whether to ask now, as something is to be asked of Ray that would wait for it.

        Raises:
            ClusterLostError: It has not answered for so long that it is given up.
        """
        now = self._clock()
        if at_once or now - self._looked >= _EVERY_S:
            self._looked = now
            self._look(now)
        return self._silent_since is None

    def wait(self) -> None:
        """Wait while the head does not answer, since calls of Ray that it has to answer would never come back.

        Raises:
            ClusterLostError: It has not answered for so long that it is given up.
        """
        while not self.is_there(at_once=True):
            sleep(_ANSWERS_S)

    def _look(self, now: float) -> None:
        try:
            socket.create_connection(self._place, timeout=_ANSWERS_S).close()
        except OSError as error:
            if self._silent_since is None:
                self._silent_since = now
                self._log(
                    f"the head of the cluster at {self._address} does not answer ({error_words(error)}); it is given "
                    f"up after {duration(GIVEN_UP_AFTER_S)}"
                )
            elif now - self._silent_since > GIVEN_UP_AFTER_S:
                raise ClusterLostError(
                    f"the head of the cluster at {self._address} has not answered for "
                    f"{duration(now - self._silent_since)}"
                ) from None
            return
        if self._silent_since is not None:
            self._log(f"the head of the cluster is back after {duration(now - self._silent_since)}")
            self._silent_since = None
