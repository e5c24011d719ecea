"""Does pre-training without labels help small transformers on small data, and is what was said of it true here?

    python benchmarks/pretraining_study.py --data parquet:train.parquet --test-data parquet:test.parquet --out FOLDER
    python benchmarks/pretraining_study.py ... --gpu      # ViT-Tiny, all images, on a GPU
    python benchmarks/pretraining_study.py --quick        # on the digits, to see that the script works

One network learns CIFAR-10 from scratch, or is pre-trained by MAE, MoCo v3 or D-MAE on all images without labels, and
fine-tuned on 1 %, 10 % and 100 % of the labels, for several seeds. All arms cost the same: a pre-training takes as
long as so many supervised epochs on all images, by the costs of their steps (`pretraining_step.py`), and from scratch
the network is trained so much longer. The teacher of D-MAE, a larger masked autoencoder, is not counted. Then three
claims of arXiv 2205.14443, each by a difference between fractions or networks, its mean over seeds and a 95 % interval
of Student's t: what is above 0 is confirmed, below refuted, around it undecided.

1. Lower layers suffice where data are plentiful: what the upper half of MAE's blocks adds is larger at 10 % of the
   labels than at 100 %.
2. MAE makes attention local: heads of the network pre-trained by it attend less far than by MoCo v3.
3. Attention distillation helps most where data are scarce: what D-MAE adds to MAE is larger at 1 % of the labels than
   at 100 %.

Accuracies are those of the last weights, so that more epochs are no more chances. Trainings in --out are kept: a study
that is killed goes on. Results: `results/pretraining_study.parquet`, a row for
each network and fraction. Expected: nothing; a small setting is no proof about another one.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats
from timing import hardware

import raynas
from raynas.analysis.run import AnalysisListener
from raynas.evaluation.run import EvaluationListener
from raynas.training.folder import Training
from raynas.training.run import TrainingListener

RESULT = Path(__file__).parent / "results" / "pretraining_study.parquet"
STEP_COSTS = {"mae": 0.36, "d-mae": 0.44, "moco-v3": 2.67}
"""What a step costs beside a supervised one; of MoCo v3, two views forward and backward, and two more forward."""
SCALES: dict[str, dict[str, Any]] = {
    "quick": {
        "network": "p8-w48-d2-h4-m2", "larger": "p8-w96-d3-h6-m2", "images": 160, "budget": 1, "fractions": (0.3, 1.0),
        "epochs": (1, 1), "seeds": 2, "batch_size": 16, "img_size": 16,
        "watched": None, "tested": None,
    },
    "cpu": {
        "network": "p4-w96-d6-h6-m2", "larger": "p4-w192-d8-h6-m2", "images": 2_000, "budget": 8,
        "fractions": (0.01, 0.1, 1.0), "epochs": (80, 40, 8), "seeds": 3, "batch_size": 64, "img_size": 32,
        "watched": 100, "tested": 4_000,
    },
    "gpu": {
        "network": "p4-w192-d12-h12-m4", "larger": "p4-w384-d12-h12-m4", "images": None, "budget": 40,
        "fractions": (0.01, 0.1, 1.0), "epochs": (400, 200, 40), "seeds": 5, "batch_size": 512, "img_size": 32,
        "watched": 1_000, "tested": None,
    },
}  # fmt: skip
"""Networks, images, supervised epochs that a pre-training may cost, epochs of fine-tuning for each fraction, and on how
many images each epoch and each network is evaluated; None: all."""


class Study:
    """All trainings of a study, in one folder.

    Args:
        scale: Which of `SCALES`.
        data, test_data: Images to train on and to evaluate on, as `--data` takes them; None: a part of the others.
        out: The folder.
    """

    def __init__(self, scale: str, data: str, test_data: str | None, out: Path) -> None:
        self.scale = SCALES[scale]
        self.out = out
        self.common: dict[str, Any] = {
            "data": data,
            "val_data": test_data,
            "max_images": self.scale["images"],
            "max_val_images": self.scale["watched"],
            "img_size": self.scale["img_size"],
            "loggers": [],
            "resume": True,
            "listener": TrainingListener(),
        }

    def pretrained(self, method: str, seed: int) -> Path:
        """The folder of a pre-training, carried out if it was not."""
        folder = self.out / f"{method}-{seed}"
        epochs = max(1, round(self.scale["budget"] / STEP_COSTS[method]))
        more = {"teacher": str(self.teacher())} if method == "d-mae" else {}
        self._train(raynas.pretrain, folder, method, seed, epochs, network=self.scale["network"], **more)
        return folder

    def teacher(self) -> Path:
        """The folder of the larger masked autoencoder, the same for all seeds."""
        folder = self.out / "teacher"
        epochs = max(1, round(2 * self.scale["budget"] / STEP_COSTS["mae"]))
        self._train(raynas.pretrain, folder, "mae", 0, epochs, network=self.scale["larger"])
        return folder

    def finetuned(self, start: Path, seed: int, place: int, kept: int | None = None) -> Training:
        """A pre-trained network, trained on a fraction of the labels."""
        fraction = self.scale["fractions"][place]
        name = f"{start.name}-{fraction:g}" + ("" if kept is None else f"-kept-{kept}")
        more = {} if kept is None else {"kept_blocks": kept}
        return raynas.finetune(
            start, out=self.out / name, seed=seed, **{**self._supervised(place, self.scale["epochs"][place]), **more}
        )

    def from_scratch(self, seed: int, place: int) -> Training:
        """The network, trained on a fraction of the labels for as long as pre-training and fine-tuning take."""
        fraction = self.scale["fractions"][place]
        epochs = self.scale["epochs"][place] + round(self.scale["budget"] / fraction)
        settings = self._supervised(place, epochs)
        settings |= {"pool": "mean", "base_lr": 1e-3, "warmup_prefix": True, "drop_path_rate": 0.0, "mixup": 0.2}
        settings |= {"cutmix": 0.0, "label_smoothing": 0.0, "erasing": 0.0, "color_jitter": 0.3}
        settings |= {"auto_augment": "rand-m10-mstd0.5-inc1"}
        network = self.scale["network"]
        return raynas.train(
            "vit", architecture=network, out=self.out / f"scratch-{seed}-{fraction:g}", seed=seed, **settings
        )

    def top1(self, trained: Training) -> float:
        """The accuracy of the last weights."""
        file = self.out / "evaluations" / f"{trained.folder.name}.json"
        if file.exists():
            return float(json.loads(file.read_text())["top1"])
        file.parent.mkdir(exist_ok=True)
        settings: dict[str, Any] = {"data": self.common["val_data"], "max_images": self.scale["tested"]}
        found = raynas.evaluate(trained.folder, out=file, listener=EvaluationListener(), **settings)
        return found.top1

    def distance(self, start: Path) -> float:
        """How far heads of a network attend on average, in sides of a patch."""
        out = self.out / f"analysis-{start.name}"
        data = self.common["val_data"] or self.common["data"]
        found = raynas.analyze(
            start, data=data, max_images=256, batch_size=64, out=out, resume=True, listener=AnalysisListener()
        )
        return float(np.mean(found.attention["distance"].to_numpy()))

    def _supervised(self, place: int, epochs: int) -> dict[str, Any]:
        fraction = self.scale["fractions"][place]
        images = (self.scale["images"] or 50_000) * fraction
        batch_size = max(
            4, min(self.scale["batch_size"], int(images * (0.9 if self.common["val_data"] is None else 1)))
        )
        return {
            **self.common,
            "label_fraction": fraction,
            "epochs": epochs,
            "batch_size": batch_size - batch_size % 2,
            "checkpoint_every_s": 60.0,
        }

    def _train(
        self, train: Any, folder: Path, method: str, seed: int, epochs: int, *, network: str, **more: Any
    ) -> None:
        batch = {"batch_size": self.scale["batch_size"], "projector_width": 512} if method == "moco-v3" else {}
        settings = {"batch_size": self.scale["batch_size"], **batch, **more}
        train(
            "vit", architecture=network, method=method, epochs=epochs, seed=seed, out=folder, **self.common, **settings
        )


def main() -> None:
    """Carry the study out, and say what follows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--test-data")
    parser.add_argument("--out", type=Path, default=Path("study"))
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    scale = "quick" if given.quick else "gpu" if given.gpu else "cpu"
    study = Study(scale, given.data, given.test_data, given.out)
    chosen = study.scale
    print(f"{scale}: {chosen['network']}, {chosen['seeds']} seeds; {hardware()}", flush=True)
    rows = carried_out(study)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, given.results or (given.out / "results.parquet" if given.quick else RESULT))
    say_accuracies(rows, chosen["fractions"])
    say_claims(rows, chosen)


def carried_out(study: Study) -> list[dict[str, Any]]:
    """A row for each network and fraction: arm, seed, fraction, kept blocks and accuracy; and for each distance."""
    rows: list[dict[str, Any]] = []
    scale = study.scale
    depth = int(scale["network"].split("-d")[1].split("-")[0])

    def add(arm: str, seed: int, fraction: float | None, kept: int | None, **values: float) -> None:
        rows.append(
            {"arm": arm, "seed": seed, "fraction": fraction, "kept": kept, "top1": None, "distance": None} | values
        )
        said = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        print(
            f"  {arm}, seed {seed}, {'' if fraction is None else f'{fraction:.0%} of the labels, '}{said}", flush=True
        )

    for seed in range(scale["seeds"]):
        for place, fraction in enumerate(scale["fractions"]):
            add("scratch", seed, fraction, None, top1=study.top1(study.from_scratch(seed, place)))
        for arm in ("mae", "moco-v3", "d-mae"):
            start = study.pretrained(arm, seed)
            add(arm, seed, None, None, distance=study.distance(start))
            for place, fraction in enumerate(scale["fractions"]):
                add(arm, seed, fraction, None, top1=study.top1(study.finetuned(start, seed, place)))
        for place, fraction in list(enumerate(scale["fractions"]))[-2:]:
            found = study.finetuned(study.pretrained("mae", seed), seed, place, depth // 2)
            add("mae", seed, fraction, depth // 2, top1=study.top1(found))
    return rows


def say_accuracies(rows: Sequence[dict[str, Any]], fractions: Sequence[float]) -> None:
    """Mean accuracies with intervals, by arm and fraction."""
    for arm in ("scratch", "mae", "moco-v3", "d-mae"):
        for fraction in fractions:
            values = [
                row["top1"] for row in rows if (row["arm"], row["fraction"], row["kept"]) == (arm, fraction, None)
            ]
            mean, half = interval(values)
            print(f"{arm} at {fraction:.0%} of the labels: {100 * mean:.1f} % +- {100 * half:.1f}")


def say_claims(rows: Sequence[dict[str, Any]], scale: dict[str, Any]) -> None:
    """Each claim with its difference and what follows."""
    seeds = range(scale["seeds"])
    few, middle, all_labels = scale["fractions"][0], scale["fractions"][-2], scale["fractions"][-1]

    def value(name: str, arm: str, seed: int, fraction: float | None, kept: int | None = None) -> float:
        wanted = (arm, seed, fraction, kept)
        found = (row[name] for row in rows if (row["arm"], row["seed"], row["fraction"], row["kept"]) == wanted)
        return float(next(one for one in found if one is not None))

    half = next(row["kept"] for row in rows if row["kept"] is not None)
    upper = {
        fraction: [value("top1", "mae", s, fraction) - value("top1", "mae", s, fraction, half) for s in seeds]
        for fraction in (middle, all_labels)
    }
    helped = {
        fraction: [value("top1", "d-mae", s, fraction) - value("top1", "mae", s, fraction) for s in seeds]
        for fraction in (few, all_labels)
    }
    claims = {
        "1 lower layers suffice where data are plentiful": np.subtract(upper[middle], upper[all_labels]),
        "2 MAE makes attention local": [
            value("distance", "moco-v3", s, None) - value("distance", "mae", s, None) for s in seeds
        ],
        "3 attention distillation helps most where data are scarce": np.subtract(helped[few], helped[all_labels]),
    }
    for claim, differences in claims.items():
        mean, around = interval(differences)
        said = "confirmed" if mean - around > 0 else "refuted" if mean + around < 0 else "undecided"
        print(f"claim {claim}: {mean:+.4f} +- {around:.4f}: {said}")


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The mean of some values, and half of its 95 % interval by Student's t; infinite of a single value."""
    known = np.asarray(values, dtype=float)
    if len(known) < 2:
        return float(known.mean()), math.inf
    return float(known.mean()), float(stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known)))


if __name__ == "__main__":
    main()
