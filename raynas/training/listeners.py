"""Who hears of a training on its first worker: metrics.parquet, TensorBoard, MLflow, Weights & Biases."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from raynas.errors import ConfigError, StoreError, error_words
from raynas.installing import package_line
from raynas.storage.files import write_atomically
from raynas.storage.parquet import write_parquet
from raynas.storage.paths import ObjectPath
from raynas.training.event_files import events_folder
from raynas.training.folder import metrics_schema
from raynas.training.task import Row, TrainingProgress, WorkerListener


class Logger(Protocol):
    """Takes numbers by name."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Note the values at a step, counted from 0 over all epochs."""
        ...

    def close(self) -> None:
        """The training is over, or stopped."""
        ...


def write_metrics(folder: Path, rows: Sequence[Row]) -> None:
    """metrics.parquet, a row for each finished epoch.

    Raises:
        StoreError: It cannot be written.
    """
    table = pa.Table.from_pylist(list(rows), schema=metrics_schema(name for row in rows for name in row))
    try:
        with write_atomically(folder / "metrics.parquet") as file:
            write_parquet(file, table)
    except OSError as error:
        raise StoreError(f"cannot write {folder / 'metrics.parquet'}: {error_words(error)}") from error


class MetricsListener(WorkerListener):
    """Keeps metrics.parquet and the loggers up to date.

    Args:
        folder: The folder of the training.
        names: Names of the loggers.
        config: What MLflow and Weights & Biases note of the training beside its metrics.
        steps: The number of steps of an epoch.
        history: Epochs that were finished before.
        step: Steps of the epoch under way that were done before.

    Raises:
        ConfigError: A logger cannot start, such as one whose server does not answer.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], config: Mapping[str, Any], steps: int, history: Sequence[Row] = (),
        step: int = 0,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._steps = steps
        self._rows = list(history)
        self._loggers = [_make_logger(name, folder, config, len(self._rows) * steps + step) for name in names]

    def on_progress(self, progress: TrainingProgress) -> None:
        """Log the loss."""
        if progress.step:
            values = {"step/train_loss": progress.loss, "step/images_per_s": progress.images_per_s}
            self._log(values, progress.epoch * self._steps + progress.step)

    def on_epoch(self, row: Row) -> None:
        """Write the table anew, and log the row."""
        self._rows.append(row)
        write_metrics(self.folder, self._rows)
        self._log(
            {f"epoch/{name}": value for name, value in row.items() if value is not None}, len(self._rows) * self._steps
        )

    def close(self) -> None:
        """Close the loggers."""
        for logger in self._loggers:
            logger.close()

    def _log(self, values: Mapping[str, float], step: int) -> None:
        for logger in self._loggers:
            logger.log(values, step)


class _TensorBoard:
    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        from tensorboardX import SummaryWriter

        # What a killed training logged beyond its checkpoint is hidden; sessions of one second have files of their own.
        self._writer = SummaryWriter(
            events_folder(folder), purge_step=step + 1 if step else None, filename_suffix=f".{step}"
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        from ray.air.integrations.mlflow import setup_mlflow

        self._mlflow = setup_mlflow(
            dict(config),
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"),
            experiment_name="raynas",
            run_name=folder.name,
            create_experiment_if_not_exists=True,
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _WandB:
    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        from ray.air.integrations.wandb import setup_wandb

        # Where its files cannot be in the folder, it has one of its own beside the process.
        own = {} if isinstance(folder, ObjectPath) else {"dir": str(folder)}
        self._run = setup_wandb(
            dict(config), project=os.environ.get("WANDB_PROJECT", "raynas"), name=folder.name, **own
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


_LOGGERS: dict[str, Callable[[Path, Mapping[str, Any], int], Logger]] = {
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _WandB,
}
_PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}


def _make_logger(name: str, folder: Path, config: Mapping[str, Any], step: int) -> Logger:
    try:
        return _LOGGERS[name](folder, config, step)
    except Exception as error:  # each package has errors of its own
        raise ConfigError(f"logger {name!r} cannot start: {error}") from error


def check_loggers(names: Sequence[str]) -> None:
    """Refuse loggers whose packages are missing.

    Raises:
        ConfigError: One is missing; the message names it.
    """
    for name in names:
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            raise ConfigError(f"logger {name!r} needs the package {_PACKAGES[name]}: {package_line(_PACKAGES[name])}")
