"""Settings of a fresh process, and what is undone and refused after code of the user's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch.nn.functional as F

from raynas.models.process_state import ProcessChangedError, ProcessGuard


def test_what_torch_changes_itself_when_its_compiler_is_loaded_is_nobody_s_fault() -> None:
    code = (
        "import torch\n"
        "from raynas.models.process_state import ProcessGuard\n"
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
