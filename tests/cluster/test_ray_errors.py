"""What Ray's errors are about, in the words of whoever has raised them."""

from __future__ import annotations

import subprocess
import sys

UNMAKABLE = """
import ray
from raynas.cluster.ray_errors import in_words

@ray.remote
class Unmakable:
    def __init__(self):
        raise ValueError("there is no place for 'runs/mine'")

    def number(self):
        return 1

ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
try:
    ray.get(Unmakable.remote().number.remote())
except ray.exceptions.RayActorError as error:
    print(in_words(error))
finally:
    ray.shutdown()
"""


def test_what_an_actor_raises_as_it_is_made_is_told_and_not_that_it_is_lost() -> None:
    said = subprocess.run([sys.executable, "-c", UNMAKABLE], capture_output=True, text=True, check=True, timeout=120)
    assert said.stdout.strip() == "ValueError: there is no place for 'runs/mine'"
