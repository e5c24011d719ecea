"""The records that travel: a candidate is asked, its evaluation is told."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from raynas.errors import ConfigError
from raynas.space.architecture import Architecture
from raynas.wording import plural


class Status(StrEnum):
    """What became of a score; only an ok one has a value."""

    OK = "ok"
    NON_FINITE = "non_finite"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    NOT_APPLICABLE = "not_applicable"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An architecture that a searcher asks to be evaluated; ids count from 0 in the order of asking."""

    id: int
    architecture: Architecture


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a searcher is told of a candidate.

    Args:
        id: Number of the candidate that was asked.
        architecture: The candidate's architecture.
        status: ok if all objectives and constraints have values, else the status of the first that has none. Where
            architectures are only scored, all scores are to have values, save those that do not apply to them.
        scores: Raw values by name, costs included; names without a value are absent. A candidate that violates a
            constraint on costs is told without having been scored: it is ok, not feasible, and has costs only. One
            whose constrained cost cannot be counted is not ok, and has no scores either.
        violations: How far the score of each violated constraint, by the constraint's text, lies beyond the bound: a
            positive number.
        seconds: Time that a worker spent on the scores.
        error: What went wrong, in words, where the status is not ok.
    """

    id: int
    architecture: Architecture
    status: Status = Status.OK
    scores: Mapping[str, float] = field(default_factory=dict)
    violations: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether all objectives and constraints have values."""
        return self.status is Status.OK

    @property
    def is_feasible(self) -> bool:
        """Whether all objectives and constraints have values, and no constraint is violated."""
        return self.is_ok and not self.violations


def named_direction(text: str, what: str = "an objective") -> tuple[str, bool | None]:
    """Read NAME, NAME:max or NAME:min.

    Args:
        text: What is read.
        what: What the text stands for, for the message.

    Returns:
        The name, and whether it is to be maximised; None if the text leaves that open.

    Raises:
        ConfigError: The text has another form.
    """
    name, _, direction = text.partition(":")
    if not name or direction not in ("", "max", "min"):
        hint = ""
        if name.endswith(".py") and what == "an objective":
            own = direction.partition(":")[0]
            hint = f"; a proxy in a file is named by --proxy {name}:{own}, and then by --objective {own}"
        raise ConfigError(f"{what} is NAME, NAME:max or NAME:min, not {text!r}{hint}")
    return name, None if not direction else direction == "max"


@dataclass(frozen=True, slots=True)
class Objective:
    """A score, or another column of numbers, to be maximised or minimised."""

    name: str
    maximize: bool = True

    @classmethod
    def parse(cls, text: str, what: str = "an objective") -> Objective:
        """Read NAME or NAME:max, where higher is better, or NAME:min.

        Raises:
            ConfigError: The text has another form.
        """
        name, maximize = named_direction(text, what)
        return cls(name, maximize is not False)

    def oriented(self, scores: Mapping[str, float]) -> float:
        """The score with its sign such that higher is better."""
        return scores[self.name] if self.maximize else -scores[self.name]

    @property
    def in_words(self) -> str:
        """What is looked for, such as "largest naswot"."""
        return f"{'largest' if self.maximize else 'smallest'} {self.name}"

    def __str__(self) -> str:
        return f"{self.name}:{'max' if self.maximize else 'min'}"


_CONSTRAINT = re.compile(r"\s*([\w\-]+)\s*(<=|>=|<|>)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")
_HOLDS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on a cost or a score, such as macs<=2e9."""

    name: str
    relation: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read NAME<=NUMBER, or the same with >=, < or >.

        Raises:
            ConfigError: The text has another form.
        """
        match = _CONSTRAINT.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            return cls(match[1].replace("-", "_"), match[2], float(match[3]))
        except ValueError:
            raise ConfigError(
                f"a constraint is NAME<=NUMBER or NAME>=NUMBER, such as 'macs<=2e9', not {text!r}"
            ) from None

    @property
    def is_upper(self) -> bool:
        """Whether it bounds from above."""
        return self.relation in ("<", "<=")

    def violation(self, scores: Mapping[str, float]) -> float:
        """How far the score is on the wrong side of the bound, 0 where the constraint holds."""
        value = scores[self.name]
        if _HOLDS[self.relation](value, self.bound):
            return 0.0
        # A value equal to a strict bound violates it, if by the least amount that counts.
        return abs(value - self.bound) or float.fromhex("0x1p-1022")

    def __str__(self) -> str:
        bound = f"{self.bound:g}"
        # Six digits where they suffice; else two bounds would share a text.
        return f"{self.name}{self.relation}{bound if float(bound) == self.bound else repr(self.bound)}"


def parse_band(text: str) -> tuple[Constraint, Constraint]:
    """Read NAME:LOW:HIGH, such as macs:1.75e9:1.79e9, which is NAME>=LOW and NAME<=HIGH.

    Raises:
        ConfigError: The text has another form, or LOW is above HIGH.
    """
    name, *bounds = text.split(":")
    try:
        parts = zip((">=", "<="), bounds, strict=True)
        low, high = [Constraint.parse(f"{name}{relation}{bound}") for relation, bound in parts]
    except ValueError:
        raise ConfigError(f"a band is NAME:LOW:HIGH, such as macs:1.75e9:1.79e9, not {text!r}") from None
    if low.bound > high.bound:
        raise ConfigError(f"the band {text!r} has its low bound {low.bound:g} above its high bound {high.bound:g}")
    return low, high


def parse_bounds(constraints: Sequence[str], bands: Sequence[str]) -> tuple[Constraint, ...]:
    """Read constraints, then bands, each bound once.

    Raises:
        ConfigError: A text has another form.
    """
    found = [Constraint.parse(text) for text in constraints]
    for text in bands:
        found += parse_band(text)
    return tuple(dict.fromkeys(found))


def violations(constraints: tuple[Constraint, ...], scores: Mapping[str, float]) -> dict[str, float]:
    """The violated constraints among those whose score is known, with their amounts."""
    amounts = {str(c): c.violation(scores) for c in constraints if c.name in scores}
    return {name: amount for name, amount in amounts.items() if amount > 0}


def evaluated(
    candidate: Candidate,
    scores: Mapping[str, float],
    failures: Mapping[str, tuple[Status, str | None]],
    needed: Sequence[str],
    constraints: tuple[Constraint, ...],
    seconds: float = 0.0,
) -> Evaluation:
    """The evaluation that follows from what is known of a candidate's architecture.

    Args:
        candidate: The candidate that was asked.
        scores: The values that are known, by the names of the scores.
        failures: Status and error of each score that has no value, by the score's name.
        needed: Names of what is to have values; the first of them that failed gives the status.
        constraints: The run's bounds on costs and scores.
        seconds: Time that a worker spent on the scores.
    """
    status, error = next((failures[name] for name in needed if name in failures), (Status.OK, None))
    broken = violations(constraints, scores)
    return Evaluation(candidate.id, candidate.architecture, status, scores, broken, seconds, error)


@dataclass(frozen=True)
class ScoreIdentity:
    """All that changes a score beside the architecture and the platform; with these, the key of a row."""

    space: str
    img_size: int
    num_classes: int
    model_version: int
    proxy: str
    proxy_version: int = 1
    settings: str = "{}"
    repeats: int = 0
    init: str = ""
    dtype: str = ""
    score_seed: int = 0
    input_hash: str = ""


OF_PROCESSOR = " of "
"""What stands between instructions and the name of a processor in a device type."""

MIXED_DEVICES = "mixed"
"""The device type of scores that are computed by whichever devices there are."""


@dataclass(frozen=True)
class Platform:
    """What scores are computed with, as far as it changes their last digits; part of the key of a row.

    Args:
        device_type: Name of the GPU, or the vector instructions of the processor, such as "AVX2", with the name of the
            processor where something is measured by the clock; `MIXED_DEVICES`.
        threads: CPU threads of one evaluation.
        libraries: Versions of the libraries that compute, such as "numpy 2.3.1, timm 1.0.31, torch 2.15.0".
    """

    device_type: str = ""
    threads: int = 0
    libraries: str = ""

    @property
    def of_arithmetic(self) -> Platform:
        """What scores depend on that no clock measures: the same without the processor's name in the device type."""
        return replace(self, device_type=self.device_type.partition(OF_PROCESSOR)[0])

    @property
    def in_words(self) -> str:
        """One line for people, such as "AVX2, 1 thread, numpy 2.3.1, timm 1.0.31, torch 2.15.0"."""
        return f"{self.device_type}, {plural(self.threads, 'thread', 'threads')}, {self.libraries}"


class Outcome(NamedTuple):
    """What scoring gave: one value of one architecture."""

    value: float | None
    status: str
    error: str | None = None
    seconds: float = 0.0
    build_seconds: float = 0.0
