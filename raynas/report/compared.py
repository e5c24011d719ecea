"""Runs side by side, from their folders alone: what they came to, what differs between their settings, their courses.

Runs of one family, such as searches, are compared by all that they say; of different ones, by what all have in common.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from raynas.errors import ConfigError, SpaceError, StoreError
from raynas.report.comparable import Comparable, Value
from raynas.report.compared_searches import with_hypervolume
from raynas.report.embedding import finite
from raynas.report.kinds import ReportedKind
from raynas.report.listing import run_row
from raynas.space.architecture import Architecture
from raynas.storage.kinds import run_kinds
from raynas.storage.paths import as_path
from raynas.storage.run_folder import kind_of, read_description, read_summary, reading
from raynas.wording import compact, duration, first_of, percent, plural, setting_text

MOST = 24
"""How many runs are compared at once: more could not be told apart."""

_LEFT_OUT = ("out", "resume", "config", "recipe")
MADE_WITH = ("versions", "machine", "platform")
"""Parts of run.yaml that say with what a run was made."""


@dataclass(frozen=True)
class ComparedRun:
    """A run as one of several.

    Args:
        name: The end of its folder's path that tells it from the others.
        folder: The run folder.
        row: What `raynas.report.listing.run_row` says of it.
        description, summary: The contents of its run.yaml and its summary.json.
        what: What it is compared by.
    """

    name: str
    folder: Path
    row: Mapping[str, Any]
    description: Mapping[str, Any]
    summary: Mapping[str, Any]
    what: Comparable


@dataclass(frozen=True, repr=False)
class Comparison:
    """Runs side by side.

    Args:
        runs: The runs, in the order in which they were named.
        values: A value of each run by the value's name; None for a run that has none of the name.
        differences: Settings that are not the same in all runs, with the value of each run, by name.
        common: Settings that are the same in all.
        notes: What is to be known before the values are believed, in sentences.
    """

    runs: tuple[ComparedRun, ...]
    values: Mapping[str, tuple[Value | None, ...]]
    differences: Mapping[str, tuple[Any, ...]]
    common: Mapping[str, Any]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Comparison({first_of([run.name for run in self.runs])})"

    @property
    def is_of_one_family(self) -> bool:
        """Whether all runs are of one family, such as searches."""
        return len({run.what.family for run in self.runs}) == 1

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row for each run: its name, kind and status, and its values by their names."""
        return [
            {
                "run": run.name,
                "kind": run.row["kind"],
                "status": run.row["status"],
                **{name: None if (one := own[i]) is None else one.value for name, own in self.values.items()},
            }
            for i, run in enumerate(self.runs)
        ]

    def plain(self) -> dict[str, Any]:
        """All of it as one JSON value, without NaN and infinity: `runs`, `values`, `differences` and `notes`."""
        runs = [
            {
                "name": run.name,
                "folder": str(run.folder),
                **{key: run.row[key] for key in ("kind", "status", "written")},
            }
            for run in self.runs
        ]
        values = {
            name: [None if one is None else {"value": one.value, "low": one.low, "high": one.high} for one in own]
            for name, own in self.values.items()
        }
        found: dict[str, Any] = finite(
            {"runs": runs, "values": values, "differences": self.differences, "notes": list(self.notes)}
        )
        return found

    def difference_texts(self) -> dict[str, list[str]]:
        """The settings that are not the same in all runs, as people read them; "-" where a run has none."""
        own = [_flat_settings(run) for run in self.runs]
        return {
            name: [setting_text(value) if name in one else "-" for one, value in zip(own, values, strict=True)]
            for name, values in self.differences.items()
        }

    def best_of(self, name: str) -> tuple[int, ...]:
        """Numbers of the runs whose value of a name is the best; none where values do not compare, or all are equal."""
        own = [one for one in self.values[name] if one is not None and isinstance(one.value, int | float)]
        better = {one.better for one in own}
        if len(own) < 2 or len(better) > 1 or better == {None} or not _is_one([one.basis for one in own]):
            return ()
        numbers = [one.value for one in own if isinstance(one.value, int | float)]
        best = max(numbers) if better == {"max"} else min(numbers)
        if min(numbers) == max(numbers):
            return ()
        return tuple(i for i, one in enumerate(self.values[name]) if one is not None and one.value == best)


def compare_runs(folders: Sequence[str | Path]) -> Comparison:
    """Read runs, and set them side by side.

    Args:
        folders: Two run folders or more, finished or not, or their URIs in an object store.

    Raises:
        ConfigError: There are fewer than two, very many, or one of them twice.
        StoreError: One holds no run, one that cannot be read, or one of a kind that is not known.
    """
    paths = [as_path(folder) for folder in folders]
    if len(paths) < 2:
        given = f" and {paths[0]} is one" if paths else ""
        raise ConfigError(f"two runs or more are compared,{given or ' and none is given'}: name a second run folder")
    if len(paths) > MOST:
        raise ConfigError(f"up to {MOST} runs are compared at once, and {len(paths)} are given")
    for first, second in combinations(paths, 2):
        if first.resolve() == second.resolve():
            same = f"{first} is given twice" if str(first) == str(second) else f"{first} and {second} are the same run"
            raise ConfigError(f"{same}: name another run to compare it with")
    read = [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    told = with_hypervolume([run.what for run in read])
    runs = tuple(replace(run, what=what) for run, what in zip(read, told, strict=True))
    differences, common = _settings(runs)
    values = _values(runs)
    return Comparison(runs, values, differences, common, tuple(_notes(runs, values)))


def _read(folder: Path, run_name: str) -> ComparedRun:
    description = read_description(folder)
    name = kind_of(description)
    kind = run_kinds.get(name) if name in run_kinds else None
    if kind is None:
        known = ", ".join(run_kinds)
        raise StoreError(f"{folder} holds a run of the kind {name!r}; runs of the kinds {known} are compared")
    row, summary = run_row(folder), read_summary(folder)
    if row["status"] == "unreadable":
        raise StoreError(str(row["error"]))
    what = Comparable(name, (f"run of the kind {name}", f"runs of the kind {name}"))
    with reading(folder):
        if isinstance(kind, ReportedKind) and kind.compared is not None:
            what = kind.compared(folder)
        run = ComparedRun(run_name, folder, row, description, summary, what)
        for value in (*what.values.values(), *_ahead(run).values(), *_behind(run).values()):
            value_text(value), interval_text(value)  # which fails where one is of another form than it is written in
        if what.network is not None:
            try:
                Architecture(what.network.fields)
            except SpaceError as error:
                raise StoreError(f"{folder} is damaged, or was changed: {error}") from None
    return run


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return list(map(str, paths))


# -- settings ----------------------------------------------------------------------------------------------------------


def _settings(runs: Sequence[ComparedRun]) -> tuple[dict[str, tuple[Any, ...]], dict[str, Any]]:
    """Settings that differ, and those that do not.

    Of runs of different kinds, settings that not all have are told only where they differ between those that do.
    """
    own = [_flat_settings(run) for run in runs]
    is_mixed = len({run.row["kind"] for run in runs}) > 1
    names = list(dict.fromkeys(name for one in own for name in one))
    if is_mixed:
        of_some = {name: [one[name] for one in own if name in one] for name in names}
        names = [name for name, values in of_some.items() if len(values) == len(own) or not _is_one(values)]
    differences, common = {}, {}
    for name in names:
        values = [one.get(name) for one in own]
        if _is_one(values):
            common[name] = values[0]
        else:
            differences[name] = tuple(values)
    return differences, common


def _flat_settings(run: ComparedRun) -> dict[str, Any]:
    config = {name: value for name, value in run.description["config"].items() if name not in _LEFT_OUT}
    made = {name: run.description[name] for name in MADE_WITH if isinstance(run.description.get(name), Mapping)}
    return {**_flat(config), **run.what.settings, **_flat(made)}


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Mappings in mappings as one, whose names have dots."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _is_one(values: Sequence[Any]) -> bool:
    """Whether all values are the same, of the same type."""
    return len({json.dumps(value, sort_keys=True, default=str) for value in values}) == 1


# -- values ------------------------------------------------------------------------------------------------------------


def _values(runs: Sequence[ComparedRun]) -> dict[str, tuple[Value | None, ...]]:
    own = [{**_ahead(run), **run.what.values, **_behind(run)} for run in runs]
    names = list(_ahead(runs[0]))
    for one in own:
        names += [name for name in one if name not in names and name not in _behind(runs[0])]
    names += list(_behind(runs[0]))
    if len({run.what.family for run in runs}) > 1:
        names = [name for name in names if all(name in one for one in own)]
    else:  # which say the same by single values
        names = [name for name in names if name not in _ahead(runs[0])]
    found = {name: tuple(one.get(name) for one in own) for name in names}
    is_empty = [name for name, values in found.items() if all(one is None or one.value is None for one in values)]
    is_none = [
        name for name in ("failed", "infeasible") if name in found and not any(v and v.value for v in found[name])
    ]
    return {name: values for name, values in found.items() if name not in (*is_empty, *is_none)}


def _ahead(run: ComparedRun) -> dict[str, Value]:
    return {"found": Value(run.row["found"]), "progress": Value(run.row["progress"])}


def _behind(run: ComparedRun) -> dict[str, Value]:
    return {"duration": Value(run.summary.get("seconds"), "seconds"), "started": Value(_started(run.description))}


def _started(description: Mapping[str, Any]) -> str | None:
    started = description.get("started")
    return None if started is None else str(started).replace("T", " ").removesuffix("+00:00")


def value_text(value: Value | None) -> str:
    """A value as people read it, without its interval."""
    if value is None or value.value is None:
        return "-"
    if isinstance(value.value, str):
        return value.value
    forms: dict[str, Callable[[float], str]] = {
        "count": compact,
        "share": percent,
        "seconds": duration,
        "whole": lambda number: f"{number:,.0f}",
        "number": lambda number: f"{number:.4g}",
    }
    return forms[value.form](value.value)


def interval_text(value: Value | None) -> str | None:
    """The interval around a value; None where there is none."""
    if value is None or value.low is None or value.high is None:
        return None
    low, high = (value_text(value._replace(value=end)) for end in (value.low, value.high))
    return f"{low} to {high}"


# -- what is to be known -----------------------------------------------------------------------------------------------


def _notes(runs: Sequence[ComparedRun], values: Mapping[str, Sequence[Value | None]]) -> list[str]:
    notes = []
    families = list(dict.fromkeys(run.what.family for run in runs))
    if len(families) > 1:
        counted = [plural(sum(run.what.family == family for run in runs), *_nouns(runs, family)) for family in families]
        notes.append(
            f"These are {' and '.join([', '.join(counted[:-1]), counted[-1]])}, which have little in common: the table "
            "has what all of them say. Runs of one kind are compared by more."
        )
    for name, own in values.items():
        bases = [one.basis for one in own if one is not None and one.basis is not None]
        if len(bases) > 1 and not _is_one(bases):
            notes.append(f"{_first_upper(name)} does not compare{_why(bases)}, so none is marked as the best.")
    going = [run.name for run in runs if run.row["status"] == "running"]
    if going:
        verb = "goes" if len(going) == 1 else "go"
        notes.append(f"{first_of(going)} still {verb} on, so the values are those of now.")
    return [*notes, *_chances(runs, values)]


def _nouns(runs: Sequence[ComparedRun], family: str) -> tuple[str, str]:
    return next(run.what.nouns for run in runs if run.what.family == family)


def _first_upper(text: str) -> str:
    return text if text.split()[0].isupper() else text[0].upper() + text[1:]


def _why(bases: Sequence[Any]) -> str:
    """What is not the same in the scores behind values, where they say it by names."""
    scores = [base[0] for base in bases if isinstance(base, list) and base and isinstance(base[0], Mapping)]
    if len(scores) < len(bases):
        return ": it is not of the same images, labels or measure in all of the runs"
    names = dict.fromkeys(name for score in scores for name in score)
    told = [
        f"{name} {first_of(list(dict.fromkeys(setting_text(score.get(name)) for score in scores)), between=' and ')}"
        for name in names
        if not _is_one([score.get(name) for score in scores])
    ]
    return f": it was computed with {', '.join(told)}" if told else ": its better end is not the same"


def _chances(runs: Sequence[ComparedRun], values: Mapping[str, Sequence[Value | None]]) -> list[str]:
    """Whether the two best values are further apart than their intervals, of the first value that has intervals."""
    for own in values.values():
        known = [
            (i, one) for i, one in enumerate(own) if one is not None and one.low is not None and one.form == "share"
        ]
        if len(known) < 2 or not _is_one([one.basis for _, one in known]):
            continue
        known.sort(key=lambda pair: -float(pair[1].value or 0.0))
        (first, best), (second, next_best) = known[0], known[1]
        if (best.low or 0.0) <= (next_best.high or 0.0) and best.value != next_best.value:
            return [
                f"The 95 % intervals of {runs[first].name} and {runs[second].name} overlap: the difference may be "
                "chance. More images to evaluate on, or more seeds, would tell."
            ]
        return []
    return []
