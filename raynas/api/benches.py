"""Benchmarks of proxies against trained accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.api.arguments import named_proxies, own_space, reused, space_name
from raynas.api.layers import check_address, laid_over, read_settings
from raynas.bench.config import BenchConfig
from raynas.errors import ConfigError
from raynas.registry import runs_named_code
from raynas.space.search_space import SearchSpace
from raynas.storage.paths import as_path
from raynas.storage.runs import default_folder
from raynas.storage.session import as_interrupted
from raynas.storage.tables import read_table

if TYPE_CHECKING:
    from raynas.bench.folder import Bench
    from raynas.proxies.probe import Proxy
    from raynas.searching.run import SearchListener


@runs_named_code
def bench_proxies(
    space: str | SearchSpace | None = None,
    truth: str | Path | None = None,
    *,
    config: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    reuse: Sequence[str | Path] = (),
    proxies: Sequence[str | Proxy] = (),
    listener: SearchListener | None = None,
    trust_code: bool = False,
    **fields: Any,
) -> Bench:
    """Hold proxies against what architectures reached once they were trained.

    Args:
        space: A registered name, or a space; None: that of the file or of the run in `out`.
        truth: A CSV file with a column for each field of an architecture, and labels; None: that of the file or the
            run.
        config: A YAML file of settings, which the other arguments override.
        out: The run folder; default runs/<space>-bench-<date>-<time>.
        resume: Continue the run in `out`, with its settings where none are given; where all is scored, only what
            follows from the scores is made again.
        reuse, listener, trust_code: Arguments with the meaning that they have in `raynas.api.search`.
        proxies: Names of proxies, "all", or proxies of your own; none: the objectives of the space. Counts of
            parameters, MACs, depth and width always stand beside them.
        fields: Fields of `raynas.bench.config.BenchConfig`, such as labels=["top1", "loss:min"], combine=["dss+tvt"],
            within=["embed_dim"], rows=100, data="digits", workers=2; None where nothing is said.

    Returns:
        The benchmark: its `correlations` and `scores` are Arrow tables.

    Raises:
        RaynasError: Bad input, before anything is started or written; or a cluster or disk that fails later.
    """
    if resume and out is None:
        raise ConfigError("--resume needs --out with the folder of the run to continue")

    over = {} if config is None else read_settings(as_path(config))
    BenchConfig.check_values(over)
    if table := truth or over.get("truth"):
        read_table(Path(table))  # what cannot be read is refused before torch is imported

    from raynas.bench.run import execute_bench, make_bench_plan, stored_bench  # torch is behind it
    from raynas.console.runs import ConsoleListener

    names, own_proxies = named_proxies(proxies)
    # The description of a scoring run does not hold what is asked of its scores.
    base = stored_bench(as_path(out)) if resume and out is not None else {}
    check_address(base.get("address"), {**fields, **over})
    base |= over
    given = {"space": space_name(space), "truth": None if truth is None else str(truth), "proxies": names or None}
    values = laid_over(base, {**fields, **given})
    if "space" not in values:
        raise ConfigError(f"{out} holds no run to resume; name a space" if resume else "name a space with --space")
    plan = make_bench_plan(
        BenchConfig.make(values),
        folder=None if out is None else as_path(out),
        space=own_space(space),
        own_proxies=own_proxies,
    )
    folder = as_path(out) if out is not None else default_folder(f"{plan.plan.space.name}-bench")
    receiving = ConsoleListener("bench proxies") if listener is None else nullcontext(listener)
    with as_interrupted(folder), receiving as receiver:
        for name, reason in plan.about["left_out"].items():
            receiver.on_log(f"left out of all: {name}, which {reason}")
        return execute_bench(plan, folder, resume=resume, reuse=reused(reuse), listener=receiver)
