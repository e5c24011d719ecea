"""Parts of pages that follow from the code, which this module writes into them:

    python -m docs.generated [--check]

A part stands between two comments, of which the first says what it is:

    <!-- {{ commands }} -->              every command with its options, defaults and examples, from Typer
    <!-- {{ list KIND }} -->             what `raynas list KIND` lists
    <!-- {{ settings MODULE:NAME }} -->  the fields that a configuration declares, with types and defaults
    <!-- {{ file PATH }} -->             a Python file of the repository
    <!-- end -->

So pages can be read as they lie in the repository. `--check` writes nothing, and fails if a page would change.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer.main
from pydantic_core import PydanticUndefined
from typer.testing import CliRunner

from raynas.cli import app

_SEVERAL = re.compile(r"<list\[(.+)\]>")  # that an option may be repeated is said in its help
_PART = re.compile(r"^(<!-- \{\{ (\w+)(?: (\S+))? \}\} -->\n).*?^(<!-- end -->)$", re.MULTILINE | re.DOTALL)
_PAGES = Path(__file__).parent


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by what is typed for it, such as `raynas bench proxies`."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for own, inner in command.commands.items():
                yield from below(f"{name} {own}", inner)
        else:
            yield name, command

    return below("raynas", typer.main.get_command(app))


def _commands() -> Iterator[str]:
    for name, command in commands():
        context = typer.Context(command, info_name=name)
        yield f"## {name}"
        yield (command.help or "").strip()
        yield "```text\n" + command.get_usage(context).removeprefix("Usage: ") + "\n```"
        records = [record for one in command.params if (record := one.get_help_record(context))]
        rows = [("`" + _SEVERAL.sub(r"<\1>", head) + "`", text) for head, text in records]
        yield _table(("argument or option", "what it is"), rows)
        yield _examples(command.epilog or "")


def _examples(epilog: str) -> str:
    lines = [line.strip() for line in epilog.splitlines() if line.strip().startswith("raynas ")]
    return "```sh\n" + "\n".join(lines) + "\n```" if lines else ""


def _list(kind: str) -> Iterator[str]:
    result = CliRunner().invoke(app, ["list", kind, "--json"], catch_exceptions=False)
    if result.exit_code:
        raise ValueError(f"raynas list {kind} failed: {result.output}")
    rows = json.loads(result.stdout)
    first = next(iter(rows[0]))
    facts = [name for name in rows[0] if name not in (first, "summary", "description", "batch_norm_reason")]
    lines = []
    for row in rows:
        said = [name for name in facts if row[name] not in ("", [], {}, None, [row[first]])]
        told = [f"{name.replace('_', ' ')}: {_shown(row[name])}" for name in said]
        lines.append((f"`{row[first]}`", "<br>".join([row["summary"], "; ".join(told)]) if told else row["summary"]))
    yield _table((first, "what it is"), lines)


def _settings(reference: str) -> Iterator[str]:
    module, _, name = reference.partition(":")
    configuration = getattr(importlib.import_module(module), name)
    rows = []
    for name in configuration.__annotations__:  # its own, without those that it has from another one
        field = configuration.model_fields[name]
        default = field.get_default(call_default_factory=True)
        shown = "" if default is PydanticUndefined else f"`{json.dumps(default)}`"
        bounds = ", ".join(filter(None, map(_bound, field.metadata)))
        rows.append((f"`{name}`", f"`{_type(field.annotation)}`", shown, bounds, field.description or ""))
    yield _table(("setting", "type", "default", "bounds", "what it is"), rows)


def _type(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) and "[" not in str(annotation) else str(annotation)
    return re.sub(r"\b(?:typing|collections\.abc)\.", "", text)


def _bound(item: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return " ".join(f"{sign} {getattr(item, name)}" for name, sign in signs.items() if hasattr(item, name))


def _file(path: str) -> Iterator[str]:
    yield f"```python\n{Path(path).read_text(encoding='utf-8').strip()}\n```"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"`{name}={one}`" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(value) if any(" " in one for one in value) else ", ".join(f"`{one}`" for one in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


_PARTS: Mapping[str, Callable[..., Iterator[str]]] = {
    "commands": _commands,
    "list": _list,
    "settings": _settings,
    "file": _file,
}


def with_parts(page: str) -> str:
    """The text of a page, in which each part is what the code says of it.

    Raises:
        KeyError, ValueError, OSError: A part is of nothing that there is.
    """

    def part(match: re.Match[str]) -> str:
        start, name, argument, end = match.groups()
        return start + "\n" + "\n\n".join(_PARTS[name](*([argument] if argument else []))) + "\n\n" + end

    return _PART.sub(part, page)


def main(arguments: Sequence[str]) -> int:
    """Write all pages anew, or say which of them would change."""
    stale = []
    for page in sorted(_PAGES.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := with_parts(text)) != text:
            stale.append(str(page.relative_to(_PAGES.parent)))
            if "--check" not in arguments:
                page.write_text(new, encoding="utf-8")
    if stale:
        print("\n".join(stale))
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
