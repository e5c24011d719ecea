"""Candidates' networks with weights drawn from seeds, fast enough that building is a small part of a score.

Weights follow from hash(score seed, architecture key, repeat, init scheme) alone. A model that says how its parameters
are distributed (`init_table`) is built without memory and filled from a bank of normal numbers: the hash gives the place
where its numbers start, and every layer takes the next ones, so that within one network no number is used twice and its
weights are independent normal draws. Any other model is built under torch's generator, seeded with the hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from raynas.models.weights import Constant, Init, Normal
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

    def parts(self, n: int, seed: int) -> list[torch.Tensor]:
        """Views of n consecutive numbers, starting where the seed says and going round at the end."""
        length = max(_BLOCK, 1 << (n - 1).bit_length())
        numbers = self._grown(length)
        start = seed % length
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
        self._scratch: dict[_Kind, torch.Tensor] = {}
        self._last: dict[_Kind, tuple[str, nn.Module]] = {}

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
        model = self._skeleton(architecture, (dtype, shared_draws))
        self._fill(model, seed, (dtype, shared_draws))
        return model

    def _built_by_torch(self, architecture: Architecture, seed: int, dtype: torch.dtype) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._builder(architecture, **self._settings)
        return model.to(self._device, dtype).eval().requires_grad_(False)

    def _skeleton(self, architecture: Architecture, kind: _Kind) -> nn.Module:
        """The model without weights; kept for the repeats of one architecture."""
        key, model = self._last.get(kind, (None, None))
        if model is None or key != architecture.key:
            model = self._builder(architecture, **self._settings, device="meta").eval()
            self._last[kind] = (architecture.key, model)
        return model

    def _fill(self, model: nn.Module, seed: int, kind: _Kind) -> None:
        table: Mapping[str, Init] = model.init_table()  # type: ignore[operator]
        dtype, _ = kind
        owners = {
            f"{path}.{name}" if path else name: (module, name)
            for path, module in model.named_modules()
            for name in module._parameters
            if module._parameters[name] is not None
        }
        missing = owners.keys() ^ table.keys()
        if missing:
            raise RuntimeError(f"init_table of {type(model).__name__} and its parameters differ in {sorted(missing)}")

        def put(name: str, values: torch.Tensor) -> None:
            module, own_name = owners[name]
            shape = module._parameters[own_name].shape  # type: ignore[union-attr]
            module._parameters[own_name] = nn.Parameter(values.view(shape), requires_grad=False)

        def size(name: str) -> int:
            module, own_name = owners[name]
            return int(module._parameters[own_name].numel())  # type: ignore[union-attr]

        normal = [(name, init.std, size(name)) for name, init in table.items() if isinstance(init, Normal)]
        flat = self._normals(normal, seed, kind)
        start = 0
        for name, _, n in normal:
            put(name, flat[start : start + n])
            start += n
        rng = np.random.default_rng(seed)
        for name, init in table.items():
            if isinstance(init, Constant):
                put(name, torch.full((size(name),), init.value, dtype=dtype, device=self._device))
            elif not isinstance(init, Normal):
                numbers = (2 * rng.random(size(name), dtype=np.float32) - 1) * np.float32(init.bound)
                put(name, torch.from_numpy(numbers).to(self._device, dtype))

    def _normals(self, normal: list[tuple[str, float, int]], seed: int, kind: _Kind) -> torch.Tensor:
        """All normal parameters, flat and in order, each scaled by its standard deviation."""
        n = sum(size for _, _, size in normal)
        scratch = self._scratch.get(kind)
        if scratch is None or len(scratch) < n:
            # Reused from candidate to candidate: fresh pages would cost more than the numbers.
            scratch = self._scratch[kind] = torch.empty(n, dtype=kind[0], device=self._device)
        flat = scratch[:n]
        stds = {std for _, std, _ in normal}
        start = 0
        for part in self._bank.parts(n, seed) if n else []:
            torch.mul(part, stds.copy().pop() if len(stds) == 1 else 1.0, out=flat[start : start + len(part)])
            start += len(part)
        if len(stds) > 1:
            start = 0
            for _, std, size in normal:
                flat[start : start + size] *= std
                start += size
        return flat
