"""The same file in two splits is found among all rows, however many there are."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from pipeline.check import check
from pipeline.ingest import ingest
from pipeline.integrity.findings import IntegrityError, checked, ingested
from pipeline.integrity.media_hashes import FILE
from pipeline.scan import scan
from tests.pipeline.samples import png, write_csv
from trainer.config import Config, from_mapping


def config(**integrity: str) -> Config:
    return from_mapping(
        {
            "name": "m",
            "inputs": [{"name": "photo", "modality": "image"}],
            "heads": [
                {"name": "label", "kind": "classification", "classes": ["a", "b"]}
            ],
            "data": {"id": "id", "split": {"column": "split"}, "integrity": integrity},
        }
    )


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """300 pictures, of which the checks look at about 30; six lie in two splits."""
    for module in ("integrity.rows", "integrity.findings", "pipeline"):
        monkeypatch.setattr(f"pipeline.{module}.MAX_ROWS", 30)
    made = []
    for i in range(300):
        (tmp_path / f"{i}.png").write_bytes(png(8 + i // 20, 8 + i % 20, i % 251))
        split = "eval" if i >= 250 else "train"
        made.append(
            {"id": i, "photo": f"{i}.png", "label": "ab"[i % 2], "split": split}
        )
    for i in range(6):
        (tmp_path / f"{290 + i}.png").write_bytes((tmp_path / f"{i}.png").read_bytes())
    return write_csv(tmp_path / "m.csv", made)


SAID = "photo: in split 'eval', 6 files are also in 'train' (rows '290' and '0')"


def test_check_compares_the_files_of_all_rows(manifest: str) -> None:
    found = check(config(), manifest)
    assert [text for text in found.warnings if text.startswith(SAID)]


def test_the_sentence_is_true_of_the_split_that_selects(tmp_path: Path) -> None:
    made = [
        {"id": i, "photo": f"{i % 2}.png", "label": "ab"[i % 3 % 2], "split": split}
        for i, split in enumerate(["train", "val", "eval"] * 20)
    ]
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(png(8 + i, 8))
    chosen = config()
    split = dataclasses.replace(chosen.data.split, selection="val")
    data = dataclasses.replace(chosen.data, split=split)
    chosen = dataclasses.replace(chosen, data=data)
    told = check(chosen, write_csv(tmp_path / "m.csv", made)).warnings
    said = {t.split(" files ")[1].split(" (")[0]: t.split("): ")[1] for t in told
            if "in split 'eval'" in t}  # fmt: skip
    assert said == {
        "are also in 'train'": "what judges or selects has been seen in training.",
        "are also in 'val'": "what judges has been seen when an epoch was chosen.",
    }


def test_ingestion_compares_the_files_of_all_rows(
    manifest: str, tmp_path: Path
) -> None:
    """Before it a sample is looked at, which says nothing of bytes."""
    scanned = scan(config(), manifest)
    before = checked(config(), manifest, scanned, tmp_path / "reports")
    assert not [one for one in before if "files are also in" in one.text]
    examples = str(tmp_path / "examples")
    ingest(beam.Pipeline(), config(), manifest, examples, str(tmp_path / "report"))
    stored: list[dict[str, Any]] = json.loads(Path(examples, FILE).read_text())
    assert {(one["split"], one["other"], one["rows"]) for one in stored} == {
        ("eval", "train", 6), ("train", "eval", 6),
    }  # fmt: skip
    (finding,) = ingested(config(), scanned, examples)
    assert (finding.kind, finding.level) == ("duplicates", "warn")
    assert finding.text.startswith(SAID)
    assert ingested(config(duplicates="off"), scanned, examples) == []


def test_an_error_stops_the_pipeline_before_anything_is_trained(
    manifest: str, tmp_path: Path
) -> None:
    from pipeline.duplicate_check import look
    from pipeline.pipeline import create_pipeline
    from pipeline.views import ingestion_view

    examples = str(tmp_path / "examples")
    ingest(beam.Pipeline(), config(), manifest, examples, str(tmp_path / "report"))
    with pytest.raises(
        IntegrityError, match=r"6 files .*\(data\.integrity\.duplicates\)"
    ):
        look(examples, ingestion_view(config()), "error")
    look(examples, ingestion_view(config()), "warn")
    one = config(duplicates="error")
    made = create_pipeline(one, scan(one, manifest), manifest, str(tmp_path / "out"))
    (component,) = [c for c in made.components if c.id == "DuplicateCheck"]
    waiting = {c.id for c in made.components if component in c.upstream_nodes}
    assert waiting >= {"Transform", "Trainer"}
