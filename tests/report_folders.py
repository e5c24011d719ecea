"""Run folders for the report's tests, written through the store as a run writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from raynas.config import RunConfig
from raynas.plan import make_plan
from raynas.registry import spaces
from raynas.run_folder import description
from raynas.space import Architecture
from raynas.store import Outcome, ResultStore, ScoreIdentity, write_json

AS_VIT = spaces.get("as-vit")

SUMMARY = {
    "status": "completed",
    "failed": 0,
    "reused": 0,
    "seconds": 100.0,
    "evaluations_per_s": 2.0,
    "best": [],
    "recommended": None,
    "driver_seconds": {"ask": 1.0, "dispatch": 2.0, "store": 3.0, "wait": 90.0, "tell": 1.0, "report": 1.0},
    "error": None,
}

Row = tuple[Architecture, Mapping[str, Outcome]]


def write_folder(
    folder: Path,
    rows: Sequence[Row],
    *,
    scores: Sequence[str] = ("length_distortion",),
    summary: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A folder as a run over As-ViT leaves it, with these outcomes by score; `identity` overrides parts of run.yaml."""
    values = {"space": "as-vit", "searcher": "random", "workers": 2, "budget": max(1, len(rows)), **config}
    values.setdefault("objectives", [f"{scores[0]}:max"])
    plan = make_plan(RunConfig.make({**values, "proxies": ["length_distortion"], "objectives": ["length_distortion"]}))
    described = yaml.safe_load(description(plan))
    names = [*scores, "num_params", "macs"]
    identities = [
        ScoreIdentity(str(values["space"]), 64, 10, 1, name, repeats=5 * (name not in names[-2:])) for name in names
    ]
    described["config"] |= {"objectives": list(values["objectives"]), "budget": values["budget"]}
    described["identity"] |= {
        "scores": {one.proxy: asdict(one) for one in identities},
        "objectives": list(values["objectives"]),
        **(identity or {}),
    }
    store = ResultStore(folder, identities)
    for number, (architecture, outcomes) in enumerate(rows):
        store.append(number, architecture, {names.index(name): outcome for name, outcome in outcomes.items()})
    store.flush()
    store.close()
    (folder / "run.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    if summary is None or summary:
        write_json(folder / "summary.json", {**SUMMARY, "evaluations": len(rows), **(summary or {})})
    return folder


def sampled_rows(
    n: int, scores: Sequence[str] = ("length_distortion",), errors: Mapping[int, tuple[str, str]] | None = None
) -> list[Row]:
    """Distinct architectures with random scores; `errors` gives some of them a status and a text instead."""
    rng = np.random.default_rng(0)
    rows: dict[str, Row] = {}
    while len(rows) < n:
        architecture = AS_VIT.sample(rng)
        assert AS_VIT.num_params is not None
        assert AS_VIT.macs is not None
        outcomes = {name: Outcome(float(rng.lognormal()), "ok", None, 0.5, 0.1) for name in scores}
        if failure := (errors or {}).get(len(rows)):
            outcomes = {name: Outcome(None, failure[0], failure[1], 0.5) for name in scores}
        outcomes["num_params"] = Outcome(AS_VIT.num_params(architecture, 64, 10), "ok")
        outcomes["macs"] = Outcome(AS_VIT.macs(architecture, 64, 10), "ok")
        rows.setdefault(architecture.key, (architecture, outcomes))
    return list(rows.values())


def embedded(page: str) -> Any:
    """The data that a page holds."""
    start = page.index('id="data">') + len('id="data">')
    return json.loads(page[start : page.index("</script>", start)])
