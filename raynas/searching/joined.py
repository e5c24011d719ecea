"""Scores of untrained networks beside the accuracy of sub-networks by inherited weights, in one run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from raynas.scoring.joined import JoinedTask
from raynas.searching.inherited import InheritedScoring
from raynas.searching.scores import Score, UntrainedScoring
from raynas.space.build import builder
from raynas.space.cost import COSTS, counted_costs


@dataclass(frozen=True)
class JoinedScoring:
    """Makes the task of scoring architectures in both ways; a `raynas.searching.plan.TaskMaker`.

    Args:
        inherited: Makes the task of evaluating sub-networks, whose space, images' side and classes are the run's.
        untrained: Makes the task of scoring untrained networks of the same space and size.
    """

    inherited: InheritedScoring
    untrained: UntrainedScoring

    def __call__(self, device: str, threads: int) -> JoinedTask:
        """The task on a device."""
        tasks = self.inherited(device, threads), self.untrained(device, threads)
        space = self.inherited.space
        return JoinedTask(
            tuple(replace(task, counted=(), constraints=()) for task in tasks),
            builder(space),
            {"img_size": self.untrained.img_size, "num_classes": self.untrained.num_classes},
            counted=counted_costs(space),
            constraints=self.inherited.constraints,
        )

    def scores(self) -> tuple[Score, ...]:
        """Accuracy and loss, then outputs of the proxies, then the costs.

        Raises:
            ConfigError: A proxy has the name of a cost.
        """
        accuracy = [score for score in self.inherited.scores() if score.name not in COSTS]
        others = [
            score if score.group is None else replace(score, group=1 + score.group)  # after the one of the accuracy
            for score in self.untrained.scores()
        ]
        return (*accuracy, *others)
