"""An objective of your own: `raynas train ... --set objective=examples/own_objective.py:confidence_penalty`."""

from __future__ import annotations

from raynas.training.batch import Batch
from raynas.training.objectives.classification import Classification
from raynas.training.objectives.objective import Loss, objectives

WEIGHT = 0.1


@objectives.register("confidence_penalty")
class ConfidencePenalty(Classification):
    """Cross-entropy less a tenth of the entropy of the predictions (arXiv 1701.06548): certainty has a price."""

    name = "confidence_penalty"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the terms of the loss: columns of metrics.parquet, and curves of the report."""
        return ("cross_entropy", "entropy")

    def forward(self, batch: Batch) -> Loss:
        """The loss of the images of one pass, with its terms."""
        images, targets = self.targets.mixed(batch, self.context)
        logits = self.model(images)
        cross_entropy = self.targets.cross_entropy(logits, targets)
        log_p = logits.log_softmax(1)
        entropy = -(log_p.exp() * log_p).sum(1).mean()
        return Loss(
            cross_entropy - WEIGHT * entropy, {"cross_entropy": cross_entropy.detach(), "entropy": entropy.detach()}
        )
