"""A cluster of machines that share a store, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from machines import Machines
from store_cluster import Cluster


@pytest.fixture(scope="module")
def store_cluster() -> Iterator[Cluster]:
    """A head, shared by the tests of a file."""
    with Machines(1) as machines:
        yield Cluster(machines)


@pytest.fixture
def cluster(store_cluster: Cluster) -> Cluster:
    """With all its nodes, of which tests lose some."""
    store_cluster.complete()
    return store_cluster
