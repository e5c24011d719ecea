"""The configuration of measurements of latency."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from raynas.config import MOST, MOST_SECONDS, MOST_SIDE, MOST_THREADS, Config, Flags

ROUNDS = 5
ENGINES = {
    "torch": "PyTorch as it is",
    "compile": "torch.compile, which takes a minute or more for each number of threads and images",
    "onnxruntime": "ONNX Runtime, of the network as ONNX",
}
"""What computes a network, by name."""


class LatencyConfig(Config):
    """The conditions that latencies are measured in, and how that is done."""

    batch_sizes: Annotated[tuple[int, ...], Flags(("--batch-size", "-b"))] = Field(
        (1,), min_length=1, description="Images of one pass."
    )
    engines: Annotated[tuple[str, ...], Flags(("--engine", "-e"))] = Field(
        (),
        description=f"What computes: {', '.join(ENGINES)}. Default: all that this machine has. torch.compile takes a "
        "minute or more for each number of threads and images; engines that are named leave it out.",
    )
    precisions: Annotated[tuple[Literal["float32", "bfloat16", "float16"], ...], Flags(("--precision",))] = Field(
        ("float32",),
        min_length=1,
        description="Precision: float32, bfloat16 or, on GPUs, float16; by autocast, of the engines of torch.",
    )
    threads: Annotated[tuple[int, ...], Flags(("--threads",))] = Field(
        (1,), min_length=1, description="CPU threads of a pass."
    )
    img_size: int | None = Field(
        None, ge=1, le=MOST_SIDE, description="Image side in pixels. Default: that of the source."
    )
    num_classes: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="Outputs of the head of a network that is built. Default: the source's, else 10.",
    )
    runs: int = Field(30, ge=2, le=MOST, description="Passes that are timed, of each engine.")
    warmup: int = Field(5, ge=0, le=MOST, description="Passes before, which are not.")
    rounds: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="Rounds in which engines take turns, so that what else the machine does hits all alike. "
        f"Default: {ROUNDS}, or as many as there are runs.",
    )
    checkpoint: Literal["last", "best"] = Field("last", description="Weights of a training: last or best.")
    device: str = Field("auto", description="Device: auto (a GPU if there is one), cpu, cuda or cuda:N.")

    @property
    def num_rounds(self) -> int:
        """The rounds that are made."""
        return min(ROUNDS, self.runs) if self.rounds is None else self.rounds

    @field_validator("batch_sizes", "threads")
    @classmethod
    def _in_bounds(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        for value in values:
            if not 1 <= value <= MOST_THREADS:
                raise ValueError(f"each is a whole number from 1 to {MOST_THREADS:,}")
        return tuple(dict.fromkeys(values))

    @field_validator("engines")
    @classmethod
    def _known(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if value not in ENGINES:
                raise ValueError(f"known engines are {', '.join(ENGINES)}")
        return tuple(dict.fromkeys(values))


class LearnConfig(Config):
    """What is measured to predict the latency of any architecture of a space."""

    space: str = Field(description="Search space, see `raynas list spaces`; or FILE.py:NAME.")
    measurements: int = Field(60, ge=10, le=1000, description="Architectures of a space that are measured.")
    img_size: int | None = Field(None, ge=1, le=MOST_SIDE, description="Image side in pixels. Default: the space's.")
    num_classes: int | None = Field(None, ge=1, le=MOST, description="Outputs of the head. Default: 10.")
    batch_size: int = Field(1, ge=1, le=MOST, description="Images of one pass.")
    threads: int = Field(1, ge=1, le=MOST_THREADS, description="CPU threads of a pass.")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision; bfloat16 and float16 on GPUs."
    )
    runs: int = Field(
        30,
        ge=2,
        le=MOST,
        description="Passes that are timed, of each architecture, or more until `seconds` are over.",
    )
    seconds: float = Field(
        2.0, ge=0, le=MOST_SECONDS, description="How long passes of each architecture of a space go on at least."
    )
    warmup: int = Field(5, ge=0, le=MOST, description="Passes before, which are not.")
    seed: int = Field(0, ge=0, description="Seed of what is drawn.")
