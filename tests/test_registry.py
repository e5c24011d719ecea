from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from raynas import registry
from raynas.errors import ConfigError, RaynasError, UnknownNameError
from raynas.proxies.registered import proxies
from raynas.registry import Registry


@pytest.fixture
def tools() -> Registry[object]:
    made: Registry[object] = Registry("tool", "tools")
    made.register("claw-hammer")("hammer")
    made.register("saw")("saw")
    return made


def test_hyphens_underscores_and_case_are_alike(tools: Registry[object]) -> None:
    assert tools.get("claw_hammer") == tools.get("Claw-Hammer") == "hammer"
    assert "claw_hammer" in tools
    assert tools.names() == list(tools) == ["claw-hammer", "saw"]


def test_a_name_is_taken_once(tools: Registry[object]) -> None:
    with pytest.raises(RaynasError, match="two tools are named 'claw_hammer'"):
        tools.register("claw_hammer")("another")


def test_a_miss_lists_the_names_and_guesses_what_was_meant(tools: Registry[object]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        tools.get("sow")
    assert str(caught.value) == "unknown tool 'sow'. Did you mean 'saw'? Known tools: claw-hammer, saw"
    assert isinstance(caught.value, KeyError)


def test_members_of_other_packages_come_in_through_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Registry[object] = Registry("tool", "tools", group="raynas.tools")
    entry = EntryPoint("file", "os.path:basename", "raynas.tools")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == "raynas.tools" else [])
    assert made.names() == ["file"]
    function = made.get("file")
    assert callable(function)
    assert function("a/b") == "b"


# -- variants ---------------------------------------------------------------------------------------------------------


class Varied:
    """A member that stands for one of each number."""

    def __init__(self, name: str, number: int = 1) -> None:
        self.name, self.number = name, number

    def variants(self, text: str) -> Varied:
        if not text.isdecimal():
            raise ConfigError(f"{text!r} is no number")
        base = self.name.partition("@")[0]
        return self if int(text) == 1 else Varied(f"{base}@{int(text)}", int(text))


def test_a_text_after_the_name_makes_a_variant_which_is_one_however_it_is_written(tools: Registry[object]) -> None:
    tools.register("sizes")(Varied("sizes"))
    found = tools.get("sizes@3")
    assert isinstance(found, Varied)
    assert found.number == 3
    assert tools.get("Sizes@03") is found
    assert tools.get("sizes@1") is tools.get("sizes")
    assert tools.reference(found) == "sizes@3"
    assert tools.names() == ["claw-hammer", "saw", "sizes"]
    assert "sizes@3" in tools
    assert "seizes@3" not in tools


def test_a_text_that_makes_none_is_refused(tools: Registry[object]) -> None:
    tools.register("sizes")(Varied("sizes"))
    with pytest.raises(ConfigError, match="'x@y' is no number"):
        tools.get("sizes@x@y")
    with pytest.raises(UnknownNameError, match="tool 'saw' has no variants, so no @3 can follow its name"):
        tools.get("saw@3")
    with pytest.raises(UnknownNameError, match=r"unknown tool 'size'\. Did you mean 'sizes'\?"):
        tools.get("size@3")


# -- files of the user's ----------------------------------------------------------------------------------------------

KINDS: dict[str, Registry[object]] = {}
"""The registries that the files of a test register in."""


class Tool:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules, which can import each other and two registries."""
    KINDS.update({kind: Registry(kind, f"{kind}s") for kind in ("tool", "screw")})
    monkeypatch.setitem(sys.modules, "tests_registries", sys.modules[__name__])
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def registers(kind: str, name: str) -> str:
    return f"import tests_registries as t\nt.KINDS[{kind!r}].register({name!r})(t.Tool({name!r}))\n"


FAILS = {
    "it raises": "raise ValueError('x')\n",
    "it exits": "import sys\nsys.exit(2)\n",
    "it is interrupted": "raise KeyboardInterrupt\n",
    "a module is missing": "import no_such_module\n",
    "a name is taken": registers("tool", "mine"),
}


@pytest.mark.parametrize("failure", FAILS.values(), ids=FAILS)
@pytest.mark.parametrize("again", [False, True])
def test_a_file_that_failed_is_imported_again_once_it_is_mended(folder: Path, failure: str, again: bool) -> None:
    file = folder / "own.py"
    file.write_text(registers("tool", "mine") + registers("screw", "mine") + failure)
    for _ in range(1 + again):
        with pytest.raises((ConfigError, KeyboardInterrupt)):
            KINDS["tool"].get(f"{file}:mine")
        assert [kind.names() for kind in KINDS.values()] == [[], []]
    file.write_text("# mended\n" + registers("tool", "mine") + registers("screw", "mine"))
    assert KINDS["tool"].get(f"{file}:mine") is KINDS["tool"].get("mine")
    assert KINDS["screw"].get(f"{file}:mine") is KINDS["screw"].get("mine")


@pytest.mark.parametrize("fails", [*filter(any, itertools.product([False, True], repeat=3))])
def test_what_a_failed_file_has_imported_keeps_its_names_unless_it_failed_too(
    folder: Path, fails: tuple[bool, bool, bool]
) -> None:
    """Python imports a module once if it has not failed, and it registers its names once."""
    for name, failing in zip(("deep", "helper", "own"), fails, strict=True):
        inner = {"deep": "", "helper": "import deep\n", "own": "import helper\n"}[name]
        text = inner + registers("tool", name)
        (folder / f"{name}.py").write_text(text + ("raise ValueError\n" if failing else "") + "# as it was\n")
    file = folder / "own.py"
    with pytest.raises(ConfigError):
        KINDS["tool"].get(f"{file}:own")
    assert KINDS["tool"].names() == ["deep", "helper"][: fails.index(True)]
    for path in folder.glob("*.py"):
        path.write_text(path.read_text().replace("raise ValueError\n", ""))
    assert KINDS["tool"].get(f"{file}:own") is KINDS["tool"].get("own")
    assert KINDS["tool"].names() == ["deep", "helper", "own"]


def test_a_file_that_loads_members_of_the_package_and_fails_leaves_them_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "builtin_tools.py").write_text(registers("screw", "built-in"))
    entry = EntryPoint("from-elsewhere", "os.path:basename", "raynas.screws")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == "raynas.screws" else [])
    KINDS["screw"] = Registry("screw", "screws", package="builtin_tools")
    file = folder / "own.py"
    file.write_text("import tests_registries as t\nt.KINDS['screw'].names()\nraise ValueError\n")
    with pytest.raises(ConfigError):
        KINDS["tool"].get(f"{file}:own")
    assert KINDS["screw"].names() == ["built-in", "from-elsewhere"]


def test_a_file_within_a_file_that_failed_keeps_its_names(folder: Path) -> None:
    inner, outer = folder / "inner.py", folder / "outer.py"
    inner.write_text(registers("tool", "inner"))
    call = f"import tests_registries as t\nt.KINDS['tool'].get({f'{inner}:inner'!r})\n"
    outer.write_text(registers("tool", "outer") + call + "raise ValueError\n")
    with pytest.raises(ConfigError):
        KINDS["tool"].get(f"{outer}:outer")
    assert KINDS["tool"].names() == ["inner"]
    assert KINDS["tool"].get(f"{inner}:inner") is KINDS["tool"].get("inner")


def test_a_file_has_variants_too_and_a_folder_with_an_at_is_a_folder(folder: Path) -> None:
    file = folder / "a@b" / "own.py"
    file.parent.mkdir()
    file.write_text("import tests_registries as t\nsizes = t.Varied('sizes')\nsaw = t.Tool('saw')\n")
    tools = KINDS["tool"]
    found = tools.get(f"{file}:sizes@03")
    assert isinstance(found, Varied)
    assert tools.reference(found) == f"{file}:sizes@3"
    assert tools.get(tools.reference(found)) is found
    assert tools.get(f"{file}:sizes@1") is tools.get(f"{file}:sizes")
    with pytest.raises(UnknownNameError, match=r"own\.py:saw' has no variants"):
        tools.get(f"{file}:saw@2")


def test_a_file_that_is_imported_anew_replaces_what_it_registered(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("from raynas import proxy\n\n\n@proxy('anew')\ndef anew(probe):\n    return 1.0\n")
    first = proxies.get(f"{file}:anew")
    del sys.modules[first.function.__module__]
    second = proxies.get(f"{file}:anew")
    assert second is not first
    assert proxies.get(f"{file}:anew") is second
