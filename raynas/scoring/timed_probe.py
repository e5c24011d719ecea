"""The probe of an evaluator: it knows how long its network took to build, and whether that was changed since."""

from __future__ import annotations

import zlib
from time import perf_counter
from typing import Any

import torch
from torch import nn

from raynas.proxies.probe import Probe


class TimedProbe(Probe):
    """A probe that times the building of its network, and that can be kept from code which changes what it is given.

    Attributes:
        build_seconds: What it took to build the network; 0 as long as nobody has asked for it.
        is_watched: Whether `is_unchanged` will be asked, for which the network is looked at when it is built.
    """

    build_seconds = 0.0
    is_watched = False
    _fingerprint: tuple[int, ...] = ()
    _given: tuple[torch.Tensor | None, ...] = ()  # images and labels that others have too

    @property
    def model(self) -> nn.Module:
        """The network, built when it is asked for first."""
        if isinstance(self._model, nn.Module):
            return self._model
        started = perf_counter()
        model = super().model
        self.build_seconds = perf_counter() - started
        if self.is_watched:
            self._fingerprint = _fingerprint(model)
        return model

    def take_copies(self) -> None:
        """Have images and labels that nobody else has."""
        self._given = self._images, self._labels
        self._images, self._labels = (None if given is None else given.clone() for given in self._given)

    def lent(self) -> Probe:
        """A probe of the same network, with images, labels and feature maps of the teacher that nobody else has.

        What was computed once on this probe is not known to it, and what is computed on it is not known to others.
        """
        teacher = self._teacher
        images, labels = self._given or (self._images, self._labels)
        return Probe(
            self.architecture,
            lambda: self.model,
            img_size=self.img_size,
            score_seed=self.score_seed,
            repeat=self.repeat,
            images=None if images is None else images.clone(),
            labels=None if labels is None else labels.clone(),
            max_batch=self.max_batch,
            teacher=None if teacher is None else lambda stages: [features.clone() for features in teacher(stages)],
        )

    def is_unchanged(self) -> bool:
        """Whether copies of images and labels are as they were taken, and the network as it was built."""
        now = (self._images, self._labels)
        if not all(_is_equal(one, other) for one, other in zip(self._given, now, strict=False)):
            return False
        return not isinstance(self._model, nn.Module) or _fingerprint(self._model) == self._fingerprint


def _is_equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.dtype is other.dtype and one.shape == other.shape and _checksum(one) == _checksum(other)


def _fingerprint(model: nn.Module) -> tuple[int, ...]:
    """Numbers that change with parameters, buffers, modes and hooks of a network, and with what its modules are."""
    state: list[Any] = []
    for module in model.modules():
        state.append((id(type(module)), module.training))
        state += [(name, id(value)) for name, value in vars(module).items() if callable(value)]
        state += [(name, len(hooks)) for name, hooks in vars(module).items() if name.endswith("_hooks")]
    tensors = [*model.parameters(), *model.buffers()]
    state += [(tensor.requires_grad, tensor.grad is None, tuple(tensor.shape)) for tensor in tensors]
    return hash(tuple(state)), *(_checksum(tensor.detach()) for tensor in tensors)


def _checksum(tensor: torch.Tensor) -> int:
    """A checksum of a tensor's bits, in which NaN is equal to itself."""
    array: Any = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return zlib.crc32(array)
