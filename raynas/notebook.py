"""Results as notebooks show them: a table of HTML in place of a line, by the hook `_repr_html_` of IPython."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

MOST_ROWS = 20
"""Rows that a notebook shows; how many more there are stands below."""

_MOST_CHARACTERS = 200


class Table(list[Mapping[str, Any]]):
    """Rows with named values: a list, which notebooks show as a table."""

    def _repr_html_(self) -> str:
        return html_table("", self)


def html_table(title: str, rows: Iterable[Mapping[str, Any]], total: int | None = None) -> str:
    """A table of HTML, in which whatever a value holds is text.

    Args:
        title: What stands above it, such as the result's `repr`.
        rows: Values by names; what one row lacks is left blank. Of many, the first are shown.
        total: How many rows there are, where `rows` are some of them; None: as many as there are.
    """
    shown = list(islice(rows, MOST_ROWS))
    if total is None:
        total = len(rows) if isinstance(rows, Sequence) else len(shown)
    names = list(dict.fromkeys(name for row in shown for name in row))
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(row.get(name)) for name in names)}</tr>" for row in shown)
    parts = [f"<p><code>{_text(title)}</code></p>"] if title else []
    if names:
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    if total > len(shown):
        parts.append(f"<p>and {total - len(shown):,} more</p>")
    return f"<div>{''.join(parts)}</div>"


def flat_scores(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of a summary's list of architectures as a row: scores, costs, and the architecture as text."""
    names = ("step", "change", "num_params", "macs")
    text = entry.get("text") or entry.get("architecture")
    return {**entry.get("scores", {}), **{n: entry[n] for n in names if n in entry}, "architecture": text}


def _cell(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f'<td style="text-align: {"right" if is_number else "left"}">{_text(value)}</td>'


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:.5g}"
    elif isinstance(value, Mapping):
        text = ", ".join(f"{name}={item}" for name, item in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(map(str, value))
    else:
        text = str(value)
    return escape(text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…")
