"""Analyses of trained networks."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.analysis.config import AnalysisConfig
from raynas.analysis.folder import Analysis, load_analysis
from raynas.api.arguments import source_text
from raynas.registry import runs_named_code
from raynas.storage.paths import as_path
from raynas.storage.runs import default_folder
from raynas.storage.session import as_interrupted

if TYPE_CHECKING:
    from raynas.analysis.run import AnalysisListener


@runs_named_code
def analyze(
    model: str | Path,
    *,
    against: str | Path | None = None,
    space: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    listener: AnalysisListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Analysis:
    """See what a trained network has learned: likeness of layers, attention, ranks; alone or beside another network.

    Args:
        model: The folder of a training, of finalists or variants, whose most accurate is taken, or of an export;
            timm:NAME:FILE, or random:NAME for a network that knows nothing.
        against: Another network, in any of these forms.
        space: The space of the networks, where it is not registered.
        out: The folder for tables and page; default runs/analysis-<date>-<time>.
        resume: Whether `out` may hold the same analysis, which is carried out again.
        listener: Receives progress; default: shown on standard error. `raynas.analysis.run.AnalysisListener()` is
            silent.
        trust_code: Whether to run code that a folder names; what the arguments name is run anyway.
        fields: Fields of `raynas.analysis.config.AnalysisConfig`, such as data="folder:val", max_images=2048.

    Returns:
        The analysis, with its tables.

    Raises:
        RaynasError: Bad input, before anything is computed; or an image that cannot be read.
    """
    said = {name: value for name, value in fields.items() if value is not None}
    named = {"model": source_text(model), **({} if against is None else {"against": source_text(against)})}
    config = AnalysisConfig.make({**said, **named})

    from raynas.analysis.networks import read_analysed  # torch is behind these
    from raynas.analysis.run import execute_analysis, make_analysis_plan
    from raynas.console.analysis import AnalysisConsole

    networks = [read_analysed(text, config, space=space) for text in named.values()]
    plan = make_analysis_plan(config, networks)
    folder = as_path(out) if out is not None else default_folder("analysis")
    with as_interrupted(folder), AnalysisConsole() if listener is None else nullcontext(listener) as receiver:
        execute_analysis(plan, folder, resume=resume, listener=receiver)
        return load_analysis(folder)
