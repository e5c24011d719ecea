"""The run folder, the command that made it, and commands that take what was found further: lines to copy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raynas.config import option_words
from raynas.registry import is_in_file
from raynas.report.text import is_growth
from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace
from raynas.space.uniform import has_uneven, uniform_architectures
from raynas.storage.learned import is_learned
from raynas.storage.run_folder import told_again

_NO_OPTIONS = (
    "space",
    "settings",
    "searcher",
    "searchers",
    "repeat",
    "level",
    "architectures",
    "supernet",
    "width_divisor",
)
_OF_SUPERNET = (
    *("objectives", "constraints", "bands", "proxies", "budget", "compare", "holdout", "test_data", "window", "seed"),
    *("workers", "gpus_per_worker", "address", "join", "threads", "device_type", "mixed_devices", "worker_memory_gib"),
    "time_limit_s",
)
_GROWTH = 4
"""How many times the parameters of the architecture a growth is to reach, which takes minutes."""


def next_steps(
    folder: Path,
    config: Mapping[str, Any],
    identity: Mapping[str, Any],
    summary: Mapping[str, Any],
    space: SearchSpace | None,
) -> dict[str, Any]:
    """The page's `next`.

    Args:
        folder: The folder of the run.
        config: What run.yaml says under `config`.
        identity: What run.yaml says under `identity`.
        summary: The content of summary.json.
        space: The space of that name, if one is registered, be it as it was searched or not.

    Returns:
        `folder`; `command`, which makes such a run anew, None where no command does; and `steps`, pairs of what a line
        does and the line, none before there is an architecture to take.
    """
    found = summary.get("recommended") or next(iter(summary.get("family") or summary.get("best") or []), None)
    is_known = space is not None or is_in_file(str(config.get("space")))
    command, steps = (_learning_command, _learned_steps) if is_learned(identity) else (_command, _steps)
    return {
        "folder": str(folder),
        "command": command(folder, config, identity) if is_known else None,
        "steps": steps(folder, config, identity, summary, found, space) if found and is_known else [],
    }


def step(what: str, *words: object) -> dict[str, str]:
    """A line to copy.

    Args:
        what: What it does, for people.
        words: What is typed behind the name of the program.
    """
    return {"what": what, "command": shlex.join(["raynas", *map(str, words)])}


def _learned_steps(
    folder: Path,
    config: Mapping[str, Any],
    identity: Mapping[str, Any],
    summary: Mapping[str, Any],
    found: Mapping[str, Any],
    space: SearchSpace | None,
) -> list[dict[str, str]]:
    """What is done with latencies that were learned: predicted, and searched with."""
    again = told_again({"space": config.get("space")})
    architecture = Architecture(found["architecture"])
    text = architecture.to_json() if space is None else space.text(architecture)
    aims = [] if space is None else [str(one) for one in space.objectives]
    objectives = [word for aim in [*(aims or ["naswot"]), "latency:min"] for word in ("--objective", aim)]
    searched = ["search", config["space"], *_size(config), *objectives, "--latency", folder]
    lines = [
        ("Predict the latency of an architecture", ["latency", folder, "--predict", text]),
        ("Search with it", [*searched, "--out", f"{folder}-search"]),
    ]
    return [step(what, *words, *again) for what, words in lines]


def _learning_command(folder: Path, config: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """What is typed to learn such latencies anew."""
    measured = (config.get("settings") or {}).get("latency") or {}
    told = {"threads": config.get("threads"), "seed": config.get("seed"), **measured}
    words = [str(config["space"]), "--measurements", str(config["budget"]), *_size(config)]
    for name, value in told.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    again = told_again({"space": config.get("space")})
    return shlex.join(["raynas", "latency", *words, "--out", f"{folder}-again", *again])


def _size(config: Mapping[str, Any]) -> list[str]:
    """Options that say which networks an architecture becomes."""
    return ["--img-size", str(config["img_size"]), "--num-classes", str(config["num_classes"])]


def _steps(
    folder: Path,
    config: Mapping[str, Any],
    identity: Mapping[str, Any],
    summary: Mapping[str, Any],
    found: Mapping[str, Any],
    space: Any,
) -> list[dict[str, str]]:
    again = told_again({"space": config.get("space")})
    trained, grown = f"{folder}-trained", f"{folder}-family"
    supernet, data = config.get("supernet"), _training_data(config)
    more = ["--weights-policy", "inherited"] if supernet else []
    which = "the recommended architecture" if found is summary.get("recommended") else "#1"
    steps = [step(f"Train {which}{how_long()}", "train", folder, *data, *more, "--out", trained, *again)]
    if space is not None and isinstance(space.model, str):  # models of one's own need not have code that leaves
        steps.append(
            step("Export it as plain code and weights", "export", trained, "--out", f"{folder}-export", *again)
        )
    if is_growth(identity):
        pick = ["--pick", f"num_params<={found['num_params']}"] if found.get("num_params") else []
        smallest = step(
            f"Train its smallest member{how_long()}",
            *("train", folder, *pick, *data, "--out", f"{folder}-smallest", *again),
        )
        return [{**steps[0], "what": f"Train the largest member of the family{how_long()}"}, smallest, *steps[1:]]
    if space is not None and space.growth is not None and found.get("num_params") and not supernet:
        stop = f"num_params>={_GROWTH * found['num_params']:.1e}".replace("e+0", "e")
        steps.append(
            step("Grow it into a family of larger models", "scale", folder, "--stop", stop, "--out", grown, *again)
        )
    if space is not None and _has_uniform_peers(found, space):
        steps.append(
            step(
                f"Train the best three beside the uniform network nearest in multiply-adds{how_long()}",
                *("train", "--finalists", folder, "--top", 3, "--compare", "uniform", *data),
                *("--out", f"{folder}-finalists", *again),
            )
        )
    return steps


def _has_uniform_peers(found: Mapping[str, Any], space: SearchSpace) -> bool:
    """Whether there are uniform networks, and what was found is none of them."""
    if space.uniform is None or not has_uneven(space):
        return False
    return Architecture(found["architecture"]) not in uniform_architectures(space)


def how_long() -> str:
    """What is said of a training of as many epochs as there are by default."""
    from raynas.training.config import TrainConfig

    epochs = TrainConfig.model_fields["epochs"].default
    return f", for {epochs} epochs, which takes long: --epochs 3 is a first look"


def _training_data(config: Mapping[str, Any]) -> list[str]:
    """What a training is told of images: those of the search, if they have labels, else the built-in digits."""
    data = str(config.get("data") or "random")
    if data == "random":
        return ["--data", "digits"]
    columns = {name: config.get(name) for name in ("image_column", "label_column")}
    named = [
        word for name, column in columns.items() if column for word in (f"--{name.replace('_', '-')}", str(column))
    ]
    return ["--data", data, *named]


def _command(folder: Path, config: Mapping[str, Any], identity: Mapping[str, Any]) -> str | None:
    """What is typed for such a run; of growths and scoring runs, whose sources no folder names, None."""
    from raynas.sweeps.config import SweepConfig

    if not config.get("objectives") or config.get("architectures") or is_growth(identity):
        return None
    supernet = config.get("supernet")
    command = ["supernet", "search", str(supernet)] if supernet else ["search", str(config["space"])]
    names = [
        name for name in SweepConfig.model_fields if (name in _OF_SUPERNET if supernet else name not in _NO_OPTIONS)
    ]
    words = [*command, "--searcher", str(config["searcher"]), *option_words(SweepConfig, config, names)]
    if supernet:
        words += ["--compare", str(config.get("compare") or 0)] if "--compare" not in words else []
    for target, settings in (config.get("settings") or {}).items():
        for name, value in settings.items():
            words += ["--set", f"{target}.{name}={json.dumps(value)}"]
    return shlex.join(["raynas", *words, "--out", f"{folder}-again"])
