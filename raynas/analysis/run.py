"""The analysis itself: passes of one or two networks over the same images, and tables of what they show.

Letters: B images of a pass, n images in all, H heads, L patches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from raynas.analysis.config import AnalysisConfig
from raynas.analysis.folder import ATTENTION, CKA, KIND, LAYERS, PICTURES
from raynas.analysis.networks import AnalysedNetwork
from raynas.analysis.pictures import attended
from raynas.analysis.points import Attention, Points, Seen
from raynas.analysis.ranks import Spread
from raynas.analysis.similarity import LEAST_IMAGES, Likeness
from raynas.cores import usable_cores
from raynas.data.dataset import ImageDataset
from raynas.data.inspection import check_readable, inspect
from raynas.data.opening import needs_inspection, open_dataset
from raynas.data.options import DataOptions
from raynas.data.png import png_of
from raynas.errors import DataError, StoreError, error_words
from raynas.evaluation.passes import device_of
from raynas.models.attention_statistics import attention_distance, attention_entropy
from raynas.models.nearest_neighbours import knn_accuracy
from raynas.models.process_state import kept_process_state, own_threads
from raynas.models.teachers import renormalisation
from raynas.seeds import seed_from
from raynas.storage.files import make_folder, write_atomically
from raynas.storage.parquet import write_parquet
from raynas.storage.run_folder import check_folder, run_description
from raynas.storage.session import End, Session
from raynas.training.batch import Batch
from raynas.training.images import Transform, eval_loader, eval_transform

NETWORKS = ("model", "against")


class AnalysisListener:
    """Receives the progress of an analysis; the base class ignores it."""

    def on_start(self, folder: Path, networks: Sequence[AnalysedNetwork], images: int) -> None:
        """All is checked, and images are about to be looked at."""

    def on_progress(self, done: int, total: int) -> None:
        """Some images were looked at."""


@dataclass(frozen=True)
class AnalysisPlan:
    """What an analysis will do.

    Args:
        config: What was asked for.
        networks: The network, and the one that it is compared with, if there is one.
        data: The images.
        rows: Indices of those that are used, in the order of their mini-batches, which is random: images of a class
            that stand together would make the layers of a batch alike.
    """

    config: AnalysisConfig
    networks: tuple[AnalysedNetwork, ...]
    data: ImageDataset
    rows: np.ndarray


def make_analysis_plan(config: AnalysisConfig, networks: Sequence[AnalysedNetwork]) -> AnalysisPlan:
    """Open the images, and see that there is something to look at.

    Raises:
        RaynasError: The images cannot be read, are too few, or it is not known where a network's blocks are.
    """
    for network in networks:
        Points(network.model)
    device_of(config.device)
    data = open_dataset(config.data, DataOptions.of(config))
    if config.skip_unreadable and needs_inspection(data):
        broken = inspect(data, everything=True).unreadable
        data = open_dataset(config.data, DataOptions.of(config), left_out=tuple(sorted(broken)))
    order = np.random.default_rng(seed_from(config.seed, "analysis")).permutation(len(data))
    rows = order[: config.max_images]
    if len(rows) < LEAST_IMAGES:
        raise DataError(
            f"data {config.data!r}: {len(rows)} images are too few to compare layers by: at least {LEAST_IMAGES} are"
        )
    if needs_inspection(data):
        check_readable(inspect(data, rows))
    return AnalysisPlan(config, tuple(networks), data, rows)


@dataclass
class _Sums:
    """What is added up of one network."""

    points: Points
    likeness: Likeness = field(default_factory=lambda: Likeness(is_same=True))
    spreads: list[Spread] = field(default_factory=list)
    attention: torch.Tensor | None = None  # (2, blocks, most heads), NaN where a block has fewer
    features: list[torch.Tensor] = field(default_factory=list)

    def add(self, seen: Seen) -> None:
        """Add what the network makes of a mini-batch."""
        self.spreads = self.spreads or [Spread() for _ in seen.tokens]
        for spread, tokens in zip(self.spreads, seen.tokens, strict=True):
            spread.add(tokens)
        self.features.append(seen.tokens[-1].mean(1).float().cpu())
        if seen.attention:
            found = _of_heads(seen.attention) * len(seen.tokens[0])
            self.attention = found if self.attention is None else self.attention + found


def _of_heads(attention: Sequence[Attention]) -> torch.Tensor:
    """Distances and entropies of heads, (2, blocks, most heads), NaN where a block has fewer."""
    most = max(one.patches.shape[1] for one in attention)
    found = torch.full((2, len(attention), most), torch.nan, dtype=torch.float64)
    for block, one in enumerate(attention):
        heads = one.patches.shape[1]
        found[0, block, :heads] = attention_distance(one.patches).double().cpu()
        found[1, block, :heads] = attention_entropy(one.patches).double().cpu()
    return found


def execute_analysis(
    plan: AnalysisPlan, folder: Path, *, resume: bool = False, listener: AnalysisListener | None = None
) -> dict[str, Any]:
    """Carry out an analysis in a folder.

    Args:
        plan: What is analysed.
        folder: The folder, which is created unless it exists.
        resume: Whether the folder may hold the same analysis, which is carried out again.
        listener: Receives progress.

    Returns:
        The summary, as in summary.json.

    Raises:
        StoreError: The folder holds another run, is in use, or cannot be written.
        DataError: An image cannot be read.
        Interrupted: SIGINT or SIGTERM.
    """
    listener = listener or AnalysisListener()
    config = plan.config
    about = {
        name: {"name": network.name, "weights": network.weights, "img_size": network.img_size}
        for name, network in zip(NETWORKS, plan.networks, strict=False)
    }
    identity = {**config.model_dump(include={"data", "max_images", "seed", "batch_size"}), "networks": about}
    with Session(folder, lambda: check_folder(folder, identity, resume=resume, kind=KIND)) as session:
        session.hold()
        session.describe(run_description(KIND, config.model_dump(), identity, networks=about))
        found: dict[str, Any] = {}

        def work() -> End:
            result = _analysed(plan, listener, lambda: bool(session.stop))
            if result is None:
                return End("interrupted")
            tables, pictures, told = result
            _write(folder, tables, pictures)
            found.update(told)
            return End("completed")

        def summary(status: str, error: str | None) -> dict[str, Any]:
            return session.write_summary(
                {"kind": KIND, "status": status, "images": len(plan.rows), "networks": about, **found}
                | {"seconds": session.seconds, "error": error}
            )

        listener.on_start(folder, plan.networks, len(plan.rows))
        return session.carry_out(work, summary)


def _analysed(
    plan: AnalysisPlan, listener: AnalysisListener, is_stopped: Any
) -> tuple[dict[str, pa.Table], dict[str, np.ndarray], dict[str, Any]] | None:
    """Tables, pictures and what the summary says; None where it was stopped."""
    config, device = plan.config, device_of(plan.config.device)
    networks = [network.model.to(device) for network in plan.networks]
    sums = [_Sums(Points(model)) for model in networks]
    between = Likeness(is_same=False) if len(sums) == 2 else None
    pictures: dict[str, np.ndarray] = {}
    labels: list[torch.Tensor] = []
    done = 0
    with kept_process_state(), torch.no_grad():
        torch.set_num_threads(config.threads or own_threads())
        for batch in _batches(plan, device):
            if is_stopped():
                return None
            seen = []
            for one, network, view in zip(sums, plan.networks, batch.views, strict=True):
                found = one.points.seen(_as_taken(network, view.to(device)))
                one.add(found)
                seen.append(found)
                if not done and config.shown_images:
                    name = NETWORKS[len(seen) - 1]
                    pictures |= attended(name, view[: config.shown_images], found, config.shown_images)
            flat = [[tokens.flatten(1) for tokens in one.tokens] for one in seen]
            for one, features in zip(sums, flat, strict=True):
                one.likeness.add(features, features)
            if between is not None:
                between.add(*flat)
            if batch.labels is not None:
                labels.append(batch.labels)
            done += len(batch)
            listener.on_progress(done, len(plan.rows))
    told: dict[str, Any] = {}
    if labels:
        classes = torch.cat(labels)
        known = classes >= 0
        if int(known.sum()) > 1:
            told["knn_top1"] = {
                name: knn_accuracy(torch.cat(one.features)[known], classes[known])
                for name, one in zip(NETWORKS, sums, strict=False)
            }
    return _tables(sums, between, done), pictures, told


def _batches(plan: AnalysisPlan, device: torch.device) -> Iterator[Batch]:
    """Mini-batches with a view for each network; a rest that is too small to compare is part of the one before it."""
    config = plan.config
    processes = config.loader_processes
    if processes is None:
        cores = usable_cores()
        processes = min(16, max(1, cores - 1)) if device.type == "cuda" else int(cores > 1)
    views: tuple[Transform, ...] = tuple(eval_transform(one.img_size, one.eval_crop) for one in plan.networks)
    size, n = config.batch_size, len(plan.rows)
    while n > size and 0 < n % size < LEAST_IMAGES:
        size += 1
    plan.data.hold()
    loader = eval_loader(
        plan.data,
        plan.rows,
        views,
        needs_labels=plan.data.num_classes > 1,
        batch_size=size,
        worker=(0, 1),
        processes=processes,
        pin_memory=device.type == "cuda",
    )
    with closing(loader):
        yield from loader


def _as_taken(network: AnalysedNetwork, images: torch.Tensor) -> torch.Tensor:
    """Images that are normalised as those of ImageNet, as a network takes them."""
    scale, shift = (
        torch.from_numpy(one).float().to(images.device)[:, None, None]
        for one in renormalisation(network.mean, network.std)
    )
    return images * scale + shift


def _tables(sums: Sequence[_Sums], between: Likeness | None, images: int) -> dict[str, pa.Table]:
    pairs = [(i, i, one.likeness) for i, one in enumerate(sums)] + ([] if between is None else [(0, 1, between)])
    cka = [
        {
            "network": NETWORKS[i],
            "point": sums[i].points.names[a],
            "other_network": NETWORKS[j],
            "other_point": sums[j].points.names[b],
            "cka": _number(value),
        }
        for i, j, likeness in pairs
        for a, row in enumerate(likeness.values().tolist())
        for b, value in enumerate(row)
    ]
    attention = [
        {
            "network": name,
            "block": block + 1,
            "head": head + 1,
            "distance": float(one.attention[0, block, head]) / images,
            "distance_14": 14 * float(one.attention[0, block, head]) / images,
            "entropy": float(one.attention[1, block, head]) / images,
        }
        for name, one in zip(NETWORKS, sums, strict=False)
        if one.attention is not None
        for block in range(one.attention.shape[1])
        for head in range(one.attention.shape[2])
        if not one.attention[0, block, head].isnan()
    ]
    layers = [
        {
            "network": name,
            "point": point,
            "tokens": spread.tokens,
            "channels": spread.channels,
            "effective_rank": _number(spread.effective_rank()),
            "token_similarity": _number(spread.token_similarity()),
        }
        for name, one in zip(NETWORKS, sums, strict=False)
        for point, spread in zip(one.points.names, one.spreads, strict=True)
    ]
    return {
        "cka": pa.Table.from_pylist(cka, CKA),
        "attention": pa.Table.from_pylist(attention, ATTENTION),
        "layers": pa.Table.from_pylist(layers, LAYERS),
    }


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _write(folder: Path, tables: Mapping[str, pa.Table], pictures: Mapping[str, np.ndarray]) -> None:
    try:
        for name, table in tables.items():
            with write_atomically(folder / f"{name}.parquet") as file:
                write_parquet(file, table)
        if pictures:
            make_folder(folder / PICTURES)
        for name, pixels in pictures.items():
            with write_atomically(folder / PICTURES / f"{name}.png") as file:
                file.write(png_of(pixels))
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error_words(error)}") from error
