"""An exported network of the space `vit` as the backbone of a detector of torchvision's, which learns to find shapes.

    raynas export runs/finetuned --out runs/plain
    python examples/detector.py runs/plain --epochs 20

It needs torch, torchvision and timm, and no raynas: the export's `timm_model.py` registers the network with timm, whose
`features_only` gives maps of its blocks. These become a pyramid of two sizes, as in ViTDet (arXiv 2203.16527), for
Faster R-CNN. The images are drawn: up to three rectangles and discs on noise. Take your own in place of `drawn_images`.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign, box_iou

SHAPES = ("rectangle", "disc")


class Pyramid(nn.Module):
    """Maps of one size by an exported network, as a pyramid: the grid of its patches, and one twice as fine.

    Args:
        exported: The names of the module `timm_model` of an export.
        width: Channels of the pyramid.
    """

    def __init__(self, exported: Mapping[str, Any], width: int = 64) -> None:
        super().__init__()
        self.features = timm.create_model(exported["NAME"], pretrained=True, features_only=True, out_indices=1)
        channels = self.features.feature_info.channels()[-1]
        self.coarse = nn.Conv2d(channels, width, kernel_size=1)
        self.fine = nn.ConvTranspose2d(channels, width, kernel_size=2, stride=2)
        self.out_channels = width

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) to maps (B, width, h, w), the finer one first."""
        (last,) = self.features(images)
        return {"fine": self.fine(last), "coarse": self.coarse(last)}


def detector(exported: Mapping[str, Any]) -> FasterRCNN:
    """Faster R-CNN on an exported network, for images of the side that it was trained with."""
    config = exported["CONFIG"]
    side = config["img_size"]
    return FasterRCNN(
        Pyramid(exported),
        num_classes=1 + len(SHAPES),
        rpn_anchor_generator=AnchorGenerator(((side / 6,), (side / 3,)), ((0.5, 1.0, 2.0),) * 2),
        box_roi_pool=MultiScaleRoIAlign(["fine", "coarse"], output_size=4, sampling_ratio=2),
        rpn_pre_nms_top_n_train=200,  # for three shapes, not the hundred things of a photograph
        rpn_post_nms_top_n_train=50,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=50,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=32,
        box_detections_per_img=10,
        image_mean=config["mean"],
        image_std=config["std"],
        min_size=side,
        max_size=side,
        size_divisible=side,  # no image is padded: the network knows one side alone
    )


def drawn_images(number: int, side: int, seed: int) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Images (3, side, side) from 0 to 1 with shapes on them, and the boxes and classes of these."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    found = []
    for _ in range(number):
        image = 0.3 * torch.rand(3, side, side, generator=generator)
        boxes, labels = [], []
        for _ in range(int(torch.randint(1, 4, (), generator=generator))):
            size = int(torch.randint(side // 5, side // 2, (), generator=generator))
            left, top = (int(torch.randint(0, side - size, (), generator=generator)) for _ in range(2))
            label = int(torch.randint(len(SHAPES), (), generator=generator))
            inside = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
            if SHAPES[label] == "disc":
                middle = (size - 1) / 2
                inside &= (rows - top - middle) ** 2 + (columns - left - middle) ** 2 <= (size / 2) ** 2
            image[:, inside] = 0.4 + 0.6 * torch.rand(3, 1, generator=generator)
            boxes.append([left, top, left + size, top + size])
            labels.append(1 + label)  # 0 is the background
        found.append((image, {"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(labels)}))
    return found


@torch.no_grad()
def recall(model: FasterRCNN, images: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> float:
    """The share of boxes that a detection of the same class covers, with an intersection over union of 0.5."""
    hits = []
    model.eval()
    for image, truth in images:
        (said,) = model([image])
        overlaps = box_iou(truth["boxes"], said["boxes"]) * (truth["labels"][:, None] == said["labels"])
        hits += [bool((row >= 0.5).any()) for row in overlaps]
    return sum(hits) / len(hits)


def read_export(folder: Path) -> Mapping[str, Any]:
    """The names of the module of an export that registers its network with timm, which it does when it is run."""
    file = folder / "timm_model.py"
    if not file.is_file():
        sys.exit(f"{folder} is no export: it has no timm_model.py")
    return runpy.run_path(str(file))


def main() -> None:
    """Train the detector, and say how many shapes it finds on images that it has not seen, before and after."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("export", type=Path, help="folder of an export")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the images (20)")
    parser.add_argument("--images", type=int, default=200, help="images to train on (200)")
    given = parser.parse_args()
    torch.manual_seed(0)
    exported = read_export(given.export)
    model = detector(exported)
    side = exported["CONFIG"]["img_size"]
    train, test = drawn_images(given.images, side, seed=1), drawn_images(50, side, seed=2)
    print(f"before: {recall(model, test):.0%} of the shapes are found", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(given.epochs):
        model.train()
        total = 0.0
        for batch in torch.randperm(len(train)).split(10):
            images, truths = zip(*(train[i] for i in batch.tolist()), strict=True)
            losses: dict[str, Any] = model(list(images), list(truths))
            loss = sum(losses.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += len(batch) * loss.item()
        print(f"epoch {epoch + 1} of {given.epochs}: loss {total / len(train):.3f}", flush=True)
    print(f"after: {recall(model, test):.0%} of the shapes are found")


if __name__ == "__main__":
    main()
