"""Trained architectures as the page's shared scripts expect them, and pages of runs that are part of another run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raynas.errors import SpaceError, StoreError
from raynas.report.embedding import embedded_points, registered_space
from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace
from raynas.storage.points import Points, PointState


def model_points(
    space_name: str,
    architectures: Sequence[Mapping[str, Any]],
    values: Mapping[str, Sequence[float | None]],
    *,
    texts: Sequence[str | None],
    img_size: int,
    needed: str | None = None,
    errors: Sequence[str | None] = (),
    notes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Columns of architectures, and what the scripts ask of a page that no search ranked.

    Args:
        space_name: The name of the space, which pictures need to be registered, and to be what it was.
        architectures: The architecture of each point; several may be equal.
        values: Columns of numbers by name, None where there is none.
        texts: Texts of the architectures, None where JSON stands for one.
        img_size: Side of the images in pixels.
        needed: A column without whose value a point counts as not scored.
        errors: Texts of the points that failed, None for the others.
        notes: What stands beside the name of each point.
    """
    made = [Architecture(fields) for fields in architectures]
    columns = {name: np.array([np.nan if v is None else v for v in column], float) for name, column in values.items()}
    lacks = np.zeros(len(made), bool) if needed is None else ~np.isfinite(columns[needed])
    points = Points(
        keys=[one.key for one in made],
        texts=[one.to_json() for one in made],
        candidates=np.full(len(made), -1),
        values=columns,
        statuses={},
        status_names=[],
        failures=[],
        seconds={},
        build_seconds={},
        reused=0,
    )
    states = np.where(lacks, PointState.UNSCORED, PointState.OK)
    failed = [number for number, error in enumerate(errors) if error]
    states[failed] = PointState.FAILED
    group_of_point = {number: group for group, number in enumerate(failed)}
    space = _fitting(space_name, made)
    embedded = embedded_points(points, states, np.arange(len(made)), group_of_point, space, img_size)
    known = [text or one.to_json() for text, one in zip(texts, made, strict=True)]
    embedded |= {"text": known, "seconds": [None] * len(made), "note": notes}
    return {
        "points": embedded,
        "total": len(made),
        "scores": [],
        "objectives": [],
        "rankings": [],
        "front_size": 0,
        "recommended": None,
        "failures": [{"status": "failed", "error": errors[number]} for number in failed],
    }


def has_report(run: Path, folder: Path, write_report: Callable[[Path], Path]) -> bool:
    """Write the page of a run that is part of another, and say whether there is one now.

    Args:
        run: The folder of one search or one training in it.
        folder: The folder of the sweep, finalists or variants, beyond which nothing is written.
        write_report: Writes a page into a run folder.
    """
    if not run.resolve().is_relative_to(folder.resolve()):
        return False
    try:
        write_report(run)
    except (StoreError, OSError, ValueError):
        return False
    return True


def _fitting(name: str, architectures: Sequence[Architecture]) -> SearchSpace | None:
    """The registered space of a name, if it is still one of these architectures."""
    space = registered_space(name)
    try:
        for architecture in architectures:
            if space is not None:
                space.validate(architecture)
    except (SpaceError, ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return space
