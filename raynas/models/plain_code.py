"""What a model tells of itself so that it can leave as code that imports no raynas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PlainCode:
    """A model as the text of a module and the arguments of a call; models return one from a method `plain_code`.

    The network that the call makes has the parameter and buffer names of the model.

    Args:
        source: Text of a module that defines or imports the network; its imports stand together at the top.
        network: Name of a class in it, called with keywords only.
        settings: Those keywords, as Python literals.
        packages: What the module imports beside the standard library.
        first_conv, classifier: Names of the layers that take in images and give out logits, where there are such.
    """

    source: str
    network: str
    settings: Mapping[str, Any]
    packages: tuple[str, ...] = ("torch",)
    first_conv: str | None = None
    classifier: str | None = None
