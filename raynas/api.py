"""The same as the commands, for notebooks and programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.config import RunConfig
from raynas.errors import StoreError
from raynas.registry import spaces
from raynas.space import Architecture, SearchSpace

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import nn

    from raynas.proxies.probe import Proxy
    from raynas.run import Listener


@dataclass(frozen=True, repr=False)
class Run:
    """A run folder, read.

    Args:
        folder: Where it is.
        description: run.yaml: `config`, `identity`, `directions`, `versions`, `machine`.
        summary: summary.json; empty if the run was killed before it wrote one.
        evaluations: One row per architecture and score, an Arrow table with the schema of `raynas.store.SCHEMA`.
    """

    folder: Path
    description: Mapping[str, Any]
    summary: Mapping[str, Any]
    evaluations: pa.Table

    def __repr__(self) -> str:
        status, evaluations = self.summary.get("status", "unknown"), self.summary.get("evaluations", 0)
        return f"Run({str(self.folder)!r}, {status}, {evaluations} evaluations)"

    @property
    def table(self) -> pa.Table:
        """One row per architecture in the order of asking, a column per score, null where it has no value."""
        from raynas.store import values_by_architecture

        return values_by_architecture(self.evaluations, list(self.description["identity"]["scores"]))

    @property
    def best(self) -> list[Mapping[str, Any]]:
        """The best architectures with their scores, or the Pareto front."""
        return list(self.summary.get("best", []))


def search(
    space: str | SearchSpace,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    proxies: Sequence[str | Proxy] = (),
    listener: Listener | None = None,
    **config: Any,
) -> Run:
    """Search a space.

    Args:
        space: A registered name, or a space.
        out: The run folder; default runs/<space>-<date>-<time>.
        resume: Continue the run in `out`.
        reuse: Folders of other runs whose scores are taken where their keys are equal.
        proxies: Scores to compute beside the objectives; names, or proxies of your own.
        listener: Hears of progress; default: shown on standard error. `raynas.run.Listener()` is silent.
        config: Fields of `raynas.config.RunConfig`, such as objectives=["length_distortion"], budget=500, workers=2.

    Returns:
        The finished run.

    Raises:
        RaynasError: Bad input, before anything is started or written; or a cluster or disk that fails later.
    """
    from raynas.console import ConsoleListener
    from raynas.plan import make_plan
    from raynas.run import execute

    own_space = None if isinstance(space, str) else space
    names = [entry if isinstance(entry, str) else entry.name for entry in proxies]
    values = {"space": space if isinstance(space, str) else space.name, "proxies": names, **config}
    own_proxies = [entry for entry in proxies if not isinstance(entry, str)]
    plan = make_plan(RunConfig.make(values), space=own_space, own_proxies=own_proxies)
    folder = Path(out) if out is not None else default_folder(plan.space.name)
    with ConsoleListener("search") if listener is None else nullcontext(listener) as heard:
        execute(plan, folder, resume=resume, reuse=[Path(path) for path in reuse], listener=heard)
    return load_run(folder)


def score(
    space: str | SearchSpace,
    architectures: Sequence[Architecture | Mapping[str, Any] | str] | int,
    *,
    proxies: Sequence[str | Proxy],
    **settings: Any,
) -> Run:
    """Score architectures, given or sampled, with any proxies.

    Args:
        space: A registered name, or a space.
        architectures: Architectures as values, JSON or the space's text; or how many to sample.
        proxies: Names, or proxies of your own.
        settings: As for `search`.

    Returns:
        The finished run.

    Raises:
        RaynasError: As for `search`.
    """
    if isinstance(architectures, int):
        chosen: dict[str, Any] = {"searcher": "random", "budget": architectures}
    else:
        chosen = {"architectures": [json.dumps(dict(a)) if isinstance(a, Mapping) else a for a in architectures]}
    return search(space, proxies=proxies, objectives=(), **chosen, **settings)


def load_run(folder: str | Path) -> Run:
    """Read a run folder, finished or not.

    Raises:
        StoreError: It holds no run.
    """
    from raynas.run_folder import read_description
    from raynas.store import read_evaluations

    folder = Path(folder)
    description = read_description(folder)
    try:
        summary = json.loads((folder / "summary.json").read_text())
    except FileNotFoundError:
        summary = {}
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {folder / 'summary.json'}: {error}") from None
    return Run(folder, description, summary, read_evaluations(folder))


def build(space: str | SearchSpace, architecture: Architecture | Mapping[str, Any] | str, **settings: Any) -> nn.Module:
    """The model that an architecture stands for, initialised as for training.

    Args:
        space: A registered name, or a space.
        architecture: As a value, JSON, the space's text or a published name.
        settings: img_size=224, num_classes=1000, and the model family's own.

    Raises:
        RaynasError: The space is unknown or the architecture cannot be built.
    """
    from raynas.models.build import build as build_model

    found = spaces.get(space) if isinstance(space, str) else space
    return build_model(found, found.read(architecture), **settings)


def default_folder(space: str) -> Path:
    """runs/<space>-<date>-<time>."""
    return Path("runs") / f"{space}-{datetime.now():%Y%m%d-%H%M%S}"
