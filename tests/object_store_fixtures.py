"""Fixtures of an object store; test modules name this one in `pytest_plugins` and do not import it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from object_stores import Proxy, made_bucket, pointed_to, s3_server

from raynas.storage.object_files import object_files
from raynas.storage.paths import ObjectPath


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as found:
        yield found


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectPath]:
    """A new bucket, to which the environment leads."""
    pointed_to(endpoint, monkeypatch)
    yield made_bucket(endpoint)
    object_files.cache_clear()


@pytest.fixture
def proxy(endpoint: str, bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy on the way to the server, which does no harm until it is told to."""
    with Proxy(endpoint) as made:
        pointed_to(made.endpoint, monkeypatch)
        yield made
