"""raynas evaluate on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_trainings import trained

from raynas.cli import main
from raynas.training.folder import load_training


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert isinstance(end.value.code, int | None)
    return end.value.code or 0, out, err


def test_a_training_is_evaluated_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    trained(run, epochs=1, max_images=100)
    top1 = load_training(run).metrics["val_top1"].to_pylist()[-1]
    code, out, err = ended(capsys, "evaluate", str(run), "--loader-processes", "0")
    assert code == 0
    assert "95 % interval" in out
    assert f"{100 * top1:.2f} %" in out
    assert f"of {run} on 10 images of digits, held out" in err
    code, out, _ = ended(capsys, "evaluate", str(run), "--json", "--loader-processes", "0")
    assert code == 0
    assert json.loads(out)["top1"] == top1
    code, out, err = ended(capsys, "evaluate", str(run), "--data", "nosuch")
    assert (code, out) == (1, "")
    assert err.startswith("raynas: unknown data 'nosuch'")
    assert err.count("\n") == 1
