"""Ingestion through Beam: exact counts, bounded memory, and no half-written file."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest import ManifestError
from pipeline.quarantine import QuarantineError
from tests.pipeline.ingested import FN_API, ids, quarantined, run_ingest
from tests.pipeline.samples import (
    CHINESE,
    REASONS,
    config,
    write_broken,
    write_csv,
    write_jsonl,
)
from trainer.config import from_mapping, to_json

# sha256 of the names, since TFX takes ASCII only.
TRAIN, TEST = "Split-split-a29c0de140769391", "Split-split-6aa8f49cc992dfd7"

RUN = """
import json, resource, sys
import apache_beam as beam
import tensorflow
from pipeline.ingest import ingest
from trainer.config import from_json
runner, config, *jobs = sys.argv[1:]
for manifest, output in zip(jobs[::2], jobs[1::2]):
    ingest(beam.Pipeline(argv=[runner]), from_json(config), manifest, output,
           output + "-report")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("PEAK", peak_kib // 1024, flush=True)
"""


def start(chosen: Any, *jobs: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN, FN_API, to_json(chosen), *jobs],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_every_row_is_written_or_set_aside(tmp_path: Path) -> None:
    output = tmp_path / "out"
    counts = run_ingest(from_mapping(CHINESE), write_broken(tmp_path), output)
    assert counts.reasons == REASONS
    assert (counts.read, counts.written, counts.quarantined) == (59, 40, 19)
    stored = json.loads((output / "counts.json").read_text())
    assert stored == {
        "read": 59, "written": 40, "quarantined": 19,
        "reasons": REASONS, "splits": counts.splits,
    }  # fmt: skip
    assert sorted(os.listdir(output)) == sorted(
        ["Split-selection", TEST, TRAIN, "counts.json", "duplicates.json", "quarantine"]
    )
    assert os.listdir(output / TEST) == ["data_tfrecord-00000-of-00001.gz"]
    assert ids(output / TEST) == [f"good-{i}" for i in range(0, 40, 4)]
    learned = ids(output / TRAIN) + ids(output / "Split-selection")
    assert sorted(learned) == sorted(f"good-{i}" for i in range(40) if i % 4)
    rows = quarantined(output / "quarantine")
    assert len(rows) == 19
    assert [set(row) for row in rows] == 19 * [
        {"row", "id", "reason", "column", "message"}
    ]


def test_what_ingestion_counted_is_not_counted_again(tmp_path: Path) -> None:
    from pipeline.shards import counted_rows

    output = tmp_path / "out"
    counts = run_ingest(from_mapping(CHINESE), write_broken(tmp_path), output)

    def files(*splits: str) -> list[str]:
        return [str(path) for name in splits for path in (output / name).iterdir()]

    assert counted_rows(files(TEST)) == counts.splits["测试"] == 10
    assert counted_rows(files(TRAIN, TEST)) == counts.splits["训练"] + 10
    # Without looking into them.
    for path in files(TEST):
        Path(path).write_bytes(b"")
    assert counted_rows(files(TEST)) == 10
    (output / "counts.json").unlink()
    assert counted_rows(files(TEST)) is None


def test_too_many_bad_rows_stop_the_run_and_are_kept(tmp_path: Path) -> None:
    chosen = from_mapping(
        CHINESE | {"data": CHINESE["data"] | {"max_quarantine_fraction": 0.2}}  # type: ignore[operator]
    )
    output = tmp_path / "out"
    with pytest.raises(QuarantineError) as caught:
        run_ingest(chosen, write_broken(tmp_path), output)
    message = str(caught.value)
    assert "19 of 59 rows (32.2%) cannot be used" in message
    assert "data.max_quarantine_fraction allows 20.0%" in message
    assert "  - duplicate_id: 2 rows\n      row 56 (id 'good-1'" in message
    assert "row 57 (id 'cut-png'" in message
    assert f"{output}-report" in message
    report = Path(f"{output}-report")
    assert len(quarantined(report)) == 19
    assert json.loads((report / "counts.json").read_text())["reasons"] == REASONS


def test_a_split_without_rows_stops_the_run(tmp_path: Path) -> None:
    rows = [{"id": i, "text": "t", "label": "a", "split": "dev"} for i in range(4)]
    path = write_jsonl(tmp_path / "m.jsonl", rows)
    chosen = config(data={"split": {"column": "split", "train": "dev"}})
    with pytest.raises(ManifestError, match=r"no row is in split 'eval'.*dev \("):
        run_ingest(chosen, path, tmp_path / "out")


def test_a_manifest_that_changed_since_it_was_planned_stops_the_run(
    tmp_path: Path,
) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", [{"id": 1, "text": "t", "label": "a"}])
    with pytest.raises(ManifestError, match="changed after the pipeline was planned"):
        run_ingest(config(), path, tmp_path / "out", fingerprint="0")


def media_manifest(folder: Path, rows: int, side: int) -> tuple[Any, str]:
    """Rows with a picture that does not compress, all the same one."""
    import random
    import struct
    import zlib

    from tests.pipeline.samples import png_of

    noise = random.Random(0)
    lines = b"".join(b"\x00" + noise.randbytes(side) for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    with zipfile.ZipFile(folder / "media.zip", "w") as archive:
        archive.writestr("one.png", png_of(header, zlib.compress(lines)))
    path = write_csv(
        folder / f"{rows}.csv",
        [
            {"id": f"r{i}", "image": "media.zip!one.png", "label": "ab"[i % 2]}
            for i in range(rows)
        ],
    )
    return config(inputs=[{"name": "image", "modality": "image"}]), path


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    chosen, few = media_manifest(tmp_path, 2000, 100)
    _, many = media_manifest(tmp_path, 20000, 100)
    run = start(chosen, few, str(tmp_path / "few"), many, str(tmp_path / "many"))
    output, _ = run.communicate(timeout=200)
    assert run.returncode == 0, output
    peaks = [int(line.split()[1]) for line in output.splitlines() if "PEAK" in line]
    # The pictures alone are 20 MB and 200 MB.
    assert peaks[1] - peaks[0] < 40, peaks


def test_a_killed_ingestion_runs_again_to_exact_counts(tmp_path: Path) -> None:
    chosen, path = media_manifest(tmp_path, 6000, 60)
    with open(path, "a") as file:
        file.write("r7,media.zip!one.png,a\nlast,media.zip!one.png,c\n")
    output = tmp_path / "out"
    run = start(chosen, path, str(output))
    while len(list(output.glob("_working/*/*.gz"))) < 8:
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    assert not (output / "counts.json").exists()
    assert not list(output.glob("Split-*"))

    counts = run_ingest(chosen, path, output)
    assert (counts.read, counts.written, counts.quarantined) == (6002, 6000, 2)
    assert counts.reasons == {"duplicate_id": 1, "unknown_label": 1}
    assert not (output / "_working").exists()
    found = [i for split in output.glob("Split-*") for i in ids(split)]
    assert sorted(found) == sorted(f"r{i}" for i in range(6000))


@pytest.mark.e2e
def test_the_component_is_cached_read_by_tfx_and_keeps_its_report(
    tmp_path: Path,
) -> None:
    from tfx import v1 as tfx
    from tfx.types import standard_artifacts

    from pipeline.example_gen import ManifestExampleGen
    from pipeline.scan import scan

    chosen = from_mapping(
        CHINESE | {"data": CHINESE["data"] | {"max_quarantine_fraction": 0.4}}  # type: ignore[operator]
    )
    manifest = write_broken(tmp_path)
    root = tmp_path / "root"

    def run(chosen: Any) -> list[Path]:
        examples = ManifestExampleGen(
            manifest=manifest,
            config=to_json(chosen),
            fingerprint=scan(chosen, manifest).fingerprint,
            report_dir="",
        )
        statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
        assert examples.outputs["examples"].type is standard_artifacts.Examples
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                pipeline_name="ingest",
                pipeline_root=str(root),
                components=[examples, statistics],
                enable_cache=True,
                beam_pipeline_args=[FN_API],
                metadata_connection_config=(
                    tfx.orchestration.metadata.sqlite_metadata_connection_config(
                        str(tmp_path / "metadata.db")
                    )
                ),
            )
        )
        return sorted((root / "ManifestExampleGen" / "examples").iterdir())

    (first,) = run(chosen)
    assert ids(first / TEST) == [f"good-{i}" for i in range(0, 40, 4)]
    splits = [p.name for p in (root / "StatisticsGen").glob("statistics/*/Split-*")]
    assert sorted(splits) == sorted(["Split-selection", TEST, TRAIN])
    assert run(chosen) == [first]

    Path(manifest).write_text(
        Path(manifest).read_text(encoding="utf-8") + "too,few\n" * 10,
        encoding="utf-8",
    )
    with pytest.raises(Exception, match=r"29 of 69 rows \(42.0%\) cannot be used"):
        run(chosen)
    (report,) = (root / "ManifestExampleGen" / "quarantine").iterdir()
    assert len(quarantined(report)) == 29
