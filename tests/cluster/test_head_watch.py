"""A head that falls silent is told, waited for, and given up, by a real socket and a fake clock."""

from __future__ import annotations

import socket

import pytest

from raynas.cluster.head_watch import GIVEN_UP_AFTER_S, HeadWatch
from raynas.errors import ClusterLostError


def test_a_silent_head_is_told_once_waited_for_and_given_up_or_back() -> None:
    now, lines = [0.0], list[str]()
    head = socket.create_server(("127.0.0.1", 0))
    port = head.getsockname()[1]
    watch = HeadWatch(f"127.0.0.1:{port}", lines.append, lambda: now[0])
    assert watch.is_there(at_once=True)
    head.close()
    assert watch.is_there()  # it is not asked at every call
    now[0] = 3.0
    assert not watch.is_there()
    assert not watch.is_there(at_once=True)
    assert len(lines) == 1
    assert "does not answer (Connection refused)" in lines[0]
    head = socket.create_server(("127.0.0.1", port))
    now[0] = 10.0
    assert watch.is_there()
    assert lines[1] == "the head of the cluster is back after 7 s"
    head.close()
    now[0] = 20.0
    assert not watch.is_there()
    now[0] += GIVEN_UP_AFTER_S
    assert not watch.is_there()
    now[0] += 2.5
    with pytest.raises(ClusterLostError, match=f"127.0.0.1:{port} has not answered for 42.5 s"):
        watch.is_there()
