"""Settings of a fresh process, and what is undone and refused after code of the user's own."""

from __future__ import annotations

import builtins
import contextlib
import math
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _python_dispatch

from raynas import Architecture
from raynas.models.networks import Networks
from raynas.models.process_guard import ProcessChangedError, ProcessGuard
from raynas.models.process_state import kept_process_state, ordinary_settings, seed_generators


@pytest.mark.slow
def test_what_torch_changes_itself_when_its_compiler_is_loaded_is_nobody_s_fault() -> None:
    code = (
        "import torch\n"
        "from raynas.models.process_guard import ProcessGuard\n"
        "guard, before = ProcessGuard(), torch.manual_seed\n"
        "with guard.watching():\n"
        "    import torch._dynamo\n"
        "assert torch.manual_seed is not before\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_guard_says_what_code_raised_and_not_what_it_changed() -> None:
    guard, before = ProcessGuard(), F.relu
    with pytest.raises(ZeroDivisionError), guard.watching():
        F.relu = F.gelu
        1 / 0  # noqa: B018
    assert F.relu is before
    with pytest.raises(ProcessChangedError, match=r"torch\.nn\.functional\.relu"), guard.watching():
        del F.relu
    assert F.relu is before


def test_the_guard_sees_what_a_slow_comparison_sees() -> None:
    """Which looks at every name of some modules by itself."""
    watched: dict[str, Any] = {"builtins": builtins, "math": math, "numpy": np, "torch": torch, "torch.nn": nn}
    watched |= {"torch.nn.functional": F, "torch.Tensor": torch.Tensor}
    before = {path: dict(vars(namespace)) for path, namespace in watched.items()}

    def replaced() -> set[str]:
        return {
            f"{path}.{name}"
            for path, namespace in watched.items()
            for name, value in before[path].items()
            if vars(namespace).get(name) is not value
        }

    def stand_in(*args: object) -> None:
        raise AssertionError("nothing is computed with it")

    names = [(path, name) for path in before for name, old in before[path].items() if callable(old) and name[0] != "_"]
    guard, rng = ProcessGuard(), random.Random(0)
    for count in [0, *[1, 2, 5] * 20]:
        chosen = rng.sample(names, count)
        found: set[str] = set()
        told = ""
        try:
            with guard.watching():
                for path, name in chosen:
                    setattr(watched[path], name, stand_in)
                found = replaced()
        except ProcessChangedError as error:
            told = str(error)
        assert found == {f"{path}.{name}" for path, name in chosen}
        assert all(name in told for name in found) and bool(told) == bool(found)
        assert replaced() == set()


def test_ordinary_settings_are_those_of_a_fresh_process(tmp_path: Path) -> None:
    code = (
        "import torch\n"
        "from raynas.models.process_state import ordinary_settings\n"
        "def state(): return (torch.get_default_dtype(), torch.backends.mkldnn.enabled,\n"
        "    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.is_grad_enabled(),\n"
        "    torch.get_float32_matmul_precision(), torch.is_anomaly_check_nan_enabled(),\n"
        "    torch.get_autocast_dtype('cpu'), torch.get_autocast_dtype('cuda'), torch.empty(0).device)\n"
        "before = state()\n"
        "with ordinary_settings(): assert state() == before, (state(), before)\n"
        "assert state() == before\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


class Passing(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Dispatching(_python_dispatch.TorchDispatchMode):
    """A mode that leaves nothing but itself behind, unlike those of torch that hook into all modules."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def set_to(device: str | None) -> Callable[[], None]:
    return lambda: torch.set_default_device(device)


def enter(make: Callable[[], Any]) -> Callable[[], None]:
    return lambda: make().__enter__()


def pop() -> None:
    if torch.overrides._len_torch_function_stack():
        torch.overrides._pop_mode()  # type: ignore[no-untyped-call]


META, CPU = enter(lambda: torch.device("meta")), enter(lambda: torch.device("cpu"))
FUNCTIONS, DISPATCH = enter(Passing), enter(Dispatching)

LEFT: dict[str, list[Callable[[], None]]] = {
    "set": [set_to("meta")],
    "entered": [META],
    "entered twice": [META, META],
    "set, entered": [set_to("meta"), CPU],
    "entered, set": [CPU, set_to("meta")],
    "mode, set": [FUNCTIONS, set_to("meta")],
    "set, mode": [set_to("meta"), FUNCTIONS],
    "set, unset": [set_to("meta"), set_to(None)],
    "set, popped": [set_to("meta"), pop],
    "modes": [FUNCTIONS, DISPATCH, FUNCTIONS],
    "popped": [pop],
}
"""What code may do to the default device and other modes without undoing it."""


def devices() -> tuple[str, ...]:
    """What is default now, within a device of one's own, and after it."""
    now = torch.get_default_device(), torch.empty(1).device
    with torch.device("meta"):
        within = torch.get_default_device(), torch.empty(1).device
    return tuple(map(str, (*now, *within, torch.get_default_device(), torch.empty(1).device)))


@pytest.mark.parametrize("context", [ProcessGuard().watching, ordinary_settings], ids=["guard", "ordinary"])
@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("before", ["cpu", "meta"])
def test_the_default_device_is_that_of_before(before: str, left: str, context: Any) -> None:
    try:
        torch.set_default_device(None if before == "cpu" else before)
        with context():
            for step in LEFT[left]:
                with contextlib.suppress(AssertionError):  # of torch, about devices that are not left in order
                    step()
        assert devices() == (before, before, "meta", "meta", before, before)
        torch.set_default_device(None)
        assert devices() == ("cpu", "cpu", "meta", "meta", "cpu", "cpu")
        assert not torch.overrides._len_torch_function_stack()
        assert not _python_dispatch._get_current_dispatch_mode_stack()
    finally:
        reset_modes()


def reset_modes() -> None:
    """So that a test that fails fails alone."""
    while torch.overrides._len_torch_function_stack():
        torch.overrides._pop_mode()  # type: ignore[no-untyped-call]
    while _python_dispatch._get_current_dispatch_mode_stack():
        _python_dispatch._pop_mode()
    torch.utils._device.CURRENT_DEVICE = torch._GLOBAL_DEVICE_CONTEXT.device_context = None


def test_ordinary_settings_rest_modes_that_are_on_around_them() -> None:
    with torch.device("meta"), Passing() as mode, Dispatching():
        with ordinary_settings():
            assert devices() == ("cpu", "cpu", "meta", "meta", "cpu", "cpu")
            assert not torch.overrides._len_torch_function_stack()
            assert not _python_dispatch._get_current_dispatch_mode_stack()
        assert str(torch.get_default_device()) == "meta" and torch.overrides._get_current_function_mode() is mode
        assert len(_python_dispatch._get_current_dispatch_mode_stack()) == 1
    assert devices() == ("cpu", "cpu", "meta", "meta", "cpu", "cpu")


@pytest.mark.parametrize("raises", [False, True])
def test_kept_state_is_that_of_before(raises: bool) -> None:
    def draws() -> list[float]:
        return [float(torch.rand(())), random.random(), np.random.rand()]  # noqa: NPY002

    torch.manual_seed(3), random.seed(3), np.random.seed(3)  # noqa: NPY002
    expected = draws(), torch.get_num_threads()
    torch.manual_seed(3), random.seed(3), np.random.seed(3)  # noqa: NPY002
    with contextlib.suppress(ZeroDivisionError), kept_process_state():
        seed_generators(5)
        torch.set_num_threads(3)
        draws()
        if raises:
            1 / 0  # noqa: B018
    assert (draws(), torch.get_num_threads()) == expected


def test_seeding_leaves_no_seed_behind_for_a_gpu_that_is_not_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Any] = []
    monkeypatch.setattr(torch.cuda, "_lazy_call", lambda *args, **kwargs: left.append(args))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    seed_generators(5)
    networks = Networks(lambda architecture: nn.Linear(2, 2), {}, score_seed=0)
    networks.network(Architecture({"width": 1}), 0)
    assert not left


def test_the_generator_of_a_gpu_in_use_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", generator.get_state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", generator.set_state)
    monkeypatch.setattr(torch.cuda, "manual_seed", generator.manual_seed)
    generator.manual_seed(3)
    expected = float(torch.rand((), generator=generator))
    generator.manual_seed(3)
    with kept_process_state():
        seed_generators(5)
    assert float(torch.rand((), generator=generator)) == expected
