"""Errors of any class and text become one line that files and terminals take."""

from __future__ import annotations

import ast
import errno
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raynas.errors import error_line, error_words, on_one_line, printable


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
    assert error_words(OSError(number, "x")).startswith("the disk is full (")
    assert error_words(OSError(errno.EACCES, "Permission denied")) == "Permission denied"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/file"), "No such file or directory"),
        (OSError(errno.EIO, "two\nlines", "a", None, "b"), "two lines"),
        (OSError("it is damaged there"), "it is damaged there"),
        (TimeoutError("timed out"), "timed out"),
        (OSError(errno.EIO, 5), "[Errno 5] 5"),
        (OSError(), ""),
        (ValueError("two\nlines"), "two lines"),
    ],
)
def test_of_a_file_that_cannot_be_read_the_reason_is_told(error: Exception, words: str) -> None:
    assert error_words(error) == words


ROOT = Path(__file__).parents[1]

TELL_THEMSELVES = {
    "raynas/errors.py": "they are put into words here",
}
"""Files that put an OSError into words without `error_words`, and why they may."""


def own_words(text: str) -> list[int]:
    """Lines at which a file of Python puts an OSError into words by itself."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr == "strerror" and ast.unparse(node) != "os.strerror":
            found.append(node.lineno)
        if isinstance(node, ast.Call) and re.match(r"getattr\(\w+, 'strerror'", ast.unparse(node)):
            found.append(node.lineno)
        if isinstance(node, ast.ExceptHandler) and node.name and node.type and "OSError" in ast.unparse(node.type):
            texts = (f"{{{node.name}}}", f"str({node.name})", f"text_of({node.name})")
            found += [
                part.lineno
                for part in ast.walk(node)
                if isinstance(part, ast.FormattedValue | ast.Call) and ast.unparse(part).strip("f'\"") in texts
            ]
    return sorted(set(found))


def test_why_a_file_cannot_be_read_is_told_by_one_function() -> None:
    files = [*ROOT.glob("raynas/**/*.py"), *ROOT.glob("searchspaces/*.py")]
    found = {str(file.relative_to(ROOT)): own_words(file.read_text()) for file in files}
    telling = {name: lines for name, lines in found.items() if lines}
    assert telling.keys() == TELL_THEMSELVES.keys(), f"these do it by themselves, at lines {telling}"


@pytest.mark.parametrize(
    "words",
    [
        "f'{path}: {error.strerror}'",
        "error.strerror or error",
        "getattr(error, 'strerror', None) or error",
        "f'{path}: {error}'",
        "f'{error}'",
        "str(error)",
        "' '.join(str(error).split())[:200]",
    ],
)
@pytest.mark.parametrize("caught", ["OSError", "(OSError, ValueError)", "(pa.ArrowException, OSError)"])
def test_who_puts_it_into_words_of_its_own_is_found(words: str, caught: str) -> None:
    assert own_words(f"try:\n    read(path)\nexcept {caught} as error:\n    raise StoreError({words})")
    assert not own_words(f"try:\n    read(path)\nexcept {caught} as error:\n    raise StoreError(error_words(error))")
