"""raynas: vision-transformer architecture search on Ray."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from raynas.version import __version__ as __version__

if TYPE_CHECKING:
    from raynas.analysis.folder import Analysis, load_analysis
    from raynas.api import (
        analyze,
        bench_proxies,
        build,
        compare,
        distill,
        doctor,
        evaluate,
        export,
        finetune,
        learn_latency,
        measure_latency,
        predict,
        predict_latency,
        pretrain,
        scale,
        score,
        search,
        search_supernet,
        sweep,
        train,
        train_supernet,
    )
    from raynas.bench.folder import Bench, load_bench
    from raynas.errors import RaynasError
    from raynas.evaluation.folder import load_evaluation
    from raynas.evaluation.prediction import PredictionReport
    from raynas.evaluation.report import EvaluationReport
    from raynas.examination.report import Examination
    from raynas.latency.measuring import LatencyReport
    from raynas.proxies.probe import Probe, Proxy
    from raynas.proxies.registered import proxy
    from raynas.report.compared import Comparison
    from raynas.scoring.model_scores import score_model
    from raynas.space.architecture import Architecture
    from raynas.space.fields import Choice, PerBlock, PerLayer
    from raynas.space.growth import Growth
    from raynas.space.search_space import SearchSpace
    from raynas.storage.runs import Run, load_run
    from raynas.sweeps.folder import Sweep
    from raynas.training.folder import Training, load_training
    from raynas.trials.folder import Trials

__all__ = [
    "Analysis",
    "Architecture",
    "Bench",
    "Choice",
    "Comparison",
    "EvaluationReport",
    "Examination",
    "Growth",
    "LatencyReport",
    "PerBlock",
    "PerLayer",
    "PredictionReport",
    "Probe",
    "Proxy",
    "RaynasError",
    "Run",
    "SearchSpace",
    "Sweep",
    "Training",
    "Trials",
    "analyze",
    "bench_proxies",
    "build",
    "compare",
    "distill",
    "doctor",
    "evaluate",
    "export",
    "finetune",
    "learn_latency",
    "load_analysis",
    "load_bench",
    "load_evaluation",
    "load_run",
    "load_training",
    "measure_latency",
    "predict",
    "predict_latency",
    "pretrain",
    "proxy",
    "scale",
    "score",
    "score_model",
    "search",
    "search_supernet",
    "sweep",
    "train",
    "train_supernet",
]

# Imported on first use: behind some of these is torch, Ray or NumPy, and `raynas --help` should answer at once.
_HOMES = {
    "Analysis": "raynas.analysis.folder",
    "Architecture": "raynas.space.architecture",
    "Bench": "raynas.bench.folder",
    "Choice": "raynas.space.fields",
    "Comparison": "raynas.report.compared",
    "EvaluationReport": "raynas.evaluation.report",
    "Examination": "raynas.examination.report",
    "Growth": "raynas.space.growth",
    "LatencyReport": "raynas.latency.measuring",
    "PerBlock": "raynas.space.fields",
    "PerLayer": "raynas.space.fields",
    "PredictionReport": "raynas.evaluation.prediction",
    "Probe": "raynas.proxies.probe",
    "Proxy": "raynas.proxies.probe",
    "RaynasError": "raynas.errors",
    "Run": "raynas.storage.runs",
    "SearchSpace": "raynas.space.search_space",
    "Sweep": "raynas.sweeps.folder",
    "Training": "raynas.training.folder",
    "Trials": "raynas.trials.folder",
    "analyze": "raynas.api",
    "bench_proxies": "raynas.api",
    "build": "raynas.api",
    "compare": "raynas.api",
    "distill": "raynas.api",
    "doctor": "raynas.api",
    "evaluate": "raynas.api",
    "export": "raynas.api",
    "finetune": "raynas.api",
    "learn_latency": "raynas.api",
    "load_analysis": "raynas.analysis.folder",
    "load_bench": "raynas.bench.folder",
    "load_evaluation": "raynas.evaluation.folder",
    "load_run": "raynas.storage.runs",
    "load_training": "raynas.training.folder",
    "measure_latency": "raynas.api",
    "predict": "raynas.api",
    "predict_latency": "raynas.api",
    "pretrain": "raynas.api",
    "proxy": "raynas.proxies.registered",
    "scale": "raynas.api",
    "score": "raynas.api",
    "score_model": "raynas.scoring.model_scores",
    "search": "raynas.api",
    "search_supernet": "raynas.api",
    "sweep": "raynas.api",
    "train": "raynas.api",
    "train_supernet": "raynas.api",
}


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'raynas' has no attribute {name!r}")
