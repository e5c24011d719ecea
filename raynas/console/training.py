"""What a person sees of a training in a terminal or a log."""

from __future__ import annotations

import math
import time
from pathlib import Path

from raynas.console.bar import BarConsole
from raynas.console.images import training_images_block
from raynas.console.terminal import wide_console
from raynas.training.best_epoch import BestEpoch
from raynas.training.folder import Training
from raynas.training.objectives.objective import PreparedObjective
from raynas.training.plan import TrainingPlan
from raynas.training.run import TrainingListener
from raynas.training.task import Row, TrainingProgress
from raynas.wording import duration, plural

_LINE_EVERY_S = 20.0
_VALUES = ("value", "best_value")


class TrainingConsole(BarConsole, TrainingListener):
    """A bar with the time left in a terminal, and a line for every epoch, on standard error."""

    def __init__(self) -> None:
        super().__init__("train")
        self._epochs = 0
        self._objective: PreparedObjective | None = None
        self._last_line = time.monotonic()

    def on_start(self, folder: Path, plan: TrainingPlan, history: list[Row]) -> None:
        """Say what is trained, and where the results go."""
        config = plan.config
        self._epochs = config.epochs
        self._objective = plan.objective
        for line in training_images_block(plan.inspections, plan.class_counts):
            self.on_log(line)
        self.on_log(f"run folder {folder}")
        self.on_log(
            f"{plan.space.text(plan.architecture)}: {plan.num_params / 1e6:.2f} M parameters, "
            f"{plan.macs / 1e6:,.0f} M MACs at {config.img_size} pixels; "
            f"{plural(len(plan.rows), 'image', 'images')} to train on, {len(plan.val_rows):,} to evaluate on"
        )
        full = plan.training_macs(full=True)
        for epoch, stride, dilation, macs in plan.phases:
            if stride:
                share = macs / plan.macs
                self.on_log(f"from epoch {epoch}: stride {stride}, dilation {dilation}, {share:.1%} of the MACs")
        for start, words in plan.objective.phases:
            self.on_log(f"from epoch {start + 1}: {words}")
        if plan.training_macs() != full:
            self.on_log(f"re-tokenization saves {1 - plan.training_macs() / full:.1%} of the training's MACs")

    def on_progress(self, progress: TrainingProgress) -> None:
        """Move the bar, or print a line if it is time."""
        done = progress.epoch + progress.step / progress.steps
        left = "" if math.isnan(progress.left_s) else f"about {duration(progress.left_s)} left"
        loss = "" if math.isnan(progress.loss) else f"loss {progress.loss:.3f}"
        phase = "" if self._objective is None else self._objective.phase_in(progress.epoch)
        state = ", ".join(filter(None, [f"{progress.images_per_s:,.0f} images/s", loss, left, phase]))
        count = f"epoch {min(progress.epoch + 1, progress.epochs)}/{progress.epochs}"
        if self._console.is_terminal:
            self._bar.update(self._task, total=progress.epochs, completed=done, count=count, state=state)
        elif time.monotonic() - self._last_line > _LINE_EVERY_S and progress.step:
            self._last_line = time.monotonic()
            self.on_log(f"{count}, step {progress.step}/{progress.steps}, {state}")

    def on_epoch(self, row: Row) -> None:
        """Print a line for the epoch."""
        self._last_line = time.monotonic()
        parts = [f"epoch {row['epoch'] + 1}/{self._epochs}", f"loss {row['train_loss']:.3f}"]
        measured = [f"validation loss {row['val_loss']:.3f}"] if row.get("val_loss") is not None else []
        measured += [f"top-1 {row['val_top1']:.2%}"] if row.get("val_top1") is not None else []
        if row.get("val_knn_top1") is not None:
            measured.append(f"nearest neighbours {row['val_knn_top1']:.2%}")
        parts += [", ".join(measured)] if measured else []
        if row.get("ema_val_top1") is not None:
            parts.append(f"moving average {row['ema_val_top1']:.2%}")
        for name in ("uniform", "smallest"):
            if row.get(f"val_{name}_top1") is not None:
                parts.append(f"{name} {row[f'val_{name}_top1']:.2%}")
        if row["stride"] is not None:
            parts.append(f"stride {row['stride']}")
        parts.append(f"{row['images_per_s']:,.0f} images/s, waited for data {row['data_wait_s'] / row['train_s']:.1%}")
        self.on_log("; ".join(parts))


def show_training(training: Training) -> None:
    """What came of a training, on standard output."""
    console, summary = wide_console(), training.summary
    if summary["value"] is None or summary["best_value"] is None:
        return
    best = BestEpoch.of(training.description)
    value, best_value = (f"{summary[name]:.2%}" if best.is_accuracy else f"{summary[name]:.4g}" for name in _VALUES)
    console.print(
        f"{best.title} {value} after {plural(summary['epochs_done'], 'epoch', 'epochs')} (best {best_value} after "
        f"epoch {summary['best_epoch'] + 1}) on {plural(summary['images']['val'], 'image', 'images')}; "
        f"{summary['num_params'] / 1e6:.2f} M parameters, {duration(summary['seconds'])}",
        highlight=False,
    )
    if summary["saved"]:
        console.print(
            f"re-tokenization saved {summary['saved']:.1%} of the training's MACs: {summary['training_macs']:.3g} in "
            f"place of {summary['training_macs_full']:.3g}",
            highlight=False,
        )
