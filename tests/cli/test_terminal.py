"""What is printed of texts that come from anybody."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from toy_runs import search
from toy_scores import toy_space

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
