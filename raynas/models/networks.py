"""Candidates' networks with weights drawn from seeds, fast enough that building is a small part of a score.

Weights follow from hash(score seed, architecture key, repeat, init scheme) alone. A model that says how its parameters
are distributed (`init_table`) is built without memory and filled from pools of random numbers: the hash gives the
position at which its numbers start, and every layer takes the next ones, so that within one network no number is used
twice and its weights are independent draws. Any other model is built under torch's generator, seeded with the hash.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import sys
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import nn
from torch._utils import _unflatten_dense_tensors  # public in all but name: torch's own and others' buffers use it
from torch.nn.modules.batchnorm import _BatchNorm

from raynas.hooks import is_offered_by, offered
from raynas.models.layers import draw_parameters
from raynas.models.process_state import kept_process_state, seed_generators, seed_torch
from raynas.models.protocols import InitialisedByTable
from raynas.models.weights import Constant, Init, Normal, Uniform
from raynas.seeds import input_seed, seed_from, weight_seed
from raynas.space.architecture import Architecture

INIT_SCHEMES = {
    "model": "as the model family's own",
    "normal": "weights of linear layers and convolutions from N(0, 1), their biases 0; scales of BatchNorm and "
    "GroupNorm 1, their shifts 0, also those that a family starts at 0",
    "trunc02": "weights of linear layers from a normal of std 0.02, their biases 0",
    "default": "linear layers and convolutions uniform within 1 / sqrt(fan_in), as torch has them",
}
"""Initial distributions that a proxy can ask for; those not named by a scheme are the model family's.

Norms: "normal" sets those that the code of Zen-NAS and of Auto-Prox sets, which leaves LayerNorm as it is. The families
of raynas start all of theirs at 1 and 0; timm's ResNets start the last scale of each branch at 0, a branch that gives
out nothing. The other schemes speak of linear layers and convolutions alone, and no scheme of what scales a branch
beside norms, such as the 1e-6 of ConvNeXt.
"""

_BLOCK = 1 << 20

_Kind = tuple[torch.dtype, bool, str]  # dtype, shared draws, init scheme


def _memory(n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Room for n numbers; on a CPU in huge pages where the system has them: the numbers are copied in half the time."""
    if sys.platform == "linux" and device.type == "cpu" and n > 0:
        with contextlib.suppress(OSError):  # no huge pages, or no memory, which torch says in its own words
            pages = mmap.mmap(-1, n * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            pages.madvise(mmap.MADV_HUGEPAGE)
            return torch.frombuffer(pages, dtype=dtype)
    return torch.empty(n, dtype=dtype, device=device)


class RandomNumberPool:
    """Random numbers of one distribution that all networks of a run take theirs from.

    It grows to the largest network seen. Its first numbers do not depend on its length, which is a power of two that
    depends on the network alone: so neither does a network's draw depend on which others were seen.

    Args:
        score_seed: Seed that all numbers of the pool follow from.
        device: Device whose memory holds the numbers.
        uniform: Whether the numbers are uniform in [-1, 1) instead of standard normal.
    """

    def __init__(self, score_seed: int, device: torch.device, *, uniform: bool = False) -> None:
        self._seed = score_seed
        self._device = device
        self._uniform = uniform
        self._numbers: torch.Tensor | None = None  # a run whose proxies build nothing never touches the device

    def parts(self, start: int, n: int, total: int) -> list[torch.Tensor]:
        """Consecutive numbers of the pool for some parameters of a network, as two views; the second may be empty.

        Args:
            start: Position of the first number, of any size; positions go round at the pool's end.
            n: How many numbers to take.
            total: How many numbers of this distribution the whole network takes, which says where the pool ends.
        """
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
        numbers = _memory(length, torch.float32, self._device)
        numbers[:have] = self._numbers
        for start in range(have, length, _BLOCK):
            numbers[start : start + _BLOCK] = torch.from_numpy(self._drawn(start // _BLOCK))
        self._numbers = numbers
        return numbers

    def _drawn(self, block: int) -> np.ndarray:
        if self._uniform:
            rng = np.random.default_rng(seed_from(self._seed, "uniform bank", block))
            return 2 * rng.random(_BLOCK, dtype=np.float32) - 1
        return np.random.default_rng(seed_from(self._seed, "bank", block)).standard_normal(_BLOCK, dtype=np.float32)


class _Network:
    """A model whose parameters can be drawn again and again; they are views of one buffer.

    Args:
        model: The network as it was built on the meta device; it gets its parameters here.
        table: The distribution of each parameter, by the parameter's name.
        make_buffer: Returns memory for as many numbers as it is asked for, and maybe more.
    """

    def __init__(self, model: nn.Module, table: Mapping[str, Init], make_buffer: Callable[[int], torch.Tensor]) -> None:
        self.model = model
        owners: dict[str, tuple[nn.Module, str, torch.Tensor]] = {}
        for path, module in model.named_modules():
            module.training = False  # eval() would walk through all modules once more
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    owners[f"{path}.{name}" if path else name] = module, name, parameter
        if owners.keys() != table.keys():
            odd = sorted(owners.keys() ^ table.keys())
            raise RuntimeError(f"init_table of {type(model).__name__} and its parameters differ in {odd}")
        # Parameters of one distribution lie side by side in the buffer, so that each distribution is drawn at once.
        by_init: dict[Init, list[str]] = {}
        for name, init in table.items():
            by_init.setdefault(init, []).append(name)
        inits = sorted(by_init, key=lambda init: (_KINDS.index(type(init)), init.pair[1]))
        ordered = [owners[name] for init in inits for name in by_init[init]]
        counts = [sum(owners[name][2].numel() for name in by_init[init]) for init in inits]
        buffer = make_buffer(sum(counts))[: sum(counts)]
        views = _unflatten_dense_tensors(buffer, [values for *_, values in ordered])  # type: ignore[no-untyped-call]
        for (module, name, _), values in zip(ordered, views, strict=True):
            module._parameters[name] = nn.Parameter(values, requires_grad=False)
        for module in model.modules():
            _give_buffers(module, buffer.dtype, buffer.device)

        totals = {kind: sum(n for n, init in zip(counts, inits, strict=True) if type(init) is kind) for kind in _KINDS}
        self._constant: list[tuple[float, torch.Tensor]] = []
        self._drawn: list[tuple[bool, int, float, torch.Tensor]] = []  # uniform?, total of its kind, scale, values
        parts = torch.split(buffer, counts)
        for init, values in zip(inits, parts, strict=True):
            if isinstance(init, Constant):
                self._constant.append((init.value, values))
            else:
                self._drawn.append((isinstance(init, Uniform), totals[type(init)], init.pair[1], values))

    def draw(self, normal: RandomNumberPool, uniform: RandomNumberPool, seed: int) -> nn.Module:
        """The model with the weights of a seed."""
        for value, values in self._constant:
            values.fill_(value)
        positions = {False: seed, True: seed}
        for is_uniform, total, scale, values in self._drawn:
            start = 0
            pool = uniform if is_uniform else normal
            for part in pool.parts(positions[is_uniform], len(values), total):
                torch.mul(part, scale, out=values[start : start + len(part)])
                start += len(part)
            positions[is_uniform] += len(values)
        return self.model


_KINDS = (Normal, Uniform, Constant)


def _give_buffers(module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Give the buffers of a module that was made on the meta device memory, and the values that they start with."""
    names = [name for name, buffer in module._buffers.items() if buffer is not None and buffer.is_meta]
    if not names:
        return
    if not isinstance(module, _BatchNorm):
        raise RuntimeError(f"{type(module).__name__} has buffers without values: {', '.join(names)}")
    for name in names:
        like: torch.Tensor = module._buffers[name]  # type: ignore[assignment]
        kind = dtype if like.is_floating_point() else like.dtype
        module._buffers[name] = torch.empty(like.shape, dtype=kind, device=device)
    module.reset_running_stats()


def _by_scheme(model: nn.Module, scheme: str) -> dict[str, Init]:
    """What a scheme says of a model's parameters, by name; nothing of those that it leaves to the model family."""
    table: dict[str, Init] = {}
    if scheme == "model":
        return table
    for path, module in model.named_modules():
        if scheme == "normal" and isinstance(module, _BatchNorm | nn.GroupNorm):
            table[f"{path}.weight"], table[f"{path}.bias"] = Constant(1.0), Constant(0.0)
        if not isinstance(module, nn.Linear | nn.Conv2d) or (scheme == "trunc02" and isinstance(module, nn.Conv2d)):
            continue
        weight, bias = f"{path}.weight", f"{path}.bias"
        if scheme == "default":
            table[weight] = table[bias] = Uniform(1 / math.sqrt(module.weight[0].numel()))
        elif scheme in ("normal", "trunc02"):
            table[weight], table[bias] = Normal(1.0 if scheme == "normal" else 0.02), Constant(0.0)
    known = {name for name, _ in model.named_parameters()}
    return {name: init for name, init in table.items() if name in known}


class Networks:
    """Makes networks; each overwrites the weights of the one made before it with the same dtype and kind of draws.

    Args:
        builder: (architecture, **settings) -> nn.Module. A class whose models say how their parameters are drawn
            (`raynas.models.protocols.InitialisedByTable`) also takes the keyword `device`.
        settings: Keywords for the builder, img_size and num_classes among them.
        score_seed: Seed that the weights of all networks follow from, together with the architecture.
        device: Device on which the networks compute.
    """

    def __init__(
        self, builder: Callable[..., nn.Module], settings: Mapping[str, Any], *, score_seed: int, device: str = "cpu"
    ) -> None:
        self._builder = builder
        self._settings = dict(settings)
        self._score_seed = score_seed
        self._device = torch.device(device)
        self._normal = RandomNumberPool(score_seed, self._device)
        self._uniform = RandomNumberPool(score_seed, self._device, uniform=True)
        self._buffers: dict[_Kind, torch.Tensor] = {}
        self._last: dict[_Kind, tuple[str, _Network]] = {}
        self._built: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()  # by id, while somebody has them

    def network(
        self,
        architecture: Architecture,
        repeat: int,
        dtype: torch.dtype = torch.float32,
        *,
        shared_draws: bool = False,
        init: str = "model",
    ) -> nn.Module:
        """The architecture's network in eval mode with frozen parameters, with the weights of this repeat.

        Args:
            architecture: The architecture whose network is built.
            repeat: Number of the draw of the weights, from 0.
            dtype: Type of all parameters; random draws are float32 numbers whatever it is.
            shared_draws: Whether the weights of all architectures start at the same random numbers.
            init: The initial distribution, one of `INIT_SCHEMES`.

        Raises:
            ConfigError: The model's `init_table` is no method without arguments.
        """
        if shared_draws:
            seed = input_seed(self._score_seed, repeat)
        else:
            seed = weight_seed(self._score_seed, architecture.key, repeat, init)
        if not is_offered_by(self._builder, InitialisedByTable):
            return self._built_by_torch(architecture, repeat, seed, dtype, init)
        return self._prepared(architecture, (dtype, shared_draws, init)).draw(self._normal, self._uniform, seed)

    def forget(self) -> None:
        """Build anew what would be used again for further repeats, since somebody may have changed it."""
        self._last.clear()

    def _built_by_torch(
        self, architecture: Architecture, repeat: int, seed: int, dtype: torch.dtype, init: str
    ) -> nn.Module:
        if self._device.type != "cpu":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # so that its generator is kept and seeded, too
        with kept_process_state():
            # Who draws from NumPy or Python gets the same numbers, whatever a proxy has drawn before it asks.
            seed_generators(self._score_seed, repeat, "input")
            seed_torch(seed)
            model = self._builder(architecture, **self._settings)
            redraw(model, init)
        if self._built.get(id(model)) is model:
            raise RuntimeError("the space's builder gave out one model twice; each architecture needs one of its own")
        self._built[id(model)] = model
        return model.to(self._device, dtype).eval().requires_grad_(False)

    def _prepared(self, architecture: Architecture, kind: _Kind) -> _Network:
        """The network before its weights are drawn; kept for the repeats of one architecture."""
        if kind in self._last and self._last[kind][0] == architecture.key:
            return self._last[kind][1]
        model = self._builder(architecture, **self._settings, device="meta")
        draws = offered(model, InitialisedByTable)
        assert draws is not None, "its class has the method"
        table: dict[str, Init] = {**draws.init_table(), **_by_scheme(model, kind[2])}
        network = _Network(model, table, lambda n: self._buffer(kind, n))
        self._last[kind] = architecture.key, network
        return network

    def _buffer(self, kind: _Kind, n: int) -> torch.Tensor:
        """A buffer for n numbers, reused from candidate to candidate: fresh pages would cost more than the numbers."""
        if kind not in self._buffers or len(self._buffers[kind]) < n:
            self._buffers[kind] = _memory(n, kind[0], self._device)
        return self._buffers[kind]


def redraw(model: nn.Module, scheme: str) -> None:
    """Draw a model's parameters anew from torch's generator; those that the scheme leaves to the family stay.

    Args:
        model: The network whose parameters are overwritten.
        scheme: The initial distribution, one of `INIT_SCHEMES`.
    """
    draw_parameters(model, {name: init.pair for name, init in _by_scheme(model, scheme).items()})
