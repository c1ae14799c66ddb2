"""One row to an example or to the reason why not; splits that never change."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest import BadRow, ManifestError
from pipeline.rows import Quarantined, Row, iter_rows, read_row, to_example
from pipeline.scan import scan
from pipeline.split_plan import SplitPlan
from pipeline.splits import share
from tests.pipeline.samples import (
    BROKEN,
    CHINESE,
    REASONS,
    config,
    png,
    wav,
    write_broken,
    write_csv,
    write_jsonl,
)
from trainer.config import Config, SplitConfig, from_mapping


def read(config: Config, row: Mapping[str, Any], **options: Any) -> Row | Quarantined:
    cells = {"id": "x", "text": "t", "label": "a", **row}
    return read_row(7, cells, config, "", **options)


def reason(config: Config, **row: Any) -> str:
    found = read(config, row)
    assert isinstance(found, Quarantined)
    return found.reason


def head(**changes: Any) -> dict[str, Any]:
    one = {"name": "label", "kind": "classification", "classes": ["7", "a", "true"]}
    return {"heads": [one | changes]}


def test_every_kind_of_value_is_stored_under_its_key(tmp_path: Path) -> None:
    import tensorflow as tf

    manifest = write_broken(tmp_path, good=1)
    row = next(iter_rows(from_mapping(CHINESE), manifest))
    assert row == Row(
        number=1,
        id="good-0",
        split="测试",
        values={
            "image": png(),
            "audio": wav(),
            "text": "咳嗽三天",
            "age": 40.0,
            "sex": "女",
        },
        labels={"label": ("肺炎",)},
        slices={"性别": "女"},
    )
    stored = tf.train.Example.FromString(to_example(row)).features.feature
    assert {k: v.bytes_list.value[:] or v.float_list.value[:] for k, v in stored.items()} == {
        "__id__": [b"good-0"],
        "image": [png()],
        "audio": [wav()],
        "text": ["咳嗽三天".encode()],
        "age": [40.0],
        "sex": ["女".encode()],
        "label": ["肺炎".encode()],
        "slice:性别": ["女".encode()],
    }  # fmt: skip


def test_every_bad_row_is_set_aside_for_its_reason(tmp_path: Path) -> None:
    found = list(iter_rows(from_mapping(CHINESE), write_broken(tmp_path)))
    bad = [row for row in found if isinstance(row, Quarantined)]
    assert Counter(row.reason for row in bad) == REASONS
    assert len(found) - len(bad) == 40
    by_id = {row.id: row.reason for row in bad if row.reason != "duplicate_id"}
    expected = {name: reason for name, (_, reason) in BROKEN.items()}
    assert by_id == expected | {"": by_id[""]}
    (unknown,) = (row for row in bad if row.reason == "unknown_label")
    assert (unknown.row, unknown.id, unknown.column) == (50, "other-label", "标签")
    assert "Did you mean '肺炎'?" in unknown.message
    assert "Received: '肺炎症'" in unknown.message


def test_an_absent_value_is_no_error_and_no_key() -> None:
    both = config(
        inputs=[
            {"name": "text", "modality": "text"},
            {"name": "t", "modality": "tabular", "numeric": ["n"]},
        ]
    )
    row = read(both, {"text": " \t", "n": 0})
    assert isinstance(row, Row)
    assert row.values == {"n": 0.0}
    for empty in (None, "", " ", float("nan"), "NaN"):
        row = read(both, {"n": empty})
        assert isinstance(row, Row)
        assert row.values == {"text": "t"}
    assert reason(both, text=None) == "no_input"


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1e3", 1000.0), (" 2 ", 2.0), (3, 3.0), (True, 1.0), ("1,5", "not_a_number"),
     ("1_000", "not_a_number"), ("-inf", "infinite_number"),
     (1e39, "infinite_number"), ([1], "not_a_number")],
)  # fmt: skip
def test_numbers(cell: Any, value: float | str) -> None:
    table = {"name": "t", "modality": "tabular", "numeric": ["n"]}
    found = read(config(inputs=[table]), {"n": cell})
    if isinstance(found, Row):
        assert found.values == {"n": value}
    else:
        assert found.reason == value


@pytest.mark.parametrize("cell", ["7", 7, 7.0, " 7 ", "7.0"])
def test_a_whole_number_is_the_class_of_its_digits(cell: Any) -> None:
    row = read(config(**head()), {"label": cell})
    assert isinstance(row, Row)
    assert row.labels == {"label": ("7",)}


def test_labels() -> None:
    several = config(**head(multi_label=True))
    for cell in ("a | 7|a", ["a", 7.0]):
        row = read(several, {"label": cell})
        assert isinstance(row, Row)
        assert row.labels == {"label": ("a", "7")}
    assert reason(several, label="a|b") == "unknown_label"
    assert reason(several, label="") == "empty_label"
    assert reason(config(**head()), label=["a", "7"]) == "several_labels"
    row = read(config(**head(allow_missing=True)), {"label": None})
    assert isinstance(row, Row)
    assert row.labels == {}


def test_a_regression_label_is_a_finite_number() -> None:
    price = config(heads=[{"name": "label", "kind": "regression"}])
    row = read(price, {"label": "-1.5"})
    assert isinstance(row, Row)
    assert row.labels == {"label": -1.5}
    assert reason(price, label="cheap") == "not_a_number"
    assert reason(price, label="nan") == "empty_label"


def test_rows_that_are_no_text() -> None:
    assert reason(config(), text="\ud800") == "not_utf8"
    assert reason(config(), id="") == "empty_id"
    bad = read_row(3, BadRow("malformed_json", "no object"), config(), "")
    assert bad == Quarantined(3, "", "malformed_json", "", "no object")


def test_rows_to_predict_need_no_label(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", [{"id": "x", "text": "t"}])
    with pytest.raises(ManifestError, match="no column 'label'"):
        scan(config(), path)
    (row,) = iter_rows(config(), path, labels=False)
    assert row == Row(1, "x", "", {"text": "t"})


def test_the_hash_is_fixed_for_ever() -> None:
    # First 8 bytes of sha256 of purpose, NUL and key, over 2**64.
    assert share("eval", "row:1") == 0.485392912826652
    assert share("selection", "row:1") == 0.6433521904920773


def test_hashed_splits_have_their_shares_and_keep_groups_together() -> None:
    split = SplitConfig(eval_fraction=0.2, selection_fraction=0.1, group_by="who")
    alone = Counter(SplitPlan(split).of(str(i), {}) for i in range(10000))
    assert alone["eval"] == pytest.approx(2000, abs=120)
    assert alone["selection"] == pytest.approx(800, abs=90)
    for who in range(50):
        rows = range(who * 1000, who * 1000 + 20)
        assert len({SplitPlan(split).of(str(i), {"who": who}) for i in rows}) == 1
        # Parquet's 7.0 and CSV's "7" are one group.
        assert SplitPlan(split).of("a", {"who": float(who)}) == SplitPlan(split).of(
            "b", {"who": str(who)}
        )


def test_selection_is_cut_off_train_only_where_the_manifest_names_none() -> None:
    split = SplitConfig(column="split", selection_fraction=0.1)
    rows = [(str(i), {"split": "train"}) for i in range(5000)]
    cut = Counter(SplitPlan(split, ("train", "eval")).of(i, row) for i, row in rows)
    assert cut["selection"] == pytest.approx(500, abs=70)
    assert cut["train"] + cut["selection"] == 5000
    named = Counter(
        SplitPlan(split, ("train", "selection")).of(i, row) for i, row in rows
    )
    assert named == {"train": 5000}
    assert SplitPlan(split).of("1", {"split": "test"}) == "test"


def test_a_scan_counts_splits_and_duplicates(tmp_path: Path) -> None:
    chinese = from_mapping(CHINESE)
    found = scan(chinese, write_broken(tmp_path))
    assert found.rows == 40 + 15 + 3 + 1
    assert found.duplicate_count == 2
    assert found.manifest_splits == ("测试", "训练")
    # 40 good rows, every fourth to the test split; of 15 broken ones 14 name
    # the train split, as does the one without an id. Selection is cut off the train split.
    assert found.splits["测试"] == 10
    assert found.splits["训练"] + found.splits["selection"] == 30 + 14 + 1
    assert [n for n in range(60) if found.is_duplicate(n)] == [56, 57]
    assert found.duplicates_between(57, 60) == (57,)


def test_one_split_is_read_alone(tmp_path: Path) -> None:
    path = write_broken(tmp_path)
    chinese = from_mapping(CHINESE)
    rows = [r for r in iter_rows(chinese, path, split="测试") if isinstance(r, Row)]
    assert [r.id for r in rows] == [f"good-{i}" for i in range(0, 40, 4)]


def test_the_fingerprint_follows_the_rows_and_the_files(tmp_path: Path) -> None:
    import os

    path = write_broken(tmp_path)
    chinese = from_mapping(CHINESE)
    first = scan(chinese, path).fingerprint
    assert scan(chinese, path).fingerprint == first
    for name in ("good.wav", "media.zip"):
        os.utime(tmp_path / name, (1, 1))
        second = scan(chinese, path).fingerprint
        assert second != first
        first = second
    with open(path, "a") as file:
        file.write("\n")
    assert scan(chinese, path).fingerprint != first


def test_a_group_in_two_splits_is_an_error(tmp_path: Path) -> None:
    rows = [
        {"id": i, "text": "t", "label": "a", "split": s, "patient": p}
        for i, (s, p) in enumerate([("train", "p1"), ("eval", "p1"), ("eval", "")])
    ]
    path = write_csv(tmp_path / "m.csv", rows)
    split = {"column": "split", "group_by": "patient"}
    with pytest.raises(ManifestError, match="'p1' is in train and eval"):
        scan(config(data={"id": "id", "split": split}), path)


def test_a_column_of_many_values_is_no_split(tmp_path: Path) -> None:
    rows = [{"id": i, "text": "t", "label": "a"} for i in range(30)]
    path = write_csv(tmp_path / "m.csv", rows)
    with pytest.raises(ManifestError, match="more than 20 different values"):
        scan(config(data={"split": {"column": "id"}}), path)


def test_starting_places_stay_few(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipeline.scan._MAX_CHUNKS", 8)
    monkeypatch.setattr("pipeline.scan._FIRST_CHUNK_ROWS", 4)
    rows = [{"id": i, "text": "t", "label": "a"} for i in range(1000)]
    found = scan(config(), write_csv(tmp_path / "m.csv", rows))
    assert [start.row for start in found.chunks] == [
        1,
        129,
        257,
        385,
        513,
        641,
        769,
        897,
    ]


def test_no_class_applies_is_not_a_missing_label() -> None:
    """`[]` says that none applies; an empty cell says nothing."""
    import tensorflow as tf

    several = config(**head(multi_label=True))
    found = read(several, {"label": []})
    assert isinstance(found, Row)
    assert found.labels == {"label": ()}
    stored = tf.train.Example.FromString(to_example(found)).features.feature
    assert list(stored["label"].bytes_list.value) == [b"__none__"]
    assert reason(several, label="") == "empty_label"


def test_a_row_without_an_id_is_named_by_its_number_alone() -> None:
    assert str(Quarantined(4, "", "malformed_csv", "", "cut off.")) == "row 4: cut off."
    whole = Quarantined(4, "x", "empty_file", "photo", "no bytes.")
    assert str(whole) == "row 4 (id 'x', column 'photo'): no bytes."
