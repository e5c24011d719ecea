"""The table of figures, one row for each that a benchmark printed, and the parts of pages that are made of it."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.registry import BENCHMARKS, FOLDER, Found, Shown

TABLE = FOLDER / "results" / "figures.csv"
PAGE, README = FOLDER.parent / "docs" / "performance.md", FOLDER.parent / "README.md"
PAGES = (PAGE, README)
MARKS = ("<!-- figures: made by python -m benchmarks page -->\n", "<!-- end of figures -->\n")


@dataclass(frozen=True)
class Row:
    """A figure with what it was made with.

    Args:
        benchmark, figure, item, value, unit, is_met: As in the registry.
        arguments: Of the benchmark, without those that only name files.
        when: Date and time of the run, the same for all its rows; UTC.
        commit: Of raynas.
        command: As it was given.
        hardware: Processor, cores, GPU.
        versions: Of Python and packages, "NAME VERSION, ...".
    """

    benchmark: str
    arguments: str
    figure: str
    item: str
    value: float
    unit: str
    is_met: bool | None
    when: str
    commit: str
    command: str
    hardware: str
    versions: str


def rows_of(name: str, arguments: str, found: Sequence[Found], **about: str) -> list[Row]:
    """Rows of what one run printed; `about` are the fields from `when` on."""
    return [
        Row(name, arguments, one.figure.name, one.item, one.value, one.figure.unit, one.is_met, **about)
        for one in found
    ]


def read(path: Path) -> list[Row]:
    """All rows of a table, in their order; none where there is no file."""
    if not path.exists():
        return []
    verdicts = {"": None, "True": True, "False": False}
    with path.open(newline="") as file:
        return [
            Row(**{**row, "value": float(row["value"]), "is_met": verdicts[row["is_met"]]})
            for row in csv.DictReader(file)
        ]


def add(path: Path, rows: Sequence[Row]) -> None:
    """Append rows to a table."""
    everything = [*read(path), *rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for row in everything:
            values = asdict(row)
            writer.writerow({name: "" if value is None else value for name, value in values.items()})


def latest(rows: Sequence[Row], benchmark: str, arguments: str) -> list[Row]:
    """Of a benchmark's last run with these arguments."""
    own = [row for row in rows if (row.benchmark, row.arguments) == (benchmark, arguments)]
    return [row for row in own if row.when == max(row.when for row in own)]


def section(rows: Sequence[Row], *, headlines: bool = False) -> str:
    """The table of a page, from the last run of each benchmark.

    Args:
        rows: All figures.
        headlines: Whether only what stands in the README is to be in it.
    """
    lines = ["| what | measured | on | command |", "|---|---|---|---|"]
    for benchmark in BENCHMARKS:
        for shown in benchmark.shown:
            own = latest(rows, benchmark.name, shown.arguments)
            if not own or (headlines and not shown.is_headline):
                continue
            command = " ".join(["python", f"benchmarks/{benchmark.name}.py", *shown.arguments.split()])
            lines.append(f"| {shown.what} | {measured(shown, own)} | {own[0].hardware} | `{command}` |")
    return "\n".join(lines) + "\n"


def measured(shown: Shown, rows: Sequence[Row]) -> str:
    """The cell of a row of the page, from the rows of one run; where there are several of an item, their median."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        values.setdefault(row.figure, {}).setdefault(row.item, []).append(row.value)
    named: dict[str, float | str] = {}
    for figure, items in values.items():
        medians = {item: statistics.median(found) for item, found in items.items()}
        least, most = min(medians, key=lambda item: medians[item]), max(medians, key=lambda item: medians[item])
        named[figure] = statistics.median(medians.values())
        named |= {f"{figure}_least": medians[least], f"{figure}_least_item": least}
        named |= {f"{figure}_most": medians[most], f"{figure}_most_item": most}
    return shown.measured.format(**named)


def with_section(text: str, rows: Sequence[Row], *, headlines: bool = False) -> str:
    """A page with its section made anew; arguments are those of `section`.

    Raises:
        ValueError: It has no such section.
    """
    start, end = MARKS
    if start not in text or end not in text:
        raise ValueError(f"no section between {start.strip()} and {end.strip()}")
    before, _, rest = text.partition(start)
    return before + start + "\n" + section(rows, headlines=headlines) + "\n" + end + rest.partition(end)[2]
