"""A found model as a folder that needs no raynas: plain code, weights, settings, and further files where asked for.

One file: what is exported, how it is written and how it is checked know one another.
"""

from __future__ import annotations

import inspect
import json
import platform
import shutil
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from raynas.data.decoding import GROUND
from raynas.errors import ConfigError, RaynasError, RaynasWarning, StoreError, error_words
from raynas.exporting import plain_images
from raynas.exporting.card import card_text
from raynas.exporting.config import ExportConfig, spdx_license
from raynas.exporting.formats import Formats, formats_of
from raynas.exporting.hub import hub_config, latency, training_facts
from raynas.exporting.int8 import LabelledImages, OnProgress, accuracy_of_both
from raynas.exporting.onnx_file import PACKAGES, check_packages
from raynas.exporting.program import compared, noise
from raynas.exporting.text import model_text, readme_text
from raynas.exporting.timm_text import timm_model_text
from raynas.exporting.weights import stored_weights, tied_parameters, values_hash
from raynas.hooks import offered
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.models.plain_code import PlainCode
from raynas.models.protocols import HasPlainCode
from raynas.registry import runs_named_code
from raynas.space.build import build
from raynas.space.cost import cost
from raynas.space.search_space import SearchSpace
from raynas.space.tokens import Phase, phase_macs
from raynas.storage.files import names_in, remove_folder
from raynas.storage.locks import held, is_free
from raynas.storage.paths import as_path, on_a_disk
from raynas.storage.run_folder import reading
from raynas.storage.runs import default_folder
from raynas.storage.sources import Source, read_source
from raynas.training.best_epoch import top1_of
from raynas.training.config import OF_NETWORKS
from raynas.training.folder import Training, load_training
from raynas.training.images import shorter_side
from raynas.version import __version__

_IMAGE_PACKAGES = ("numpy", "pillow")


@dataclass(frozen=True)
class _Found:
    """A model to export, and what is known of it."""

    model: nn.Module
    img_size: int
    num_classes: int
    weights: dict[str, Any]
    phase: Phase | None = None
    top1: float | None = None
    class_names: list[str] | None = None
    pixel_range: list[float] | None = None
    eval_crop: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Training | None = None


@runs_named_code
def export(
    source: str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    pick: Sequence[str] = (),
    space: str | SearchSpace | None = None,
    trust_code: bool = False,
    images: Callable[[], LabelledImages] | None = None,
    on_progress: OnProgress = lambda done, total, images_per_s: None,
    **fields: Any,
) -> Path:
    """Write a folder from which a model runs without raynas.

    It holds `model.py` (the network as one plain file), `model.safetensors`, `images.py` (makes of an image what the
    model takes), `config.json`, `timm_model.py` (registers the model with timm when it is imported), `README.md` and,
    where asked for, `model.onnx`, `model.pt2`, `model_int8.onnx` with `int8.json`. The folder is loaded and its outputs
    are compared with the model's before it gets its name.

    Args:
        source: A training folder, or one of finalists or variants, whose most accurate is taken; or, for a model with
            fresh weights, whatever `raynas.storage.sources.read_source` reads, or an architecture as a mapping.
        out: The folder to write, which must not exist, or be empty. Default: runs/<space>-export-<date>-<time>.
        pick: Constraints that choose among the architectures of a run, such as num_params<=30e6.
        space: The space that the architecture is of, where several can read it, or where it is not registered.
        trust_code: Whether to run code that the folder names; what the arguments name is run anyway.
        images: Gives the images on which int8 is compared with float32; called once all else is checked.
        on_progress: Receives the progress of that.
        fields: Fields of `raynas.exporting.config.ExportConfig`, such as checkpoint="best" or onnx=True.

    Returns:
        The folder.

    Raises:
        ConfigError: The source has no trained weights; settings that do not go together; packages for ONNX are missing.
        StoreError: The folder is not empty or cannot be written; the checkpoint is missing or of another architecture.
        RaynasError: The exported model does not give the outputs of the model.
    """
    config = ExportConfig.make(fields)
    text = json.dumps(dict(source)) if isinstance(source, Mapping) else str(source)
    read = read_source(text, space=space, pick=pick)
    _check_settings(config)
    if config.license is not None:
        config = config.model_copy(update={"license": spdx_license(config.license)})
    folder = as_path(out) if out is not None else default_folder(f"{read.space.name}-export")
    _check_folder(on_a_disk(folder, "an export is for other programs, which read files"))
    if config.untrained:
        if config.checkpoint is not None:
            raise ConfigError(
                f"checkpoint {config.checkpoint!r} and untrained exclude each other: fresh weights are in none"
            )
        size = config.img_size or read.img_size or 224, config.num_classes or read.num_classes or 1000
        found = _fresh(read, *size, config.seed)
    else:
        found = _trained(read, config.checkpoint or "last", config.img_size, config.num_classes)
    accuracy = _accuracy(config, found, images, on_progress)
    offers_code = offered(found.model, HasPlainCode)
    if offers_code is None:
        raise ConfigError(
            f"models of the space {read.space.name!r} cannot be exported as plain code: "
            f"{type(found.model).__name__} has no method plain_code"
        )
    code = offers_code.plain_code()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear_killed(folder)
        with (
            tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-export-") as made,
            ExitStack() as stack,
        ):
            stack.callback(held(Path(made)).close)  # so that others see that it is being written
            written = Path(made) / "export"
            written.mkdir()
            _write(written, read, found, code, config, accuracy)
            _check_outputs(written, found)
            if folder.exists():
                folder.rmdir()
            shutil.move(written, folder)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot write {folder}: {error_words(error)}") from error
    if config.to == "hub-folder" and config.license is None:
        text = "the card says that the licence is unknown; --license names it, such as --license Apache-2.0"
        warnings.warn(text, RaynasWarning, stacklevel=2)
    return folder


def _clear_killed(folder: Path) -> None:
    """Remove what exports to a folder have left that were killed."""
    for name in names_in(folder.parent):
        if name.startswith(f".{folder.name}-export-") and is_free(folder.parent / name):
            remove_folder(folder.parent / name)


# -- what is exported --------------------------------------------------------------------------------------------------


def _fresh(source: Source, img_size: int, num_classes: int, seed: int) -> _Found:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(
            source.space, source.architecture, img_size=img_size, num_classes=num_classes, **source.space.training
        )
    return _Found(model.eval(), img_size, num_classes, {"trained": False, "seed": seed})


def _trained(source: Source, checkpoint: str, img_size: int | None, num_classes: int | None) -> _Found:
    """The model of a training folder, with its weights, tokenized as they were trained last."""
    if source.kind != "training" or source.folder is None:
        raise ConfigError(
            "there are no trained weights in this source; export the folder of a training, of finalists or variants, "
            "or fresh weights with --untrained"
        )
    with reading(source.folder):
        return _loaded(load_training(source.folder), source.space, checkpoint, img_size, num_classes)


def _loaded(
    training: Training, space: SearchSpace, checkpoint: str, img_size: int | None, num_classes: int | None
) -> _Found:
    about = training.description["model"]
    for name, value in (("img_size", img_size), ("num_classes", num_classes)):
        if value not in (None, about[name]):
            raise ConfigError(f"{name} is {value}, but the trained model has {about[name]}")
    model, state, phase = training.loaded(checkpoint, space=space)
    is_average = state.get("ema") is not None
    last = state["history"][-1] if state["history"] and not state["step"] else None
    lacks_head = last is not None and top1_of(last) is None
    if lacks_head:
        warnings.warn(
            f"{training.folder} was trained without labels: the export has its features, and a head that knows nothing",
            RaynasWarning,
            stacklevel=2,
        )
    return _Found(
        model,
        img_size=about["img_size"],
        num_classes=about["num_classes"],
        weights={
            "trained": True,
            "checkpoint": checkpoint,
            "epochs": state["epoch"],
            "of_epochs": training.description["config"]["epochs"],
            "moving_average": is_average,
            **({"head": "not trained"} if lacks_head else {}),
        },
        phase=phase,
        top1=last and top1_of(last),
        class_names=list(about.get("label_names") or []) or None,
        pixel_range=training.description["config"].get("pixel_range"),
        eval_crop=training.description["config"].get("eval_crop", 1.0),
        settings={name: value for name, value in about["settings"].items() if name in OF_NETWORKS},
        training=training,
    )


# -- the folder --------------------------------------------------------------------------------------------------------


def _write(
    folder: Path,
    source: Source,
    found: _Found,
    code: PlainCode,
    asked: ExportConfig,
    accuracy: Callable[[bytes, bytes], dict[str, Any]] | None,
) -> None:
    weights = stored_weights(found.model)
    config = _config(f"{_name(source)}_{values_hash(weights)}", source, found, code, asked)
    size = found.img_size
    first = f"{config['name']}: {config['text']} of the space {config['space']}, exported by raynas {__version__}."
    title = (
        f"{textwrap.fill(first, 117, break_long_words=False, break_on_hyphens=False)}\n\n"
        f"{config['num_params']:,} parameters; {config['macs']:,} multiply-adds for an image of {size} x {size} pixels."
    )
    constants = {"MEAN": IMAGENET_MEAN, "STD": IMAGENET_STD}
    (folder / "model.py").write_text(model_text(code, title, constants, tied_parameters(found.model)))
    (folder / "images.py").write_text(inspect.getsource(plain_images))
    (folder / "timm_model.py").write_text(timm_model_text(code))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copymode(folder / "model.py", folder / "model.safetensors")  # safetensors writes for its owner only
    formats = _formats(folder, found, asked, config, accuracy)
    for name, content in formats.files.items():
        (folder / name).write_bytes(content)
    config |= formats.facts
    readme = readme_text(config, code.packages)
    if asked.to == "hub-folder":
        training = found.training
        config["license"] = asked.license
        config["training"] = training and training_facts(training, found.weights, found.top1)
        config["latency"] = latency(found.model, size)
        config = hub_config(config, code, found.model)
        readme = card_text(config, readme)
    (folder / "README.md").write_text(readme)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in config.items())
    (folder / "config.json").write_text(f"{{\n{lines}\n}}\n")


def _formats(
    folder: Path,
    found: _Found,
    asked: ExportConfig,
    config: Mapping[str, Any],
    accuracy: Callable[[bytes, bytes], dict[str, Any]] | None,
) -> Formats:
    """Further files, which say of themselves what programs need to prepare images."""
    names = ("name", "img_size", "mean", "std", "class_names", "preprocessing")
    about = {name: config[name] for name in names if config[name] is not None}
    if asked.license is not None:
        about["license"] = asked.license
    return formats_of(found.model, exported_code(folder), folder, found.img_size, asked, about, accuracy)


def _config(name: str, source: Source, found: _Found, code: PlainCode, asked: ExportConfig) -> dict[str, Any]:
    size = {"img_size": found.img_size, "num_classes": found.num_classes}
    architecture, space = source.architecture, source.space
    if found.phase is None:
        macs = cost(space, architecture, "macs", **size, **found.settings)
    else:
        (macs,) = phase_macs(space, architecture, [found.phase], **size)
    side = shorter_side(found.img_size, found.eval_crop)
    packages = (*code.packages, "safetensors", *_IMAGE_PACKAGES, *(PACKAGES if asked.onnx or asked.int8 else ()))
    return {
        "name": name,
        "architecture": name,  # timm's word; with "pretrained_cfg", what timm.create_model("local-dir:FOLDER") reads
        "space": space.name,
        "fields": dict(architecture),
        "text": space.text(architecture),
        **size,
        **({"settings": found.settings} if found.settings else {}),
        "class_names": found.class_names,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "interpolation": "bicubic",
        "preprocessing": {
            "frame": 0,
            "exif_orientation": "applied",
            "ground": GROUND,
            "pixel_range": found.pixel_range,
            "undeclared_depth": "refused",
            "resize": "squash" if side is None else "shorter_side",
            "shorter_side": side,
            "interpolation": "bicubic",
            "divided_by": 255,
        },
        "num_params": cost(space, architecture, "num_params", **size, **found.settings),
        "macs": macs,
        "tokens": None if found.phase is None else {"stride": found.phase.stride, "dilation": found.phase.dilation},
        "top1": found.top1,
        "weights": found.weights,
        "dtype": "float32",
        "first_conv": code.first_conv,
        "classifier": code.classifier,
        **_feature_counts(found.model),
        "pretrained_cfg": _timm_cfg(found, code, side),
        **dict.fromkeys(("onnx", "torch_export", "int8")),
        "versions": {
            "python": platform.python_version(),
            "raynas": __version__,
            **{package: version(package) for package in packages},
        },
    }


def _feature_counts(model: nn.Module) -> dict[str, int]:
    """How many features timm can ask for, and how many of the last ones it gives unasked: all where widths differ."""
    widths = [one["num_chs"] for one in getattr(model, "feature_info", ())]
    return {"features": len(widths), "default_features": len(widths) if len(set(widths)) > 1 else min(3, len(widths))}


def _timm_cfg(found: _Found, code: PlainCode, shorter: int | None) -> dict[str, Any]:
    """What timm keeps of a model beside its weights."""
    size = [3, found.img_size, found.img_size]
    own: Mapping[str, Any] = getattr(found.model, "pretrained_cfg", None) or {}
    is_own_size = list(own.get("input_size") or ()) == size
    return {
        "num_classes": found.num_classes,
        "input_size": size,
        "fixed_input_size": bool(own.get("fixed_input_size")),
        "pool_size": own.get("pool_size") if is_own_size else None,
        "interpolation": "bicubic",
        "crop_pct": 1.0 if shorter is None else found.img_size / (shorter + 1e-6),  # by which timm comes to that side
        "crop_mode": "squash" if shorter is None else "center",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "first_conv": code.first_conv,
        "classifier": code.classifier,
        "label_names": found.class_names,
    }


def _name(source: Source) -> str:
    """The name for timm: that of the space, and the published name or the start of the architecture's key."""
    space, architecture = source.space, source.architecture
    known = [name for name, named in space.named.items() if named == architecture]
    name = known[0] if known else architecture.key[:8]
    full = name if name.startswith(space.name) else f"{space.name}_{name}"
    return "raynas_" + "".join(c if c.isalnum() else "_" for c in full.lower())


# -- checks ------------------------------------------------------------------------------------------------------------


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        raise StoreError(f"{folder} is a file; an export is a folder")
    if folder.is_dir() and (there := sorted(path.name for path in folder.iterdir())):
        raise StoreError(f"{folder} is not empty: {', '.join(there[:5])}; name another folder with --out")


def _check_settings(config: ExportConfig) -> None:
    """Refuse settings that do not go together, and formats whose packages are not installed."""
    if config.license is not None and config.to != "hub-folder":
        raise ConfigError("license goes with --to hub-folder, whose card tells of it")
    for name in ("data", "max_images"):
        if getattr(config, name) is not None and not config.int8:
            raise ConfigError(f"{name} goes with int8: on these images its accuracy is measured")
        if getattr(config, name) is not None and config.untrained:
            raise ConfigError(f"{name} and untrained exclude each other: the accuracy of fresh weights is not measured")
    if config.onnx or config.int8:
        check_packages()


def _accuracy(
    config: ExportConfig, found: _Found, images: Callable[[], LabelledImages] | None, on_progress: OnProgress
) -> Callable[[bytes, bytes], dict[str, Any]] | None:
    """What measures the accuracy of int8; None where that is not asked for, or the weights are fresh."""
    if not config.int8 or config.untrained:
        return None
    if found.weights.get("head") == "not trained":
        raise ConfigError("int8 needs a network whose head was trained: there is no accuracy to compare")
    if images is None:
        raise ConfigError("int8 needs images, on which the accuracy is measured; raynas.export takes them from the run")
    chosen = images()
    return lambda before, after: accuracy_of_both(before, after, chosen, found.img_size, found.eval_crop, on_progress)


@torch.no_grad()
def _check_outputs(folder: Path, found: _Found) -> None:
    """Load what was written, and compare.

    Raises:
        RaynasError: Outputs differ by more than `raynas.exporting.program.TOLERANCE` of the largest, or of 1 if that is
            smaller.
    """
    images = noise((3, 3, found.img_size, found.img_size))
    if (wrong := compared(load_exported(folder)(images), found.model(images))) is not None:
        raise RaynasError(f"outputs of the exported model.py differ {wrong}")


def exported_code(folder: Path) -> ModuleType:
    """The module of an exported folder's `model.py`, which is executed."""
    path = folder / "model.py"
    module = ModuleType("exported_model")  # not imported, which would leave compiled code in the folder
    module.__file__ = str(path)
    exec(compile(path.read_text(), path, "exec"), vars(module))
    return module


def load_exported(folder: Path) -> nn.Module:
    """The network of an exported folder with its weights, in eval mode.

    Args:
        folder: The folder, whose `model.py` is executed.
    """
    model: nn.Module = exported_code(folder).load()
    return model
