"""A manifest, its media and the output of ingestion in an object store."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.manifest import Manifest
from serving import s3_files
from tests import object_stores
from tests.object_stores import STORES, Store
from tests.pipeline.samples import png, write_csv
from trainer.config import UserError, from_mapping

CONFIG = from_mapping(
    {
        "name": "s3",
        "data": {"id": "id", "max_quarantine_fraction": 0.2},
        "inputs": [{"name": "image", "modality": "image", "height": 8, "width": 8}],
        "heads": [{"name": "label", "kind": "classification", "classes": ["a", "b"]}],
    }
)
ROWS = 40


@pytest.fixture(scope="module", params=list(STORES))
def running(request: pytest.FixtureRequest) -> Iterator[Store]:
    with object_stores.running(request.param) as store:
        yield store


@pytest.fixture
def store(running: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with object_stores.used(running, monkeypatch):
        yield running


def test_ingestion_reads_and_writes_a_store(store: Store, tmp_path: Path) -> None:
    import apache_beam as beam
    import tensorflow as tf

    from pipeline.ingest import ingest

    # A comment behind the picture makes the file larger than a part of 512 KiB.
    large = png() + bytes(700_000)
    rows = []
    for i in range(ROWS):
        store.put(f"data/img/{i}.png", large if i == 3 else png(level=i))
        rows.append({"id": f"r{i}", "image": f"img/{i}.png", "label": "ab"[i % 2]})
    rows[5]["image"] = "img/absent.png"
    text = Path(write_csv(tmp_path / "m.csv", rows)).read_bytes()
    manifest = store.put("data/m.csv", text)
    for _ in range(2):  # the second finds what the first has left
        counts = ingest(
            beam.Pipeline(), CONFIG, manifest, "s3://bucket/out", str(tmp_path / "r")
        )
    assert (counts.read, counts.written, counts.quarantined) == (ROWS, ROWS - 1, 1)
    assert counts.reasons == {"missing_file": 1}
    assert json.loads(store.get("out/counts.json"))["written"] == ROWS - 1
    keys = store.keys("out/")
    assert not [key for key in keys if "_working" in key]
    records = [key for key in keys if key.endswith(".gz")]
    found = []
    for number, key in enumerate(records):
        local = tmp_path / f"{number}.gz"
        local.write_bytes(store.get(key))
        for data in tf.data.TFRecordDataset(str(local), "GZIP").as_numpy_iterator():
            values = tf.train.Example.FromString(data).features.feature
            row_id = values["__id__"].bytes_list.value[0].decode()
            found.append(row_id)
            if row_id == "r3":
                assert values["image"].bytes_list.value[0] == large
    assert sorted(found) == sorted(f"r{i}" for i in range(ROWS) if i != 5)
    (quarantine,) = [key for key in keys if key.endswith(".jsonl")]
    assert json.loads(store.get(quarantine))["id"] == "r5"


def test_a_large_manifest_is_read_right(store: Store) -> None:
    rows = [f"{i},{i * 7919 % 1000003}" for i in range(200_000)]
    path = store.put("large.csv", "\n".join(["id,text", *rows]).encode())
    cells = [record.cells for record in Manifest(path).records()]
    found = [one["text"] for one in cells if isinstance(one, dict)]
    assert found == [row.partition(",")[2] for row in rows]
    assert len("\n".join(rows)) > 2_000_000


def test_a_store_that_does_not_answer_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in object_stores.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("S3_ENDPOINT", "http://127.0.0.1:1")
    s3_files._held.clear()
    with pytest.raises(UserError, match=r"^s3://bucket/m\.csv: cannot be read: "):
        Manifest("s3://bucket/m.csv")
    s3_files._held.clear()
