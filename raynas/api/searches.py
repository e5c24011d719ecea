"""Searches, scoring runs, growths and sweeps of searches, in one file, as all of them resolve the same settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import ArchitectureSource, named_proxies, own_space, reused, source_text, space_name
from raynas.api.layers import base_values, laid_over, read_settings
from raynas.config import several
from raynas.errors import ConfigError, StoreError
from raynas.recipes.reading import recipe_settings
from raynas.registry import runs_named_code
from raynas.searching.config import KIND, RunConfig
from raynas.space.architecture import Architecture
from raynas.space.registered import spaces
from raynas.space.results import Constraint
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path
from raynas.storage.run_folder import holds_run, kind_of, read_description, reading
from raynas.storage.runs import Run, default_folder, load_run
from raynas.storage.session import as_interrupted
from raynas.sweeps.config import KIND as SWEEP
from raynas.sweeps.config import SweepConfig
from raynas.training.folder import KIND as TRAINING

if TYPE_CHECKING:
    from raynas.proxies.probe import Proxy
    from raynas.searching.plan import Plan
    from raynas.searching.run import SearchListener
    from raynas.sweeps.folder import Sweep
    from raynas.sweeps.run import SweepListener

BUILT_IN_SEARCH: Mapping[str, Any] = {
    "space": "as-vit",
    "objectives": ["length_distortion"],
    "proxies": ["ntk_condition"],
    "data": "digits",
    "searcher": "reinforce",
    "budget": 400,
}
"""What a search without a space does: about a minute on two cores."""


@runs_named_code
def search(
    space: str | SearchSpace | None = None,
    *,
    config: str | Path | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    proxies: Sequence[str | Proxy] = (),
    listener: SearchListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Run:
    """Search a space.

    Args:
        space: A registered name, or a space; None: that of the file or of the run in `out`, else a built-in search of
            about a minute.
        config: A YAML file of settings, which the other arguments override.
        recipe: Published settings by their name (`raynas list recipes`), which all other arguments override.
        out: The run folder; default runs/<space>-<date>-<time>.
        resume: Continue the run in `out`, with its settings where none are given; start it if there is none.
        reuse: Folders of other runs whose scores are taken where their keys are equal.
        proxies: Scores to compute beside the objectives, by the names of proxies, or proxies of your own.
        listener: Receives progress; default: shown on standard error. `raynas.searching.run.SearchListener()` is
            silent.
        trust_code: Whether to run code that a folder names, such as that of `out`, and go on at an address that it
            names; what the arguments name is run anyway.
        fields: Fields of `raynas.searching.config.RunConfig`, such as objectives=["length_distortion"], budget=500,
            workers=2; None where nothing is said.

    Returns:
        The finished run.

    Raises:
        RaynasError: Bad input, before anything is started or written; or a cluster or disk that fails later.
    """
    said = recipe_settings(recipe, "search")
    base = base_values(RunConfig, KIND, config=config, recipe=said, out=out, resume=resume, given=fields)
    plan = _plan(_with_space(base, space, fields, out, resume), space, proxies, fields)
    return executed("search", plan, out, resume, reuse, listener)


@runs_named_code
def score(
    space: str | SearchSpace | None = None,
    architectures: Sequence[Architecture | Mapping[str, Any] | str] | int | Path | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    proxies: Sequence[str | Proxy] = (),
    listener: SearchListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Run:
    """Score architectures, given or sampled, with any proxies.

    Args:
        space: A registered name, or a space; None: that of the file or of the run in `out`.
        architectures: Architectures as values, JSON or the space's text; how many to sample; or a table of them (a
            path: CSV with a column for each field, or one architecture a line). None: those of the file or the run.
        config: A YAML file of settings, which the other arguments override.
        out: The run folder; default runs/<space>-<date>-<time>.
        resume: Continue the run in `out`, with its settings where none are given; start it if there is none.
        reuse: Folders of other runs whose scores are taken where their keys are equal.
        proxies: Names of proxies, or proxies of your own; none: the objectives of the space.
        listener: Receives progress; default: shown on standard error.
        trust_code: Argument with the meaning that it has in `search`.
        fields: Fields of `raynas.searching.config.RunConfig`; None where nothing is said.

    Returns:
        The finished run.

    Raises:
        RaynasError: As for `search`.
    """
    base = base_values(RunConfig, KIND, config=config, out=out, resume=resume, given=fields)
    chosen: dict[str, Any] = {} if architectures is None else _what_to_score(architectures)
    if proxies and chosen:
        chosen["objectives"] = ()
    given = {**fields, **chosen}
    if "space" not in base and space is None and resume:
        raise ConfigError(f"{out} holds no run to resume; name a space to start one there")
    return executed("score", _plan(base, space, proxies, given), out, resume, reuse, listener)


def _what_to_score(architectures: Sequence[Architecture | Mapping[str, Any] | str] | int | Path) -> dict[str, Any]:
    if isinstance(architectures, int):
        return {"searcher": "random", "budget": architectures}
    if isinstance(architectures, Path):
        from raynas.storage.tables import read_architectures

        return {"architectures": read_architectures(architectures)}
    return {"architectures": [source_text(one) for one in several(architectures)]}


@runs_named_code
def scale(
    source: ArchitectureSource | None = None,
    *,
    space: str | SearchSpace | None = None,
    stop: str | None = None,
    rates: Sequence[float] | None = None,
    pick: Sequence[str] = (),
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    proxies: Sequence[str | Proxy] = (),
    listener: SearchListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Run:
    """Grow an architecture in depth and width; the run's `family` holds every state.

    Args:
        source: A run folder, a file with one architecture, or an architecture as a value, JSON or text; None: that of
            the file or of the run in `out`.
        space: The space of the source, where several spaces can read it; or a space of your own.
        stop: The cost at which growth ends, such as "num_params>=80e6"; default: the space's own, with its constraints.
        rates: Shares of the width by which a step may widen.
        pick: Bounds by which a member of the family is to be taken, with `family_member`; those that no member can meet
            are refused before anything is started.
        config: A YAML file of settings, which the other arguments override.
        out: The run folder; default runs/<space>-<date>-<time>.
        resume: Continue the growth in `out`, with its settings where none are given; start it if there is none.
        reuse, proxies, listener, trust_code: Arguments with the meaning that they have in `search`.
        fields: Fields of `raynas.searching.config.RunConfig`; objectives and width_divisor have the space's own
            defaults.

    Returns:
        The finished run.

    Raises:
        RaynasError: As for `search`.
    """
    bounds = [Constraint.parse(text) for text in several(pick)]
    names, own_proxies = named_proxies(proxies)
    base = base_values(RunConfig, KIND, config=config, out=out, resume=resume, given=fields)
    values = laid_over(base, {"proxies": names or None, **fields})
    values.setdefault("settings", {})
    if (searcher := values.get("searcher")) not in (None, "growth"):
        where = "searcher" if fields.get("searcher") else config or out
        raise ConfigError(f"scale grows with the searcher 'growth'; {where} says {searcher!r}")
    if source is None and space is not None:
        values["space"] = space_name(space)
    if source is None and not ("space" in values and "start" in values["settings"].get("searcher", {})):
        raise ConfigError("scale takes a SOURCE: a run folder, an architecture's JSON or text, or a file with one")

    from raynas.storage.sources import read_source

    found = None if source is None else read_source(source_text(source), space=space or values.get("space"))

    from raynas.searching.scaling import check_pick, growth_plan  # torch is behind it

    plan = growth_plan(values, found, stop=stop, rates=rates or None, own_proxies=own_proxies)
    check_pick(plan, bounds)
    first = ""
    if found is not None:
        of_run = "" if found.folder is None else f" of {found.folder}"
        first = f"grows {plan.space.text(found.architecture)}{of_run}, scored on the images {plan.config.data}"
    return executed("scale", plan, out, resume, reuse, listener, first)


def ended_growth(source: str) -> Run | None:
    """The growth that a folder holds.

    Args:
        source: A run folder, or any other source of an architecture.

    Returns:
        The growth; None if the source is something else.

    Raises:
        StoreError: The growth has not ended.
    """
    from raynas.storage.sources import existing_path

    folder = existing_path(source)
    if folder is None or not holds_run(folder):
        return None
    description = read_description(folder)
    if kind_of(description) != KIND or description["identity"].get("searcher") != "growth":
        return None
    run = load_run(folder)
    status = run.summary.get("status", "not over")
    if status not in ("completed", "exhausted"):
        raise StoreError(f"the growth in {folder} is {status}; continue it with raynas scale --resume --out {folder}")
    return run


def family_member(run: Run, pick: Sequence[str]) -> Mapping[str, Any]:
    """The largest member of a growth that meets all bounds, such as num_params<=30e6.

    Raises:
        ConfigError: A bound has another form, or no member meets them; the message says what values there are.
    """
    from raynas.storage.sources import picked

    with reading(run.folder):
        return picked(
            run.family[::-1], [Constraint.parse(text) for text in several(pick)], f"the family in {run.folder}"
        )


def is_sweep(
    searchers: Sequence[str],
    repeat: int | None,
    level: float | None,
    *,
    config: str | Path | None,
    out: str | Path | None,
    resume: bool,
) -> bool:
    """Whether what is asked for, or resumed, is several searches, as `sweep` makes them.

    Args:
        searchers: Names of searchers; none where nothing is said.
        repeat: Searches of each searcher; None where nothing is said.
        level: A value whose calls are reported, by sweeps alone.
        config: A YAML file of settings, which may ask for a sweep.
        out: The run folder.
        resume: Whether the run in the folder is to be continued.

    Raises:
        RaynasError: A level is named for a single search, or a file cannot be read.
    """
    if repeat is not None or len(several(searchers)) > 1:
        return True
    if resume and out is not None and holds_run(as_path(out)) and kind_of(read_description(as_path(out))) == SWEEP:
        return True
    if config is not None and {"searchers", "repeat"} & read_settings(as_path(config)).keys():
        return True
    if level is not None:
        raise ConfigError("--level compares searches: give --repeat, or --searcher more than once")
    return False


@runs_named_code
def sweep(
    space: str | SearchSpace | None = None,
    *,
    searchers: Sequence[str] = (),
    config: str | Path | None = None,
    recipe: str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    proxies: Sequence[str | Proxy] = (),
    listener: SweepListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Sweep:
    """Compare searchers: whole searches of a space, with several seeds each, as Ray Tune trials.

    Args:
        space: A registered name, or a space; None: as for `search`.
        searchers: Names of searchers; none: the default for the objectives, or those of the file or of the sweep in
            `out`.
        config: A YAML file of settings, which the other arguments override.
        recipe: Published settings by their name (`raynas list recipes`), which all other arguments override.
        out: The folder, which has a run folder for each search; default runs/<space>-<date>-<time>.
        resume: Continue the sweep in `out`, with its settings where none are given; its budget and repeat may grow.
        reuse, proxies, trust_code: Arguments with the meaning that they have in `search`.
        listener: Receives progress; default: shown on standard error. `raynas.sweeps.run.SweepListener()` is silent.
        fields: Fields of `raynas.sweeps.config.SweepConfig`, shared by all searches: `repeat` is how many searches each
            searcher makes, with the seeds seed, seed + 1, ...; `level` a value whose calls are reported, beside one
            that more than half of the seeds of every searcher reach; `workers` are those of each search, default 1.

    Returns:
        The sweep: its `summary` has the searchers side by side, its `runs` are the searches. A search that failed
        raises nothing; the summary reports it, and it is tried again when the sweep is resumed.

    Raises:
        RaynasError: As for `search`.
    """
    names, own_proxies = named_proxies(proxies)
    said = recipe_settings(recipe, "search")
    base = base_values(SweepConfig, SWEEP, config=config, recipe=said, out=out, resume=resume, given=fields)
    given = {"space": space_name(space), "proxies": names or None, **fields, "searchers": several(searchers) or None}
    values = laid_over(_with_space(base, space, fields, out, resume), given)
    if searchers:
        values["searcher"] = None
    sweep_config = SweepConfig.make(values)

    from raynas.console.sweeps import SweepConsole  # torch is behind these
    from raynas.sweeps.folder import load_sweep
    from raynas.sweeps.plan import make_sweep_plan
    from raynas.sweeps.run import execute_sweep

    plan = make_sweep_plan(sweep_config, space=own_space(space), own_proxies=own_proxies)
    folder = as_path(out) if out is not None else default_folder(plan.config.space)
    with as_interrupted(folder), SweepConsole() if listener is None else nullcontext(listener) as receiver:
        execute_sweep(plan, folder, resume=resume, reuse=reused(reuse), listener=receiver)
        return load_sweep(folder)


def _with_space(
    base: Mapping[str, Any],
    space: str | SearchSpace | None,
    fields: Mapping[str, Any],
    out: str | Path | None,
    resume: bool,
) -> Mapping[str, Any]:
    """The base, with the space of the supernet that is searched, or over the built-in search where nothing is named.

    Raises:
        ConfigError: A run was to be resumed, and there is none.
        StoreError: There is no training of a supernet.
    """
    if (supernet := fields.get("supernet")) is not None:
        return {**base, "space": space_name(space) or supernet_space(supernet)}
    if space is not None or "space" in base or fields.get("space") is not None:
        return base
    if resume:
        raise ConfigError(f"{out} holds no run to resume; name a space to start one there")
    return {**BUILT_IN_SEARCH, **base}


def supernet_space(source: str | Path) -> str:
    """The name of the space whose members are parts of a trained network.

    Args:
        source: The folder of a training, or timm:NAME:FILE.

    Raises:
        StoreError: The folder holds no training, or there is no such file.
        ConfigError: timm has no such plain vision transformer.
    """
    if str(source).strip().startswith("timm:"):
        from raynas.training.timm_weights import read_timm_vit  # torch is behind it

        return f"{spaces.get('vit').parts}@{read_timm_vit(str(source)).text}"
    model = read_description(as_path(source), kind=TRAINING)["model"]
    name = str(model["space"])
    parts = spaces.get(name).parts
    return f"{parts}@{model['text']}" if parts else name


def _plan(
    base: Mapping[str, Any], space: str | SearchSpace | None, proxies: Sequence[str | Proxy], fields: Mapping[str, Any]
) -> Plan:
    names, own_proxies = named_proxies(proxies)
    given = {"space": space_name(space), "proxies": names or None, **fields}
    config = RunConfig.make(laid_over(base, given))

    from raynas.searching.plan import make_plan  # torch is behind it

    return make_plan(config, space=own_space(space), own_proxies=own_proxies)


def executed(
    command: str,
    plan: Plan,
    out: str | Path | None,
    resume: bool,
    reuse: Sequence[str | Path],
    listener: SearchListener | None,
    first: str = "",
) -> Run:
    """Carry out a plan in a folder, and read what came of it.

    Args:
        command: The command that is running, as it is shown.
        plan: What to do.
        out: The run folder; None: runs/<space>-<date>-<time>.
        resume: Whether to continue the run that the folder holds.
        reuse: Folders of other runs whose scores are taken.
        listener: Receives progress; None: it is shown on standard error.
        first: A line that the listener is told before all else.
    """
    from raynas.console.runs import ConsoleListener
    from raynas.searching.run import execute

    folder = as_path(out) if out is not None else default_folder(plan.space.name)
    with as_interrupted(folder), ConsoleListener(command) if listener is None else nullcontext(listener) as receiver:
        if first:
            receiver.on_log(first)
        execute(plan, folder, resume=resume, reuse=reused(reuse), listener=receiver)
        return load_run(folder)
