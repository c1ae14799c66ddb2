"""Parquet is ingested by whole row groups, and by several workers where asked for."""

from pathlib import Path
from typing import Any

from tests.pipeline.ingested import FN_API, ids, run_ingest
from tests.pipeline.samples import config


def parquet_manifest(folder: Path, rows: int) -> str:
    """One row group, as pandas writes it."""
    import pyarrow
    import pyarrow.parquet

    table = {
        "id": [f"r{i}" for i in range(rows)],
        "text": [f"text {i}" for i in range(rows)],
        "label": ["ab"[i % 2] for i in range(rows)],
    }
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "m.parquet")
    return str(folder / "m.parquet")


def test_one_row_group_is_read_once_into_files_of_some_hundred_rows(
    tmp_path: Path, monkeypatch: Any
) -> None:
    from pipeline.manifest_parquet import ParquetRows

    read: list[int] = []
    whole = ParquetRows._group

    def group(self: Any, source: Any, index: int, *rest: Any) -> Any:
        read.append(index)
        return whole(self, source, index, *rest)

    monkeypatch.setattr(ParquetRows, "_group", group)
    counts = run_ingest(config(), parquet_manifest(tmp_path, 1500), tmp_path / "out")
    assert (counts.read, counts.written) == (1500, 1500)
    assert read == [0, 0]  # for the scan, and for the rows
    assert len(list((tmp_path / "out" / "Split-train").iterdir())) == 6
    found = [i for split in (tmp_path / "out").glob("Split-*") for i in ids(split)]
    assert sorted(found) == sorted(f"r{i}" for i in range(1500))


def test_beam_workers_share_the_rows_and_give_the_same(tmp_path: Path) -> None:
    import apache_beam as beam

    from pipeline.ingest import ingest
    from pipeline.pipeline import beam_workers

    assert beam_workers(config()) == []
    chosen = config(data={"id": "id", "beam_workers": 2})
    argv = beam_workers(chosen)
    assert argv == ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    manifest = parquet_manifest(tmp_path, 1500)
    run_ingest(config(), manifest, tmp_path / "one")
    counts = ingest(
        beam.Pipeline(argv=[FN_API, *argv]),
        chosen, manifest, str(tmp_path / "two"), str(tmp_path / "report"),
    )  # fmt: skip
    assert counts.written == 1500
    for split in ("Split-train", "Split-selection", "Split-eval"):
        assert ids(tmp_path / "two" / split) == ids(tmp_path / "one" / split)
