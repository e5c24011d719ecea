"""Trainings over machines of their own: what they read is the driver's, and is fetched from a store once for each."""

from __future__ import annotations

import io
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from machines import Machine, Machines
from object_stores import credentials
from PIL import Image
from safetensors.torch import save_file
from toy_trainings import SMALL

import raynas

pytestmark = [pytest.mark.netns, pytest.mark.long]

ENDPOINT = "http://10.87.0.1:5555"
FILL = """
import sys, urllib.request
from raynas.storage.files import write_atomically
from raynas.storage.paths import as_path
own = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"}
urllib.request.urlopen(urllib.request.Request(sys.argv[1] + "/models", method="PUT", headers=own)).close()
for name in ("images.parquet", "start.safetensors"):
    with write_atomically(as_path(f"s3://models/{name}")) as file, open(f"{sys.argv[2]}/{name}", "rb") as content:
        file.write(content.read())
"""


def table(path: Path, *, changed: int | None = None) -> None:
    """Images without compression, all of one size, of which one may have another pixel."""
    images = []
    for row in range(80):
        pixels = np.random.default_rng(row).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        if row == changed:
            pixels[3, 3] ^= 255
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "BMP")
        images.append(buffer.getvalue())
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 40}), path)


def train(machine: Machine, address: str, folder: Path, where: str) -> tuple[int, list[str]]:
    """Train on two workers with images and weights from a place; the status, and the lines on standard error."""
    done = machine.raynas(
        "train", "as-vit", "--architecture", SMALL, "--img-size", "32", "--data", f"parquet:{where}/images.parquet",
        "--weights", f"{where}/start.safetensors", "--epochs", "1", "--batch-size", "20", "--augment", "light",
        "--workers", "2", "--threads", "1", "--loader-processes", "0", "--address", address, "--out", str(folder),
    )  # fmt: skip
    return done.returncode, done.stderr.strip().splitlines()


def test_nodes_read_what_the_driver_reads_or_are_refused(tmp_path: Path) -> None:
    table(tmp_path / "images.parquet")
    table(tmp_path / "others.parquet", changed=41)
    for name, seed in (("start", 0), ("other", 1)):
        torch.manual_seed(seed)
        model = raynas.build("as-vit", SMALL, img_size=32, num_classes=2)
        save_file(model.state_dict(), tmp_path / f"{name}.safetensors")
    own = "/dev/shm"  # of each machine by itself, as its copies are
    with Machines(3, {**credentials(ENDPOINT), "XDG_CACHE_HOME": f"{own}/cache"}) as machines:
        head, first, second = machines
        with (tmp_path / "requests").open("w") as requests:
            head.popen(
                [sys.executable, "-m", "moto.server", "-H", "10.87.0.1", "-p", "5555"], stdout=requests, stderr=requests
            )
            address = head.start_ray("--num-cpus=0")
            for machine in (first, second):
                machine.start_ray("--num-cpus=1", head=head)
            for machine, images, start in (
                (head, "images", "start"),
                (first, "others", "start"),
                (second, "", "other"),
            ):
                for name, to in (
                    (f"{images}.parquet", "images.parquet"),
                    (f"{start}.safetensors", "start.safetensors"),
                ):
                    if not name.startswith("."):
                        assert machine.run(["cp", str(tmp_path / name), f"{own}/{to}"]).returncode == 0

            status, said = train(head, address, tmp_path / "refused", own)
            assert status == 1
            *_, last = said
            assert not any("Traceback" in line for line in said), said
            told = {ip: line for line in last.split("node ")[1:] for ip in re.findall(r"10\.87\.0\.\d", line)[:1]}
            assert told.keys() == {first.address, second.address}, last
            content = r"80 images \(content \w{8}\)"
            data = f"data 'parquet:{own}/images.parquet' is"
            assert re.search(
                f"is not as the driver: {data} {content} there and {content} here(; )?$", told[first.address]
            )
            lacks = rf"missing or unreadable \(there is no file '{own}/images.parquet'\) there and {content} here"
            weights = rf"weights {own}/start.safetensors is content \w{{16}} there and content \w{{16}} here"
            assert re.search(f"is not as the driver: {data} {lacks}, {weights}(; )?$", told[second.address])
            assert not (tmp_path / "refused" / "metrics.parquet").exists()

            assert (done := head.run([sys.executable, "-c", FILL, ENDPOINT, str(tmp_path)])).returncode == 0, (
                done.stderr
            )
            started = time.monotonic()
            status, said = train(head, address, tmp_path / "run", "s3://models")
            assert status == 0, said
            print(f"trained in {time.monotonic() - started:.0f} s", *said, sep="\n")
        assert any(line.startswith("fetching s3://models/images.parquet (1 file, 0.0 MB)") for line in said)
        for machine in (first, second):
            assert machine.run(["ls", f"{own}/cache/raynas"]).stdout
    assert re.search(r"node \w{8} \(\S+\): fetched s3://models/start.safetensors in ", "\n".join(said))
    asked = re.findall(r'(10\.87\.0\.\d) .*"GET /models/(\S+) HTTP', (tmp_path / "requests").read_text())
    expected = {(m, name): 1 for m in ("10.87.0.1", "10.87.0.2", "10.87.0.3") for name in
                ("images.parquet", "start.safetensors")}  # fmt: skip
    assert Counter(pair for pair in asked if "?" not in pair[1]) == expected
    assert "very-secret" not in (tmp_path / "run" / "run.yaml").read_text()
    assert raynas.load_training(tmp_path / "run").summary["status"] == "completed"
