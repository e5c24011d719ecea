"""Supernets as masked autoencoders: sampled members predict hidden patches, in the weights that they share.

It warms a supernet up without labels. Decided here, since no paper has it: all members share one decoder, of half the
largest width, which reads narrower tokens by its first channels, as the head of a supernet's member has them; positions
are the first channels of sines that nothing trains. `supernet-d-mae` also draws the attention of each other member's
last block towards that of the largest one's, on the same patches in the same step and without a gradient there, through
a convolution over heads that is trained beside it, one for each number of heads.

Letters: b images of a pass, P prefix tokens, n patches that are kept, C channels of a member.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from raynas.models.attention_maps import TokenNetwork, through_noting
from raynas.models.elastic.sampling import SubnetSampler
from raynas.models.elastic.supernet import Supernet
from raynas.models.masking import Masking, kept_tokens, masked_loss, random_masking
from raynas.models.token_stages import TokenStages
from raynas.space.architecture import Architecture
from raynas.space.search_space import SearchSpace
from raynas.training.batch import Batch
from raynas.training.objectives.masked import MASKING, MaskedAutoencoder, Reconstruction, look_at_student
from raynas.training.objectives.objective import AUXILIARY, Loss, Part, PreparedObjective, Setup, objectives
from raynas.training.objectives.supernet import check_members, drawn_members, phases_of, sampling_of


@objectives.register("supernet-mae")
class MaskedSupernet(MaskedAutoencoder):
    """Pixels of hidden patches are predicted by sampled members.

    Args:
        model: The largest network.
        reconstruction: What is hidden, and how it is predicted.
        space: The space whose members are trained.
        largest: The architecture of the network.
        settings: Keywords with which it was built.
        block_images: How many images of a step train members together.
        sampling: Keywords of `SubnetSampler`.
    """

    name = "supernet-mae"
    trains_members = True
    uses_all_parameters = False
    fills_gradients = True

    def __init__(
        self,
        model: nn.Module,
        reconstruction: Reconstruction,
        *,
        space: SearchSpace,
        largest: Architecture,
        settings: Mapping[str, Any],
        block_images: int,
        sampling: Mapping[str, Any],
    ) -> None:
        super().__init__(model, reconstruction)
        self._space, self._largest, self._network_settings = space, largest, settings
        self._block_images, self._sampling = block_images, dict(sampling)

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective; refuses spaces whose members cannot be computed on some of their patches."""
        config = setup.config
        setup.refuse_teacher(cls.name)
        network = look_at_student(setup)
        reconstruction = Reconstruction.of(config, network)
        check_members(setup)
        sampling = sampling_of(setup)
        sampler = SubnetSampler(setup.space, config.seed, **sampling)
        resolved = {**reconstruction.resolved(), "choice_warmup_epochs": sampling["warmup_epochs"]}
        found = config.resolved(**resolved)
        return PreparedObjective(
            kind=cls,
            make=partial(
                cls,
                reconstruction=reconstruction,
                space=setup.space,
                largest=setup.architecture,
                settings=setup.model_settings,
                block_images=config.block_images,
                sampling=sampling,
                **cls._more(setup, network),
            ),
            resolved=resolved,
            identity={
                **{name: getattr(found, name) for name in cls.settings},
                "block_images": config.block_images,
                **sampling,
                "shared": list(config.shared_choices),
            },
            description={
                "supernet": {
                    "largest": setup.space.text(setup.architecture),
                    "smallest": setup.space.text(setup.space.smallest()),
                    "uniform": None,
                    "in_play": [list(phase) for phase in phases_of(sampler, config.epochs)],
                }
            },
            phases=phases_of(sampler, config.epochs),
        )

    @classmethod
    def _more(cls, setup: Setup, network: TokenNetwork) -> dict[str, Any]:
        """Further keywords, by what the largest network is like."""
        return {}

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        patches = self._reconstruction.side**2
        masking = random_masking(self._draws.uniform("mask", len(batch), (patches,)), self._reconstruction.kept)
        targets = self._reconstruction.targets(batch.images)
        sampler = SubnetSampler(self._space, self.context.seed, **self._sampling)
        members, assigned = drawn_members(sampler, self.context, batch.positions, self._block_images)
        supernet = Supernet(self._space, self._largest, self.model, self._network_settings)
        total = targets.new_zeros(())
        for architecture, member, own in supernet.members(len(batch), members, assigned, targets.device):
            stages = TokenStages(member)
            hidden = Masking(*(one[own] for one in masking))
            kept = kept_tokens(stages.embedded(batch.images[own]), hidden, stages.prefix)
            is_largest = architecture == self._largest
            tokens = self._computed(stages, kept, None if is_largest else batch.images[own], hidden)
            errors = masked_loss(self.decoder(stages.normalised(tokens), hidden), targets[own], hidden.hidden)
            total = total + len(own) / len(batch) * errors
        return self._total(total, len(batch))

    def _computed(
        self, stages: TokenStages, kept: torch.Tensor, images: torch.Tensor | None, masking: Masking
    ) -> torch.Tensor:
        """What a member's blocks make of kept tokens, (b, P + n, C).

        Args:
            stages: The parts of the member.
            kept: Tokens before its first block.
            images: The images that they are of; None where the member is the largest.
            masking: What is hidden of them.
        """
        return stages.through(kept)

    def _total(self, reconstruction: torch.Tensor, images: int) -> Loss:
        return Loss(reconstruction)


@objectives.register("supernet-d-mae")
class DistilledMaskedSupernet(MaskedSupernet):
    """Sampled members predict hidden patches, and attend as the largest one does on the same patches.

    Args:
        model, reconstruction: As of `MaskedSupernet`.
        heads: Number of heads of the largest one's last block, the most that a member's may have.
        weight: Weight of the difference of attention.
        settings: Further keywords of `MaskedSupernet`.

    Attributes:
        adapters: Convolutions over heads, from a member's to the largest one's, by the number of heads in text.
    """

    name = "supernet-d-mae"
    settings: ClassVar[tuple[str, ...]] = (*MASKING, "attention_weight")

    def __init__(
        self, model: nn.Module, reconstruction: Reconstruction, *, heads: int, weight: float, **settings: Any
    ) -> None:
        super().__init__(model, reconstruction, **settings)
        device = next(model.parameters()).device
        self.adapters = nn.ModuleDict(
            {
                str(number): nn.Conv2d(number, heads, kernel_size=1, bias=False, device=device)
                for number in range(1, heads + 1)
            }
        )
        self._weight = weight
        self._differences: list[torch.Tensor] = []

    @classmethod
    def _more(cls, setup: Setup, network: TokenNetwork) -> dict[str, Any]:
        return {"heads": network.heads[-1], "weight": setup.config.attention_weight}

    def parts(self) -> Mapping[str, Part]:
        """See Objective."""
        return {**super().parts(), "adapters": AUXILIARY}

    @property
    def columns(self) -> tuple[str, ...]:
        """The error of hidden patches, and the difference of attention before it is weighted."""
        return ("reconstruction_loss", "attention_loss")

    def _computed(
        self, stages: TokenStages, kept: torch.Tensor, images: torch.Tensor | None, masking: Masking
    ) -> torch.Tensor:
        if images is None:
            return stages.through(kept)
        tokens, (logits,) = through_noting(stages, kept, [stages.depth - 1])
        with torch.no_grad():
            largest = TokenStages(self.model)
            shown = kept_tokens(largest.embedded(images), masking, largest.prefix)
            aim = through_noting(largest, shown, [largest.depth - 1])[1][0]
        adapted = self.adapters[str(logits.shape[1])](logits)
        self._differences.append(len(images) * F.mse_loss(adapted.float(), aim.float()))
        return tokens

    def _total(self, reconstruction: torch.Tensor, images: int) -> Loss:
        attention = torch.stack([reconstruction.new_zeros(()), *self._differences]).sum() / images
        self._differences = []
        terms = {"reconstruction_loss": reconstruction.detach(), "attention_loss": attention.detach()}
        return Loss(reconstruction + self._weight * attention, terms)
