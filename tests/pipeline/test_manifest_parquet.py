"""A Parquet manifest: columns asked for, groups read once, values as CSV has them."""

import datetime
import os
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pipeline.cell_text import text_of
from pipeline.manifest import BadRow, Manifest, ManifestError
from pipeline.rows import iter_rows
from pipeline.scan import scan
from tests.pipeline.samples import config


def written(path: Path, columns: Any, **options: Any) -> str:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return str(path)


def plain(path: str, **options: Any) -> list[Any]:
    return [record.cells for record in Manifest(path).records(**options)]


def test_every_type_of_column_comes_as_a_person_would_write_it(tmp_path: Path) -> None:
    array, day = pyarrow.array, datetime.datetime(2024, 2, 3, 4, 5)
    path = written(
        tmp_path / "m.parquet",
        {
            "float32": array([0.1, None], pyarrow.float32()),
            "dictionary": array(["a", None]).dictionary_encode(),
            "decimal": array([Decimal("1.50"), Decimal("2.00")]),
            "date": array([day.date(), None]),
            "when": array([day, None], pyarrow.timestamp("us")),
            "nano": array([day, None], pyarrow.timestamp("ns")),
            "list": array([["a", "b"], []]),
            "struct": array([{"x": 1}, None]),
            "large": array([2**63 - 1, None]),
            "bool": array([True, None]),
            "null": array([None, None]),
            " spaced ": array(["x", "y"]),
        },
    )
    first, second = plain(path)
    assert {name: text_of(cell) for name, cell in first.items()} == {
        "float32": "0.1", "dictionary": "a", "decimal": "1.50",
        "date": "2024-02-03", "when": "2024-02-03 04:05:00",
        "nano": "2024-02-03 04:05:00", "list": '["a", "b"]', "struct": '{"x": 1}',
        "large": "9223372036854775807", "bool": "true", "null": "", "spaced": "x",
    }  # fmt: skip
    assert {name for name, cell in second.items() if text_of(cell)} == {
        "decimal", "list", "spaced",
    }  # fmt: skip
    assert second["list"] == []


def test_a_value_that_python_cannot_hold_is_one_bad_row(tmp_path: Path) -> None:
    raw = pyarrow.array([b"a", b"\xff", b"c"])
    strings = pyarrow.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    path = written(
        tmp_path / "m.parquet",
        {
            "id": strings,
            "when": pyarrow.array([0, 0, 2**62], pyarrow.timestamp("us")),
        },
    )
    first, second, third = plain(path)
    assert first["id"] == "a"
    assert second.reason == "not_utf8"
    assert third.reason == "unreadable_value"
    assert "timestamp[us]" in third.message


@pytest.mark.parametrize("columns", [{"id": []}, {"id": [1], "text": ["a"]}])
def test_a_file_without_the_columns_or_rows_says_so(
    tmp_path: Path, columns: Any
) -> None:
    path = written(tmp_path / "m.parquet", columns)
    with pytest.raises(ManifestError, match="no column 'label'"):
        scan(config(), path)
    full: dict[str, list[str]] = {"id": [], "text": [], "label": []}
    path = written(tmp_path / "empty.parquet", full)
    with pytest.raises(ManifestError, match="the manifest has no rows"):
        scan(config(), path)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array([1])] * 2, ["id", "id"])
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="a name of its own. Twice: id"):
        Manifest(str(tmp_path / "m.parquet"))


def table(count: int) -> dict[str, Any]:
    return {
        "id": [f"r{i}" for i in range(count)],
        "text": [f"text {i}" for i in range(count)],
        "label": ["ab"[i % 2] for i in range(count)],
    }


def damaged(path: str, column: int, group: int = 0) -> None:
    """Overwrites the pages of one column in one row group."""
    found = pyarrow.parquet.ParquetFile(path).metadata.row_group(group).column(column)
    begin = found.dictionary_page_offset or found.data_page_offset
    with open(path, "r+b") as file:
        file.seek(begin)
        file.write(b"\xff" * found.total_compressed_size)


def test_a_damaged_page_is_named_and_ends_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path / "m.parquet", table(60), row_group_size=20)
    damaged(path, 1, group=1)
    found = plain(path)
    assert [isinstance(cells, BadRow) for cells in found] == (
        20 * [False] + 20 * [True] + 20 * [False]
    )
    assert found[20].reason == "damaged_parquet"
    assert found[20].message.startswith(
        f"{path}: row group 1 is damaged from its row 1"
    )
    # The other columns can be read without it.
    assert not any(isinstance(c, BadRow) for c in plain(path, columns=["id", "label"]))
    path = written(tmp_path / "all.parquet", table(60))
    damaged(path, 0)
    with pytest.raises(
        ManifestError, match=r"none of its 60 rows.*row group 0 is damag"
    ):
        scan(config(), path)
    with pytest.raises(ManifestError, match="none of its 60 rows can be read"):
        scan(config(), path, labels=False)


def test_damage_in_a_column_that_is_no_input_keeps_its_rows(tmp_path: Path) -> None:
    from pipeline.integrity.rows import look

    path = written(tmp_path / "m.parquet", table(60) | {"unused": list(range(60))})
    damaged(path, 3)
    seen = look(config(), path, scan(config(), path))
    assert len(seen) == len(seen.groups) == 60
    assert seen.cells == {}


class Counted:
    """How many bytes of a file are read."""

    def __init__(self, monkeypatch: Any) -> None:
        self.bytes = 0
        counted = self

        class File(__import__("io").FileIO):  # type: ignore[misc]
            def readinto(self, buffer: Any) -> Any:
                found = super().readinto(buffer)
                counted.bytes += found
                return found

            def read(self, size: int = -1) -> Any:
                found = super().read(size)
                counted.bytes += len(found)
                return found

        monkeypatch.setattr("pipeline.manifest_parquet.open_binary", File)
        monkeypatch.setattr("pipeline.manifest.open_binary", File)


def media(path: Path, rows: int, hugging: bool) -> str:
    noise = random.Random(0)
    pictures = [noise.randbytes(20000) for _ in range(rows)]
    cells: list[Any] = [
        {"bytes": data, "path": f"{i}.png"} if hugging else data
        for i, data in enumerate(pictures)
    ]
    return written(path, table(rows) | {"image": cells})


@pytest.mark.parametrize("hugging", [True, False])
def test_a_scan_reads_no_media(tmp_path: Path, monkeypatch: Any, hugging: bool) -> None:
    path = media(tmp_path / "m.parquet", 300, hugging)
    one = config(inputs=[{"name": "image", "modality": "image"}])
    counted = Counted(monkeypatch)
    found = scan(one, path)
    assert found.rows == 300
    assert counted.bytes < 200_000 < 6_000_000 < os.path.getsize(path)
    # It notices a change all the same.
    os.utime(path, (1, 1))
    assert scan(one, path).fingerprint != found.fingerprint


@pytest.mark.parametrize("hugging", [True, False])
def test_init_looks_at_some_media_only(
    tmp_path: Path, monkeypatch: Any, hugging: bool
) -> None:
    from pipeline.profile import profile

    path = media(tmp_path / "m.parquet", 2000, hugging)
    counted = Counted(monkeypatch)
    found = profile(path)
    # Some batches of 8 MB, however many rows there are.
    assert counted.bytes < 25_000_000 < 39_000_000 < os.path.getsize(path)
    image = found.columns["image"]
    assert (found.rows, image.filled, image.blobs) == (2000, 2000, 2000)
    assert len(found.sampled("image")) == 32
    assert found.columns["text"].filled == 2000


def test_one_row_group_is_read_once_and_only_what_is_asked(
    tmp_path: Path, monkeypatch: Any
) -> None:
    noise = random.Random(0)
    unused = [noise.randbytes(500).hex() for _ in range(6000)]
    path = written(tmp_path / "m.parquet", table(6000) | {"unused": unused})
    counted = Counted(monkeypatch)
    rows = list(iter_rows(config(), path, scanned=scan(config(), path)))
    assert len(rows) == 6000
    # Once for the fingerprint, and little more than that for both passes.
    assert counted.bytes < 1.3 * os.path.getsize(path)


def test_workers_begin_at_row_groups(tmp_path: Path) -> None:
    path = written(tmp_path / "one.parquet", table(3000))
    assert [start.row for start in scan(config(), path).chunks] == [1]
    path = written(tmp_path / "many.parquet", table(3000), row_group_size=100)
    # Groups of 100 rows, three of them to reach 256.
    assert [start.row for start in scan(config(), path).chunks] == list(
        range(1, 3000, 300)
    )


def test_memory_does_not_grow_with_a_row_group_of_media(tmp_path: Path) -> None:
    peaks = []
    for rows in (2000, 6000):  # 40 MB and 120 MB
        manifest = Manifest(media(tmp_path / "m.parquet", rows, hugging=False))
        before, most = pyarrow.total_allocated_bytes(), 0
        for record in manifest.records():
            assert isinstance(record.cells, dict)
            most = max(most, pyarrow.total_allocated_bytes() - before)
        peaks.append(most)
    assert peaks[1] - peaks[0] < 10_000_000
