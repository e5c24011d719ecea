"""Analyses of networks whose structure says what must come out, through the API and the command."""

from __future__ import annotations

import io
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import timm
import torch
from PIL import Image
from toy_trainings import trained

import raynas
from raynas.analysis.folder import load_analysis
from raynas.analysis.points import Points
from raynas.analysis.run import AnalysisListener
from raynas.cli import main
from raynas.errors import RaynasError
from raynas.interruption import Interrupted
from raynas.report.page import write_report
from raynas.training.checkpoints import LAST, checkpoint_folder, read_checkpoint

VIT: dict[str, Any] = {"space": "vit", "architecture": "p8-w48-d3-h4-m2", "img_size": 32, "drop_path_rate": 0.0}
QUICK: dict[str, Any] = {"data": "digits", "max_images": 96, "batch_size": 32, "loader_processes": 0, "threads": 1}


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mae") / "run"
    trained(folder, **VIT, objective="mae", epochs=1, max_images=120)
    return folder


def changed(training: Path, to: Path, change: Any) -> Path:
    """The folder of a training whose last weights are changed."""
    import shutil

    shutil.copytree(training, to)
    path = checkpoint_folder(to) / LAST
    state = read_checkpoint(path)
    change(state["model"])
    torch.save(state, path)
    return to


def analysed(model: Path | str, out: Path, **settings: Any) -> Any:
    return raynas.analyze(model, out=out, listener=AnalysisListener(), **{**QUICK, **settings})


def cka_of(analysis: Any, network: str = "model", other: str = "model") -> np.ndarray:
    rows = [r for r in analysis.cka.to_pylist() if (r["network"], r["other_network"]) == (network, other)]
    points = list(dict.fromkeys(row["point"] for row in rows))
    values = {(row["point"], row["other_point"]): row["cka"] for row in rows}
    others = list(dict.fromkeys(row["other_point"] for row in rows))
    return np.array([[values[a, b] for b in others] for a in points])


def quiet_blocks(weights: dict[str, torch.Tensor]) -> None:
    """Blocks that add nothing, and attend evenly."""
    for name, value in weights.items():
        if ".qkv." in name or ".attn.proj." in name or ".fc2." in name:
            value.zero_()


def test_blocks_that_add_nothing_leave_all_points_alike(tmp_path: Path, training: Path) -> None:
    found = analysed(changed(training, tmp_path / "quiet", quiet_blocks), tmp_path / "out")
    assert np.allclose(cka_of(found), 1, atol=1e-6)
    heads = found.attention.to_pylist()
    assert len(heads) == 3 * 4
    distance = np.mean([math.hypot(a // 4 - b // 4, a % 4 - b % 4) for a in range(16) for b in range(16)])
    for head in heads:
        assert head["entropy"] == pytest.approx(math.log(16), abs=3e-4)
        assert head["distance"] == pytest.approx(distance, rel=1e-5)
        assert head["distance_14"] == pytest.approx(14 * distance, rel=1e-5)
    ranks = [row["effective_rank"] for row in found.layers.to_pylist()]
    assert max(ranks) - min(ranks) < 1e-3 * ranks[0]


def test_a_turned_network_is_alike_where_it_is_turned(tmp_path: Path, training: Path) -> None:
    """Channels in another order are a turn that norms do not see; blocks add nothing, so that it reaches the end."""
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))

    def plain(weights: dict[str, torch.Tensor]) -> None:
        quiet_blocks(weights)
        for name, value in weights.items():
            if "norm" in name:
                value.fill_(float(name.endswith("weight")))

    def turned(weights: dict[str, torch.Tensor]) -> None:
        plain(weights)
        for name in ("patch_embed.proj.weight", "patch_embed.proj.bias"):
            weights[name] = weights[name][order]
        for name in ("cls_token", "pos_embed"):
            weights[name] = weights[name][..., order]

    before = changed(training, tmp_path / "plain", plain)
    found = analysed(before, tmp_path / "out", against=changed(training, tmp_path / "turned", turned))
    assert np.allclose(np.diag(cka_of(found, "model", "against")), 1, atol=1e-6)


def test_a_network_is_wholly_like_itself(tmp_path: Path, training: Path) -> None:
    found = analysed(training, tmp_path / "out", against=training)
    own, both = cka_of(found), cka_of(found, "model", "against")
    assert own.shape == (4, 4)
    assert np.allclose(np.diag(own), 1)
    assert np.allclose(own, own.T)
    assert np.allclose(own, both, atol=1e-9)
    assert found.summary["knn_top1"]["model"] == found.summary["knn_top1"]["against"]
    names = [name for name, _ in found.pictures()]
    assert names == [f"{network}-{what}" for network in ("against", "model")
                     for what in ("00-images", "01-attention", "02-attention", "03-attention")]  # fmt: skip


def test_points_are_before_the_blocks_and_at_the_end(training: Path) -> None:
    model: Any = raynas.load_training(training).model()
    images = torch.randn(2, 3, 32, 32)
    points = Points(model)
    with torch.no_grad():
        seen = points.seen(images)
    assert points.names == ["1", "2", "3", "end"]
    tokens = model._pos_embed(model.patch_embed(images))
    assert torch.allclose(seen.tokens[0], model.blocks[0].norm1(tokens)[:, 1:], atol=1e-6)
    assert torch.allclose(seen.tokens[1], model.blocks[1].norm1(model.blocks[0](tokens))[:, 1:], atol=1e-6)
    assert torch.allclose(seen.tokens[3], model.forward_features(images)[:, 1:], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "size", "points", "heads"),
    [
        ("vit_tiny_patch16_224", 64, 13, 12),
        ("swin_tiny_patch4_window7_224", 224, 13, 0),
        ("resnet10t", 64, 5, 0),
        ("convnext_atto", 64, 4, 0),
        ("beit_base_patch16_224", 64, 13, 12),
    ],
)
def test_any_model_of_timm_can_be_looked_at(name: str, size: int, points: int, heads: int) -> None:
    model = timm.create_model(name, num_classes=5, **({} if name.startswith(("res", "conv")) else {"img_size": size}))
    found = Points(model.eval())
    with torch.no_grad():
        seen = found.seen(torch.randn(2, 3, size, size))
    assert len(found.names) == len(seen.tokens) == points
    assert len(seen.attention) == heads
    assert all(tokens.ndim == 3 and len(tokens) == 2 for tokens in seen.tokens)


def test_images_need_no_labels_and_fewer_than_four_are_refused(tmp_path: Path, training: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(34):  # the last two are too few to be compared by themselves
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
    found = analysed(training, tmp_path / "out", data=f"folder:{folder}")
    assert found.summary["images"] == 34
    assert "knn_top1" not in found.summary
    for name in sorted(path.name for path in folder.iterdir())[3:]:
        (folder / name).unlink()
    with pytest.raises(RaynasError, match="3 images are too few to compare layers by: at least 4"):
        analysed(training, tmp_path / "few", data=f"folder:{folder}")
    assert not (tmp_path / "few").exists()


def test_the_same_analysis_gives_the_same_tables_and_another_is_refused(tmp_path: Path, training: Path) -> None:
    first = analysed(training, tmp_path / "out")
    with pytest.raises(RaynasError, match="holds a run already"):
        analysed(training, tmp_path / "out")
    again = analysed(training, tmp_path / "out", resume=True)
    assert first.cka.equals(again.cka) and first.attention.equals(again.attention)
    with pytest.raises(RaynasError, match="holds another run"):
        analysed(training, tmp_path / "out", resume=True, max_images=64)
    shuffled = analysed(training, tmp_path / "other", seed=1)
    assert not shuffled.cka.equals(first.cka)
    write_report(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "nan" not in json.dumps(page.split('id="data"')[1][:200]).lower()


def test_a_signal_ends_it_and_it_is_carried_out_again(tmp_path: Path, training: Path) -> None:
    class Killing(AnalysisListener):
        def on_progress(self, done: int, total: int) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        raynas.analyze(training, out=tmp_path / "out", listener=Killing(), **QUICK)
    stopped = load_analysis(tmp_path / "out")
    assert stopped.summary["status"] == "interrupted"
    assert stopped.cka.num_rows == 0
    write_report(tmp_path / "out")
    assert analysed(training, tmp_path / "out", resume=True).summary["status"] == "completed"


def test_a_damaged_table_is_told(tmp_path: Path, training: Path) -> None:
    analysed(training, tmp_path / "out")
    (tmp_path / "out" / "cka.parquet").write_bytes(b"PAR1")
    with pytest.raises(RaynasError, match=r"cka\.parquet is damaged"):
        load_analysis(tmp_path / "out")


def test_the_command_prints_a_table_and_writes_a_page(
    tmp_path: Path, training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["analyze", str(training), "--data", "digits", "--max-images", "64", "--batch-size", "32"]
    arguments += ["--loader-processes", "0", "--against", "random:deit-tiny", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].split() == [
        "network", "before", "block", "effective", "rank", "token", "likeness", "distance", "entropy", "CKA", "with",
        "the", "other",
    ]  # fmt: skip
    assert "report.html" in shown.err
    page = (tmp_path / "out" / "report.html").read_text()
    assert "p16-w192-d12-h3-m4" in page
    assert isinstance(load_analysis(tmp_path / "out").layers, pa.Table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--data", "digits"], "there is no teacher 'nowhere'"),
        (["random:deit-tiny", "--data", "digitz"], "did you mean 'digits'"),
        (["random:deit-tiny", "--data", "digits", "--max-images", "3"], "max_images"),
        (["random:deit-tiny", "--data", "digits", "--device", "tpu"], "device is 'tpu'"),
        (["random:deit-tiny", "--data", "digits", "--img-size", "64"], "takes images of 224"),
        (["random:deit-tiny"], "data is required"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["analyze", *arguments, "--out", str(tmp_path / "out")])
    assert ended.value.code == 1
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()
