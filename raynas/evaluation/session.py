"""An evaluation in its run folder: tables, pictures of the images that went wrong, and what has become of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from PIL import Image

from raynas.config import option_words
from raynas.data.dataset import ImageDataset
from raynas.data.png import png_of
from raynas.evaluation.config import EvaluateConfig
from raynas.evaluation.folder import KIND
from raynas.evaluation.images import ChosenImages, EvaluatedImages
from raynas.evaluation.passes import PassSetting
from raynas.evaluation.report import EvaluationReport
from raynas.evaluation.run import EvaluationListener, evaluate_network
from raynas.evaluation.source import TrainedNetwork
from raynas.evaluation.writing import write_folder
from raynas.scoring.device_types import device_type, processor
from raynas.storage.run_folder import check_folder, run_description
from raynas.storage.session import End, Session
from raynas.training.images import eval_pixels

_SIDE = 96  # pixels of a picture on the page
_SUMMARY_EVERY_S = 5.0


def execute_evaluation(
    network: TrainedNetwork,
    images: EvaluatedImages,
    config: EvaluateConfig,
    folder: Path,
    listener: EvaluationListener,
    *,
    told: Mapping[str, Any],
    resume: bool = False,
) -> EvaluationReport:
    """Evaluate a network, and write what comes of it into a run folder.

    Args:
        network: The network.
        images: The images.
        config: What was asked for.
        folder: The folder, which is created unless it exists.
        listener: Receives progress.
        told: What the caller was told beside the configuration: `source`, `space`, `pick`, `trust_code`.
        resume: Whether the folder may hold the same evaluation, which is carried out again.

    Raises:
        StoreError: The folder holds another run, is in use, or cannot be written.
        ConfigError, DataError: As `raynas.evaluation.run.evaluate_network`.
        Interrupted: SIGINT or SIGTERM.
    """
    setting = PassSetting.of(network, config)
    identity = {
        "source": network.source,
        "weights": dict(network.weights),
        "data": images.spec,
        "images": len(images.rows),
        "seed": config.seed,
        "img_size": setting.img_size,
        "eval_crop": setting.eval_crop,
        "precision": setting.precision,
    }
    description = run_description(
        KIND,
        {**told, **config.model_dump()},
        identity,
        command=command_of(told, config, folder),
        network={"text": network.text, "num_classes": network.num_classes, "class_names": list(network.class_names)},
        device=device_type("cuda") if setting.device.type == "cuda" else f"{processor()} ({device_type('cpu')})",
    )
    with Session(folder, lambda: check_folder(folder, identity, resume=resume, kind=KIND)) as session:
        session.hold()
        session.describe(description)
        reports: list[EvaluationReport] = []
        counting = _Counting(listener, lambda: summary("running", None))

        def work() -> End:
            report = evaluate_network(network, images, config, counting, is_stopped=lambda: bool(session.stop))
            if report is None:
                return End("interrupted")
            write_folder(report, _pictures(report, images, config, setting), folder)
            reports.append(report)
            return End("completed")

        def summary(status: str, error: str | None) -> dict[str, Any]:
            found = {name: getattr(report, name) for report in reports for name in ("top1", "top1_low", "top1_high")}
            counted = {"images": len(images.rows), "images_done": counting.done}
            return session.write_summary(
                {"kind": KIND, "status": status, **counted, **found, "seconds": session.seconds, "error": error}
            )

        session.carry_out(work, summary)
        return reports[0]


class _Counting(EvaluationListener):
    """Keeps how far an evaluation is, and has it written every few seconds, for pages and lists of runs."""

    def __init__(self, listener: EvaluationListener, write: Callable[[], object]) -> None:
        self.done = 0
        self._listener, self._write, self._written_at = listener, write, monotonic()

    def on_start(self, network: TrainedNetwork, images: ChosenImages) -> None:
        self._listener.on_start(network, images)

    def on_progress(self, done: int, total: int, images_per_s: float) -> None:
        self.done = done
        self._listener.on_progress(done, total, images_per_s)
        if monotonic() - self._written_at > _SUMMARY_EVERY_S:
            self._written_at = monotonic()
            self._write()


def command_of(told: Mapping[str, Any], config: EvaluateConfig, folder: Path) -> str:
    """What is typed for an evaluation: its source, and what is not as it is by default."""
    of_source = [word for bound in told["pick"] for word in ("--pick", str(bound))]
    of_source += ["--space", str(told["space"])] if told["space"] else []
    words = ["raynas", "evaluate", str(told["source"]), *of_source]
    words += option_words(EvaluateConfig, config.model_dump(), EvaluateConfig.model_fields)
    return shlex.join([*words, *["--trust-code"] * bool(told["trust_code"]), "--out", str(folder)])


def _pictures(
    report: EvaluationReport, images: EvaluatedImages, config: EvaluateConfig, setting: PassSetting
) -> Iterator[tuple[int, bytes]]:
    """Positions of the images that the page shows, with PNG files of what the network sees of them, at most 96 pixels
    wide."""
    found = report.predictions
    shown = {*found.most_wrong(config.shown_images).tolist(), *found.least_certain(config.shown_images).tolist()}
    for position in sorted(shown):
        yield position, _picture(images.data, int(images.rows[position]), setting)


def _picture(data: ImageDataset, row: int, setting: PassSetting) -> bytes:
    (image,), _ = data.read([row])
    pixels = np.asarray(eval_pixels(setting.img_size, setting.eval_crop)(image)).transpose(1, 2, 0)
    if setting.img_size > _SIDE:
        pixels = np.asarray(Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))
    return png_of(np.ascontiguousarray(pixels))
