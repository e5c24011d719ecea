"""The word that a worker's process leaves for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from raynas.scoring.door import Outgrown
from raynas.scoring.ray_worker import notes_of_others, taken_note


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (b"3221225472 2147483648\n", Outgrown(3221225472.0, 2147483648.0)),
        *[(b"3221225472 2147483648\n"[:length], None) for length in (0, 1, 10, 11, 12, 20, 21)],
        (b"\xff\xfe 1\n", None), (b"nan 1\n", None), (b"1 2 3\n", None), (b"1 2\n1 2\n", None), (b"\0", None),
    ],
)  # fmt: skip
def test_a_note_that_was_not_written_whole_says_nothing_and_is_gone(
    left: bytes, expected: Outgrown | None, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    note.write_bytes(left)
    assert taken_note(note) == expected
    assert not note.exists()
    assert taken_note(note) is None


def test_what_cannot_be_read_or_removed_is_no_note(tmp_path: Path) -> None:
    (tmp_path / "note").mkdir()
    assert taken_note(tmp_path / "note") is None


def test_notes_of_other_actors_are_read_and_left_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    own = tmp_path / "raynas-outgrown-mine"
    for name, text in (("mine", "9 8\n"), ("one", "3 2\n"), ("torn", "3 "), ("two", "5 4\n")):
        (tmp_path / f"raynas-outgrown-{name}").write_text(text)
    (tmp_path / "raynas-outgrown-folder").mkdir()
    (tmp_path / "other").write_text("7 6\n")
    assert notes_of_others(own) == {"one": Outgrown(3.0, 2.0), "two": Outgrown(5.0, 4.0)}
    assert taken_note(tmp_path / "raynas-outgrown-one") == Outgrown(3.0, 2.0)
    assert notes_of_others(own) == {"two": Outgrown(5.0, 4.0)}
