"""What an export to a model hub says beside: config.json as timm reads it, how the weights came about, and a time.

Paths of this machine stay here: of data and weights in files, the last part of the path is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from raynas.data.opening import built_in
from raynas.errors import StoreError
from raynas.models.plain_code import PlainCode
from raynas.proxies.latency import durations
from raynas.scoring.device_types import device_type
from raynas.stats.proportion import wilson_interval
from raynas.stats.quantiles import quartiles
from raynas.storage.files import names_in
from raynas.storage.run_folder import reading
from raynas.storage.text_files import read_json
from raynas.training.folder import Training

_WARM_UP, _MOST_RUNS, _MOST_S = 5, 50, 3.0
_EVALUATION = "evaluation.json"  # as raynas/evaluation/folder.py calls it, which stands above this room
_RECIPE = ("objective", "start", "optimisation", "augmentation")
"""Sections of a training's identity that say how it was trained."""


def hub_config(config: Mapping[str, Any], code: PlainCode, network: nn.Module) -> dict[str, Any]:
    """The content of config.json in the order and with the keys of hubs; all that other exports say stays.

    Args:
        config: The content of config.json of any other export.
        code: What the network says of itself: one of timm's own is made by timm's name, without timm_model.py.
        network: The network.
    """
    found: dict[str, Any] = {
        "architecture": code.timm_name or config["architecture"],
        "num_classes": config["num_classes"],
        "num_features": getattr(network, "num_features", None),
        "label_names": config["class_names"],
        "pretrained_cfg": {**config["pretrained_cfg"], "license": config["license"]},
    }
    if found["label_names"] is None:
        del found["label_names"]
    if code.timm_name is not None:
        left_out = ("model_name", "num_classes", "in_chans", "drop_path_rate")
        if arguments := {name: value for name, value in code.settings.items() if name not in left_out}:
            found["model_args"] = arguments
    return {**found, **{name: value for name, value in config.items() if name not in found}}


def training_facts(training: Training, weights: Mapping[str, Any], top1: float | None) -> dict[str, Any]:
    """What is known of the training of some weights, without paths.

    Args:
        training: The training.
        weights: What config.json says of them.
        top1: The accuracy on the images that the training evaluated on; None where it is not known.

    Returns:
        `data`, `about_data` (what they are, of built-in ones), `val_data`, `images`, `recipe` (settings by name), and
        `accuracies`: each with `data`, `images`, `top1` and its 95 % interval (Wilson), and whether the epoch was
        chosen by it.
    """
    with reading(training.folder):
        config, identity = training.description["config"], training.description["identity"]
        images = dict(training.summary.get("images") or {})
        data, about = data_name(str(config["data"])), built_in(str(config["data"]))
        val_data = data_name(str(config["val_data"])) if config.get("val_data") else f"{data}, held out"
        model = {name: identity.get("model", {}).get(name) for name in ("img_size", "drop_path_rate")}
        sections = [model, *(identity.get(section) or {} for section in _RECIPE)]
        recipe = {
            "objective" if name == "name" else name: _without_path(value)
            for section in sections
            for name, value in section.items()
            if value is not None
        }
    accuracies = _evaluations(training, weights)
    if top1 is not None:
        chosen = weights.get("checkpoint") == "best"
        told = _accuracy(val_data, images.get("val"), top1, chosen=chosen)
        # An evaluation of the same images finds the same.
        others = [one for one in accuracies if (one["data"], one["images"]) != (told["data"], told["images"])]
        accuracies = [told, *others]
    named = {"data": data, "about_data": about, "val_data": val_data}
    return {**named, "images": images, "recipe": recipe, "accuracies": accuracies}


def _evaluations(training: Training, weights: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `raynas evaluate` has written into the folder of a training, of these weights at their own image side."""
    places = [training.folder / _EVALUATION]
    places += [training.folder / name / _EVALUATION for name in sorted(names_in(training.folder)) if name[:1] != "."]
    found = []
    for place in places:
        try:
            told = read_json(place)
            of = told["weights"]
            is_of_these = all(of[key] == weights[key] for key in ("checkpoint", "epochs", "moving_average"))
            if is_of_these and told["img_size"] == training.description["model"]["img_size"]:
                found.append(_accuracy(data_name(str(told["data"])), int(told["images"]), float(told["top1"])))
        except (OSError, StoreError, ValueError, KeyError, TypeError):
            continue  # there is none, or it is of something else
    return found


def _accuracy(data: str, images: int | None, top1: float, *, chosen: bool = False) -> dict[str, Any]:
    low, high = (None, None) if not images else map(float, wilson_interval(top1, images))
    return {"data": data, "images": images, "top1": top1, "low": low, "high": high, "chosen_by_it": chosen}


def data_name(spec: str) -> str:
    """How data are called without the folders that they lie in, such as cats for folder:/home/me/cats.

    Args:
        spec: The data as `--data` takes them.
    """
    held_out = ", held out"
    told, is_part = spec.removesuffix(held_out), spec.endswith(held_out)
    kind, _, rest = told.partition(":")
    name = rest.partition(":")[0] if kind == "torchvision" else rest.rstrip("/").rpartition("/")[2]
    return (name or kind) + held_out * is_part


def _without_path(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_path(one) for name, one in value.items()}
    return value.rstrip("/").rpartition("/")[2] if isinstance(value, str) else value


@torch.no_grad()
def latency(network: nn.Module, img_size: int) -> dict[str, Any]:
    """How long the network takes for one image on this processor, in seconds.

    Returns:
        `device`, `threads`, `batch`, `dtype`, `runs`, `median_s`, `q1_s` and `q3_s`, the quartiles.
    """
    image = torch.zeros(1, 3, img_size, img_size)
    (once,) = durations(lambda: network(image), runs=1, warmup=_WARM_UP, synchronise=lambda: None)
    runs = min(max(int(_MOST_S / max(once, 1e-9)), _WARM_UP), _MOST_RUNS)
    taken = durations(lambda: network(image), runs=runs, warmup=0, synchronise=lambda: None)
    found = quartiles(taken)
    return {
        "device": device_type("cpu", is_timed=True),
        "threads": torch.get_num_threads(),
        "batch": 1,
        "dtype": "float32",
        "runs": len(taken),
        "median_s": found["median"],
        "q1_s": found["low"],
        "q3_s": found["high"],
    }
