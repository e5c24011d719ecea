"""Runs that were made to predict latencies from, as run.yaml tells them; what they predict is in `latencies`.

Nothing heavy is imported, since lists of runs ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LATENCY = "latency_ms"
"""The score that is measured."""
RATIO = "latency_ratio"
"""Geometric mean of passes, each over one of a reference just before, whose time changes with the machine, too."""


def is_learned(identity: Mapping[str, Any]) -> bool:
    """Whether a run was made to predict latencies from.

    Args:
        identity: The entry `identity` of run.yaml.
    """
    objectives = [[f"{name}:min"] for name in (RATIO, LATENCY)]
    return identity.get("searcher") == "uncertainty" and identity.get("objectives") in objectives
