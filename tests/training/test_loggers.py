"""What TensorBoard, MLflow and Weights & Biases are told, read back from their own files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from toy_trainings import StepCounter, plan

from raynas.errors import ConfigError
from raynas.training.folder import load_training
from raynas.training.run import execute_training

EPOCH_VALUES = ("lr", "train_loss", "val_loss", "val_top1", "images_per_s")


def events(folder: Path) -> list[Event]:
    """Of TensorBoard's files, each a series of records: length, its checksum, the event, its checksum."""
    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def wandb_records(path: Path) -> list[bytes]:
    """Of a .wandb file: the log format of LevelDB, blocks of 32 KiB after a header of 7 bytes."""
    content, at, found, parts = path.read_bytes(), 7, [], b""
    while at + 7 <= len(content):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            found.append(parts)
            parts = b""
    return found


def logged(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows, by name and step: a session that starts hides all from its step on."""
    found: dict[str, dict[int, float]] = {}
    for event in events(folder / "tensorboard"):
        if event.session_log.status == SessionLog.START:
            found = {tag: {at: value for at, value in one.items() if at < event.step} for tag, one in found.items()}
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_tensorboard_has_the_table_of_the_epochs(tmp_path: Path) -> None:
    made = plan(loggers=["tensorboard"], epochs=2)
    execute_training(made, tmp_path)
    found = logged(tmp_path)
    rows = load_training(tmp_path).metrics.to_pylist()
    for name in EPOCH_VALUES:
        expected = {(i + 1) * made.steps: row[name] for i, row in enumerate(rows)}
        assert found[f"epoch/{name}"] == pytest.approx(expected, rel=1e-6)
    assert "epoch/ema_val_top1" not in found  # there is no moving average
    assert set(found["step/train_loss"]) <= set(range(1, 2 * made.steps + 1))


def test_a_resumed_training_goes_on_where_its_curves_ended(tmp_path: Path) -> None:
    stopped = plan(loggers=["tensorboard"], epochs=3)
    counter = StepCounter(stop_after=stopped.steps + 2)
    summary = execute_training(stopped, tmp_path, is_stopped=counter.is_stopped)
    assert (summary["status"], summary["epochs_done"]) == ("interrupted", 1)
    execute_training(stopped, tmp_path, resume=True)
    assert sorted(logged(tmp_path)["epoch/lr"]) == [stopped.steps, 2 * stopped.steps, 3 * stopped.steps]


def test_mlflow_has_the_table_of_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    store = f"file://{tmp_path}/mlruns"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    made = plan(loggers=["mlflow"], epochs=2)
    execute_training(made, tmp_path / "trained")
    client = mlflow.MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("raynas").experiment_id])
    assert run.info.run_name == "trained"
    assert run.data.params["epochs"] == "2"
    rows = load_training(tmp_path / "trained").metrics.to_pylist()
    for name in EPOCH_VALUES:
        history = client.get_metric_history(run.info.run_id, f"epoch/{name}")
        expected = {(i + 1) * made.steps: row[name] for i, row in enumerate(rows)}
        assert {one.step: one.value for one in history} == pytest.approx(expected)


def test_wandb_has_the_table_of_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    made = plan(loggers=["wandb"], epochs=2)
    execute_training(made, tmp_path)
    (path,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    found: dict[int, float] = {}
    for data in wandb_records(path):
        record = Record.FromString(data)
        values = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
        if "epoch/val_loss" in values:
            found[record.history.step.num] = float(values["epoch/val_loss"])
    rows = load_training(tmp_path).metrics.to_pylist()
    assert found == pytest.approx({(i + 1) * made.steps: row["val_loss"] for i, row in enumerate(rows)})


def test_a_logger_that_cannot_start_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(ConfigError, match="logger 'mlflow' cannot start: "):
        execute_training(plan(loggers=["mlflow"], epochs=1), tmp_path)


def test_a_missing_package_is_named_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"logger 'wandb' needs the package wandb: \w+ .*wandb$"):
        execute_training(plan(loggers=["wandb"], epochs=1), tmp_path / "trained")
    assert not (tmp_path / "trained").exists()
