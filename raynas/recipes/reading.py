"""Recipes: settings of a command as they were published, with what they need and what they should reach.

A recipe is a YAML file beside this one, of which the name is the recipe's. A new one needs no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from raynas.errors import ConfigError, UnknownNameError
from raynas.texts import parse_yaml
from raynas.wording import meant

_END = ".yaml"


@dataclass(frozen=True)
class Recipe:
    """Published settings.

    Args:
        name: What the recipe is called.
        title: What it does, in a line.
        paper: Where it was published.
        command: The command that it is for, as in `raynas COMMAND`.
        settings: What a file of `--config` would hold.
        hardware: What it is meant for.
        reaches: The figure that it should reach; empty if none is known.
        source: Where that figure stands; empty without one.
        notes: What to add, and where settings differ from what was published, each in a sentence or two.
    """

    name: str
    title: str
    paper: str
    command: str
    settings: Mapping[str, Any]
    hardware: str
    reaches: str
    source: str
    notes: tuple[str, ...]


def recipe_names() -> list[str]:
    """The names of all recipes, sorted."""
    found = (one.name for one in files("raynas.recipes").iterdir())
    return sorted(name.removesuffix(_END) for name in found if name.endswith(_END))


def read_recipe(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
        UnknownNameError: There is none; the message lists the known names.
    """
    names = recipe_names()
    if name not in names:
        raise UnknownNameError(f"unknown recipe {name!r}.{meant(name, names)} Known recipes: {', '.join(names)}")
    content = parse_yaml((files("raynas.recipes") / f"{name}{_END}").read_text())
    return Recipe(name=name, **{**content, "notes": tuple(content["notes"])})


def recipe_settings(name: str | None, command: str) -> dict[str, Any]:
    """The settings of a recipe; none where none is named.

    Args:
        name: The recipe; None: there is none.
        command: The command that is to take them.

    Raises:
        UnknownNameError: There is no such recipe.
        ConfigError: It is for another command.
    """
    if name is None:
        return {}
    recipe = read_recipe(name)
    if recipe.command != command:
        raise ConfigError(f"recipe {name!r} is for raynas {recipe.command}, not for raynas {command}")
    return dict(recipe.settings)
