"""Images of every kind, and what is refused of them: in one file, since all kinds must answer alike."""

import io
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import raynas
from raynas.data.batch import Batch, input_hash, load_batch
from raynas.data.built_in import RandomImages
from raynas.data.dataset import ImageDataset
from raynas.data.opening import datasets, described, open_dataset, open_labelled
from raynas.errors import DataError

CIFAR10 = Path(__file__).parents[2] / "../shared/data/cifar10/train.parquet"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def picture(seed: int, size: tuple[int, int] = (12, 9)) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def write_table(path: Path, columns: dict[str, pa.Array], names: str | None = None, **options: int) -> str:
    metadata = None if names is None else {"label_names": names}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path, **options)
    return f"parquet:{path}"


def images_and_labels(n: int, classes: int = 3) -> dict[str, pa.Array]:
    return {
        "image": pa.array([encoded(picture(i)) for i in range(n)], pa.binary()),
        "label": pa.array([i % classes for i in range(n)], pa.int8()),
    }


def write_folder(root: Path, files: dict[str, Image.Image]) -> str:
    for name, image in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    return f"folder:{root}"


def pixels(dataset: ImageDataset, indices: list[int]) -> list[np.ndarray]:
    return [np.asarray(image) for image in dataset.read(indices)[0]]


# -- each kind -------------------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    dataset = open_dataset("digits")
    images, labels = dataset.read([5, 0])
    assert (len(dataset), dataset.num_classes, dataset.source) == (1797, 10, "digits")
    assert labels.tolist() == data.target[[5, 0]].tolist()
    assert images[0].mode == "RGB" and images[0].size == (8, 8)
    np.testing.assert_allclose(np.asarray(images[0])[..., 1], data.images[5] / 16 * 255, atol=0.5)


@pytest.mark.parametrize("is_struct", [False, True])
def test_parquet_reads_rows_in_the_order_asked_for(tmp_path: Path, is_struct: bool) -> None:
    columns = images_and_labels(10)
    if is_struct:
        paths = pa.array([None] * 10, pa.string())
        columns["image"] = pa.StructArray.from_arrays([columns["image"], paths], ["bytes", "path"])
    dataset = open_dataset(write_table(tmp_path / "t.parquet", columns, '["a", "b", "c", "d"]', row_group_size=4))
    images, labels = dataset.read([9, 0, 4, 0])
    assert (len(dataset), dataset.num_classes, dataset.label_names) == (10, 4, ("a", "b", "c", "d"))
    assert labels.dtype == np.int64 and labels.tolist() == [0, 0, 1, 0]
    for image, row in zip(images, [9, 0, 4, 0], strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(picture(row)))


def test_parquet_without_label_names_counts_the_classes(tmp_path: Path) -> None:
    dataset = open_dataset(write_table(tmp_path / "t.parquet", images_and_labels(7, classes=6)))
    assert (dataset.num_classes, dataset.label_names) == (6, ())


def test_parquet_reads_only_the_row_groups_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(write_table(tmp_path / "t.parquet", images_and_labels(12), row_group_size=3))
    read: list[int] = []
    original = pq.ParquetFile.iter_batches

    def watched(self: pq.ParquetFile, **options: list[int]) -> object:
        read.extend(options["row_groups"])
        return original(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    dataset.read([4, 11, 5])
    assert read == [1, 3]


def test_folder_sorts_classes_and_files(tmp_path: Path) -> None:
    files = {"dog/b.png": picture(1), "dog/a.PNG": picture(2), "ant/z.bmp": picture(3), ".cache/x.png": picture(4)}
    dataset = open_dataset(write_folder(tmp_path, files))
    (tmp_path / "ant/notes.txt").write_text("no image")
    assert (len(dataset), dataset.num_classes, dataset.label_names) == (3, 2, ("ant", "dog"))
    assert dataset.read([0, 1, 2])[1].tolist() == [0, 1, 1]
    for found, seed in zip(pixels(dataset, [0, 1, 2]), [3, 2, 1], strict=True):
        np.testing.assert_array_equal(found, np.asarray(picture(seed)))


def test_folder_takes_jpeg_and_webp(tmp_path: Path) -> None:
    dataset = open_dataset(
        write_folder(tmp_path, {"a/1.jpg": picture(0), "a/2.jpeg": picture(1), "b/3.webp": picture(2)})
    )
    assert [image.size for image in dataset.read([0, 1, 2])[0]] == [(12, 9)] * 3


def test_torchvision_reads_a_set_that_is_on_disk(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"eurosat/2750/{c}/{i}.png": picture(i) for c in ("ants", "bees") for i in range(2)})
    dataset = open_dataset(f"torchvision:EuroSAT:{tmp_path}")
    assert (len(dataset), dataset.num_classes, dataset.label_names) == (4, 2, ("ants", "bees"))
    images, labels = dataset.read([3, 0])
    assert labels.tolist() == [1, 0] and images[0].mode == "RGB"
    np.testing.assert_array_equal(np.asarray(images[0]), np.asarray(picture(1)))


def test_random_images_are_normal_and_labels_uniform() -> None:
    batch = load_batch(open_dataset("random"), batch_size=256, img_size=16, seed=3)
    assert abs(batch.images.mean()) < 0.02 and abs(batch.images.std() - 1) < 0.02
    assert set(batch.labels.tolist()) == set(range(10))
    assert set(load_batch(RandomImages(3), batch_size=64, img_size=4, seed=0).labels.tolist()) == {0, 1, 2}


def test_random_images_can_be_read_by_row() -> None:
    first, again = (open_dataset("random").read([7, 2]) for _ in range(2))
    assert first[1].tolist() == again[1].tolist()
    np.testing.assert_array_equal(np.asarray(first[0][0]), np.asarray(again[0][0]))
    assert not np.array_equal(np.asarray(first[0][0]), np.asarray(first[0][1]))


@pytest.mark.skipif(not CIFAR10.is_file(), reason="../shared/data/cifar10/train.parquet is absent")
def test_cifar10_batch() -> None:
    dataset = open_dataset(f"parquet:{CIFAR10}")
    assert (len(dataset), dataset.num_classes) == (50_000, 10)
    assert dataset.label_names[:3] == ("airplane", "automobile", "bird")
    batch = load_batch(dataset, batch_size=64, img_size=32, seed=0)
    assert batch.images.shape == (64, 3, 32, 32) and len(set(batch.labels.tolist())) > 5
    assert np.abs(batch.images).max() < 2.7  # (1 - 0.406) / 0.225 = 2.64
    table = pq.read_table(CIFAR10).slice(123, 1).to_pylist()[0]
    images, labels = dataset.read([123])
    assert labels.tolist() == [table["label"]]
    np.testing.assert_array_equal(np.asarray(images[0]), np.asarray(Image.open(io.BytesIO(table["image"]))))


# -- preparation -----------------------------------------------------------------------------------------------------


def test_every_form_is_listed_with_a_description() -> None:
    files = ["folder:DIR", "files:DIR", "parquet:FILE", "archive:FILE", "webdataset:GLOB", "torchvision:NAME:ROOT"]
    assert list(datasets()) == ["digits", *files, "random"]
    assert all(datasets().values())


def test_built_in_sets_are_described_and_others_named() -> None:
    from sklearn.datasets import load_digits

    digits = f"digits ({len(load_digits().target):,} handwritten digits of 8 x 8 pixels, embedded in scikit-learn)"
    assert load_digits().images.shape[1:] == (8, 8)
    assert described("digits") == digits
    assert described("digits, held out") == f"{digits}, held out"
    assert described("random").startswith("random (normally distributed pixels")
    for spec in ("folder:digits", "parquet:/data/a, b.parquet", "digits-of-mine", "10 % of the images, held out"):
        assert described(spec) == spec


def test_a_batch_is_what_torchvision_makes_of_the_images(tmp_path: Path) -> None:
    import torch
    from torchvision.transforms import InterpolationMode, v2

    dataset = open_dataset(write_table(tmp_path / "t.parquet", images_and_labels(5)))
    batch = load_batch(dataset, batch_size=5, img_size=20, seed=1)
    transform = v2.Compose(
        [
            v2.Resize((20, 20), interpolation=InterpolationMode.BICUBIC),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN.tolist(), STD.tolist()),
        ]
    )
    rows = np.random.default_rng(1).choice(5, size=5, replace=False)
    assert batch.labels.tolist() == [row % 3 for row in rows]
    expected = np.stack([transform(picture(row)).numpy() for row in rows])
    np.testing.assert_allclose(batch.images, expected, atol=1e-5)


def test_an_image_of_the_right_size_is_only_normalised(tmp_path: Path) -> None:
    dataset = open_dataset(write_folder(tmp_path, {"a/1.png": picture(0, (8, 8))}))
    batch = load_batch(dataset, batch_size=1, img_size=8, seed=0)
    expected = (np.asarray(picture(0, (8, 8))) / 255 - MEAN) / STD
    np.testing.assert_allclose(batch.images[0].transpose(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("spec", ["digits", "random"])
def test_types_shapes_and_seeds(spec: str) -> None:
    dataset = open_dataset(spec)
    first, again, other = (load_batch(dataset, batch_size=16, img_size=24, seed=seed) for seed in (5, 5, 6))
    assert isinstance(first, Batch)
    assert first.images.shape == (16, 3, 24, 24) and first.images.dtype == np.float32
    assert first.labels.shape == (16,) and first.labels.dtype == np.int64
    assert first.images.flags.c_contiguous
    assert input_hash(*first) == input_hash(*again) != input_hash(*other)


def test_rows_are_drawn_without_replacement() -> None:
    dataset = open_dataset("digits")
    batch = load_batch(dataset, batch_size=len(dataset), img_size=8, seed=0)
    assert np.bincount(batch.labels).tolist() == np.bincount(dataset.read(range(1797))[1]).tolist()


def test_input_hash_depends_on_values_types_and_shapes() -> None:
    images, labels = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2), np.array([1])
    reference = input_hash(images, labels)
    assert len(reference) == 32 and int(reference, 16) >= 0
    assert input_hash(images.astype(">f4"), labels) == reference
    assert input_hash(np.asfortranarray(images), labels) == reference
    others = [
        input_hash(images + np.float32(1e-6), labels),
        input_hash(images.astype(np.float64), labels),
        input_hash(images.reshape(1, 3, 4, 1), labels),
        input_hash(images, labels + 1),
    ]
    assert len({reference, *others}) == 5


def test_all_colour_modes_become_rgb(tmp_path: Path) -> None:
    colour = picture(0)
    grey = np.asarray(colour.convert("L"))
    palette = colour.quantize(16)
    with_hole = palette.copy()
    with_hole.info["transparency"] = b"\x00" * 3
    images = {
        "a/1.png": colour.convert("L"),
        "a/2.png": palette,
        "a/3.png": colour.convert("RGBA"),
        "a/4.png": with_hole,
        "a/5.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "a/6.png": colour.convert("1"),
        "a/7.tif": colour.convert("CMYK"),
    }
    found = pixels(open_dataset(write_folder(tmp_path, images)), list(range(7)))
    assert all(image.shape == (9, 12, 3) for image in found)
    np.testing.assert_array_equal(found[0], np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(found[1], np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(found[2], np.asarray(colour))
    np.testing.assert_array_equal(found[4], found[0])


def test_importing_reads_no_heavy_package() -> None:
    heavy = "{'torch', 'torchvision', 'sklearn', 'pyarrow', 'PIL'}"
    code = f"import sys, raynas.data.opening; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mnist", "unknown data 'mnist'; known forms: digits, folder:DIR"),
        ("", "unknown data ''"),
        ("parquet", "expected the form parquet:FILE"),
        ("folder:", "expected the form folder:DIR"),
        ("digits:8", "expected the form digits"),
        ("torchvision:CIFAR10", "expected the form torchvision:NAME:ROOT"),
        ("parquet:no/such.parquet", "no file 'no/such.parquet'"),
        ("folder:no/such", "no folder 'no/such'"),
        ("torchvision:CIFAR10:no/such", "no folder 'no/such'"),
        ("torchvision:Cifar10:.", "no data set 'Cifar10'. Did you mean 'CIFAR10'. It has: .*Flowers102"),
    ],
)
def test_what_cannot_be_opened_is_refused(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(spec)


def test_a_torchvision_set_that_is_not_on_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"cannot be opened in '{tmp_path}'")):
        open_dataset(f"torchvision:CIFAR10:{tmp_path}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no Parquet at all", b"PAR1" + b"\x00" * 20 + b"PAR1"])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        open_dataset(f"parquet:{tmp_path / 't.parquet'}")


def test_damaged_images_in_a_sound_table_are_refused(tmp_path: Path) -> None:
    spec = write_table(tmp_path / "t.parquet", images_and_labels(4))
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    start = pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0).column(0).data_page_offset
    content[start : start + 200] = b"\xff" * 200
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"images from row 0 cannot be read|row 0 cannot be read"):
        open_dataset(spec).read([0])


LABELS = pa.array([0, 1])
IMAGES = pa.array([encoded(picture(0)), encoded(picture(1))])


@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        ({"image": IMAGES[:0], "label": LABELS[:0]}, None, "no rows"),
        ({"picture": IMAGES, "label": LABELS}, None, "no column 'image'; columns: picture, label"),
        ({"image": IMAGES, "class": LABELS}, None, "no column 'label'; columns: image, class"),
        ({"image": LABELS, "label": LABELS}, None, "'image' has the type int64"),
        ({"image": IMAGES, "label": pa.array([0.0, 1.0])}, None, "'label' has the type double; expected integers"),
        ({"image": IMAGES, "label": pa.array([0, None])}, None, "label of row 1 is null"),
        ({"image": IMAGES, "label": pa.array([0, -1])}, None, "label of row 1 is -1; expected an integer from 0"),
        (
            {"image": IMAGES, "label": pa.array([7, 1])},
            '["a", "b"]',
            "label of row 0 is 7; expected an integer from 0 to 1",
        ),
        ({"image": IMAGES, "label": pa.array([7, 1])}, None, "6 of 8 classes have no image"),
    ],
)
def test_a_table_with_wrong_columns_is_refused(
    tmp_path: Path, columns: dict[str, pa.Array], names: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_labelled(write_table(tmp_path / "t.parquet", columns, names))


def tiff(channels: int) -> bytes:
    """A TIFF file of one pixel of 3 or 5 channels of 8 bits, by the format's definition."""
    bits, pixel = 8 + 2 + 12 * 10 + 4, 8 + 2 + 12 * 10 + 4 + 10
    entries = [  # tag, type (3: 16 bits, 4: 32 bits), count, value or where it stands
        (256, 3, 1, 1), (257, 3, 1, 1), (258, 3, channels, bits), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, pixel),
        (277, 3, 1, channels), (278, 3, 1, 1), (279, 4, 1, channels), (284, 3, 1, 1),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + struct.pack("<5H", *[8] * 5) + bytes(5)


def test_a_tiff_file_of_three_channels_can_be_read() -> None:
    with Image.open(io.BytesIO(tiff(3))) as image:
        assert (image.mode, image.getpixel((0, 0))) == ("RGB", (0, 0, 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(5), "row 2 cannot be read"),
        (b"no image", "row 2 cannot be read"),
        (None, "row 2 is null"),
        (b"", "row 2 is empty"),
        (encoded(picture(0, (200, 200)))[:5000], "row 2 cannot be read"),
        (encoded(picture(0, (200, 200)), "JPEG")[:3000], "row 2 cannot be read"),
    ],
)
def test_an_unreadable_image_is_named_by_its_row(tmp_path: Path, content: bytes | None, message: str) -> None:
    columns = images_and_labels(4)
    columns["image"] = pa.array([*columns["image"].to_pylist()[:2], content, encoded(picture(3))])
    dataset = open_dataset(write_table(tmp_path / "t.parquet", columns, row_group_size=2))
    dataset.read([0, 1, 3])
    with pytest.raises(DataError, match=message):
        load_batch(dataset, batch_size=4, img_size=8, seed=0)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    spec = write_folder(tmp_path, {"a/1.png": picture(0)})
    (tmp_path / "a/2.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"row 1 .*2\.png.* cannot be read"):
        open_dataset(spec).read([0, 1])


def test_a_folder_without_classes_or_images_is_refused(tmp_path: Path) -> None:
    picture(0).save(tmp_path / "1.png")
    with pytest.raises(DataError, match="no class folders"):
        open_labelled(f"folder:{tmp_path}")
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"no images in the class folders cat; expected files ending with .*\.png"):
        open_dataset(f"folder:{tmp_path}")


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(DataError, match="a batch of 1798 from 1797 images"):
        load_batch(open_dataset("digits"), batch_size=1798, img_size=8, seed=0)


@pytest.mark.parametrize(("batch_size", "img_size"), [(0, 8), (4, 0)])
def test_an_empty_batch_is_refused(batch_size: int, img_size: int) -> None:
    with pytest.raises(DataError, match="at least one image"):
        load_batch(open_dataset("digits"), batch_size=batch_size, img_size=img_size, seed=0)


@pytest.mark.parametrize("row", [-1, 1797])
def test_a_row_outside_is_refused(row: int) -> None:
    with pytest.raises(DataError, match=f"no row {row}; rows are 0 to 1796"):
        open_dataset("digits").read([row])


def test_images_without_labels_are_read_as_such(tmp_path: Path) -> None:
    """Objectives of trainings may need no labels; scores and others refuse such images, saying where they looked."""
    write_table(tmp_path / "t.parquet", {"image": IMAGES}, None)
    (tmp_path / "flat").mkdir()
    for name in ("b.png", "a.png"):
        picture(ord(name[0]) % 2).save(tmp_path / "flat" / name)
    for spec in (f"parquet:{tmp_path / 't.parquet'}", f"folder:{tmp_path / 'flat'}"):
        dataset = open_dataset(spec)
        assert (len(dataset), dataset.num_classes, dataset.label_names) == (2, 0, ())
        assert dataset.labels([1, 0]).tolist() == [-1, -1]
        images, labels = dataset.read([1])
        assert (len(images), labels.tolist()) == (1, [-1])
        with pytest.raises(DataError, match=r"no (column 'label'; columns: image|class folders in )"):
            open_labelled(spec)
        with pytest.raises(DataError, match=r"no (column 'label'; columns: image|class folders in )"):
            raynas.search("as-vit", data=spec, img_size=32, budget=1, workers=0, out=tmp_path / "run")
        with pytest.raises(DataError, match=r"no (column 'label'; columns: image|class folders in )"):
            raynas.train("as-vit-small", data=spec, img_size=32, batch_size=2, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
