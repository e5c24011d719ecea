"""What a run's scores are computed with: what is stored of it, what is asked for, and what follows for reuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from raynas.cluster.installed import libraries
from raynas.errors import StoreError
from raynas.searching.config import RunConfig
from raynas.space.results import MIXED_DEVICES, Platform
from raynas.storage.run_folder import holds_run, read_description


def platform_of(config: RunConfig, device_type: str) -> Platform:
    """What scores are computed with in this process's environment, on workers with a device type."""
    return Platform(device_type, config.threads, libraries())


def stored_platform(folder: Path) -> Platform | None:
    """What the scores in a run folder were computed with; None if it holds none, or does not say it.

    Raises:
        StoreError: The folder's description is damaged.
    """
    told = read_description(folder).get("platform") if holds_run(folder) else None
    return None if told is None else _read(folder, told)


def wanted_device_type(config: RunConfig, folder: Path) -> str | None:
    """The device type that a run in a folder is to be computed on; None: that of the first worker.

    Raises:
        StoreError: The folder holds scores that were computed with something else than is asked for, or is here.
    """
    asked = MIXED_DEVICES if config.mixed_devices else config.device_type
    stored = stored_platform(folder)
    if stored is None:
        return asked
    now = Platform(stored.device_type if asked is None else asked, config.threads, libraries())
    for field in fields(Platform):
        before, here = getattr(stored, field.name), getattr(now, field.name)
        if before != here:
            raise StoreError(
                f"{folder} cannot be resumed: its scores were computed with {field.name.replace('_', ' ')} {before}, "
                f"and would go on with {here}, which gives others"
            )
    return now.device_type


def _read(folder: Path, told: Any) -> Platform:
    types = {"device_type": str, "threads": int, "libraries": str}
    if not isinstance(told, Mapping) or any(not isinstance(told.get(name), kind) for name, kind in types.items()):
        raise StoreError(f"{folder / 'run.yaml'} is damaged: its platform is {told!r}")
    return Platform(**{name: told[name] for name in types})
