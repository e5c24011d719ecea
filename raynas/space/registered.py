"""The registries of search spaces and of model families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raynas.registry import Registry
from raynas.space.search_space import SearchSpace

spaces: Registry[SearchSpace] = Registry("space", "spaces", group="raynas.searchspaces")
models: Registry[Callable[..., Any]] = Registry("model", "models", "raynas.models.families")
