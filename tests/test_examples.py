"""The examples run as they say, also where their files cannot be imported by name: on workers, in later processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import raynas
from raynas.errors import ConfigError, UnknownNameError
from raynas.models.elastic.supernet import Supernet
from raynas.proxies.registered import proxies
from raynas.searching.run import SearchListener
from raynas.space.cost import cost
from raynas.space.registered import spaces
from raynas.training.run import TrainingListener

TINY = "4,2,2|2,1,2|2,1,2|2,1,2|8,8"
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SMALL = ["--img-size", "32", "--data", "digits", "--budget", "6", "--searcher", "random"]


@pytest.fixture(scope="module", autouse=True)
def as_before() -> Iterator[None]:
    """What files of one's own bring into the registries is not there for tests after these."""
    assert list(proxies)  # they are loaded on first use
    assert list(spaces)
    before = [(registry, dict(registry._members)) for registry in (proxies, spaces)]
    yield
    for registry, members in before:
        registry._members = members
    for name in [name for name in sys.modules if name.startswith("raynas_file_")]:
        del sys.modules[name]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "raynas.cli", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.long
def test_an_own_proxy_scores_an_own_space_on_workers_and_a_later_process_goes_on(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for name in ("own_proxy.py", "own_space.py"):
        (tmp_path / "own" / name).write_text((EXAMPLES / name).read_text())
    given = ["own/own_space.py:convnets", "--proxy", "own/own_proxy.py:feature_spread", "--objective", "synflow"]
    first = run("search", *given, *SMALL, "--workers", "1", "--out", "run", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    found = raynas.load_run(tmp_path / "run").table.to_pylist()
    assert len(found) == 6
    assert all(row["synflow"] is not None and row["feature_spread"] > 0 for row in found)
    again = ["search", "--resume", "--out", "run", "--budget", "8", "--workers", "0"]
    assert "holds code that a folder names" in run(*again, cwd=tmp_path).stderr
    assert run(*again, "--trust-code", cwd=tmp_path).returncode == 0
    table = raynas.load_run(tmp_path / "run").table.to_pylist()
    assert table[:6] == found
    trained = run("train", "run", "--trust-code", "--data", "digits", "--img-size", "32", "--epochs", "1",
                  "--max-images", "100", "--batch-size", "32", "--out", "trained", cwd=tmp_path)  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert raynas.load_training(tmp_path / "trained").summary["status"] == "completed"


def test_an_own_proxy_is_what_it_says() -> None:
    proxy = proxies.get(f"{EXAMPLES / 'own_proxy.py'}:feature_spread")
    space = spaces.get("vit")
    model: Any = raynas.build(space, "p8-w96-d4-h3-m2", img_size=32, num_classes=10).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    probe = raynas.Probe(space.read("p8-w96-d4-h3-m2"), model, img_size=32, images=images)
    with torch.no_grad():
        features = model.pooled_features(images).numpy()
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(features) for b in features[:i]]
    expected = np.mean(pairs) / np.linalg.norm(features, axis=1).mean()
    assert proxy(probe) == {"feature_spread": pytest.approx(expected, rel=1e-5)}


def test_an_own_space_is_as_other_spaces() -> None:
    space = spaces.get(f"{EXAMPLES / 'own_space.py'}:convnets")
    assert space.size == 3 * (2**2 + 2**3 + 2**4)
    architecture = space.sample(np.random.default_rng(0))
    model = raynas.build(space, architecture, img_size=32, num_classes=5)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.slow
def test_an_own_space_without_a_word_of_elasticity_is_trained_and_searched_as_a_supernet(tmp_path: Path) -> None:
    space = spaces.get(f"{EXAMPLES / 'own_supernet.py'}:parts")
    supernet = Supernet.fresh(space, img_size=16, num_classes=10)
    supernet.whole.eval()
    rng = np.random.default_rng(0)
    images = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for _ in range(25):
        members = [space.sample(rng), space.sample(rng)]
        with torch.no_grad():
            logits = supernet(images, members)
            for i, member in enumerate(members):
                torch.testing.assert_close(logits[i::2], supernet.extract(member)(images[i::2]), rtol=0, atol=1e-5)
    raynas.train_supernet(
        space, data="digits", img_size=16, max_images=120, batch_size=32, epochs=1, augment="none", workers=0,
        loader_processes=0, out=tmp_path / "supernet", listener=TrainingListener(),
    )  # fmt: skip
    bound = 0.45 * cost(space, space.largest(), "macs", img_size=16, num_classes=10)
    run = raynas.search_supernet(
        tmp_path / "supernet", space=space, searcher="random", budget=8, constraints=[f"macs<={bound}"], workers=0,
        out=tmp_path / "run", listener=SearchListener(),
    )  # fmt: skip
    assert run.summary["comparison"]["uniform"] is None  # costs that only workers count choose no network
    assert 0 < run.summary["comparison"]["random"]["number"] < 20
    rows = run.table.to_pylist()
    assert any(row["macs"] > bound and row["top1"] is None for row in rows)  # counted first, and then not evaluated
    assert any(row["macs"] <= bound and row["top1"] is not None for row in rows)
    assert all((row["macs"] <= bound) == (row["top1"] is not None) for row in rows)


def test_files_and_names_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="has no proxy 'other'"):
        proxies.get(f"{EXAMPLES / 'own_proxy.py'}:other")
    with pytest.raises(UnknownNameError, match="has no proxy 'synflow'"):  # that one is built in
        proxies.get(f"{EXAMPLES / 'own_proxy.py'}:synflow")
    with pytest.raises(ConfigError, match=r"cannot import .*nowhere.py: FileNotFoundError"):
        proxies.get(f"{tmp_path / 'nowhere.py'}:score")
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        spaces.get(f"{tmp_path / 'broken.py'}:space")


def test_a_file_says_what_it_has_where_a_name_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "several.py"
    file.write_text(
        "from raynas import Proxy, proxy\n\nout_std = Proxy('out_std', float)\nnumber = 3\n\n\n"
        "@proxy('registered')\ndef function(probe):\n    return 0.0\n"
    )
    with pytest.raises(UnknownNameError, match=r"has no proxy 'out_sdt'\. Did you mean 'out_std'\? It has: ") as told:
        proxies.get(f"{file}:out_sdt")
    assert set(str(told.value).partition("It has: ")[2].split(", ")) == {"registered", "out_std"}
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UnknownNameError, match=r"has no space 'x'\. It has: none$"):
        spaces.get(f"{tmp_path / 'empty.py'}:x")


def test_a_file_says_which_spaces_it_has_before_any_space_was_needed(tmp_path: Path) -> None:
    code = f"from raynas.space.registered import spaces; spaces.get({str(EXAMPLES / 'own_space.py')!r} + ':convnet')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has no space 'convnet'. Did you mean 'convnets'? It has: convnets" in done.stderr


@pytest.mark.parametrize("registry", [proxies, spaces])
def test_a_file_without_a_name_in_it_is_told_how_to_say_it(registry: Any, tmp_path: Path) -> None:
    file = tmp_path / "space.py"
    for path in (file, "space.py", "sub/space.py"):
        with pytest.raises(UnknownNameError, match=rf"a {registry.kind} in it is FILE\.py:NAME, such as {path}:NAME$"):
            registry.get(str(path))


def test_a_proxy_of_a_file_goes_by_the_name_that_it_is_registered_under(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text('from raynas import proxy\n\n@proxy("own_zero")\ndef nothing(probe):\n    return 0.0\n')
    assert proxies.get(f"{file}:own-zero").name == "own_zero"
    with pytest.raises(UnknownNameError, match="has no proxy 'nothing'"):
        proxies.get(f"{file}:nothing")


@pytest.mark.slow
def test_an_own_objective_is_trained_by(tmp_path: Path) -> None:
    out, objective = tmp_path / "run", EXAMPLES / "own_objective.py"
    small = ["--img-size", "32", "--max-images", "100", "--batch-size", "32", "--epochs", "2", "--augment", "none"]
    given = ["as-vit", "--architecture", TINY, "--set", f"objective={objective}:confidence_penalty"]
    done = run("train", *given, *small, "--data", "digits", "--out", str(out), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = raynas.load_training(out).metrics.to_pylist()
    for row in rows:
        assert row["train_loss"] == pytest.approx(row["cross_entropy"] - 0.1 * row["entropy"], rel=1e-5)
        assert 0 < row["entropy"] <= np.log(10) + 1e-6
    assert "top-1" in done.stdout


@pytest.mark.long
def test_a_detector_learns_on_an_export_where_there_is_no_raynas(tmp_path: Path) -> None:
    folder = raynas.export(
        "p4-w48-d3-h3-m2", tmp_path / "plain", space="vit", untrained=True, img_size=32, num_classes=10
    )
    without = "import sys; sys.modules['raynas'] = None; import runpy; sys.argv = sys.argv[1:]; "
    without += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", without, str(EXAMPLES / "detector.py"), str(folder), "--epochs", "5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    before, after = (float(one.split()[1].rstrip("%")) for one in (lines[0], lines[-1]))
    assert after >= before + 30, done.stdout
    wrong = subprocess.run([*command[:4], str(tmp_path)], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "is no export: it has no timm_model.py" in wrong.stderr
