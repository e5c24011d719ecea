"""Seeds as hashes of what they belong to, so that no order of events enters a draw."""

from __future__ import annotations

import json
from hashlib import blake2b


def seed_from(*parts: int | str) -> int:
    """A 63-bit seed that depends on all parts and on nothing else, equal on every machine."""
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def input_seed(score_seed: int, repeat: int) -> int:
    """Seeds batches, curves and perturbations: equal for all candidates, so that they are compared in pairs."""
    return seed_from(score_seed, repeat, "input")


def weight_seed(score_seed: int, architecture_key: str, repeat: int, init: str) -> int:
    """Seeds one draw of an architecture's weights, the same for all proxies of a visit."""
    return seed_from(score_seed, architecture_key, repeat, init)
