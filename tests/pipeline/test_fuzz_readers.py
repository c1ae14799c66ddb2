"""Whatever a manifest, a cell, an id or a path holds, it is a row or a reason."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.manifest import Manifest, ManifestError, Record
from pipeline.rows import Quarantined, Row, iter_rows, read_row, to_example
from pipeline.scan import scan
from tests.pipeline.samples import config, png

FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SPLIT = {"column": "split", "group_by": "who"}
DATA = {"id": "id", "split": SPLIT, "max_quarantine_fraction": 1.0}
SMALL = {"height": 8, "width": 8}
CONFIG = config(
    inputs=[
        {"name": "text", "modality": "text"},
        {"name": "image", "modality": "image", **SMALL},
        {"name": "frames", "modality": "images", **SMALL},
        {"name": "sound", "modality": "audio"},
        {"name": "t", "modality": "tabular", "numeric": ["n"], "categorical": ["kind"]},
    ],
    heads=[
        {"name": "label", "kind": "classification", "classes": ["a", "b"]},
        {"name": "several", "kind": "classification", "classes": ["a", "b"],
         "multi_label": True, "separator": "|", "allow_missing": True},
        {"name": "price", "kind": "regression", "allow_missing": True},
        {"name": "answer", "kind": "vqa", "allow_missing": True},
        {"name": "rank", "kind": "ranking", "group": "who", "allow_missing": True},
    ],
    data=DATA,
    evaluation={"slices": [["kind"]]},
)  # fmt: skip
COLUMNS = (
    "id", "split", "who", "text", "image", "frames", "sound", "n", "kind", "label",
    "several", "price", "answer", "rank",
)  # fmt: skip
PLAIN = config(data=DATA | {"integrity": {"groups": "warn"}})

# What broke readers before, among what may stand anywhere.
ODD = st.sampled_from(
    ["\0", "\ud800", "nan", "NaN", "1_0", "1e999", "-0.0", "[", "[[", "{}", '"', "''",
     "a.zip!", "a.zip!\0", "file://", "file:///", "file://\0", "://", "..", ".", "/",
     "/dev/null", "\\", "%00", "a|b", "|", "\r", "\n", "\t", "﻿", "٣", "½", "∞"]
)  # fmt: skip
TEXTS = st.one_of(ODD, st.text(max_size=12), st.lists(ODD, max_size=3).map("".join))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.binary(max_size=8),
    st.decimals(), st.dates(), st.datetimes(), st.timedeltas(),
)  # fmt: skip
CELLS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=2)
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where paths lead to something, sometimes."""
    found = tmp_path_factory.mktemp("fuzz")
    (found / "good.png").write_bytes(png())
    (found / "a.zip").write_bytes(b"PK\x03\x04 no archive")
    return found


def _is_row_or_reason(row: Row | Quarantined) -> None:
    if isinstance(row, Quarantined):
        assert row.reason
        row.to_json().encode()
        str(row).encode()
    else:
        assert to_example(row)


@FUZZ
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(COLUMNS, CELLS)))
@example({"id": 1, "split": "train", "text": "t", "label": "a", "n": 10**400})
@example({"id": 1, "split": "train", "text": "t", "label": ["a", ["b"]]})
@example({"id": {"a": 1}, "split": ["train"], "text": "t", "label": "a"})
def test_any_cells_are_a_row_or_a_reason(folder: Path, cells: dict[str, Any]) -> None:
    good = {"id": 1, "split": "train", "who": "x", "text": "t", "label": "a"}
    for row in (cells, good | cells):
        _is_row_or_reason(read_row(1, row, CONFIG, str(folder)))
        found = read_row(1, row, CONFIG, str(folder), labels=False)
        _is_row_or_reason(found)


def _told(records: Iterable[Record]) -> list[str]:
    """Places, and cells or reasons: NaN is no equal of itself."""
    return [f"{one.start} {getattr(one.cells, 'reason', one.cells)}" for one in records]


def _reads(path: Path) -> Iterator[Row | Quarantined]:
    """Every row of a manifest, begun anew at each of its first ones."""
    try:
        manifest = Manifest(str(path))
    except ManifestError:
        return
    records = list(manifest.records())
    assert [r.start.row for r in records] == list(range(1, len(records) + 1))
    for i, record in enumerate(records[:8]):
        assert _told(manifest.records(record.start)) == _told(records[i:])
    try:
        scanned = scan(PLAIN, str(path))
    except ManifestError:
        return
    assert scanned.rows == len(records)
    rows = list(iter_rows(PLAIN, str(path), scanned=scanned))
    assert len(rows) == len(records)
    yield from rows


HEADER = b"id,text,label,split,who\n"
LINES = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [b"1,t,a,train,x", b'2,"t', b'3,t",a,train,x', b'4,"t, ""u""",b,test,y',
             b"5,,,,", b",,,,,,,", b'"', b'""', b"\r", b"\0", b"\xff", b" ",
             b'6,"a\nb",a,train,x', b"7,t,b,\xff,x"]
        ),
    ),
    max_size=12,
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n"])


@FUZZ
@given(LINES, ENDS, st.sampled_from(["csv", "tsv"]), st.booleans())
def test_any_lines_are_rows_or_reasons(
    tmp_path: Path, lines: list[bytes], end: bytes, suffix: str, header: bool
) -> None:
    path = tmp_path / f"m.{suffix}"
    data = (HEADER if header else b"") + end.join(lines)
    path.write_bytes(data.replace(b",", b"\t") if suffix == "tsv" else data)
    for row in _reads(path):
        _is_row_or_reason(row)


JSON_LINES = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [b'{"id": 1, "text": "t", "label": "a", "split": "train", "who": "x"}',
             b'{"id": "\\ud800", "text": "t", "label": "a", "split": "train"}',
             b'{"id": 2, "text": "t", "label": "a", "split": "\\udfff", "who": "x"}',
             b'{"id": 3, "text": NaN, "label": true, "split": "train", "who": []}',
             b"[]", b"{", b"1", b"null", b'{"": 1}', b'{"id": 1, "id": 1}', b'"', b"\xff"]
        ),
    ),
    max_size=8,
)  # fmt: skip


@FUZZ
@given(JSON_LINES, ENDS)
def test_any_json_lines_are_rows_or_reasons(
    tmp_path: Path, lines: list[bytes], end: bytes
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(end.join(lines))
    for row in _reads(path):
        _is_row_or_reason(row)


def _parquet(compression: str) -> bytes:
    table = {
        "id": [f"r{i}" for i in range(40)], "text": ["t"] * 40, "label": ["a", "b"] * 20,
        "split": ["train", "eval"] * 20, "who": [str(i) for i in range(40)],
    }  # fmt: skip
    out = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.table(table), out, compression=compression, row_group_size=15
    )
    return out.getvalue()


PARQUET = {name: _parquet(name) for name in ("snappy", "zstd")}


@settings(FUZZ, max_examples=25)
@given(
    st.sampled_from(sorted(PARQUET)),
    st.integers(0, 4000),
    st.binary(min_size=1, max_size=12),
    st.booleans(),
)
# One byte of a page that ends the process that reads it.
@example("snappy", 1041, b"\x04", False)
@example("zstd", 1874, b"\x10", False)
def test_any_bytes_in_a_parquet_file_are_rows_or_reasons(
    tmp_path: Path, compression: str, place: int, noise: bytes, cut: bool
) -> None:
    data = bytearray(PARQUET[compression])
    place %= len(data)
    data[place : place + len(noise)] = noise
    path = tmp_path / "m.parquet"
    path.write_bytes(bytes(data[: place + 100]) if cut else bytes(data))
    for row in _reads(path):
        _is_row_or_reason(row)
