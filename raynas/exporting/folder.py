"""An exported folder, read: its network rebuilt from the architecture that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from raynas.errors import ConfigError, StoreError, error_line, error_words
from raynas.exporting.export import load_exported
from raynas.interruption import is_interrupt
from raynas.registry import is_trusted
from raynas.space.build import builder, built
from raynas.space.registered import spaces
from raynas.space.search_space import SearchSpace
from raynas.space.tokens import retokenizable
from raynas.storage.files import exists
from raynas.storage.run_folder import holds_run, reading
from raynas.storage.text_files import read_json
from raynas.training.checkpoints import read_weights
from raynas.training.config import OF_NETWORKS
from raynas.training.starting_weights import fitted_weights

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Exported(NamedTuple):
    """An exported network with its weights, in eval mode, and the content of config.json."""

    model: nn.Module
    config: Mapping[str, Any]


def holds_export(folder: Path) -> bool:
    """Whether a folder is an export, and none of a run."""
    return exists(folder / CONFIG) and exists(folder / WEIGHTS) and not holds_run(folder)


def load_export(folder: Path, *, space: SearchSpace | None = None, img_size: int | None = None) -> Exported:
    """The network of an exported folder.

    It is built by its space, if that is at hand. If not, `model.py` of the folder is run, which is code from anybody:
    only if the user trusts it.

    Args:
        folder: The folder.
        space: The space itself, where it is not a registered one.
        img_size: Image side in pixels, to which position embeddings are resized; None: as exported.

    Raises:
        ConfigError: The space is not at hand, and nobody has said that the code of the folder is trusted; or it is, and
            has another image side.
        StoreError: The folder is damaged.
        SpaceError: The network cannot be built.
    """
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {folder / CONFIG}: {error_words(error)}") from None
    with reading(folder):
        name, side, fields = str(config["space"]), int(config["img_size"]), fields_of(config)
        settings: dict[str, Any] = {"img_size": img_size or side, "num_classes": int(config["num_classes"])}
        said = config.get("settings") or {}
        settings |= {name: str(said[name]) for name in OF_NETWORKS if name in said}
        tokens = config["tokens"] and (int(config["tokens"]["stride"]), int(config["tokens"]["dilation"]))
    found = space or (spaces.get(name) if name in spaces else None)
    if found is None:
        if not is_trusted():
            raise ConfigError(
                f"{folder} is of the space {name!r}, which is not known here: name it with --space, or run the "
                "folder's own model.py with --trust-code if you know who wrote it"
            )
        if settings["img_size"] != side:
            raise ConfigError(f"img_size is {img_size}, and model.py in {folder} has images of {side} pixels alone")
        return Exported(_of_code(folder), config)
    check_img_size(found, settings["img_size"])
    with reading(folder):
        architecture = found.read(fields)
    model = built(builder(found), architecture, **settings, **found.training)
    weights = read_weights(folder / WEIGHTS)
    policy = "exact" if settings["img_size"] == side else "resized"
    model.load_state_dict(fitted_weights(model, weights, policy, str(folder / WEIGHTS)))
    if tokens:
        retokenizable(model, f"models of the space {found.name!r}").retokenize(*tokens)
    return Exported(model.eval(), config)


def fields_of(config: Mapping[str, Any]) -> Any:
    """The architecture of an export, by its fields.

    Args:
        config: What config.json says, where exports of before had them under the name that timm uses for its own.
    """
    return config["fields"] if "fields" in config else config["architecture"]


def check_img_size(space: SearchSpace, img_size: int) -> None:
    """Refuse an image side that no network of a space takes.

    Raises:
        ConfigError: It is no multiple of what the space asks for.
    """
    if img_size % space.img_size_multiple:
        raise ConfigError(f"img_size of {space.name} is a multiple of {space.img_size_multiple}, not {img_size}")


def _of_code(folder: Path) -> nn.Module:
    try:
        return load_exported(folder).eval()
    except BaseException as error:  # it is anybody's code, which may call sys.exit
        if is_interrupt(error):
            raise
        raise StoreError(f"{folder / 'model.py'} does not load its network: {error_line(error)}") from error
