"""What a shell offers after the Tab key, asked as the shell asks."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from raynas.cli.completions import PROXIES
from raynas.space.cost import COSTS

# What imports torch is refused, so that an answer shows that it took none.
ASKED = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "ray", "timm"):
            raise RuntimeError(f"{name} is imported")
sys.meta_path.insert(0, Refused())
sys.argv = ["raynas"]
from raynas.cli import main
main()
"""


def offered(line: str) -> list[str]:
    """The words that bash is given for a line that ends where the cursor is."""
    number = len(line.split()) - (not line.endswith(" "))
    environment = {**os.environ, "COMP_WORDS": line, "COMP_CWORD": str(number), "_RAYNAS_COMPLETE": "complete_bash"}
    command = [sys.executable, "-c", ASKED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("raynas search as", ["as-vit"]),
        ("raynas search as-vit --searcher re", ["regularized_evolution", "reinforce"]),
        ("raynas search as-vit -o len", ["length_distortion"]),
        ("raynas score as-vit --proxy mac", ["macs"]),
        ("raynas list ru", ["runs"]),
        ("raynas train --augment st", ["strong"]),
        ("raynas supernet sea", ["search"]),
        ("raynas report ru", []),
    ],
)
def test_names_are_offered_without_torch(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_all_commands_are_offered() -> None:
    assert {"search", "train", "export", "supernet", "bench", "list"} <= set(offered("raynas "))


def test_the_names_of_proxies_are_those_that_there_are() -> None:
    code = "from raynas.proxies.registered import proxies; print(*proxies)"
    # In a process of its own: tests before may have registered proxies of theirs here.
    registered = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(PROXIES) == sorted({*registered, *COSTS})


def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    line = f"{shlex.quote(sys.executable)} -m raynas.cli --install-completion; exit $?"
    at_home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", line], env=at_home, capture_output=True, text=True, check=True)
    assert "bash completion installed" in done.stdout
    assert "complete" in next((tmp_path / ".bash_completions").iterdir()).read_text()
