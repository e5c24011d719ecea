from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from raynas import registry
from raynas.errors import RaynasError, UnknownNameError
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
