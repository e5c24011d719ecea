"""Wrong input by kinds, and how commands are to end on it; for tests of several files."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from raynas.cli import main

MOST_S = 2.0
"""Seconds of this process for one that is wrong, beyond imports; others may compute on this machine, too."""

# -- what is generated -------------------------------------------------------------------------------------------------

HUGE = st.sampled_from(["1e400", "-1e400", ".inf", "-.inf", ".nan", "NaN", "Infinity", "9" * 400, "-" + "9" * 5000])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def nested(depth: int, open_: str, close: str) -> bytes:
    return (open_ * depth + close * depth).encode()


def bomb() -> bytes:
    """Aliases of aliases: a billion values in some hundred bytes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join(lines).encode()


UNREADABLE = st.one_of(
    st.binary(min_size=1, max_size=40).map(lambda some: b"\xff" + some),
    st.sampled_from(["utf-16", "utf-32"]).map(lambda name: "budget: 5".encode(name)),
    st.just("# caf\xe9\nspace: as-vit".encode("latin-1")),
    st.integers(0, 8).map(lambda at: b"budget: 5"[:at] + b"\0" + b"budget: 5"[at:]),
)
"""Contents of files that are no text."""

UNPARSED = st.one_of(
    st.integers(100, 100_000).map(lambda depth: nested(depth, "[", "]")),
    st.integers(100, 20_000).map(lambda depth: nested(depth, '{"a":', "}")),
    st.integers(100, 5_000).map(lambda depth: b"- " * depth + b"1"),
    st.just(bomb()),
    st.just(b"space: !!python/object/apply:os.system [id]"),
    st.just(b"space: as-vit\nspace: vit"),
    st.just(b"--- {}\n--- {}\n"),
    st.sampled_from([b"[", b"{", b"a: b: c", b"'", b"%", b"@", b"a: *b"]),
)
"""Texts that are no YAML as settings have it, and no JSON."""

NO_MAPPING = st.one_of(
    UNREADABLE,
    UNPARSED,
    st.just(b""),
    SCALARS.map(lambda value: yaml.safe_dump(value).encode()),
    st.lists(SCALARS, max_size=3).map(lambda value: yaml.safe_dump(value).encode()),
)
"""Contents of files that are no mapping in YAML, and no JSON object."""


ANY_NUMBER = {
    "seed": "follows into a generator, whatever it is",
    "score_seed": "likewise",
    "max_images": "no more images are used than there are",
    "max_val_images": "likewise",
    "rows": "no more rows are drawn than there are",
}
"""Whole numbers without an upper bound, and why they need none."""

BEYOND_USE = 1_000_000_001
"""Where whole numbers begin that all others refuse; a search may have a thousand million candidates."""


def counted_fields(config: type[Any]) -> list[str]:
    """Names of the fields that are whole numbers and have bounds."""
    numbers = [
        name for name, field in config.model_fields.items() if int in (field.annotation, *get_args(field.annotation))
    ]
    return [name for name in numbers if name not in ANY_NUMBER]


def refused_values(config: type[Any], name: str) -> st.SearchStrategy[Any]:
    """Values that a field cannot have, whichever it is: of a type that none of them has, or beyond all numbers."""
    wrong: st.SearchStrategy[Any] = st.one_of(
        st.lists(st.lists(st.just([])), min_size=1, max_size=2),
        st.dictionaries(st.text(min_size=1, max_size=3), st.lists(st.just([])), min_size=1, max_size=2),
    )
    kind = str(config.model_fields[name].annotation)
    if name in counted_fields(config):
        wrong |= st.integers(BEYOND_USE, 2**63 - 1) | st.integers(-(2**63), -1)
    if "int" in kind or "float" in kind:
        wrong |= st.booleans() | st.sampled_from([10**400, -(10**19), float("nan"), float("inf"), "many", ""])
    return wrong


def wrong_fields(config: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from([name for name in config.model_fields if name not in ("space", "architecture")])
    wrong = names.flatmap(lambda name: st.tuples(st.just(name), refused_values(config, name)))
    return wrong.map(lambda pair: {pair[0]: pair[1]}) | st.dictionaries(
        st.text(min_size=1, max_size=6).filter(lambda name: name not in config.model_fields), SCALARS, min_size=1,
        max_size=2,
    )  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all places of a value."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    changed = json.loads(json.dumps(value))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return changed


# -- how commands end --------------------------------------------------------------------------------------------------


def ended(*arguments: str) -> tuple[int, str, str]:
    """Status, standard output and standard error of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged parts are named by warnings
        signal.setitimer(signal.ITIMER_REAL, 30)  # what is not refused may compute for long
        try:
            main(list(arguments))
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return status, out.getvalue(), err.getvalue()


def content(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
    }


def check_refused(folder: Path, *arguments: str) -> str:
    """The command ends with one line, within two seconds, and leaves the folder as it is."""
    before = content(folder)
    started = time.process_time()
    status, out, err = ended(*arguments)
    took = time.process_time() - started
    assert status == 1, (arguments, out, err)
    assert err.count("\n") == 1 and err.startswith("raynas: "), err
    assert err[:-1].isprintable() and len(err) < 4000, err
    assert out == ""
    assert content(folder) == before
    assert took < MOST_S, f"{took:.1f} s"
    return err


def _too_late(*_: object) -> None:
    raise AssertionError("the command was not refused")


def prepared(folder: Path) -> Iterator[None]:
    """A fixture: imports what the first command imports, so that it is not counted, and ends what is not refused."""
    before = signal.signal(signal.SIGALRM, _too_late)
    for command in (["search", "as-vitt"], ["train", "as-vitt"], ["export", "as-vitt"], ["scale", "as-vitt"],
                    ["bench", "proxies", "--space", "vit", "--truth", "none", "--label", "a"],
                    ["train", "--finalists", str(folder)], ["distill", "as-vitt", "--teacher", "none"],
                    ["score", "as-vit", "-a", "none"], ["export", "--untrained", "as-vit-tinyy"]):  # fmt: skip
        assert ended(*command, "--out", str(folder / "run"))[0] == 1
    import raynas.bench.run
    import raynas.exporting.export
    import raynas.searching.scaling
    import raynas.sweeps.run
    import raynas.training.run
    import raynas.trials.run

    assert raynas
    yield
    signal.signal(signal.SIGALRM, before)


several = settings(
    max_examples=40, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def fresh(tmp_path: Path) -> Path:
    """An empty folder, since all examples of a test share its own."""
    folder = tmp_path / "example"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


# -- kinds of files ----------------------------------------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, Callable[[Path], None]] = {
    "a pipe": fifo,
    "a socket": unix_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a full device": lambda path: path.symlink_to("/dev/full"),
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
}
