"""Truth tables: what is read from them, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from toy_bench import architectures, bench_space, write_table

from raynas.bench.truth import counts_of, load_truth, read_truth, strata, write_truth
from raynas.errors import ConfigError, DataError, RaynasError, SpaceError, UnknownNameError
from raynas.space.registered import spaces

CHOSEN = architectures(6)
COLUMNS = {
    "top1": [1.5, 2, 3, 4, 5, 6],
    "loss": [0.1, "", "nan", 0.4, 0.5, 0.6],
    "seed": [7] * 6,
    "note": ["a", "b", "c", "d", "e", "f"],
}


def test_fields_labels_and_counts_are_read(tmp_path: Path) -> None:
    truth = read_truth(write_table(tmp_path / "t.csv", CHOSEN, COLUMNS), bench_space())
    assert list(truth.architectures) == CHOSEN
    assert truth.rows.tolist() == [1, 2, 3, 4, 5, 6]
    assert list(truth.labels) == ["top1", "loss", "seed"]  # a note is no label
    assert truth.labels["top1"].tolist() == [1.5, 2, 3, 4, 5, 6]
    assert np.isnan(truth.labels["loss"]).tolist() == [False, True, True, False, False, False]
    assert truth.counts["depth"].tolist() == [a["depth"] for a in CHOSEN]
    assert truth.counts["width"].tolist() == [a["embed_dim"] for a in CHOSEN]


def test_rows_of_one_architecture_become_one_with_the_mean_of_their_labels(tmp_path: Path) -> None:
    rows = [CHOSEN[0], CHOSEN[1], CHOSEN[0], CHOSEN[2], CHOSEN[3], CHOSEN[0]]
    truth = read_truth(write_table(tmp_path / "t.csv", rows, COLUMNS), bench_space())
    assert list(truth.architectures) == CHOSEN[:4]
    assert truth.merged.tolist() == [3, 1, 1, 1]
    assert truth.rows.tolist() == [1, 2, 4, 5]
    assert truth.labels["top1"].tolist() == [pytest.approx((1.5 + 3 + 6) / 3), 2, 4, 5]
    assert truth.labels["loss"][0] == pytest.approx((0.1 + 0.6) / 2)  # one of its rows has none
    assert math.isnan(truth.labels["loss"][1])


def test_a_sample_follows_from_the_seed_and_keeps_the_order(tmp_path: Path) -> None:
    chosen = architectures(50)
    columns = {"top1": list(range(50))}
    truth = read_truth(write_table(tmp_path / "t.csv", chosen, columns), bench_space())
    drawn = truth.sampled(20, seed=1)
    assert len(drawn) == 20
    assert drawn.total == 50
    assert (np.diff(drawn.rows) > 0).all()
    assert [truth.architectures[row - 1] for row in drawn.rows] == list(drawn.architectures)
    assert (drawn.labels["top1"] == drawn.rows - 1).all()
    assert drawn.architectures == truth.sampled(20, seed=1).architectures != truth.sampled(20, seed=2).architectures
    assert len(truth.sampled(500, seed=1)) == 50


def test_what_is_kept_in_a_folder_comes_back(tmp_path: Path) -> None:
    truth = read_truth(write_table(tmp_path / "t.csv", CHOSEN, COLUMNS), bench_space()).sampled(5, seed=0)
    write_truth(tmp_path / "truth.parquet", truth)
    loaded = load_truth(tmp_path / "truth.parquet")
    assert loaded.architectures == truth.architectures
    assert (loaded.texts, loaded.total) == (truth.texts, 6)
    for mine, other in ((truth.labels, loaded.labels), (truth.counts, loaded.counts)):
        assert list(mine) == list(other)
        assert all(np.array_equal(mine[name], other[name], equal_nan=True) for name in mine)


def test_lists_of_one_value_and_marks_of_spreadsheets_are_read(tmp_path: Path) -> None:
    one_layer = [a.replace(depth=1, num_heads=(2,), a=i) for i, a in enumerate(CHOSEN)]
    path = write_table(tmp_path / "t.csv", one_layer, {"top1": range(6)})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_truth(path, bench_space()).architectures) == one_layer


def test_depth_of_stages_is_their_sum_and_width_is_what_growth_says() -> None:
    as_vit = spaces.get("as-vit")
    counts = counts_of(as_vit, [as_vit.read("as-vit-small"), as_vit.read("seed")])
    assert counts["depth"].tolist() == [3 + 1 + 4 + 2, 4]
    assert counts["width"].tolist() == [88, 32]


def test_strata_are_values_of_a_field() -> None:
    assert strata(CHOSEN, "embed_dim", bench_space()) == [str(a["embed_dim"]) for a in CHOSEN]
    heads = strata(CHOSEN, "num_heads", bench_space())
    assert heads[0] == " ".join(map(str, CHOSEN[0]["num_heads"]))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="toy-bench has no field 'size' to look within; its fields: embed_dim, depth"):
        strata(CHOSEN, "size", bench_space())


def without(text: str, field: str) -> str:
    return text.replace(field, f"{field}_2", 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda text: without(text, "num_heads"),
            DataError,
            r"t.csv has no column 'num_heads'.*the table has embed_dim",
        ),
        (lambda text: text.replace("none", "harmless", 3), SpaceError, "row 1 of .*t.csv: .*harm is 'harmless'"),
        (lambda text: "\n".join(text.split("\n")[:4]), DataError, "t.csv has 3 architectures; at least 4"),
        (lambda text: text.replace("\n", ",1\n", 2), DataError, "t.csv: row 2 has 10 cells; its header has 11"),
        (lambda text: text.split("\n")[0], DataError, "t.csv has 0 architectures"),
        (lambda text: text.replace("note", "top1"), DataError, "two columns are named 'top1'"),
        (lambda text: text.replace("1.5", "best"), DataError, "label 'top1' of .* is no number in row 1: 'best'"),
        (lambda text: text.replace("1.5", "inf"), DataError, "label 'top1' of .* is no number in row 1: 'inf'"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, change: object, error: type[RaynasError], message: str) -> None:
    path = write_table(tmp_path / "t.csv", CHOSEN, COLUMNS)
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(error, match=message):
        read_truth(path, bench_space(), ["top1"])


def test_a_missing_table_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.csv"):
        read_truth(tmp_path / "none.csv", bench_space())
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"t\.csv: it is no text in UTF-8"):
        read_truth(tmp_path / "t.csv", bench_space())


def test_labels_that_say_nothing_are_refused(tmp_path: Path) -> None:
    columns = {**COLUMNS, "rare": [1, "", "", 2, 3, ""], "empty": [""] * 6}
    truth = read_truth(write_table(tmp_path / "t.csv", CHOSEN, columns), bench_space())
    assert truth.label("loss", "the table").tolist()[0] == 0.1
    with pytest.raises(UnknownNameError, match=r"the table has no label 'top5'.*: top1, loss, seed, rare$"):
        truth.label("top5", "the table")
    with pytest.raises(DataError, match="label 'seed' of the table is constant: 7 for all of 6"):
        truth.label("seed", "the table")
    with pytest.raises(DataError, match="label 'rare' of the table has a value for 3 architectures"):
        truth.label("rare", "the table")
    with pytest.raises(DataError, match="label 'empty' of the table has a value for 0 architectures"):
        truth.label("empty", "the table")
