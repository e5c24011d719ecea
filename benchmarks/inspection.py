"""How long does it take to look at a data set before a run starts?

    python benchmarks/inspection.py [--images 50000] [--photos 50000] [--quick]

Noise in PNG files of 32 pixels a side in one Parquet table, all of which are decoded, and pictures in JPEG files of 224
pixels in folders, of which as many are decoded as the budget of pixels allows. Files that were just written are read
from memory. Expected: under 30 s for 50,000 of either on two cores.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from timing import hardware

from raynas.data.inspection import inspect
from raynas.data.opening import open_dataset

EXPECTED_S = 30
_DIFFERENT = 200  # images that are made; files repeat them


def main() -> None:
    """Make the images, look at them, and print how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--photos", type=int, default=50_000)
    parser.add_argument("--quick", action="store_true", help="a small setting, to see that the script works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.photos = 600, 300

    print(hardware())
    with tempfile.TemporaryDirectory() as folder:
        report("table", table(Path(folder) / "t.parquet", arguments.images))
        report("folders", folders(Path(folder) / "photos", arguments.photos))


def report(name: str, spec: str) -> None:
    """Look at a data set, and print how long it took."""
    started = perf_counter()
    found = inspect(open_dataset(spec))
    seconds = perf_counter() - started
    verdict = "met" if seconds * 50_000 / found.images < EXPECTED_S else "NOT met"
    print(
        f"{name}: {found.images:,} images, {found.decoded:,} decoded, {found.images / seconds:,.0f} images per second: "
        f"{seconds * 50_000 / found.images:.1f} s for 50,000 (under {EXPECTED_S} s: {verdict})"
    )


def table(path: Path, number: int) -> str:
    """Noise of 32 pixels a side in ten classes."""
    rng = np.random.default_rng(0)
    made = [_encoded(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), "PNG") for _ in range(_DIFFERENT)]
    images = [made[row % _DIFFERENT] for row in range(number)]
    pq.write_table(pa.table({"image": images, "label": [row % 10 for row in range(number)]}), path)
    return f"parquet:{path}"


def folders(root: Path, number: int) -> str:
    """Smooth pictures of 224 pixels a side, as photographs compress, in ten classes."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(_DIFFERENT):
        coarse = Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8))
        made.append(_encoded(np.asarray(coarse.resize((224, 224), Image.Resampling.BICUBIC)), "JPEG"))
    for row in range(number):
        path = root / str(row % 10) / f"{row}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made[row % _DIFFERENT])
    return f"folder:{root}"


def _encoded(pixels: np.ndarray, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


if __name__ == "__main__":
    main()
