"""Evaluations of trained networks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import source_text
from raynas.evaluation.config import EvaluateConfig
from raynas.registry import runs_named_code
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path

if TYPE_CHECKING:
    from raynas.evaluation.report import EvaluationReport
    from raynas.evaluation.run import EvaluationListener


@runs_named_code
def evaluate(
    source: str | Path,
    *,
    space: str | SearchSpace | None = None,
    pick: Sequence[str] = (),
    out: str | Path | None = None,
    predictions: str | Path | None = None,
    listener: EvaluationListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> EvaluationReport:
    """Evaluate a trained network on labelled images.

    Without `data`, an evaluation of a training's last weights gives the accuracy of its last epoch.

    Args:
        source: The folder of a training, of finalists or variants, whose most accurate is taken, or of an export.
        space: The space of the network, where it is not registered; or a space of your own.
        pick: Constraints that choose among finalists or variants, such as num_params<=3e6.
        out: Where the result is written: a .json file, a .csv file of its classes, or a folder with both; None:
            nowhere.
        predictions: A .parquet file with a row for each image; None: none is written.
        listener: Receives progress; default: shown on standard error. `raynas.evaluation.run.EvaluationListener()` is
            silent.
        trust_code: Whether to run code that a folder names, or the code of an export whose space is not known here;
            what the arguments name is run anyway.
        fields: Fields of `raynas.evaluation.config.EvaluateConfig`, such as data="folder:val", img_size=280; None where
            nothing is said.

    Returns:
        What came of it: accuracies, the loss, every class, the prediction for every image.

    Raises:
        RaynasError: Bad input, before anything is computed; or an image that cannot be read.
    """
    config = EvaluateConfig.make({name: value for name, value in fields.items() if value is not None})

    from raynas.console.evaluation import EvaluationConsole  # torch is behind these
    from raynas.evaluation.images import choose_images
    from raynas.evaluation.report import check_places, write_predictions, write_report
    from raynas.evaluation.run import check_device, evaluate_network
    from raynas.evaluation.source import read_network

    folder, file = None if out is None else as_path(out), None if predictions is None else as_path(predictions)
    check_places(folder, file)
    check_device(config)
    network = read_network(source_text(source), config, space=space, pick=pick)
    images = choose_images(config, network)
    with EvaluationConsole() if listener is None else nullcontext(listener) as receiver:
        found = evaluate_network(network, images, config, receiver)
    if folder is not None:
        write_report(found, folder)
    if file is not None:
        write_predictions(found, file)
    return found
