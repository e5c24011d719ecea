"""Errors of any class and text become one line that files and terminals take."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.errors import error_line, error_words, on_one_line, os_error_words, printable


@given(st.text(st.characters(), max_size=3000))
def test_any_text_is_one_bounded_line_that_can_be_written(text: str) -> None:
    line = on_one_line(text)
    assert len(line) <= 500
    assert len(line.splitlines()) <= 1
    assert line.isprintable()
    line.encode()  # no lone surrogates
    assert on_one_line(line) == line


def test_what_can_be_read_stays_as_it_is_and_the_rest_is_escaped() -> None:
    assert on_one_line("a  plain\n\ttext, café, 数") == "a plain text, café, 数"
    assert on_one_line("caf\udce9") == "caf\\udce9"
    assert on_one_line("\x1b[31mred\x00") == "\\x1b[31mred\\x00"
    assert on_one_line("‮evil") == "\\u202eevil"
    assert on_one_line("x" * 10**6) == f"{'x' * 496} ..."
    assert printable("y" * 1000) == "y" * 1000


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd(Exception):
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such width"), "ValueError: no such width"),
        (ValueError(), "ValueError"),
        (KeyError("depth"), "KeyError: 'depth'"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Mute(), "Mute: (its text cannot be read, as that raises RuntimeError)"),
        (Odd(), "Odd: (its text cannot be read, as that raises TypeError)"),
        (
            ExceptionGroup("several", [ExceptionGroup("of them", [OSError("disk")]), ValueError("b")]),
            "ExceptionGroup: several (2 sub-exceptions), the first of them ExceptionGroup: of them (1 sub-exception), "
            "the first of them OSError: disk",
        ),
        (type("Two\nlines", (Exception,), {})("x"), "Two lines: x"),
        (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "odd"), "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_is_told_by_its_class_and_its_text(error: BaseException, line: str) -> None:
    assert error_line(error).startswith(line)
    assert error_words(error) in error_line(error)


def test_what_steers_a_terminal_is_escaped() -> None:
    assert on_one_line("a\x1b[2J\x07b\r\n c\u202e\ud800") == "a\\x1b[2J\\x07b c\\u202e\\ud800"
    assert printable("a\nb\x9b") == "a\\nb\\x9b"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_one(number: int) -> None:
    assert os_error_words(OSError(number, "x")).startswith("the disk is full (")
    assert os_error_words(OSError(errno.EACCES, "Permission denied")) == "Permission denied"
