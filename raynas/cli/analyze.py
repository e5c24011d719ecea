"""raynas analyze."""

from __future__ import annotations

from typing import Any

from raynas.cli.ending import resumable, say_folder, say_report
from raynas.cli.options import OUT, RESUME, TRUST_CODE, Parameters, argument, option, options

EXAMPLES = """
Examples:

    raynas analyze runs/pretrained --data parquet:test.parquet

    raynas analyze runs/finetuned --against runs/scratch --data folder:val --max-images 2048 --out runs/compared

    raynas analyze timm:vit_base_patch16_224.mae:mae.safetensors --against runs/student --data folder:val
"""


def parameters() -> Parameters:
    """Arguments of `raynas.analyze`."""
    from raynas.analysis.config import AnalysisConfig

    return [
        argument("model", str, AnalysisConfig.model_fields["model"].description or "", is_required=True),
        *options(AnalysisConfig, leave_out=("model",)),
        option("space", str, "The space of the networks, where it is not registered."),
        *(OUT, RESUME, TRUST_CODE),
    ]


def analyze(*, model: str, **given: Any) -> None:
    """See what a trained network has learned, alone or beside another one."""
    from raynas import api

    with resumable("analyze"):
        found = api.analyze(model, **given)

        from raynas.console.analysis import show_analysis  # torch is behind it

        show_analysis(found)
        say_report(found.folder)
    say_folder(found.folder)
