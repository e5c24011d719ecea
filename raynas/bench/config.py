"""What a benchmark of proxies can be told beyond what a scoring run can: labels, strata, combinations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from raynas.config import MOST, Config, Flags
from raynas.searching.config import RunConfig


class BenchSettings(Config):
    """What is asked of the scores once they are there; it can change without scoring anything again."""

    labels: Annotated[tuple[str, ...], Flags(("--label", "-l"))] = Field(
        (), description="Column of the truth table; NAME:min if lower is better."
    )
    within: tuple[str, ...] = Field((), description="Field whose values are strata, such as embed_dim.")
    combine: tuple[str, ...] = Field(
        (), description='Several scores as one, such as "dss+tvt", "0.5*a+b" or "a+b:rank_sum".'
    )
    combine_by: Literal["log_rank", "rank_sum", "min_max"] = Field(
        "log_rank", description="Method of combinations that name none: log_rank (AZ-NAS), rank_sum or min_max."
    )
    resamples: int = Field(1000, ge=10, le=MOST, description="Resamples of the architectures, for intervals.")
    level: float = Field(0.95, gt=0, lt=1, description="Probability that an interval covers the true value.")
    top: int = Field(
        10, ge=1, le=MOST, description="How many architectures a proxy may choose, for overlap and regret."
    )
    title: str | None = Field(None, description="Title of the report.")
    aggregates_only: bool = Field(False, description="Keep single architectures out of the report.")


class BenchConfig(RunConfig, BenchSettings):
    """Everything that a benchmark of proxies can be told."""

    proxies: Annotated[tuple[str, ...], Flags(("--proxy", "-p"))] = Field(
        (),
        description="Score to compute, or all; see `raynas list proxies`. Counts of parameters, MACs, depth and width "
        "always stand beside it.",
    )
    seed: int = Field(0, ge=0, description="Seed of the rows and of the resamples.")
    truth: str | None = Field(
        None, description="CSV file: a column for each field of an architecture, lists space-separated, and labels."
    )
    rows: int | None = Field(None, ge=4, description="Draw this many architectures of the table. Default: all.")

    @property
    def settings_of_bench(self) -> BenchSettings:
        """The part that says what is asked of the scores."""
        return BenchSettings.make(self.model_dump(include=set(BenchSettings.model_fields)))

    def run(self, **values: Any) -> RunConfig:
        """The part that says what is scored."""
        return RunConfig.make({**self.model_dump(include=set(RunConfig.model_fields)), **values})
