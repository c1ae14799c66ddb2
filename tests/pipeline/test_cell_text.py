"""One value reads alike in CSV, JSON lines and Parquet, whatever type it has there."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import cells
from pipeline.cell_text import text_of, written
from pipeline.cells import CellError
from pipeline.rows import Quarantined, Row, iter_rows, read_row
from tests.pipeline.samples import config, write_csv, write_jsonl


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""), (float("nan"), ""), ("nan", ""), ("NaN", ""), ("<NA>", ""),
        ("NaT", ""), (" ", ""), ("None", "None"), ("nano", "nano"),
        (7, "7"), (7.0, "7"), ("7.0", "7"), (" 7.00 ", "7"), ("-3.0", "-3"),
        (-0.0, "0"), ("-0.0", "0"), (0.5, "0.5"), ("0.5", "0.5"),
        # A version, a postal code and a gene are no numbers.
        ("1.10", "1.10"), ("007", "007"), ("12e3", "12e3"), ("1.0.0", "1.0.0"),
        (1e16, "1e+16"), (2**60, str(2**60)),
        (Decimal("1.00"), "1"), (Decimal("1E+3"), "1000"), (Decimal("NaN"), ""),
        (Decimal("sNaN"), ""),
        (True, "true"), ("True", "true"), ("TRUE", "true"), ("true", "true"),
        (False, "false"), ("False", "false"), ("TrUe", "TrUe"),
        (b"caf\xc3\xa9", "café"), (["a", 1], '["a", 1]'), ({"a": None}, '{"a": null}'),
        (datetime.date(2024, 2, 3), "2024-02-03"),
        (datetime.datetime(2024, 2, 3, 4, 5), "2024-02-03 04:05:00"),
    ],
)  # fmt: skip
def test_a_name_has_one_spelling(cell: Any, text: str) -> None:
    assert text_of(cell) == text


def test_a_number_of_more_digits_than_python_prints_ends_nothing() -> None:
    assert text_of(10**5000) == "a int too long to print"


def test_what_is_written_stays_so_where_nothing_is_compared() -> None:
    assert written(" 7.0 ") == "7.0"
    assert written("nan") == ""
    assert cells.text(" True ") == " True "
    assert cells.text("nan") is None
    assert cells.path("1.0") == "1.0"


@given(
    st.lists(
        st.one_of(
            st.text(st.characters(max_codepoint=127), max_size=6),
            st.text("+-0123456789.e", max_size=6),
            st.sampled_from(["True", "FALSE", "nan", "NaN", "<NA>", "NaT", "-0.0"]),
        ),
        min_size=1,
    )
)
@settings(max_examples=100, deadline=None)
def test_a_served_graph_spells_categories_as_ingestion_does(texts: list[str]) -> None:
    import tensorflow as tf

    from trainer.modalities.tabular import one_spelling

    # tf.strings.strip knows the spaces of C alone.
    texts = [text for text in texts if not set(text) & set("\x1c\x1d\x1e\x1f")]
    spelled = one_spelling(tf.constant(texts, tf.string)).numpy()
    assert [s.decode() for s in spelled] == [text_of(text) for text in texts]


def test_categories_written_two_ways_are_one_in_the_vocabulary(tmp_path: Path) -> None:
    from tests.trainer.conftest import run_transform

    table = {"name": "t", "modality": "tabular", "categorical": ["kind"]}
    cells = ["1.0", "1", "True", "true", "nan", "TRUE", "true", ""]
    output = run_transform(
        config(inputs=[table]),
        [{"kind": cell.encode(), "label": (b"a",)} for cell in cells],
        tmp_path,
    )
    assert output.vocabulary_by_name("kind") == [b"true", b"1"]


TABLE = {
    "id": ["1", "2", "3", "4"],
    "text": ["a b", "c d", "e f", "g h"],
    "whole": ["1", "2", "", "1"],
    "flag": ["True", "False", "True", ""],
    "label": ["0.0", "1.0", "1.0", "0.0"],
    "n": ["0.1", "True", "3", "nan"],
}
TYPED: dict[str, list[Any]] = {
    "id": [1, 2, 3, 4],
    "text": TABLE["text"],
    "whole": [1.0, 2.0, None, 1.0],
    "flag": [True, False, True, None],
    "label": [0.0, 1.0, 1.0, 0.0],
    "n": [0.1, True, 3, float("nan")],
}


def _read(path: str, classes: list[str]) -> list[Any]:
    table = {
        "name": "table", "modality": "tabular",
        "numeric": ["n"], "categorical": ["whole", "flag"],
    }  # fmt: skip
    both = config(
        inputs=[{"name": "text", "modality": "text"}, table],
        heads=[{"name": "label", "kind": "classification", "classes": classes}],
        data={"id": "id", "split": {"group_by": "flag"}},
        evaluation={"slices": [["whole"]]},
    )
    return list(iter_rows(both, path))


@pytest.mark.parametrize("classes", [["0", "1"], ["0.0", "1.0"]])
def test_one_table_is_the_same_in_every_format(
    tmp_path: Path, classes: list[str]
) -> None:
    names = list(TABLE)
    csv = write_csv(
        tmp_path / "m.csv",
        [
            dict(zip(names, row, strict=True))
            for row in zip(*TABLE.values(), strict=True)
        ],
    )
    typed = [
        dict(zip(names, row, strict=True)) for row in zip(*TYPED.values(), strict=True)
    ]
    jsonl = write_jsonl(tmp_path / "m.jsonl", typed)
    parquet = str(tmp_path / "m.parquet")
    columns: dict[str, Any] = dict(TYPED)
    columns["n"] = pyarrow.array([0.1, 1.0, 3.0, float("nan")], pyarrow.float32())
    columns["label"] = pyarrow.array(TYPED["label"], pyarrow.float64())
    pyarrow.parquet.write_table(pyarrow.table(columns), parquet)
    first = _read(csv, classes)
    assert [row.id for row in first] == ["1", "2", "3", "4"]
    assert first[0].values == {
        "text": "a b", "n": 0.1, "whole": "1", "flag": "true",
    }  # fmt: skip
    assert first[1].values["n"] == 1.0
    assert [row.labels["label"] for row in first] == [
        (classes[i],) for i in (0, 1, 1, 0)
    ]
    assert first[3].group == ""
    assert _read(jsonl, classes) == first
    assert _read(parquet, classes) == first


def test_booleans_are_met_by_classes_however_they_are_written() -> None:
    for classes in (["False", "True"], ["false", "true"], ["FALSE", "TRUE"]):
        head = {"name": "label", "kind": "classification", "classes": classes}
        one = config(heads=[head])
        for cell, place in ((True, 1), ("True", 1), ("true", 1), (False, 0)):
            row = read_row(1, {"id": 1, "text": "t", "label": cell}, one, "")
            assert isinstance(row, Row)
            assert row.labels == {"label": (classes[place],)}


def test_nan_is_a_class_only_where_the_config_says_so() -> None:
    def label(cell: Any, classes: list[str]) -> Any:
        head = {"name": "label", "kind": "classification", "classes": classes}
        row = read_row(
            1, {"id": 1, "text": "t", "label": cell}, config(heads=[head]), ""
        )
        return row.labels["label"] if isinstance(row, Row) else row.reason

    assert label("nan", ["a", "b"]) == "empty_label"
    assert label(float("nan"), ["a", "b"]) == "empty_label"
    assert label("nan", ["nan", "pita"]) == ("nan",)
    # Two classes that differ as texts alone are met as they are written.
    assert label("1.0", ["1", "1.0"]) == ("1.0",)
    assert label(1, ["1", "1.0"]) == ("1",)
    assert label(0.5, ["0.50", "1.00"]) == ("0.50",)


def test_ids_that_pandas_wrote_as_numbers_with_gaps_are_one_id(tmp_path: Path) -> None:
    rows = [{"id": i, "text": "t", "label": "a"} for i in ("7", "7.0", "8")]
    found = list(iter_rows(config(), write_csv(tmp_path / "m.csv", rows)))
    assert [getattr(row, "reason", row.id) for row in found] == [
        "7", "duplicate_id", "8",
    ]  # fmt: skip


@pytest.mark.parametrize("cell", [["red cat", "small dog"], {"raw": "a cat"}])
def test_several_texts_in_a_cell_are_never_taken_as_python_prints_them(
    cell: Any,
) -> None:
    row = read_row(3, {"id": 1, "text": cell, "label": "a"}, config(), "")
    assert isinstance(row, Quarantined)
    assert (row.reason, row.column) == ("not_one_value", "text")
    assert row.message.startswith("expected a text, one in each row. Received: ")
    # The one item of a list, as data sets with a caption list have it, is the text.
    row = read_row(3, {"id": 1, "text": ["a cat"], "label": "a"}, config(), "")
    assert isinstance(row, Row)
    assert row.values == {"text": "a cat"}


def test_bytes_that_are_no_text_are_no_name() -> None:
    assert cells.name(b"abc") == "abc"
    with pytest.raises(CellError, match="half a surrogate pair"):
        cells.name(b"\xff")
