"""What commands take as SOURCE: an architecture, as text, in a file, or in the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from raynas.config import several
from raynas.errors import ConfigError, SpaceError, StoreError, error_words, on_one_line
from raynas.registry import named_code
from raynas.space.architecture import Architecture
from raynas.space.reading import is_like_a_name, names_first, published
from raynas.space.registered import spaces
from raynas.space.results import Constraint
from raynas.space.search_space import SearchSpace
from raynas.storage.files import exists, is_folder
from raynas.storage.kinds import Bounds, Taken, run_kinds
from raynas.storage.paths import ObjectPath, as_path
from raynas.storage.run_folder import kind_of, read_description, read_summary, reading
from raynas.storage.text_files import read_text

_MOST_FORMS = 600
"""Characters that say of all spaces together why they cannot read a text."""


@dataclass(frozen=True)
class Source:
    """An architecture and where it came from.

    Args:
        space: The space that the architecture belongs to.
        architecture: The architecture itself.
        kind: "text", "file", "search" (any run of ask/tell: search, score, scale) or "training".
        folder: The run folder it was taken from, of finalists or variants the training's; None for text and files.
        img_size, num_classes, data: What that run was given; `data` where it scored.
    """

    space: SearchSpace
    architecture: Architecture
    kind: str
    folder: Path | None = None
    img_size: int | None = None
    num_classes: int | None = None
    data: str | None = None


def read_source(text: str, *, space: str | SearchSpace | None = None, pick: Sequence[str] = ()) -> Source:
    """Read an architecture.

    Args:
        text: A run folder, a file with one architecture, JSON, a space's own text, or a published name.
        space: Needed only where several registered spaces can read the text; a space that is not registered can be
            given itself.
        pick: Constraints such as num_params<=30e6: of a growth, the last member of the family that meets all of them
            is taken in place of the last one; of another search, the best-ranked that does; of finalists, the most
            accurate that does, of those that were trained to the end.

    Raises:
        SpaceError: No space reads the text.
        StoreError: The folder holds no run, or one without an architecture to take.
        ConfigError: Several spaces read the text, nothing meets what is picked by, or there is nothing to pick from.
        UnknownNameError: The space is not registered.
    """
    bounds = tuple(Constraint.parse(one) for one in several(pick))
    given = spaces.get(space) if isinstance(space, str) else space
    path = existing_path(text)
    if path is not None and is_folder(path):
        return _from_folder(path, given, bounds)
    if bounds:
        raise ConfigError(f"picking by {bounds[0]} takes a run folder to pick from, not {text!r}")
    if path is not None:
        return _from_text(_content(path), given, "file", f"file {text}")
    return _from_text(text, given, "text", repr(text))


def picked(entries: Sequence[Mapping[str, Any]], bounds: Sequence[Constraint], where: str) -> Mapping[str, Any]:
    """The first entry of a summary's list whose scores and costs meet all bounds.

    Args:
        entries: Architectures with their `scores` and costs, best first.
        bounds: What scores and costs are to meet.
        where: What the entries are, for messages.

    Raises:
        ConfigError: None does; the message says what values there are.
    """
    values = [{**entry, **(entry.get("scores") or {})} for entry in entries]
    for bound in bounds:
        known = [value[bound.name] for value in values if isinstance(value.get(bound.name), int | float)]
        if not known:
            numbers = sorted({name for value in values for name, number in value.items() if isinstance(number, float)})
            raise ConfigError(
                f"{where} has no {bound.name!r} to pick by; it has num_params, macs, {', '.join(numbers)}"
            )
        if not any(bound.violation({bound.name: value}) == 0 for value in known):
            raise ConfigError(
                f"nothing in {where} meets {bound}: {bound.name} is from {_shown(min(known))} to {_shown(max(known))}"
            )
    for entry, value in zip(entries, values, strict=True):
        if all(bound.name in value and bound.violation(value) == 0 for bound in bounds):
            return entry
    raise ConfigError(f"nothing in {where} meets all of {', '.join(map(str, bounds))} at once")


def existing_path(text: str) -> Path | None:
    """The text as a path, where one is there.

    Raises:
        ConfigError: It is a URI, and of no store that is known.
        OSError: The store cannot be reached.
    """
    path = as_path(text)
    if isinstance(path, ObjectPath):
        return path if exists(path) else None
    try:
        return path if exists(path := path.expanduser()) else None
    except (OSError, ValueError):  # too long for a name, or with characters that no name has
        return None


def _content(path: Path) -> str:
    try:
        text = read_text(path).strip()
    except (OSError, ValueError) as error:
        raise SpaceError(f"cannot read an architecture from {path}: {error_words(error)}") from None
    if not text:
        raise SpaceError(f"{path} is empty; a file holds one architecture")
    return text


def _from_text(text: str, space: SearchSpace | None, kind: str, where: str) -> Source:
    prefix, _, rest = text.partition(":")
    if space is None and rest and prefix in spaces:  # such as timm:resnet18, as teachers and weights are named
        return _from_text(rest, spaces.get(prefix), kind, where)
    of_all = [spaces.get(name) for name in spaces] if space is None else []
    candidates = [one for one in of_all if not one.is_named_only] if space is None else [space]
    found: list[Source] = []
    refusals: list[str] = []
    for candidate in candidates:
        try:
            found.append(Source(candidate, candidate.read(text), kind))
        except SpaceError as error:
            refusals.append(str(error))
    if len(found) > 1:
        names = ", ".join(source.space.name for source in found)
        raise ConfigError(f"several spaces can read {where}: {names}; say which with --space")
    if not found:
        what = f"{where} is no run folder, no file" if kind == "text" else where
        if kind == "text" and "/" in text and not text.lstrip().startswith("{"):
            raise SpaceError(f"{what} and no architecture")  # a path; the spaces' forms would hide the slip in it
        if space is None and text in spaces:
            of = spaces.get(text)
            drawn = f", such as {of.text(of.sample(np.random.default_rng(0)))!r}"
            such_as = names_first(of.named, ", such as ") if of.named else drawn
            with_space = "" if of.named else f" --space {text}"  # whose texts other spaces may read, too
            raise SpaceError(
                f"{text!r} is a space; what is needed here is one of its architectures{such_as}{with_space}"
            )
        known = list(dict.fromkeys(name for candidate in candidates for name in candidate.named))
        if (meant := published(text, known)) is not None:
            raise SpaceError(f"{what} and no architecture; did you mean {meant!r}?")
        if len(candidates) == 1:
            raise SpaceError(f"{what} and no architecture that can be read: {refusals[0]}")
        if is_like_a_name(text) and known:
            there_are = names_first(known, "by name there are ")
            raise SpaceError(
                f"{what} and no architecture: {there_are}; `raynas list spaces` has the spaces of these names"
            )
        forms = on_one_line("; ".join(dict.fromkeys(refusals)), _MOST_FORMS)
        raise SpaceError(f"{what} and no architecture that can be read: {forms}")
    return found[0]


def _from_folder(folder: Path, space: SearchSpace | None, bounds: Bounds) -> Source:
    description = read_description(folder)
    kind = kind_of(description)
    take = run_kinds.get(kind).taken if kind in run_kinds else None
    if take is None:
        raise StoreError(f"{folder} holds a {kind}, which has no architecture of its own; name one of its runs")
    with reading(folder):
        taken = take(folder, description, bounds)
    if isinstance(taken, Path):
        return _from_folder(taken, space, ())
    settings = taken.settings
    if not isinstance(taken.fields, Mapping) or not isinstance(settings.get("space"), str):
        raise StoreError(f"{folder} does not say which architecture of which space it holds")
    with named_code():  # the folder has named it
        of_run = space or spaces.get(settings["space"])
    architecture = of_run.read(taken.fields)
    data = settings.get("data") if kind == "search" else None
    for name in ("img_size", "num_classes"):
        if type(value := settings.get(name)) not in (int, NoneType):
            raise StoreError(f"{folder} is damaged: its {name} is {value!r:.80}, no whole number")
    return Source(of_run, architecture, kind, folder, settings.get("img_size"), settings.get("num_classes"), data)


def taken_from_search(folder: Path, description: Mapping[str, Any], bounds: Bounds) -> Taken:
    """What a search recommends or found to be the best; of a growth, a member of its family.

    Raises:
        StoreError: There is none yet.
        ConfigError: Nothing meets the bounds.
    """
    summary = existing_summary(folder)
    family, best = summary.get("family"), list(summary.get("best") or [])
    chosen = summary.get("recommended") or {}
    if family:
        found = picked(family[::-1], bounds, f"the family in {folder}")
    elif not bounds and chosen.get("is_feasible"):
        found = chosen
    elif best:
        found = picked(best, bounds, f"the best of {folder}")
    else:
        raise StoreError(f"{folder} holds no architecture yet that could be taken: its summary lists none as best")
    return Taken(found["architecture"], description["config"])


def existing_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a run folder.

    Raises:
        StoreError: There is none, or it is damaged.
    """
    summary = read_summary(folder)
    if not summary:
        raise StoreError(f"{folder} has no summary.json: its run ended before it wrote one; resume it")
    return summary


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
