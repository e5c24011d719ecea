"""What `raynas scale` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raynas.cli.commands import carry_out, merged_settings, stored_values
from raynas.console.runs import show_family, show_summary
from raynas.console.terminal import say
from raynas.errors import ConfigError, StoreError
from raynas.space.architecture import Architecture
from raynas.space.results import Constraint
from raynas.space.search_space import SearchSpace
from raynas.storage.run_folder import kind_of, read_description, read_summary
from raynas.storage.sources import existing_path, picked, read_source


def scale_command(
    source: str | None,
    options: Mapping[str, Any],
    settings: Sequence[str],
    *,
    space: str | None,
    stop: str | None,
    rates: Sequence[float],
    pick: Sequence[str],
    config: Path | None,
    out: Path | None,
    resume: bool,
    reuse: Sequence[Path],
) -> None:
    """Grow an architecture into a family, or take a member from one that was grown.

    Args:
        source: As for `read_source`; None where a resumed run or a file says it.
        options: Fields of RunConfig; None where the user said nothing.
        settings: PROXY.KEY=VALUE or searcher.KEY=VALUE.
        space: Of the source, where several can read it.
        stop, rates: Of the searcher.
        pick: Bounds by which a member is taken and printed as JSON on standard output; all else is then on standard
            error.
        config: A YAML file that the options override.
        out: The run folder; None for a new one.
        resume: Continue the growth in it.
        reuse: Run folders whose scores are taken.

    Raises:
        RaynasError: Bad input, before anything is started; or what fails later.
    """
    bounds = tuple(Constraint.parse(text) for text in pick)
    folder = existing_path(source) if source is not None and not resume else None
    if bounds and folder is not None and (summary := _growth_in(folder)) is not None:
        _show_member(summary, bounds, str(folder), read_source(str(folder), space=space).space)
        return
    values = stored_values(config, out, resume)
    values |= {name: value for name, value in options.items() if value is not None}
    values["settings"] = merged_settings(values.get("settings", {}), settings)
    if (searcher := values.get("searcher")) not in (None, "growth"):
        raise ConfigError(f"scale grows with the searcher 'growth'; {config or out} says {searcher!r}")
    if source is None and space is not None:
        values["space"] = space
    if source is None and not ("space" in values and "start" in values["settings"].get("searcher", {})):
        raise ConfigError("scale takes a SOURCE: a run folder, an architecture's JSON or text, or a file with one")

    from raynas.searching.scaling import check_pick, growth_plan  # torch is behind it

    found = None if source is None else read_source(source, space=space or values.get("space"))
    plan = growth_plan(values, found, stop=stop, rates=rates or None)
    check_pick(plan, bounds)
    if found is not None:
        of_run = "" if found.folder is None else f" of {found.folder}"
        say(f"grows {plan.space.text(found.architecture)}{of_run}, scored on the images {plan.config.data}")

    def show(summary: Mapping[str, Any], folder: Path) -> None:
        show_summary(summary, stderr=bool(bounds))
        show_family(summary, plan.space, stderr=bool(bounds))
        if bounds:
            _show_member(summary, bounds, str(folder), plan.space)

    again = [part for text in pick for part in ("--pick", text)]
    carry_out("scale", plan, show, out=out, resume=resume, reuse=reuse, again=again)


def _growth_in(folder: Path) -> dict[str, Any] | None:
    """The summary of a growth that has ended; None if there is no growth.

    Raises:
        StoreError: It has not ended.
    """
    if not (folder / "run.yaml").is_file() or kind_of(description := read_description(folder)) != "search":
        return None
    if description["identity"].get("searcher") != "growth":
        return None
    summary = read_summary(folder)
    status = summary.get("status", "not over")
    if status not in ("completed", "exhausted"):
        raise StoreError(f"the growth in {folder} is {status}; continue it with raynas scale --resume --out {folder}")
    return summary


def _show_member(summary: Mapping[str, Any], bounds: Sequence[Constraint], where: str, space: SearchSpace) -> None:
    member = picked(summary["family"][::-1], bounds, f"the family in {where}")
    scores = "".join(f", {name} {value:.5g}" for name, value in member["scores"].items())
    costs = f"num_params {member['num_params']:,}, macs {member['macs']:,}"
    architecture = Architecture(member["architecture"])
    say(f"step {member['step']}: {space.text(architecture)} ({costs}{scores})")
    print(architecture.to_json())
