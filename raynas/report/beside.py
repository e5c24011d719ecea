"""What stands beside that which a search found: the uniform networks of equal cost, and random ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raynas.space.architecture import Architecture


def uniform_beside(summary: Mapping[str, Any], place_of_key: Mapping[str, int]) -> list[dict[str, Any]]:
    """The page's `uniform`: networks with all blocks alike, each beside an architecture of nearly equal cost.

    Args:
        summary: The content of summary.json.
        place_of_key: Positions in the page's points of the architectures that it holds, by their keys.
    """
    return [
        {
            "point": place_of_key[key],
            "text": one["text"],
            "is_feasible": one["is_feasible"],
            "values": {**one["scores"], "num_params": one["num_params"], "macs": one["macs"]},
        }
        for one in summary.get("uniform") or []
        if (key := Architecture(one["beside"]).key) in place_of_key
    ]


def comparison(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The winner and what it is set beside; None where it is not."""
    if not found or not found["verdict"]:
        return None

    def shown(one: Mapping[str, Any]) -> dict[str, Any]:
        return {"value": {**one, **one["scores"]}[found["objective"]], "macs": one["macs"], "text": one["text"]}

    uniform = found["uniform"]
    return {
        "objective": found["objective"],
        "verdict": found["verdict"],
        "winner": shown(found["winner"]),
        "uniform": None if uniform is None else shown(uniform),
        "random": found["random"]["values"],
    }
