"""What Ray's errors are about, in the words of whoever has raised them."""

from __future__ import annotations

import pytest

from raynas.cluster.joining import imported_ray
from raynas.cluster.ray_errors import in_words


def test_what_an_actor_raises_as_it_is_made_is_told_and_not_that_it_is_lost() -> None:
    ray = imported_ray()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:

        @ray.remote
        class Unmakable:
            def __init__(self) -> None:
                raise ValueError("there is no place for 'runs/mine'")

            def number(self) -> int:
                return 1

        with pytest.raises(ray.exceptions.RayActorError) as error:
            ray.get(Unmakable.remote().number.remote())
        assert in_words(error.value) == "ValueError: there is no place for 'runs/mine'"
    finally:
        ray.shutdown()
