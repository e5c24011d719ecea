"""A network as a program of torch.export: of any number of images and, where it allows that, of images of any side.

S is the side of the images that the network was made for, in pixels.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import nn

from raynas.errors import RaynasError, error_line

TOLERANCE = 1e-5
"""The most by which outputs may differ, as a share of the largest of them, or of 1 if that is smaller."""

_STEPS = range(1, 65)
_FREE = torch.export.Dim.AUTO


@dataclass(frozen=True)
class Program:
    """A network, and the same as a graph that runs without its code.

    Args:
        network: The network, in eval mode.
        exported: The graph, whose first dimension is free.
        img_size: S.
        step: Height and width of images are any multiples of this; None: both are S.
        least: The smallest height and width that were tried; below, it may take less or not.
    """

    network: nn.Module
    exported: torch.export.ExportedProgram
    img_size: int
    step: int | None
    least: int

    @property
    def shapes(self) -> list[tuple[int, int, int, int]]:
        """Shapes of images (B, 3, height, width) with which outputs are compared."""
        side, step = self.img_size, self.step
        others: list[tuple[int, int, int, int]] = []
        if step is not None:
            others = [
                (1, 3, 2 * side, side + step),
                (2, 3, side + step, side + 2 * step),
                (1, 3, self.least, self.least),
            ]
        return [(1, 3, side, side), (3, 3, side, side), *others]

    def facts(self) -> dict[str, Any]:
        """What config.json says of the images that it takes."""
        sides = {"multiple_of": self.step, "least": self.least}
        return {"batch": "any", "image_size": self.img_size if self.step is None else sides}

    def content(self) -> bytes:
        """A file for `torch.export.load`."""
        file = io.BytesIO()
        torch.export.save(self.exported, file)
        return file.getvalue()


def programs(network: nn.Module, code: ModuleType, img_size: int) -> Iterator[Program]:
    """Programs of a network, the one that takes the most first; the last ones take images of S pixels a side alone.

    Each was written, read again and compared with its network on several numbers and sides of images.

    A network takes images of other sides if it does so by itself, as ConvNets do, or if what made it takes the keyword
    `dynamic_img_size`, with which timm's vision transformers resize their positions to each image.

    Args:
        network: The network, in eval mode.
        code: The module of the exported model.py, whose `create_model` makes the network without its weights.
        img_size: S.

    Raises:
        RaynasError: torch.export does not take the network, or gives other outputs.
    """
    for candidate in (network, _resizing(network, code)):
        step = None if candidate is None else _step(candidate, img_size)
        if candidate is not None and step is not None:
            found = _of_any_side(candidate, img_size, step)
            if found is not None and _difference(found, network, found.shapes[:2]) is None:
                yield found
                break
    yield _of_one_side(network, img_size)
    with _unfused(network):
        yield _of_one_side(network, img_size)  # ONNX does not have every form of torch's fused attention


def noise(shape: tuple[int, ...]) -> torch.Tensor:
    """Images with which outputs are compared, the same for the same shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def compared(found: torch.Tensor, expected: torch.Tensor) -> str | None:
    """How much outputs differ, in words; None where that is allowed."""
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    difference = float((found - expected).abs().max()) if found.shape == expected.shape else math.inf
    return None if difference <= allowed else f"by {difference:.2g}; {allowed:.2g} is allowed"


@contextmanager
def _unfused(network: nn.Module) -> Iterator[None]:
    """Within it, attention is computed by products and softmax."""
    fused = [module for module in network.modules() if getattr(module, "fused_attn", False)]
    for module in fused:
        module.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in fused:
            module.fused_attn = True  # type: ignore[assignment]


def _resizing(network: nn.Module, code: ModuleType) -> nn.Module | None:
    """The network with positions that are resized to each image; None where there is no such form of it."""
    try:
        made: nn.Module = code.create_model(dynamic_img_size=True)
        made.load_state_dict(network.state_dict())
    except (TypeError, RuntimeError):  # no such keyword; or other weights with it
        return None
    return made.eval()


def _step(network: nn.Module, img_size: int) -> int | None:
    """What sides may grow by; None where the network takes no other side.

    Twice the side is tried too: a network whose patches are cut from the image's corner may not see some pixels more.
    """
    for step in _STEPS:
        shapes = ((1, 3, img_size + step, img_size + 2 * step), (1, 3, 2 * img_size + step, 2 * img_size))
        if all(_takes(network, shape) for shape in shapes):
            return step
    return None


@torch.no_grad()
def _takes(network: nn.Module, shape: tuple[int, ...]) -> bool:
    try:
        network(torch.zeros(shape))
    except Exception:  # of whatever kind: it is the network's own
        return False
    return True


def _of_one_side(network: nn.Module, img_size: int) -> Program:
    try:
        exported = _exported(network, (2, 3, img_size, img_size), {})
    except Exception as error:
        raise RaynasError(f"torch.export does not take this network: {error_line(error)}") from error
    found = Program(network, exported, img_size, None, img_size)
    if (wrong := _difference(found, network, found.shapes)) is not None:
        raise RaynasError(f"outputs of the program of torch.export differ {wrong}")
    return found


def _of_any_side(network: nn.Module, img_size: int, step: int) -> Program | None:
    """The program for images of other sides; None where torch.export ties it to some of them."""
    # Traced with sides that are no special case: neither S, for which positions are not resized, nor equal.
    shape = (2, 3, img_size + step, img_size + 2 * step)
    try:
        exported = _exported(network, shape, {2: _FREE, 3: _FREE})
    except Exception:  # of many kinds
        return None
    least = 1
    for size in _input_shape(exported)[2:]:
        symbols = [] if isinstance(size, int) else list(size.node.expr.free_symbols)
        if len(symbols) != 1:  # a number, or tied to another side
            return None
        symbol = symbols[0]
        bounds = exported.range_constraints[symbol]
        if bool(bounds.upper < 4 * img_size):
            return None
        least = max(least, int(size.node.expr.subs(symbol, bounds.lower)))
    found = Program(network, exported, img_size, step, img_size)
    if least > img_size or _difference(found, network, found.shapes) is not None:
        return None
    # Not all that a program rests on is in its bounds: the least of them may not do, and half the side may.
    least = -(-least // step) * step
    sides = [least, *(img_size // 2**i // step * step for i in range(1, 10))]
    for side in sides:
        if least <= side < found.least and _difference(found, network, [(1, 3, side, side)]) is None:
            found = replace(found, least=side)
        elif side != least:
            break
    return found


def _input_shape(exported: torch.export.ExportedProgram) -> Any:
    (name,) = exported.graph_signature.user_inputs
    return next(node for node in exported.graph.nodes if node.name == name).meta["val"].shape


def _exported(network: nn.Module, shape: tuple[int, ...], free: dict[int, Any]) -> torch.export.ExportedProgram:
    dimensions = {0: torch.export.Dim("batch", min=1), **free}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of which a user can mend none
        exported = torch.export.export(network, (torch.zeros(shape),), dynamic_shapes=(dimensions,))
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the code lay on this machine
    return exported


@torch.no_grad()
def _difference(program: Program, network: nn.Module, shapes: list[tuple[int, int, int, int]]) -> str | None:
    """How the program, read again, differs from a network; None where it does not."""
    loaded = torch.export.load(io.BytesIO(program.content())).module()
    for shape in shapes:
        images = noise(shape)
        try:
            wrong = compared(loaded(images), network(images))
        except Exception as error:
            wrong = error_line(error)
        if wrong is not None:
            return f"{wrong} (of images {shape})"
    return None
