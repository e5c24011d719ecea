"""What travels to workers with the code of the user's own, and what is said of what cannot."""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
import torch
from ray import cloudpickle

import raynas
from raynas.cluster.own_code import own_code_by_value
from raynas.errors import ConfigError
from raynas.proxies.probe import Probe, Proxy
from raynas.storage.files import exists

OWN = """
import threading
import torch
LOCK = threading.Lock()

def quiet(x):
    with torch.backends.cudnn.flags(enabled=False):
        return (torch.backends.cudnn.enabled, x + 1)

def locked(x):
    with LOCK:
        return x
"""


@pytest.fixture
def own(tmp_path: Path) -> ModuleType:
    """A module of a file that workers do not have."""
    (tmp_path / "own_file.py").write_text(OWN)
    spec = importlib.util.spec_from_file_location("own_file", tmp_path / "own_file.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_file"] = module
    spec.loader.exec_module(module)
    return module


def test_modules_of_any_class_travel_by_their_names(own: ModuleType) -> None:
    with own_code_by_value(own.quiet):
        pickled = cloudpickle.dumps(own.quiet)
    del sys.modules["own_file"]
    assert cloudpickle.loads(pickled)(1) == (False, 2)


def test_what_cannot_travel_is_said_in_a_line_that_names_it(own: ModuleType) -> None:
    told = r"^locked cannot travel to workers: TypeError: .*lock"
    with pytest.raises(ConfigError, match=told) as error, own_code_by_value(own.quiet, own.locked):
        raise AssertionError("it must not come to this")
    assert "\n" not in str(error.value)


def test_it_is_said_before_anything_is_started_or_written(tmp_path: Path) -> None:
    lock = threading.Lock()

    def held(probe: Probe) -> float:
        with lock:
            return 1.0

    def linear(architecture: object, *, img_size: int, num_classes: int) -> torch.nn.Module:
        return torch.nn.Linear(3, num_classes)

    space = raynas.SearchSpace("lines", {"a": raynas.Choice(1, 2)}, linear, search_img_size=8)
    with pytest.raises(ConfigError, match="cannot travel to workers"):
        raynas.score(space, [{"a": 1}], proxies=[Proxy("held", held)], workers=1, out=tmp_path / "run")
    assert not exists(tmp_path / "run")
    import ray

    assert not ray.is_initialized()
