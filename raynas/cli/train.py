"""raynas train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.cli.ending import options_again, resumable, say_folder, say_report
from raynas.cli.options import (
    CONFIG,
    RECIPE,
    RESUME,
    TRUST_CODE,
    Parameters,
    argument,
    description_of,
    option,
    options,
    set_value,
)
from raynas.errors import ConfigError, TrainingError
from raynas.interruption import resuming_line
from raynas.storage.session import as_interrupted

if TYPE_CHECKING:
    from raynas.training.folder import Training
    from raynas.trials.folder import Trials

EXAMPLES = """
Examples:

    raynas train as-vit --architecture "8,2,3|4,1,2|4,1,4|4,1,6|32" --data digits --img-size 32 --augment light

    raynas train runs/grown --pick "num_params<=3e6" --data parquet:train.parquet --val-data parquet:test.parquet

    raynas train runs/grown --data folder:train --epochs 300 --batch-size 1024 --retokenize as-vit --workers 8

    raynas train resnet56 --data folder:train --optimizer sgd --lr 0.1 --weight-decay 5e-4 --augment light

    raynas train --finalists runs/search --top 8 --epochs 9 --data parquet:train.parquet --gpus-per-worker 0.25

    raynas train --finalists runs/found --top 1 --compare uniform --epochs 90 --data parquet:train.parquet

    raynas train runs/found --weights-policy inherited --epochs 30 --lr 1e-4 --data parquet:train.parquet

    raynas train as-vit -a "8,2,3|4,1,2|4,1,4|4,1,6|32" --vary lr=3e-4,1e-3 --vary mixup=0,0.8 --out runs/variants

    raynas train runs/finalists --pick "num_params<=3e6" --data parquet:train.parquet --epochs 300

    raynas train --recipe vit-resnas-retrain-tiny --data folder:train --val-data folder:val

    raynas train --resume --out runs/trained
"""

_OUT = option(
    "out",
    Path,
    "Training folder, or its URI in an object store. Default: runs/SPACE-training-DATE-TIME.",
    file_okay=False,
)
_SET = option(
    "settings", list[str], "KEY=VALUE of any other setting, such as mixup=0.2 or hflip=0. Repeatable.", "--set"
)
_FINALISTS = (
    "In place of SOURCE: train the best of this search against each other, as Ray Tune trials on all nodes that see "
    "--out. Each takes a GPU, where there are some, unless --gpus-per-worker says otherwise."
)
_VARY = (
    "KEY=VALUE,VALUE,... of a setting: train once with each, as Ray Tune trials on all nodes that see --out, and "
    "compare. Repeatable: then each combination is trained."
)


def what_to_train() -> Parameters:
    """The source, and what says which architecture of it is meant."""
    source = "A run folder, a space, an architecture (genotype, JSON or published name) or a file of one."
    return [
        argument("source", str, source),
        option("architecture", str, "Architecture of the space that is SOURCE.", "--architecture", "-a"),
        option(
            "pick",
            list[str],
            'Member of the run that is SOURCE, such as "num_params<=3e6". Repeatable: all must hold.',
        ),
    ]


def how_to_train(*, without: Sequence[str] = (), **settings: Any) -> Parameters:
    """Options of every training; what is seldom changed has none of its own, and is set by --set.

    Args:
        without: Fields that are no options of the command.
        settings: Further keywords of `raynas.cli.options.options`.
    """
    from raynas.training.config import WITHOUT_OPTION, TrainConfig

    return [
        option("space", str, "The space of SOURCE, where several can read it."),
        *options(TrainConfig, leave_out=("space", "architecture", *WITHOUT_OPTION, *without), **settings),
        *(_SET, _OUT, RESUME, RECIPE, CONFIG, TRUST_CODE),
    ]


def variants_parameters() -> Parameters:
    """What says which settings are varied, and which trainings are stopped before their end."""
    from raynas.trials.config import TrialsConfig
    from raynas.variants.config import VariantsConfig

    halving = f"{description_of(TrialsConfig, 'halving')} Default: none with --vary, else asynchronous."
    return [
        option("vary", list[str], _VARY),
        *options(TrialsConfig, only=("grace", "reduction")),
        *options(VariantsConfig, only=("halving",), defaults={"halving": None}, help={"halving": halving}),
    ]


def parameters() -> Parameters:
    """The parameters of a training, and those of finalists and variants."""
    from raynas.finalists.config import FinalistsConfig

    return [
        *what_to_train(),
        option("finalists", Path, _FINALISTS),
        *options(FinalistsConfig, only=("top", "compare")),
        *variants_parameters(),
        *how_to_train(),
    ]


def train(
    *,
    source: Any = None,
    architecture: Any = None,
    pick: Any = (),
    finalists: Any = None,
    top: Any = None,
    grace: Any = None,
    reduction: Any = None,
    halving: Any = None,
    compare: Any = None,
    vary: Any = (),
    settings: Any = (),
    **more: Any,
) -> None:
    """Train an architecture on images."""
    from raynas import api

    more |= training_settings(settings)
    stopped = {"grace": grace, "reduction": reduction, "halving": halving}
    kind = api.kind_to_resume(more.get("out"), more.get("resume", False))
    if finalists is not None or kind == "finalists":
        if source is not None or architecture is not None or pick or vary:
            raise ConfigError("--finalists takes the place of SOURCE, --architecture, --pick and --vary")
        show_trials_and_say("train", api.finalists, source=finalists, top=top, compare=compare, **stopped, **more)
        return
    if top or compare:
        raise ConfigError("--top and --compare go with --finalists")
    what = {"architecture": architecture, "pick": pick}
    if vary or kind == "variants":
        show_trials_and_say("train", api.variants, source, vary=varied_settings(vary), **what, **stopped, **more)
        return
    check_goes_with_trials(stopped)
    with resumable("train"):
        show_and_say(api.train(source, **what, **more))


def check_goes_with_trials(stopped: Mapping[str, Any]) -> None:
    """Refuse what says which trainings are stopped where there is one.

    Args:
        stopped: Values of --grace, --reduction and --halving by name, None where they are not given.

    Raises:
        ConfigError: One of them is given.
    """
    if given := [name for name, value in stopped.items() if value is not None]:
        raise ConfigError(f"--{given[0]} goes with several trainings, such as --vary names")


def show_and_say(training: Training) -> None:
    """What came of a training, and where it is."""
    from raynas.console.training import show_training  # torch is behind it

    with as_interrupted(training.folder):
        show_training(training)
        say_report(training.folder)
    say_folder(training.folder)


def show_trials_and_say(command: str, train: Callable[..., Trials], *args: Any, **given: Any) -> None:
    """Train against each other, and show what came of it, and where it is.

    Args:
        command: The command as it is typed.
        train: What trains.
        args: The arguments that it knows by their position.
        given: Those that it knows by name.

    Raises:
        TrainingError: Some of the trainings failed; the message says how to try them again.
    """
    with resumable(command):
        found = train(*args, **given)

        from raynas.console.trials import show_trials  # torch is behind it

        with as_interrupted(found.folder):
            show_trials(found.summary)
            say_report(found.folder)
    say_folder(found.folder)
    if error := found.summary["error"]:
        line = resuming_line(command, found.folder, *options_again(found.folder))
        raise TrainingError(f"{error}. They are tried again with: {line}")


def varied_settings(texts: Sequence[str]) -> dict[str, list[Any]] | None:
    """Values of fields of TrainConfig from texts of the form KEY=VALUE,VALUE,...; None if there are none.

    Raises:
        ConfigError: A text has another form.
    """
    values: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        if not (equals and name and listed):
            raise ConfigError(f"--vary takes KEY=VALUE,VALUE,..., such as lr=1e-4,1e-3, not {text!r}")
        values[name] = [*values.get(name, ()), *set_value(text, f"[{listed}]", "--vary")]
    return values or None


def training_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Fields of TrainConfig from texts of the form KEY=VALUE; KEY=null undoes what a file or a resumed run says.

    Raises:
        ConfigError: A text has another form, or there is no such field.
    """
    from raynas.api.layers import NOTHING
    from raynas.training.config import TrainConfig

    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name):
            raise ConfigError(f"--set takes KEY=VALUE, such as mixup=0.2, not {text!r}")
        if name in ("space", "architecture"):
            raise ConfigError(f"--set does not take {name}: SOURCE and --{name} say what to train")
        read = set_value(text, value)
        values[name] = NOTHING if read is None else read
    TrainConfig.check_names(values)
    return values
