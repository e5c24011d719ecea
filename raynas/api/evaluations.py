"""Evaluations of trained networks, and their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import source_text
from raynas.config import several
from raynas.evaluation.config import EvaluateConfig, PredictConfig
from raynas.registry import runs_named_code
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path

if TYPE_CHECKING:
    from raynas.evaluation.prediction import PredictionReport
    from raynas.evaluation.report import EvaluationReport
    from raynas.evaluation.run import EvaluationListener


@runs_named_code
def evaluate(
    source: str | Path,
    *,
    space: str | SearchSpace | None = None,
    pick: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    predictions: str | Path | None = None,
    overwrite: bool = False,
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
        out: Where the result is written: a run folder, of which `raynas.api.report` makes a page; a .json file; or a
            .csv file of its classes. None: nowhere.
        resume: Whether the folder may hold the same evaluation, which is carried out again.
        predictions: A .parquet file with a row for each image; None: none is written.
        overwrite: Whether files that are there already are replaced.
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
    from raynas.evaluation.folder import KIND
    from raynas.evaluation.images import choose_images
    from raynas.evaluation.passes import check_device
    from raynas.evaluation.run import evaluate_network
    from raynas.evaluation.session import execute_evaluation
    from raynas.evaluation.source import read_network
    from raynas.evaluation.writing import check_file, is_file_name, write_predictions, write_report
    from raynas.storage.run_folder import check_folder

    place, file = None if out is None else as_path(out), None if predictions is None else as_path(predictions)
    folder = None if place is None or is_file_name(place) else place
    if file is not None:
        check_file(file, ".parquet", is_replaced=overwrite)
    if folder is None and place is not None:
        check_file(place, place.suffix, is_replaced=overwrite)
    elif folder is not None and not resume:
        check_folder(folder, {}, resume=False, kind=KIND)
    check_device(config)
    network = read_network(source_text(source), config, space=space, pick=pick)
    images = choose_images(config, network)
    with EvaluationConsole() if listener is None else nullcontext(listener) as receiver:
        if folder is not None:
            name = space.name if isinstance(space, SearchSpace) else space
            told = {"source": source_text(source), "space": name, "pick": list(several(pick)), "trust_code": trust_code}
            found = execute_evaluation(network, images, config, folder, receiver, told=told, resume=resume)
        else:
            whole = evaluate_network(network, images, config, receiver)
            assert whole is not None  # nobody stops it
            found = whole
    if folder is None and place is not None:
        write_report(found, place)
    if file is not None:
        write_predictions(found, file)
    return found


@runs_named_code
def predict(
    source: str | Path,
    images: str | Path,
    *,
    space: str | SearchSpace | None = None,
    pick: Sequence[str] = (),
    out: str | Path | None = None,
    overwrite: bool = False,
    listener: EvaluationListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> PredictionReport:
    """Predict the classes of images without labels, as `evaluate` would for the same images.

    Args:
        source: The folder of a training, of finalists or variants, whose most accurate is taken, or of an export.
        images: The folder of the images, which may be in folders below; or one image.
        space: The space of the network, where it is not registered; or a space of your own.
        pick: Constraints that choose among finalists or variants, such as num_params<=3e6.
        out: A .csv file with a record for each image; None: none is written.
        overwrite: Whether a file that is there already is replaced.
        listener: Receives progress; default: shown on standard error. `raynas.evaluation.run.EvaluationListener()` is
            silent.
        trust_code: Whether to run code that a folder names, or the code of an export whose space is not known here;
            what the arguments name is run anyway.
        fields: Fields of `raynas.evaluation.config.PredictConfig`, such as top_k=5, skip_unreadable=True; None where
            nothing is said.

    Returns:
        The most probable classes of each image with their probabilities; `table()` has them as an Arrow table.

    Raises:
        RaynasError: Bad input, before anything is computed; or an image that cannot be read.
    """
    config = PredictConfig.make({name: value for name, value in fields.items() if value is not None})

    from raynas.console.evaluation import PredictionConsole  # torch is behind these
    from raynas.evaluation.passes import check_device
    from raynas.evaluation.prediction import choose_files, predict_images
    from raynas.evaluation.source import read_network
    from raynas.evaluation.writing import check_file, write_csv

    file = None if out is None else as_path(out)
    if file is not None:
        check_file(file, ".csv", is_replaced=overwrite)
    check_device(config)
    network = read_network(source_text(source), config, space=space, pick=pick)
    chosen = choose_files(str(as_path(images)), config, network)
    with PredictionConsole(chosen.skipped) if listener is None else nullcontext(listener) as receiver:
        found = predict_images(network, chosen, config, receiver)
    if file is not None:
        write_csv(found.csv(), file)
    return found
