"""Scores of one model that is at hand."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.data.batch import load_batch
from raynas.data.built_in import RandomImages
from raynas.data.opening import open_labelled
from raynas.errors import ConfigError, error_line
from raynas.models.process_state import kept_process_state, ordinary_settings
from raynas.proxies.probe import Proxy
from raynas.proxies.registered import proxies as registered
from raynas.proxies.registered import unmeasured
from raynas.scoring.evaluator import EvaluationTask, Evaluator
from raynas.seeds import input_seed
from raynas.space.architecture import Architecture
from raynas.space.results import Outcome


def score_model(
    model: nn.Module,
    proxies: Sequence[str | Proxy] = (),
    *,
    img_size: int = 224,
    data: str = "random",
    batch_size: int = 16,
    score_seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
) -> dict[str, Outcome]:
    """Score a model as it is, in this process.

    Its weights are those that the model has, except for proxies that draw their own, as `naswot` does. What a proxy
    needs to know of the model's parts, the model tells by a method `roles()` or `pooled_features()`, or timm's classes
    do; where something is missing, the status is not_applicable and the error says what. The number of classes is that
    of the model's outputs.

    Args:
        model: The model, which takes images (B, 3, img_size, img_size) to logits; it is left as it was.
        proxies: Names of proxies, or proxies of your own; none: all that are registered, save those that are
            measured by the clock.
        img_size: Side of the images in pixels.
        data: The source of the images, as the option --data of `raynas search` takes it. Labels of "random" are of the
            model's classes; those of other data must be, for proxies that need labels.
        batch_size: Number of images that a proxy sees.
        score_seed: Seed of batches, curves and perturbations, and of weights that a proxy draws.
        device: "cpu" or "cuda".
        threads: How many threads torch computes with.

    Returns:
        An outcome for every value, by its name: value, status, error, seconds.

    Raises:
        RaynasError: A proxy or data set that does not exist, images that cannot be read, or a model that does not take
            such images.
    """
    import raynas.proxies  # noqa: F401  (registers them)

    chosen = tuple(registered.get(p) if isinstance(p, str) else p for p in (proxies or unmeasured()))
    if not chosen:
        raise ConfigError("there are no proxies to score with")
    with kept_process_state(), ordinary_settings():
        num_classes = _num_classes(model, img_size)
    repeats = max(proxy.repeats for proxy in chosen)
    dataset = open_labelled(data)
    if isinstance(dataset, RandomImages) and num_classes is not None:
        dataset = RandomImages(num_classes)
    batches = [
        load_batch(dataset, batch_size=batch_size, img_size=img_size, seed=input_seed(score_seed, repeat))
        for repeat in range(repeats)
    ]
    task = EvaluationTask(
        partial(_copied, model),
        {"img_size": img_size},
        chosen,
        score_seed=score_seed,
        images=np.stack([batch.images for batch in batches]),
        labels=np.stack([batch.labels for batch in batches]),
        device=device,
        threads=threads,
    )
    with kept_process_state(), ordinary_settings():
        torch.set_num_threads(threads)
        outcomes = Evaluator(task)(Architecture({}), range(len(chosen)))
    known = [outcome for outcome in outcomes if outcome is not None]  # all of them, as nothing is bounded
    return dict(zip([name for proxy in chosen for name in proxy.outputs], known, strict=True))


def _copied(model: nn.Module, architecture: Architecture, **settings: Any) -> nn.Module:
    return copy.deepcopy(model)


def _num_classes(model: nn.Module, img_size: int) -> int | None:
    """How many classes a model tells apart; None: it gives out something else than logits (B, num_classes).

    Raises:
        ConfigError: It does not take such images, so that each proxy would fail for itself.
    """
    trial = copy.deepcopy(model).cpu().eval()
    dtype = next(trial.parameters(), torch.empty(0)).dtype
    try:
        with torch.no_grad():
            output = trial(torch.zeros(1, 3, img_size, img_size, dtype=dtype))
    except Exception as error:  # it is the user's code
        raise ConfigError(
            f"the model does not take images (1, 3, {img_size}, {img_size}): {error_line(error)}"
        ) from error
    return output.shape[1] if isinstance(output, torch.Tensor) and output.ndim == 2 else None
