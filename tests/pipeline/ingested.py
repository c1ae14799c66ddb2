"""Runs ingestion through Beam, and reads what it wrote."""

import json
from pathlib import Path
from typing import Any

FN_API = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def run_ingest(chosen: Any, manifest: str, output: Path, fingerprint: str = "") -> Any:
    import apache_beam as beam

    from pipeline.ingest import ingest

    return ingest(
        beam.Pipeline(argv=[FN_API]),
        chosen,
        manifest,
        str(output),
        str(output) + "-report",
        fingerprint,
    )


def ids(split: Path) -> list[str]:
    import tensorflow as tf

    names = sorted(str(p) for p in split.iterdir())
    found = []
    for data in tf.data.TFRecordDataset(names, "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(data).features.feature
        found.append(features["__id__"].bytes_list.value[0].decode())
    return found


def quarantined(folder: Path) -> list[dict[str, Any]]:
    names = sorted(folder.glob("quarantine-*.jsonl"))
    return [json.loads(line) for n in names for line in n.read_text().splitlines()]
