"""Everything that the commands do, for notebooks and programs; the commands call this and show what comes of it.

`raynas` exports the central functions. Each takes what its command takes: the fields of a configuration as keyword
arguments, a file of them as `config`, and the folder of an earlier run to go on with as `out` and `resume`. The
caller's values stand over those of the file, and these over those of the earlier run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raynas.api.analyses import analyze
    from raynas.api.benches import bench_proxies
    from raynas.api.comparisons import compare
    from raynas.api.data import check_data, contact_sheet, inspect_data
    from raynas.api.evaluations import evaluate, predict
    from raynas.api.examinations import doctor, examined
    from raynas.api.finetunings import finetune, finetuned_variants
    from raynas.api.latencies import learn_latency, measure_latency, predict_latency
    from raynas.api.lists import LISTS, listing
    from raynas.api.models import build, export
    from raynas.api.reports import report
    from raynas.api.searches import ended_growth, family_member, is_sweep, scale, score, search, sweep
    from raynas.api.servings import serve
    from raynas.api.supernets import search_supernet, supernet_variants, train_supernet
    from raynas.api.trainings import distill, pretrain, train
    from raynas.api.trials import finalists, kind_to_resume, variants

__all__ = [
    "LISTS",
    "analyze",
    "bench_proxies",
    "build",
    "check_data",
    "compare",
    "contact_sheet",
    "distill",
    "doctor",
    "ended_growth",
    "evaluate",
    "examined",
    "export",
    "family_member",
    "finalists",
    "finetune",
    "finetuned_variants",
    "inspect_data",
    "is_sweep",
    "kind_to_resume",
    "learn_latency",
    "listing",
    "measure_latency",
    "predict",
    "predict_latency",
    "pretrain",
    "report",
    "scale",
    "score",
    "search",
    "search_supernet",
    "serve",
    "supernet_variants",
    "sweep",
    "train",
    "train_supernet",
    "variants",
]

# Imported on first use, so that what one command needs is not imported for another.
_HOMES = {
    "analyses": ("analyze",),
    "benches": ("bench_proxies",),
    "comparisons": ("compare",),
    "data": ("check_data", "contact_sheet", "inspect_data"),
    "evaluations": ("evaluate", "predict"),
    "finetunings": ("finetune", "finetuned_variants"),
    "examinations": ("doctor", "examined"),
    "latencies": ("learn_latency", "measure_latency", "predict_latency"),
    "lists": ("LISTS", "listing"),
    "models": ("build", "export"),
    "reports": ("report",),
    "searches": ("ended_growth", "family_member", "is_sweep", "scale", "score", "search", "sweep"),
    "servings": ("serve",),
    "supernets": ("search_supernet", "supernet_variants", "train_supernet"),
    "trainings": ("distill", "pretrain", "train"),
    "trials": ("finalists", "kind_to_resume", "variants"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"raynas.api.{module}"), name)
    raise AttributeError(f"module 'raynas.api' has no attribute {name!r}")
