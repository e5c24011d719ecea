"""Carry out undertakings with the raynas that is found first, and write down what each came to.

    python -m equality.carrying_out TREE NAME... [--other FOLDER]

The folder in which this runs gets one for each undertaking: `run`, what raynas wrote; `left`, a copy of it as it is
when it was cut short; `result`, what it came to, in files for `differences.py`; `done.json` at its end.

With --other, undertakings are then resumed from what another commit `left` in its folder, and done again with the
scores of its `run`; these are written to `resumed/NAME` and `reused/NAME`. What the other has not yet done is waited
for, until it has `ended`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from equality.undertakings import RUN_OF, TRUTH, Undertaking, Values, truth_table, undertakings

RUN, LEFT, RESULT, DONE = "run", "left", "result", "done.json"
RESUMED, REUSED = "resumed", "reused"
PROXIES = "proxies.json"
"""Which proxies are scored where all are meant: those that the other commit lists."""
ENDED = "ended"
"""A file that says that nothing more is to be waited for."""
GIVE_SCORES = ("search", "score", "scale")
"""Functions whose runs give scores to others, and take them."""

_NORMAL = ("entropic_score", "entropy", "naswot", "zen")
"""Proxies whose own initialisation is N(0, 1); that of the others is the model's."""
_PARTS_BEFORE_INTERRUPTION = 8

Results = dict[str, Any]
"""By the name of a file: a text, values for JSON, tensors by their names, or the path of a file of tensors."""


def main() -> None:
    """Carry out what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tree", type=Path, help="whose raynas must be the one that is found")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--other", type=Path, help="folder of another commit's undertakings")
    arguments = parser.parse_args()

    import raynas

    if not Path(raynas.__file__).is_relative_to(arguments.tree):
        raise SystemExit(f"raynas is {raynas.__file__}, which is not in {arguments.tree}")
    other: Path | None = arguments.other
    if other is None:
        write_whole(Path(PROXIES), json.dumps(_listed_proxies()))
    proxies = json.loads(_when_there(other or Path(), PROXIES).read_text())
    for has_workers in (False, True):
        chosen = [one for one in undertakings() if one.name in arguments.names and one.has_workers == has_workers]
        for one in chosen:
            _noted(Path(one.name), carry_out, one, proxies)
        if other is not None:
            _continue(other, [one for one in chosen if one.is_continued], proxies)
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


def _continue(other: Path, chosen: Sequence[Undertaking], proxies: Sequence[str]) -> None:
    """Resume what another commit left in its folder, and take its scores."""
    for one in chosen:
        done = _when_there(other, f"{one.name}/{DONE}").parent
        _noted(Path(RESUMED, one.name), resume, one, proxies, done / LEFT)
        if one.function in GIVE_SCORES:
            _noted(Path(REUSED, one.name), reuse, one, proxies, done / RUN)


def _listed_proxies() -> list[str]:
    """All proxies but the costs, which every run has, and those that a clock measures; as the command lists them."""
    (command,) = entry_points(group="console_scripts", name="raynas")
    sys.argv = ["raynas", "list", "proxies", "--json"]
    with redirect_stdout(io.StringIO()) as out, suppress(SystemExit):
        command.load()()
    return [row["name"] for row in json.loads(out.getvalue()) if row["repeats"] and not row.get("measured")]


def _when_there(folder: Path, name: str) -> Path:
    """A file of the other commit, once it is written, or will not be."""
    while not (folder / name).exists() and not (folder / ENDED).exists():
        time.sleep(0.1)
    return folder / name


def _noted(folder: Path, act: Callable[..., Results], one: Undertaking, *given: Any) -> None:
    """Write down what an undertaking came to, or how it failed, and that it is over."""
    import raynas

    started, error, is_refusal = time.perf_counter(), None, False
    print(f"\n== {folder}", flush=True)
    folder.mkdir(parents=True)
    try:
        write_results(folder / RESULT, act(one, folder, *given))
    except Exception as failure:  # whatever a commit raises is what is to be shown
        traceback.print_exc()
        error, is_refusal = f"{type(failure).__name__}: {failure}", isinstance(failure, raynas.RaynasError)
    done = {"seconds": time.perf_counter() - started, "error": error, "is_refusal": is_refusal}
    write_whole(folder / DONE, json.dumps(done))


def _start_ray() -> None:
    """Start Ray for all undertakings that need it, which saves each of them a start.

    Raises:
        Exception: Ray does not start, which is its own word for it.
    """
    import ray

    for tries_left in range(_TRIES - 1, -1, -1):
        try:
            if not ray.is_initialized():
                ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
            return
        except Exception:  # where the machine is so busy that half a minute does not suffice
            ray.shutdown()
            if not tries_left:
                raise


_TRIES = 4


# -- doing -------------------------------------------------------------------------------------------------------------


def carry_out(one: Undertaking, folder: Path, proxies: Sequence[str]) -> Results:
    """Carry out an undertaking from its start.

    Args:
        one: Of the list.
        folder: Its own.
        proxies: What is scored where all are meant.

    Returns:
        What it came to.
    """
    if one.has_workers:
        _start_ray()
    run, left = folder / RUN, folder / LEFT
    if one.function == "interrupted":
        _interrupt(one, run)
        shutil.copytree(run, left)
        return results("search", _call(one, "search", proxies, out=run, resume=True))
    found = results(one.function, _call(one, one.function, proxies, out=run))
    if one.is_continued:
        shutil.copytree(run, left)
        _cut_short(left)
    return found


def resume(one: Undertaking, folder: Path, proxies: Sequence[str], left: Path) -> Results:
    """Go on with what another commit left.

    Returns:
        What it came to.

    Raises:
        RuntimeError: A row that was stored has not been taken as it was.
    """
    import raynas

    run, function = folder / RUN, "search" if one.function == "interrupted" else one.function
    shutil.copytree(left, run)
    has_rows = (run / "evaluations").is_dir()
    stored = _rows(raynas.load_run(run).evaluations) if has_rows else {}
    found = _call(one, function, proxies, out=run, resume=True)
    if has_rows:
        _check_taken(stored, _rows(raynas.load_run(run).evaluations))
    return results(function, found)


def reuse(one: Undertaking, folder: Path, proxies: Sequence[str], other: Path) -> Results:
    """Do it again with the scores of another commit's run.

    Returns:
        What it came to, as if nothing had been reused.

    Raises:
        RuntimeError: Something was scored that was stored.
    """
    import raynas

    stored = _rows(raynas.load_run(other).evaluations)
    run = _call(one, one.function, proxies, out=folder / RUN, reuse=[other])
    taken = {key: {**row, "reused": False} for key, row in _rows(run.evaluations).items() if row["reused"]}
    scores = {key: row for key, row in stored.items() if row["repeats"]}  # costs are counted anew
    # A commit that does not say what computed its scores has them scored again.
    _check_taken({key: row for key, row in scores.items() if row["device_type"]}, taken)
    architectures = {row["architecture_key"] for row in scores.values() if row["device_type"]}
    if run.summary["reused"] != len(architectures):
        raise RuntimeError(f"of {len(architectures)} architectures, {run.summary['reused']} are said to be reused")
    found = results(one.function, run)
    unmarked = {key: {**row, "reused": False} for key, row in found["evaluations"].items()}
    return {**found, "evaluations": unmarked, "summary": {**found["summary"], "reused": 0}}


def _call(one: Undertaking, function: str, proxies: Sequence[str], **more: Any) -> Any:
    """Call a function of raynas with the arguments and settings of an undertaking."""
    import raynas

    settings = {name: _resolved(value) for name, value in one.settings.items()}
    if function == "score_model":
        return raynas.score_model(_seeded_model(one.arguments[0]), proxies, **settings)
    if one.scores:
        settings["proxies"] = proxies
    if one.scores == "all other":
        others = {name: {"init": "model" if name in _NORMAL else "normal"} for name in proxies}
        settings["settings"] = {name: {**settings["settings"].get(name, {}), **init} for name, init in others.items()}
    if function == "bench_proxies":
        Path(TRUTH).write_text(truth_table())
    return getattr(raynas, function)(*map(_resolved, one.arguments), **settings, **more)


def _resolved(value: Any) -> Any:
    """The run of another undertaking as its folder, relative, so that it is called the same for both commits."""
    is_run = isinstance(value, str) and value.startswith(RUN_OF)
    return str(Path(value.removeprefix(RUN_OF), RUN)) if is_run else value


def _seeded_model(name: str) -> Any:
    """A model of timm with weights of its own."""
    import timm
    import torch

    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10).eval()


def _interrupt(one: Undertaking, run: Path) -> None:
    """Start a search, and end it by the signal of Ctrl-C once some of its rows are stored.

    Raises:
        RuntimeError: It came to its end before.
    """
    import raynas

    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.01):
            if len(list((run / "evaluations").glob("part-*"))) >= _PARTS_BEFORE_INTERRUPTION:
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    with suppress(raynas.RaynasError):  # says that it was interrupted
        _call(one, "search", (), out=run)
    is_over.set()
    thread.join()
    summary = raynas.load_run(run).summary
    if summary["status"] != "interrupted" or summary["evaluations"] >= one.settings["budget"]:
        raise RuntimeError(f"not interrupted: {summary['status']} after {summary['evaluations']} evaluations")


def _cut_short(run: Path) -> None:
    """Take away the half that a search stored last; what is left is the folder of a search killed before."""
    parts = sorted((run / "evaluations").glob("part-*"))
    for path in parts[(len(parts) + 1) // 2 :]:
        path.unlink()
    if parts:
        (run / "summary.json").unlink()


def _check_taken(stored: Mapping[str, Values], now: Mapping[str, Values]) -> None:
    """Rows are as they were stored, also in the time that they took, which no second scoring repeats.

    Raises:
        RuntimeError: One is not.
    """
    lost = [key for key, row in stored.items() if now.get(key) != row]
    if lost or not stored:
        raise RuntimeError(f"{len(lost)} of {len(stored)} stored rows were not taken: {', '.join(lost[:1])}")


# -- what it came to ---------------------------------------------------------------------------------------------------


def results(function: str, found: Any) -> Results:
    """What a function of raynas returned, as plain values, texts and tensors."""
    if function == "train":
        weights = {f"weights_{checkpoint}": found.model(checkpoint).state_dict() for checkpoint in ("last", "best")}
        about = {"metrics": found.metrics.to_pylist(), "summary": dict(found.summary)}
        return {**about, **weights, "description": dict(found.description)}
    if function == "export":
        return _exported(found)
    if function == "score_model":
        return {"outcomes": {name: outcome._asdict() for name, outcome in found.items()}}
    if function == "sweep":
        # Which search scores what two of them ask for depends on which is first.
        tables = {name: run.table.to_pylist() for name, run in found.runs.items()}
        best = {name: list(run.best) for name, run in found.runs.items()}
        return {"tables": tables, "best": best, "description": dict(found.description)}
    if function == "bench_proxies":
        tables = {"correlations": found.correlations.to_pylist(), "scores": found.scores.to_pylist()}
        return {**tables, **results("search", found.run)}
    return {
        "evaluations": _rows(found.evaluations),
        "table": found.table.to_pylist(),
        "summary": dict(found.summary),
        "description": dict(found.description),
    }


def _rows(evaluations: Any) -> dict[str, dict[str, Any]]:
    """Rows of a store by architecture and score; their order depends on when workers were done.

    Raises:
        RuntimeError: One is stored twice.
    """
    rows = evaluations.to_pylist()
    found = {f"{row['architecture']} {row['proxy']}": row for row in rows}
    if len(found) < len(rows):
        raise RuntimeError(f"{len(rows) - len(found)} rows are stored twice")
    return dict(sorted(found.items()))


def _exported(folder: Path) -> Results:
    """The files of an export, and what its network says of two images."""
    import torch

    config = json.loads((folder / "config.json").read_text())
    path = folder / "model.py"
    module = ModuleType("exported")  # not imported, which would leave compiled code in the folder
    module.__file__ = str(path)
    exec(compile(path.read_text(), path, "exec"), vars(module))
    side = config["img_size"]
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = {"logits": module.load()(images)}
    texts = {name: (folder / name).read_text() for name in ("model.py", "timm_model.py", "README.md")}
    return {"config": config, "weights": folder / "model.safetensors", "outputs": outputs, **texts}


def write_results(folder: Path, found: Results) -> None:
    """Put results into files: .txt, .json with all digits of every number, .safetensors."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    for name, value in found.items():
        if isinstance(value, str):
            (folder / f"{name}.txt").write_text(value)
        elif isinstance(value, Path):
            shutil.copyfile(value, folder / f"{name}.safetensors")
        elif isinstance(value, Mapping) and any(isinstance(item, torch.Tensor) for item in value.values()):
            save_file({key: item.contiguous() for key, item in value.items()}, folder / f"{name}.safetensors")
        else:
            (folder / f"{name}.json").write_text(json.dumps(value, indent=1))


def write_whole(path: Path, text: str) -> None:
    """A file that is there only once all of it is."""
    path.with_name(f".{path.name}").write_text(text)
    path.with_name(f".{path.name}").rename(path)


if __name__ == "__main__":
    main()
