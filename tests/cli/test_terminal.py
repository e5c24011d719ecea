"""What is printed of texts that come from anybody."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from toy_runs import search
from toy_scores import toy_space

import raynas
from raynas import Choice
from raynas.cli import main
from raynas.console.runs import show_failures, show_summary
from raynas.console.terminal import PlainConsole, print_rows, say
from raynas.console.trials import TrialsConsole
from raynas.proxies.probe import Proxy

STEERS = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e"


def test_no_line_and_no_table_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"a {STEERS} line")
    print_rows([{f"name {STEERS}": f"value {STEERS}", "list": [STEERS]}])
    PlainConsole(file=(file := io.StringIO()), force_terminal=True, color_system=None).print(STEERS, markup=False)
    captured = capsys.readouterr()
    for text in (captured.out, captured.err, file.getvalue()):
        assert text
        assert all(line.isprintable() for line in text.splitlines()), repr(text)


def test_errors_of_own_code_do_not_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(probe: object) -> float:
        raise ValueError(f"{STEERS}\nsecond line")

    run = search(tmp_path, space=toy_space(a=Choice(1, 2), b=Choice(1, 2), harm=Choice("none")), budget=2,
                 proxies=[Proxy("toy", fails)], searcher="random")  # fmt: skip
    show_failures(run.evaluations)
    assert "ValueError" in (told := capsys.readouterr().err)
    assert all(line.isprintable() for line in told.splitlines())


def test_one_thing_is_counted_as_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    show_summary({"evaluations": 1, "seconds": 2.0, "failed": 0, "reused": 0, "status": "completed"})
    TrialsConsole().on_start(tmp_path, 1, 1)
    show_failures(pa.table({"proxy": list("abcde"), "status": ["error"] * 5, "error": ["no reason"] * 5}))
    captured = capsys.readouterr()
    assert captured.out == "1 evaluation in 2 s, 0 failed\n"
    assert "1 training of up to 1 epoch\n" in captured.err
    assert captured.err.endswith("and 1 more kind of failure in the report\n")


def test_errors_of_commands_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["score", "as-vit", "-a", f"{STEERS}\n\ud800", "--out", "nowhere"])
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told[:-1].isprintable()


def test_rows_may_lack_what_others_have(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"name": "a", "score": 1.0}, {"name": "b", "folder": "c"}, {"folder": "d", "name": "e", "score": None}])
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown == [["name", "score", "folder"], ["a", "1", "-"], ["b", "-", "c"], ["e", "-", "d"]]


def test_what_raynas_warns_of_is_one_line_each(tmp_path: Path) -> None:
    run = search(tmp_path / "run", budget=6, searcher="random")
    part = sorted((run.folder / "evaluations").glob("*.parquet"))[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 1
    part.write_bytes(content)
    (run.folder / "evaluations" / "part-90000000-90000000.parquet").write_bytes(b"no table")
    command = [sys.executable, "-m", "raynas.cli", "report", str(run.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in told] == ["raynas", "raynas"], told
    assert part.name in told[0]
    assert "part-90000000-90000000.parquet" in told[1]


def test_every_warning_is_of_a_kind_that_commands_print() -> None:
    calls = [
        (path, node)
        for path in Path(raynas.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn"
    ]
    assert calls
    for path, node in calls:
        assert ast.unparse(node.args[1]) == "RaynasWarning", f"{path}:{node.lineno}"
