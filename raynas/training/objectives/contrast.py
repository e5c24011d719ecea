"""MoCo v3: two views of an image are to be told from all other images of the step (Chen 2021, arXiv 2104.02057).

The network, a projector and a predictor make queries of both views; copies of network and projector that follow slowly
make keys. The query of one view is to find the key of the other among those of the whole step, over all workers:

    loss = contrast(q1, k2) + contrast(q2, k1),  contrast = 2 T * cross-entropy of (q k / T) with the image's own key

The decay of the copies rises from `momentum` in the first step to 1 in the last along half a cosine; they follow before
keys are made. Where the training starts from no weights, networks of tokens are drawn as the source draws them, with
positions of sines that nothing trains, whose first half tells the row. All that is trained decays, norms and biases
too. Images are not evaluated by contrast, which depends on which others are in the batch: the best epoch is that of the
least loss in training, and neighbours of features say what they are worth.

Letters: b images of a pass, B images of the step, D length of the vectors.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from raynas.errors import ConfigError, NotApplicableError
from raynas.models.features import head_inputs
from raynas.models.roles import roles_of
from raynas.models.step_draws import StepContext
from raynas.models.token_stages import position_embedding, put_sine_positions
from raynas.space.build import builder, built
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.contrast_views import contrast_views
from raynas.training.data_parallel import gathered
from raynas.training.images import Transform
from raynas.training.objectives.objective import (
    AUXILIARY,
    COPY,
    MODEL,
    Loss,
    Objective,
    ParameterRule,
    Part,
    PreparedObjective,
    Setup,
    objectives,
)


def momentum_at(step: int, steps: int, first: float) -> float:
    """The decay of the copies in a step: `first` in the first of all steps, and 1 after the last.

    Args:
        step: The number of the step, from 0.
        steps: How many steps there are.
        first: The decay to begin with.
    """
    return 1 - 0.5 * (1 + math.cos(math.pi * step / steps)) * (1 - first)


def contrast(queries: torch.Tensor, keys: torch.Tensor, own: torch.Tensor, temperature: float) -> torch.Tensor:
    """2 T times the cross-entropy of each query with its own key among all; vectors are scaled to length 1.

    Args:
        queries: (b, D).
        keys: (B, D).
        own: (b,) for each query the place of its own key.
        temperature: What products are divided by, T.
    """
    products = F.normalize(queries.float(), dim=1) @ F.normalize(keys.float(), dim=1).T
    return 2 * temperature * F.cross_entropy(products / temperature, own)


def mlp(dims: tuple[int, ...], *, ends_affine: bool = False) -> nn.Sequential:
    """Linear layers without biases, a BatchNorm after each and ReLUs between.

    Args:
        dims: Widths from the input to the output.
        ends_affine: Whether the last BatchNorm scales and shifts.
    """
    layers: list[nn.Module] = []
    for place, (given, made) in enumerate(pairwise(dims)):
        is_last = place == len(dims) - 2
        layers += [nn.Linear(given, made, bias=False), nn.BatchNorm1d(made, affine=ends_affine or not is_last)]
        layers += [] if is_last else [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


@objectives.register("moco-v3")
class MomentumContrast(Objective):
    """Views of an image are told from those of others.

    Args:
        model: The network, whose head is known; what the head is given is contrasted.
        dim: Length of that.
        width: Width of the hidden layers of projector and predictor.
        length: Length of the vectors that are contrasted, D.
        momentum: Decay of the copies in the first step.
        temperature: What products are divided by.
        weight_decay: Weight decay of all that is trained.

    Attributes:
        projector, predictor: Make queries of what the head is given; left behind.
        momentum_model, momentum_projector: The copies, which make keys.
    """

    name = "moco-v3"
    needs_labels = False
    couples_images = True
    settings: ClassVar[tuple[str, ...]] = ("momentum", "contrast_temperature", "projector_width", "projector_dim")
    probes_features = True
    best = BestEpoch("train_loss", higher_is_better=False)

    def __init__(
        self,
        model: nn.Module,
        *,
        dim: int,
        width: int,
        length: int,
        momentum: float,
        temperature: float,
        weight_decay: float,
    ) -> None:
        super().__init__(model)
        device = next(model.parameters()).device
        positions = position_embedding(model)
        unused = [parameter for head in roles_of(model).head for parameter in head.parameters()]
        for parameter in (*unused, *([] if positions is None else [positions])):
            parameter.requires_grad_(False)
        self.projector = mlp((dim, width, width, length)).to(device)
        self.predictor = mlp((length, width, length)).to(device)
        self.momentum_model = copy.deepcopy(model)
        self.momentum_projector = copy.deepcopy(self.projector)
        self._momentum = momentum
        self._temperature = temperature
        self._weight_decay = weight_decay

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective; refuses models whose head is not known."""
        config = setup.config
        setup.refuse_teacher(cls.name)
        if config.retokenize is not None:
            raise ConfigError("both views have the same tokens: leave retokenize out")
        # Not on the meta device, on which some of timm's models cannot be built.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model = built(builder(setup.space), setup.architecture, **setup.model_settings).eval()
            try:
                dim = vectors(model, torch.zeros(1, 3, config.img_size, config.img_size)).shape[1]
            except NotApplicableError as error:
                raise ConfigError(f"moco-v3 {error}") from None
        return PreparedObjective(
            kind=cls,
            make=partial(
                cls,
                dim=dim,
                width=config.projector_width,
                length=config.projector_dim,
                momentum=config.momentum,
                temperature=config.contrast_temperature,
                weight_decay=config.weight_decay,
            ),
            identity={name: getattr(config, name) for name in cls.settings},
        )

    @classmethod
    def default_warmup_epochs(cls, epochs: int) -> int:
        """A tenth of the epochs."""
        return epochs // 10

    @classmethod
    def initialise(cls, model: nn.Module) -> None:
        """Networks of tokens as the source draws them; others as they draw themselves."""
        if position_embedding(model) is not None:
            draw_as_moco(model)
            put_sine_positions(model, columns_first=False)

    def parts(self) -> Mapping[str, Part]:
        """See Objective."""
        copies = {"momentum_model": COPY, "momentum_projector": COPY}
        return {"model": MODEL, "projector": AUXILIARY, "predictor": AUXILIARY, **copies}

    def parameter_rule(self, name: str, parameter: nn.Parameter) -> ParameterRule:
        """See Objective: all decay alike."""
        return ParameterRule(weight_decay=self._weight_decay)

    def train_views(self, img_size: int, augmentation: Mapping[str, Any]) -> tuple[Transform, ...]:
        """Two views, the first always blurred, the second seldom, and sometimes solarised."""
        return contrast_views(img_size, augmentation)

    def start_step(self, context: StepContext) -> None:
        """See Objective; the copies follow."""
        super().start_step(context)
        decay = momentum_at(context.number, context.steps, self._momentum)
        with torch.no_grad():
            for follows, leads in ((self.momentum_model, self.model), (self.momentum_projector, self.projector)):
                for copied, parameter in zip(follows.parameters(), leads.parameters(), strict=True):
                    copied.lerp_(parameter, 1 - decay)

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        queries = [self.predictor(self.projector(vectors(self.model, view))) for view in batch.views]
        with torch.no_grad():
            keys = [self.momentum_projector(vectors(self.momentum_model, view)) for view in batch.views]
        (first, own), (second, _) = (gathered(one) for one in keys)
        return Loss(
            contrast(queries[0], second, own, self._temperature) + contrast(queries[1], first, own, self._temperature)
        )

    def features(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """What the head is given."""
        return vectors(model, batch.images)


def vectors(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What a network's head is given of images, (b, C).

    Raises:
        NotApplicableError: Its head is not known, or never called.
    """
    heads = roles_of(model).head
    if not heads:
        raise NotApplicableError(f"needs a head that is known, and {type(model).__name__} has none")
    return head_inputs(model, heads[0], images)


@torch.no_grad()
def draw_as_moco(model: nn.Module) -> None:
    """Draw a network of tokens as MoCo v3 does: linear layers by Xavier, each of queries, keys and values as its own.

    The patch convolution is drawn as a linear layer, class tokens from a normal of std 1e-6, biases are 0.
    """
    of_attention = {id(module) for module in roles_of(model).attention}
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            given, made = module.weight[0].numel(), module.weight.shape[0]
            if id(module) in of_attention and made == 3 * given:  # queries, keys and values in one layer
                made = given
            bound = math.sqrt(6 / (given + made))
            module.weight.uniform_(-bound, bound)
            if module.bias is not None:
                module.bias.zero_()
    token = getattr(model, "cls_token", None)
    if isinstance(token, nn.Parameter):
        token.normal_(std=1e-6)
