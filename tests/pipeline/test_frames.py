"""Sequences of pictures from a manifest: cells, files, damaged frames, checks, init."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.cells import CellError
from pipeline.check import check
from pipeline.frames import sources
from pipeline.init_config import infer
from pipeline.rows import Quarantined, Row, read_row, to_example
from pipeline.scan import scan
from pipeline.stored import rows_of_examples
from pipeline.views import ingestion_view, transform_view
from serving.rows import Contract
from serving.sequences import unpack
from tests.pipeline.samples import config, png, write_csv, write_jsonl
from trainer.config import Config, ImagesInput, from_mapping

CT = {"name": "ct", "modality": "images", "max_frames": 4}


def of(**changes: Any) -> Config:
    return config(inputs=[{**CT, **changes}])


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("a.png|b.png", ["a.png", "b.png"]),
        (" a.png | |b.png|", ["a.png", "b.png"]),
        ('["a|1.png", "b.png"]', ["a|1.png", "b.png"]),
        (["a.png", "", None, "b.png"], ["a.png", "b.png"]),
        ([b"x", b"", "b.png"], [b"x", "b.png"]),
        (b"x", [b"x"]),
        ("volume.dcm", ["volume.dcm"]),
        ("", []),
        (None, []),
        ([], []),
        (b"", []),
    ],
)
def test_a_cell_names_files(cell: Any, wanted: list[Any]) -> None:
    assert sources(cell, "|") == wanted


def test_the_separator_is_the_configs() -> None:
    assert sources("a b;c", ";") == ["a b", "c"]
    assert sources("a|b", "") == ["a|b"]
    with pytest.raises(CellError, match="JSON list") as caught:
        sources('["a.png"', "|")
    assert caught.value.reason == "malformed_list"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """f0.png to f9.png of levels 0 to 90, one that is damaged, a zip and a GIF."""
    for i in range(10):
        (tmp_path / f"f{i}.png").write_bytes(png(level=10 * i))
    (tmp_path / "cut.png").write_bytes(png(64, 64)[:-40])
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.writestr("s/1.png", png(level=77))
    frames = [Image.fromarray(np.full((6, 8), 20 * i, np.uint8)) for i in range(3)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    (tmp_path / "loop.gif").write_bytes(out.getvalue())
    return tmp_path


def read(folder: Path, cell: Any, **changes: Any) -> Row | Quarantined:
    cells = {"id": "1", "ct": cell, "label": "a"}
    return read_row(1, cells, of(**changes), str(folder))


def levels(row: Row | Quarantined) -> list[int]:
    assert isinstance(row, Row), row
    stored = row.values["ct"]
    assert isinstance(stored, bytes)
    found = [np.asarray(Image.open(io.BytesIO(f)).convert("L")) for f in unpack(stored)]
    return [int(frame[0, 0]) for frame in found]


def test_frames_are_read_in_order_and_evenly_chosen(folder: Path) -> None:
    names = [f"f{i}.png" for i in range(10)]
    assert levels(read(folder, "|".join(names))) == [10, 30, 60, 80]
    assert levels(read(folder, json.dumps(names), max_frames=2)) == [20, 70]
    assert levels(read(folder, names[:3])) == [0, 10, 20]
    assert levels(read(folder, ["scan.zip!s/1.png", png(level=5)])) == [77, 5]
    assert levels(read(folder, "loop.gif")) == [0, 20, 40]
    assert levels(read(folder, "f3.png;f4.png", separator=";")) == [30, 40]


def test_a_damaged_frame_costs_itself_alone(folder: Path) -> None:
    row = read(folder, "f1.png|cut.png|f3.png|nowhere.png")
    assert levels(row) == [10, 30]
    assert isinstance(row, Row)
    assert row.dropped == {"ct": 2}
    whole = read(folder, "f1.png")
    assert isinstance(whole, Row)
    assert whole.dropped == {}


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("cut.png|nowhere.png", "corrupt_image"),
        ("nowhere.png", "missing_file"),
        ('["f1.png"', "malformed_list"),
        ("", "no_input"),
    ],
)
def test_a_row_without_a_frame_is_set_aside(
    folder: Path, cell: str, reason: str
) -> None:
    found = read(folder, cell)
    assert isinstance(found, Quarantined)
    assert found.reason == reason
    assert found.column == ("" if reason == "no_input" else "ct")


def test_pictures_have_their_limits(folder: Path) -> None:
    found = read(folder, "f1.png|f2.png", max_pixels=47)
    assert isinstance(found, Quarantined)
    assert found.reason == "too_many_pixels"
    assert levels(read(folder, "f1.png|f2.png", max_pixels=48)) == [10, 20]


def test_what_is_stored_comes_back(folder: Path) -> None:
    import tensorflow as tf

    row = read(folder, "f1.png|f2.png")
    assert isinstance(row, Row)
    (folder / "Split-eval").mkdir()
    path = str(folder / "Split-eval" / "data.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        writer.write(to_example(row))
    (again,) = rows_of_examples(of(), str(folder), "eval")
    assert again.values == row.values


def rows(count: int = 40) -> list[dict[str, Any]]:
    return [
        {"id": i, "ct": [f"f{j}.png" for j in range(1 + i % 5)], "label": "ab"[i % 2]}
        for i in range(count)
    ]


def test_a_check_counts_frames_and_what_is_left_out(folder: Path) -> None:
    damaged = [{"id": 40 + i, "ct": "f1.png|cut.png", "label": "a"} for i in range(3)]
    path = write_jsonl(folder / "m.jsonl", rows() + damaged)
    report = check(of(), path)
    assert report.problems == []
    assert "ct: 3 frames cannot be read and are left out of their rows." in report.notes
    lines = report.facts["ct"].lines()
    # 1, 2, 3, 4, 4 frames of 1 to 5 files, eight times each, and three times 1.
    assert "frames 1 to 4, mean 2.674" in lines
    assert "width 8 to 64, mean 9.424" in lines
    assert any(line.startswith("formats: PNG (") for line in lines)


def test_a_changed_frame_is_a_changed_manifest(folder: Path) -> None:
    path = write_jsonl(folder / "m.jsonl", rows())
    first = scan(of(), path).fingerprint
    assert scan(of(), path).fingerprint == first
    (folder / "f4.png").write_bytes(png(level=99, width=9))
    assert scan(of(), path).fingerprint != first


def test_parquet_may_hold_the_frames_themselves(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    from pipeline.rows import iter_rows

    frames = [[{"bytes": png(level=i), "path": None}, {"bytes": None, "path": "f3.png"}]
              for i in (1, 2)]  # fmt: skip
    table = pyarrow.table({"id": [1, 2], "ct": frames, "label": ["a", "b"]})
    path = str(folder / "m.parquet")
    pyarrow.parquet.write_table(table, path)
    found = list(iter_rows(of(), path))
    assert [levels(row) for row in found] == [[1, 30], [2, 30]]


@pytest.mark.parametrize(
    ("change", "read_again"),
    [
        ({"max_frames": 3}, True), ({"separator": ";"}, True), ({"max_pixels": 9}, True),
        ({"height": 9, "width": 9, "channels": 1, "fit": "crop"}, False),
        ({"layers": 2, "heads": 2, "dropout": 0.5, "flip": True}, False),
    ],
)  # fmt: skip
def test_only_what_reads_a_key_runs_again(change: Any, read_again: bool) -> None:
    assert (ingestion_view(of()) != ingestion_view(of(**change))) == read_again
    assert (transform_view(of()) != transform_view(of(**change))) == read_again


@pytest.mark.parametrize("form", ["list", "|", ";", "json"])
def test_init_sees_sequences(folder: Path, form: str) -> None:
    found = rows()
    for row in found:
        names = row["ct"]
        joined = {"list": names, "json": json.dumps(names)}
        row["ct"] = joined.get(form, form.join(names))
    if form == "list":
        path = write_jsonl(folder / "m.jsonl", found)
    else:
        path = write_csv(folder / "m.csv", found)
    text = infer(path)
    one = from_mapping(yaml.safe_load(text)).inputs[0]
    assert one.modality == "images"
    assert (one.name, one.max_frames) == ("ct", 5)
    assert (one.height, one.width, one.channels) == (6, 8, 1)
    assert one.separator == (";" if form == ";" else "|")
    assert "# of 1 to 5" in text


def test_a_remote_models_frames_are_chosen_once() -> None:
    """As many as it takes, out of all that there are."""
    from pipeline.apply import _config_of

    class Remote:
        def contract(self) -> Contract:
            return Contract({"ct": "images", "note": "text"}, frames={"ct": 7})

    (ct, note) = _config_of(Remote()).inputs
    assert isinstance(ct, ImagesInput)
    assert (ct.name, ct.max_frames, note.name) == ("ct", 7, "note")
