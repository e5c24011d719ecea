"""The probe of an evaluator: it knows how long its network took to build, and whether that was changed since."""

from __future__ import annotations

import zlib
from time import perf_counter
from typing import Any

import torch
from torch import nn

from raynas.proxies.probe import Probe
from raynas.scoring.failures import failure


class TimedProbe(Probe):
    """A probe that times the building of its network, and that can be kept from code which changes what it is given.

    Attributes:
        build_seconds: What it took to build the network; 0 as long as nobody has asked for it.
        is_watched: Whether `is_unchanged` will be asked, for which the network is looked at when it is built.

    To look at a network is to run code that may be the user's own, as its parameters may be of a class that is.
    """

    build_seconds = 0.0
    is_watched = False
    _fingerprint: tuple[int, ...] | None = None  # None: the network could not be looked at
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
            try:
                self._fingerprint = _fingerprint(model)
            except BaseException as error:  # as for tensors without numbers
                failure(error)
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
        """Whether copies of images and labels are as they were taken, and the network as it was built.

        Raises:
            BaseException: Whatever the network, the images or the labels raise, now that they may have been changed.
        """
        now = (self._images, self._labels)
        if not all(_is_equal(one, other) for one, other in zip(self._given, now, strict=False)):
            return False
        if not isinstance(self._model, nn.Module):
            return True
        return self._fingerprint is not None and _fingerprint(self._model) == self._fingerprint


def _is_equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return _looks(one) == _looks(other) and _checksum(one) == _checksum(other)


def _fingerprint(model: nn.Module) -> tuple[int, ...]:
    """Numbers that change with parameters, buffers, modes and hooks of a network, and with what its modules are."""
    state: list[Any] = []
    for module in model.modules():
        state.append(id(type(module)))
        for name, value in vars(module).items():
            if isinstance(value, dict):  # parameters, buffers, modules, hooks
                state += [(name, key, id(held)) for key, held in value.items()]
            elif _is_plain(value):
                state.append((name, value))
            elif callable(value):
                state.append((name, id(value)))
    tensors = [*model.parameters(), *model.buffers()]
    for tensor in tensors:
        hooks = (tensor._backward_hooks, tensor._post_accumulate_grad_hooks)
        state.append((*_looks(tensor), tensor.grad is None, *map(bool, hooks)))
    return hash(tuple(state)), *(_checksum(tensor.detach()) for tensor in tensors)


def _is_plain(value: Any) -> bool:
    """Whether it is a number, a text, or a tuple of some, as settings of layers are."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float | str)


def _looks(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What a tensor's values are computed with beside its bits."""
    return type(tensor), tensor.dtype, tensor.device, tensor.requires_grad, tuple(tensor.shape), tensor.stride()


def _checksum(tensor: torch.Tensor) -> int:
    """A checksum of a tensor's bits, in which NaN is equal to itself.

    Raises:
        ValueError: Its memory was given back; to read it would end the process.
    """
    last = tensor.storage_offset() + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    if tensor.numel() and (last + 1) * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise ValueError("the memory of a tensor was given back")
    # Of a copy, as a tensor whose memory NumPy has seen cannot be resized any more, which its owner may do.
    array: Any = tensor.to("cpu", copy=True).contiguous().reshape(-1).view(torch.uint8).numpy()
    return zlib.crc32(array)
