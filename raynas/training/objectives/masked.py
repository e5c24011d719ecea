"""Masked autoencoders: patches of an image are hidden, and predicted from the others (He 2021, arXiv 2111.06377).

Three quarters of the patches are hidden, and the network computes on the rest alone. A small decoder, trained beside it
and left behind, predicts the pixels of all; those of hidden ones count. Which are hidden follows from (seed, epoch,
step, position of the image in the step), and of images to evaluate on from their places alone.

Positions are sines that nothing trains, and layers are drawn as the source draws them, where the training starts from
no weights; from given ones, it keeps their positions. Decided here, since the source has numbers for two networks only:
the decoder has half the width of the network, one block, and a head for each 32 channels.

Letters: b images of a pass, P prefix tokens, L patches, n patches that are kept, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from raynas.errors import ConfigError
from raynas.models.attention_maps import TokenNetwork, looked_at
from raynas.models.masked_decoder import MaskedDecoder, draw_as_mae
from raynas.models.masking import (
    Masking,
    kept_tokens,
    masked_loss,
    normalised_patches,
    patches_kept,
    patchified,
    random_masking,
    unpatchified,
)
from raynas.models.normalisation import IMAGENET_MEAN, IMAGENET_STD
from raynas.models.roles import roles_of
from raynas.models.step_draws import StepDraws, uniform_of
from raynas.models.token_stages import TokenStages, position_embedding, put_sine_positions, sine_positions
from raynas.seeds import seed_from
from raynas.space.build import builder, built
from raynas.training.batch import Batch
from raynas.training.best_epoch import BestEpoch
from raynas.training.config import ResolvedTraining
from raynas.training.images import Transform, train_transform
from raynas.training.objectives.objective import (
    AUXILIARY,
    MODEL,
    Loss,
    Objective,
    Part,
    PreparedObjective,
    Setup,
    objectives,
)

CHANNELS_PER_HEAD = 32
"""Width of a decoder's heads where nothing is said of them."""

MASKING = ("mask_ratio", "pixel_targets", "decoder_width", "decoder_depth", "decoder_heads")


@dataclass(frozen=True)
class Reconstruction:
    """What is hidden and how it is predicted.

    Args:
        side: Patches a side of the grid.
        kept: How many patches of each image are kept.
        is_normalised: Whether pixels of a patch are predicted by its own mean and deviation.
        decoder: Keywords of `MaskedDecoder` beside the device.
    """

    side: int
    kept: int
    is_normalised: bool
    decoder: Mapping[str, Any]

    @classmethod
    def of(cls, config: ResolvedTraining, network: TokenNetwork) -> Reconstruction:
        """What a configuration asks for.

        Args:
            config: The configuration.
            network: What the network to train is like.

        Raises:
            ConfigError: The mask leaves no patch or all of them, or the decoder cannot be built.
        """
        width = config.decoder_width or network.dim // 2
        heads = config.decoder_heads or max(1, width // CHANNELS_PER_HEAD)
        if width % 4 or width % heads:
            raise ConfigError(
                f"the decoder's width is {width} and its heads are {heads}: the width is to be a multiple of 4, and of "
                "the heads; decoder_width and decoder_heads say others"
            )
        patch = config.img_size // network.side
        return cls(
            side=network.side,
            kept=patches_kept(network.side**2, config.mask_ratio),
            is_normalised=config.pixel_targets == "normalised",
            decoder={
                "dim": network.dim,
                "width": width,
                "depth": config.decoder_depth,
                "num_heads": heads,
                "side": network.side,
                "values": 3 * patch * patch,
                "prefix": network.prefix,
            },
        )

    def resolved(self) -> dict[str, Any]:
        """Fields of the configuration that were found out."""
        return {"decoder_width": self.decoder["width"], "decoder_heads": self.decoder["num_heads"]}

    def targets(self, images: torch.Tensor) -> torch.Tensor:
        """What is to be predicted of images: (b, 3, S, S) to (b, L, patch * patch * 3), float32."""
        patches = patchified(images.float(), self.side)
        return normalised_patches(patches) if self.is_normalised else patches


@objectives.register("mae")
class MaskedAutoencoder(Objective):
    """Pixels of hidden patches are predicted from the other patches.

    Args:
        model: The network, of which `TokenStages` can be had.
        reconstruction: What is hidden, and how it is predicted.

    Attributes:
        decoder: Predicts pixels; it is trained beside the network and left behind.
    """

    name = "mae"
    needs_labels = False
    settings: ClassVar[tuple[str, ...]] = MASKING
    probes_features = True
    draws_pictures = True
    evaluation_columns = ("loss",)
    best = BestEpoch("val_loss", higher_is_better=False)

    def __init__(self, model: nn.Module, reconstruction: Reconstruction) -> None:
        super().__init__(model)
        self._reconstruction = reconstruction
        self._stages = TokenStages(model)
        self._draws = StepDraws()
        positions = position_embedding(model)
        unused = [*(parameter for head in roles_of(model).head for parameter in head.parameters())]
        for parameter in (*unused, *([] if positions is None else [positions])):
            parameter.requires_grad_(False)
        device = next(model.parameters()).device
        self.decoder = MaskedDecoder(**reconstruction.decoder, device=device)

    @classmethod
    def prepare(cls, setup: Setup) -> PreparedObjective:
        """See Objective; refuses models that cannot be computed on some of their patches."""
        setup.refuse_teacher(cls.name)
        reconstruction = Reconstruction.of(setup.config, look_at_student(setup))
        config = setup.config.resolved(**reconstruction.resolved())
        return PreparedObjective(
            kind=cls,
            make=partial(cls, reconstruction=reconstruction),
            resolved=reconstruction.resolved(),
            identity={name: getattr(config, name) for name in cls.settings},
        )

    @classmethod
    def default_warmup_epochs(cls, epochs: int) -> int:
        """A tenth of the epochs."""
        return epochs // 10

    @classmethod
    def initialise(cls, model: nn.Module) -> None:
        """Layers as MAE draws them, prefix tokens from a normal of std 0.02, and positions of sines."""
        draw_as_mae(model)
        token = getattr(model, "cls_token", None)
        if isinstance(token, nn.Parameter):
            nn.init.normal_(token, std=0.02)
        put_sine_positions(model)

    def parts(self) -> Mapping[str, Part]:
        """See Objective."""
        return {"model": MODEL, "decoder": AUXILIARY}

    def no_weight_decay(self) -> set[str]:
        """None beside biases and norms, which timm finds: tokens decay in the source, too."""
        return set()

    def train_views(self, img_size: int, augmentation: Mapping[str, Any]) -> tuple[Transform, ...]:
        """One view, whose crop is resized bilinearly or bicubically by chance, as in the source."""
        return (train_transform(img_size, dict(augmentation), interpolation="random"),)

    def take_draws(self, draws: StepDraws, place: str) -> None:
        """Keep the source of random draws, for masks."""
        self._draws = draws

    def forward(self, batch: Batch) -> Loss:
        """See Objective."""
        masking, kept = self._kept(batch)
        return Loss(self._loss(batch.images, self._encoded(self._stages, kept), masking))

    def _kept(self, batch: Batch) -> tuple[Masking, torch.Tensor]:
        """What is hidden of each image, and the tokens (b, P + n, C) of the rest."""
        patches = self._reconstruction.side**2
        masking = random_masking(self._draws.uniform("mask", len(batch), (patches,)), self._reconstruction.kept)
        return masking, kept_tokens(self._stages.embedded(batch.images), masking, self._stages.prefix)

    def _loss(self, images: torch.Tensor, encoded: torch.Tensor, masking: Masking) -> torch.Tensor:
        """The error of what is predicted from the encoder's output (b, P + n, C)."""
        return masked_loss(self.decoder(encoded, masking), self._reconstruction.targets(images), masking.hidden)

    def _encoded(self, stages: TokenStages, kept: torch.Tensor) -> torch.Tensor:
        """What the decoder is given of kept tokens before the first block, (b, P + n, C) to the same."""
        return stages.normalised(stages.through(kept))

    def predicted(self, model: nn.Module, batch: Batch) -> tuple[torch.Tensor, Masking]:
        """What is predicted of images to evaluate on, (b, L, values), and what was hidden of them.

        Args:
            model: The exported part, or its moving average, in eval mode.
            batch: The images; what is hidden follows from their positions.
        """
        stages = TokenStages(model)
        noise = uniform_of(seed_from("mask", "evaluation"), batch.positions, (self._reconstruction.side**2,))
        masking = random_masking(noise, self._reconstruction.kept)
        kept = kept_tokens(stages.embedded(batch.images), masking, stages.prefix)
        predicted: torch.Tensor = self.decoder(self._encoded(stages, kept), masking)
        return predicted, masking

    def evaluate(self, model: nn.Module, batch: Batch) -> Mapping[str, torch.Tensor]:
        """See Objective."""
        predicted, masking = self.predicted(model, batch)
        loss = masked_loss(predicted, self._reconstruction.targets(batch.images), masking.hidden)
        return {"loss": loss * len(batch)}

    def pictures(self, model: nn.Module, batch: Batch) -> Mapping[str, np.ndarray]:
        """The images, what is left of them, and the whole as it is predicted, with the kept patches in it."""
        reconstruction = self._reconstruction
        predicted, masking = self.predicted(model, batch)
        patches = patchified(batch.images.float(), reconstruction.side)
        predicted = predicted.float()
        if reconstruction.is_normalised:  # by the mean and deviation of the true patch, which nothing predicts
            predicted = predicted * (patches.var(-1, keepdim=True) + 1e-6).sqrt() + patches.mean(-1, keepdim=True)
        hidden = masking.hidden[..., None]
        kept = patches * (1 - hidden)
        drawn = {"images": patches, "kept_patches": kept, "reconstructions": predicted * hidden + kept}
        return {name: pixels_of(unpatchified(one, reconstruction.side)) for name, one in drawn.items()}

    def features(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The mean over the tokens of patches, after the final norm."""
        stages = TokenStages(model)
        return stages.normalised(stages.through(stages.embedded(batch.images)))[:, stages.prefix :].mean(1)


def pixels_of(images: torch.Tensor) -> np.ndarray:
    """Normalised images (b, 3, S, S) side by side as one picture: uint8 (S, b * S, 3)."""
    columns = images.float().permute(2, 0, 3, 1).flatten(1, 2).cpu()
    values = columns * torch.tensor(IMAGENET_STD) + torch.tensor(IMAGENET_MEAN)
    pixels: np.ndarray = (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return pixels


def look_at_student(setup: Setup) -> TokenNetwork:
    """What the network to train is like.

    Raises:
        ConfigError: Its patches cannot be hidden, or its positions cannot be sines.
    """
    with torch.device("meta"):
        model = built(builder(setup.space), setup.architecture, **setup.model_settings)
    network = looked_at(model, setup.config.img_size)
    sine_positions(1, network.dim)
    return network
