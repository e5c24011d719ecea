"""Candidates' networks with weights drawn from seeds, fast enough that building is a small part of a score.

Weights follow from hash(score seed, architecture key, repeat, init scheme) alone. A model that says how its parameters
are distributed (`init_table`) is built without memory and filled from a bank of normal numbers: the hash gives the
place where its numbers start, and every layer takes the next ones, so that within one network no number is used twice
and its weights are independent normal draws. Any other model is built under torch's generator, seeded with the hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.models.weights import Constant, Init, Normal, Uniform
from raynas.seeds import input_seed, seed_from, weight_seed
from raynas.space import Architecture

INIT_SCHEME = "model"
"""Initial distributions are those of the model family."""

_BLOCK = 1 << 20

_Kind = tuple[torch.dtype, bool]  # dtype, shared draws


class WeightBank:
    """Standard normal numbers that all networks of a run take theirs from; it grows to the largest network seen.

    Its first numbers do not depend on its length, which is a power of two that depends on the network alone: so neither
    does a network's draw depend on which others were seen.
    """

    def __init__(self, score_seed: int, device: torch.device) -> None:
        self._seed = score_seed
        self._device = device
        self._numbers: torch.Tensor | None = None  # a run whose proxies build nothing never touches the device

    def parts(self, start: int, n: int, total: int) -> list[torch.Tensor]:
        """Views of n consecutive numbers from a start on, going round at the end, for a network of this total."""
        length = max(_BLOCK, 1 << (total - 1).bit_length())
        numbers = self._grown(length)
        start %= length
        end = min(start + n, length)
        return [numbers[start:end], numbers[: n - (end - start)]]

    def _grown(self, length: int) -> torch.Tensor:
        if self._numbers is None:
            self._numbers = torch.empty(0, device=self._device)
        have = len(self._numbers)
        if have >= length:
            return self._numbers
        blocks = [
            np.random.default_rng(seed_from(self._seed, "bank", block)).standard_normal(_BLOCK, dtype=np.float32)
            for block in range(have // _BLOCK, length // _BLOCK)
        ]
        self._numbers = torch.cat([self._numbers, torch.from_numpy(np.concatenate(blocks)).to(self._device)])
        return self._numbers


class _Network:
    """A model whose parameters can be drawn again and again; the normal ones are views of one buffer.

    Args:
        model: Built on the meta device.
        make_buffer: Gives memory for this many normal numbers, and maybe more.
    """

    def __init__(self, model: nn.Module, make_buffer: Callable[[int], torch.Tensor]) -> None:
        self.model = model.eval()
        table: Mapping[str, Init] = model.init_table()  # type: ignore[operator]
        owners = {
            f"{path}.{name}" if path else name: (module, name, parameter)
            for path, module in model.named_modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        }
        if owners.keys() != table.keys():
            odd = sorted(owners.keys() ^ table.keys())
            raise RuntimeError(f"init_table of {type(model).__name__} and its parameters differ in {odd}")
        self._num_normal = sum(owners[name][2].numel() for name, init in table.items() if isinstance(init, Normal))
        buffer = make_buffer(self._num_normal)
        # Parameters of one distribution lie side by side, so that each distribution is drawn at once.
        self._normal: list[tuple[float, torch.Tensor]] = []
        self._uniform: list[tuple[float, torch.Tensor]] = []
        end = 0
        for std in sorted({init.std for init in table.values() if isinstance(init, Normal)}):
            start = end
            for name in (name for name, init in table.items() if init == Normal(std)):
                module, own_name, parameter = owners[name]
                values = buffer[end : end + parameter.numel()].view(parameter.shape)
                module._parameters[own_name] = nn.Parameter(values, requires_grad=False)
                end += parameter.numel()
            self._normal.append((std, buffer[start:end]))
        for name, init in table.items():
            module, own_name, parameter = owners[name]
            if isinstance(init, Constant):
                values = torch.full(parameter.shape, init.value, dtype=buffer.dtype, device=buffer.device)
            elif isinstance(init, Uniform):
                values = torch.empty(parameter.shape, dtype=buffer.dtype, device=buffer.device)
                self._uniform.append((init.bound, values))
            else:
                continue
            module._parameters[own_name] = nn.Parameter(values, requires_grad=False)

    def draw(self, bank: WeightBank, seed: int) -> nn.Module:
        """The model with the weights of a seed."""
        position = seed
        for std, values in self._normal:
            start = 0
            for part in bank.parts(position, len(values), self._num_normal):
                torch.mul(part, std, out=values[start : start + len(part)])
                start += len(part)
            position += len(values)
        rng = np.random.default_rng(seed)
        for bound, values in self._uniform:
            numbers = (2 * rng.random(values.numel(), dtype=np.float32) - 1) * np.float32(bound)
            values.copy_(torch.from_numpy(numbers).view(values.shape))
        return self.model


class Networks:
    """Makes networks; asking for one overwrites the weights of the last of the same dtype and kind of draws.

    Args:
        builder: (architecture, **settings) -> nn.Module; a class with `init_table` also takes `device`.
        settings: Keywords for the builder, img_size and num_classes among them.
        score_seed: Of the weights.
        device: Where the networks are.
    """

    def __init__(
        self, builder: Callable[..., nn.Module], settings: Mapping[str, Any], *, score_seed: int, device: str = "cpu"
    ) -> None:
        self._builder = builder
        self._settings = dict(settings)
        self._score_seed = score_seed
        self._device = torch.device(device)
        self._bank = WeightBank(score_seed, self._device)
        self._buffers: dict[_Kind, torch.Tensor] = {}
        self._last: dict[_Kind, tuple[str, _Network]] = {}

    def network(
        self, architecture: Architecture, repeat: int, dtype: torch.dtype = torch.float32, *, shared_draws: bool = False
    ) -> nn.Module:
        """The architecture's network in eval mode with frozen parameters, with the weights of this repeat.

        Args:
            architecture: What to build.
            repeat: Which draw of the weights.
            dtype: Of all parameters; draws are float32 numbers in either case.
            shared_draws: Start at the same numbers for all architectures.
        """
        if shared_draws:
            seed = input_seed(self._score_seed, repeat)
        else:
            seed = weight_seed(self._score_seed, architecture.key, repeat, INIT_SCHEME)
        if not hasattr(self._builder, "init_table"):
            return self._built_by_torch(architecture, seed, dtype)
        return self._prepared(architecture, (dtype, shared_draws)).draw(self._bank, seed)

    def _built_by_torch(self, architecture: Architecture, seed: int, dtype: torch.dtype) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._builder(architecture, **self._settings)
        return model.to(self._device, dtype).eval().requires_grad_(False)

    def _prepared(self, architecture: Architecture, kind: _Kind) -> _Network:
        """The network before its weights are drawn; kept for the repeats of one architecture."""
        if kind in self._last and self._last[kind][0] == architecture.key:
            return self._last[kind][1]
        model = self._builder(architecture, **self._settings, device="meta")
        network = _Network(model, lambda n: self._buffer(kind, n))
        self._last[kind] = architecture.key, network
        return network

    def _buffer(self, kind: _Kind, n: int) -> torch.Tensor:
        """Reused from candidate to candidate: fresh pages would cost more than the numbers."""
        if kind not in self._buffers or len(self._buffers[kind]) < n:
            self._buffers[kind] = torch.empty(n, dtype=kind[0], device=self._device)
        return self._buffers[kind]
