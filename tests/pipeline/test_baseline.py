"""The baseline that the pipeline leaves beside a model, and what may change in it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipeline.baseline import (
    FOLDER,
    STATISTICS,
    BaselineError,
    keep_baseline,
    load_baseline,
)
from pipeline.baseline_measure import measure
from pipeline.demo_data import write_demo_data
from pipeline.monitor import Monitor
from pipeline.monitor_report import Report
from pipeline.monitor_rows import Column, arrays_of
from pipeline.monitor_statistics import counts_of
from pipeline.rows import Row, iter_rows
from pipeline.views import ingestion_view, training_view, transform_view
from serving.client import LocalModel
from serving.servable import Servable
from tests.pipeline.conftest import Finished
from tests.pipeline.monitored import (
    VERSION,
    Watching,
    logs_of,
    rows,
    sent,
    write_logs,
)
from trainer.config import MonitoringConfig, load, replace


@pytest.fixture
def copied(watching: Watching, tmp_path: Path) -> Watching:
    """A model whose files a test may change."""
    copy = shutil.copytree(watching.model, tmp_path / "watched" / str(VERSION))
    return replace(watching, model=copy)


def read_rows(finished: Finished, manifest: str) -> list[Row]:
    config = load(finished.project.output / "config.yaml")
    found = iter_rows(config, manifest, "eval")
    return [row for row in found if isinstance(row, Row)]


def test_it_is_counted_on_the_eval_rows_of_the_pushed_model(finished: Finished) -> None:
    path = Path(finished.summary["baseline"])
    assert path == Path(finished.summary["model"]) / FOLDER / STATISTICS
    baseline = load_baseline(str(path))
    assert baseline.rows == 75
    assert baseline.version == int(Path(finished.summary["model"]).name)
    counts = counts_of(baseline.statistics)
    judged = read_rows(finished, finished.project.manifest)
    answers = LocalModel(finished.summary["model"]).predict(
        [row.values for row in judged]
    )
    assert counts["label/label"] == Counter(row["label"] for row in answers)
    for name in ("image", "audio", "mention", "measures"):
        there = Counter(
            "present" if row[f"{name}_present"] else "missing" for row in answers
        )
        assert counts[f"missing/{name}"] == there
    known = Counter(str(row.labels["label"]) for row in judged)
    held = {f"('{name}',)": n for name, n in counts["label/label (true)"].items()}
    assert held == known


def test_it_holds_every_kind_of_column(finished: Finished) -> None:
    columns = set(load_baseline(finished.summary["baseline"]).bins)
    assert {(c.kind, c.feature) for c in columns} >= {
        ("missing", "height_mm"), ("numeric", "height_mm"), ("numeric", "image"),
        ("numeric", "audio"), ("numeric", "mention"), ("categorical", "first_stroke"),
        ("label", "label"), ("score", "label"), ("embedding", "embedding"),
        ("embedding", "image_embedding"), ("embedding", "audio_embedding"),
        ("embedding", "mention_embedding"), ("embedding", "measures_embedding"),
    }  # fmt: skip
    parts = {c.part for c in columns if c.feature == "image_embedding"}
    assert parts == {*(f"axis {i}" for i in range(1, 9)), "off the axes"}
    assert {
        c.part for c in columns if c.feature == "image" and c.kind == "numeric"
    } == {
        "width",
        "height",
    }


def test_no_row_can_be_read_out_of_it(finished: Finished) -> None:
    folder = Path(finished.summary["baseline"]).parent
    held = b"".join(path.read_bytes() for path in folder.iterdir())
    texts = [
        str(row.values["mention"])
        for row in read_rows(finished, finished.project.manifest)
        if "mention" in row.values
    ]
    assert len(texts) > 50
    assert not [text for text in texts if len(text) > 6 and text.encode() in held]
    assert len(held) < 500_000


def demo_report(finished: Finished, given: list[Row], logs: Path) -> Report:
    """What the monitor says of rows that the pushed model answers."""
    baseline = load_baseline(finished.summary["baseline"])
    servable = Servable("demo", baseline.version, finished.summary["model"])
    logs.mkdir()
    with tf.io.TFRecordWriter(str(logs / "log.tfrecord")) as writer:
        for start in range(0, len(given), 32):
            arrays = arrays_of(baseline.config, sent(given[start : start + 32]))
            log = prediction_log_pb2.PredictionLog().predict_log
            log.request.model_spec.signature_name = "serving_raw"
            for key, array in arrays.items():
                kind = tf.string if array.dtype == object else tf.float32
                proto = tf.make_tensor_proto(array.tolist(), kind)
                log.request.inputs[key].CopyFrom(proto)
            for key, array in servable.run("serving_raw", arrays).items():
                proto = tf.make_tensor_proto(
                    array.tolist() if array.dtype == object else array
                )
                log.response.outputs[key].CopyFrom(proto)
            log.response.model_spec.version.value = baseline.version
            whole = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(whole.SerializeToString())
    return Monitor(str(logs), finished.summary["model"]).run()


def test_a_trained_model_is_watched(finished: Finished, tmp_path: Path) -> None:
    """New demo rows are silent; darker pictures, and eights alone, are not."""
    manifest = write_demo_data(tmp_path / "data", examples=480, seed=12)
    fresh = read_rows(finished, str(manifest))
    assert len(fresh) == 120
    report = demo_report(finished, fresh, tmp_path / "fresh")
    assert not report.drifted, [c for c in report.checks if c.verdict == "drift"]
    assert report.embedded_rows == 120

    def dark(row: Row) -> Row:
        values = dict(row.values)
        if "image" in values:
            pixels = tf.io.decode_png(values["image"])
            values["image"] = tf.io.encode_png(pixels // 3).numpy()
        return Row(row.number, row.id, row.split, values, row.labels)

    report = demo_report(finished, [dark(row) for row in fresh], tmp_path / "dark")
    drifted = {(c.kind, c.feature) for c in report.checks if c.verdict == "drift"}
    assert ("embedding", "image_embedding") in drifted
    assert not drifted & {
        ("embedding", "audio_embedding"), ("embedding", "mention_embedding"),
        ("missing", "image"), ("numeric", "height_mm"),
    }  # fmt: skip
    eights = [row for row in fresh if row.labels["label"] == ("8",)] * 10
    report = demo_report(finished, eights, tmp_path / "eights")
    drifted = {(c.kind, c.feature) for c in report.checks if c.verdict == "drift"}
    assert ("label", "label") in drifted


def test_new_thresholds_are_written_and_nothing_else(copied: Watching) -> None:
    path = copied.model / FOLDER / STATISTICS
    before = path.stat()
    config = replace(copied.config, monitoring=MonitoringConfig(label=0.3))
    assert keep_baseline(config, str(copied.model), "nowhere") == str(path)
    assert load_baseline(str(path)).config.monitoring.label == 0.3
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_thresholds_reach_no_component(watching: Watching) -> None:
    changed = replace(watching.config, monitoring=MonitoringConfig(label=0.3))
    for view in (ingestion_view, transform_view):
        assert view(changed) == view(watching.config)
    (stage,) = changed.resolved_stages()
    assert training_view(changed, stage) == training_view(watching.config, stage)


def test_a_baseline_is_found_by_its_model(watching: Watching) -> None:
    found = [
        load_baseline(str(path)).rows
        for path in (
            watching.model / FOLDER / STATISTICS,
            watching.model / FOLDER,
            watching.model,
            watching.model.parent,
        )
    ]
    assert found == [400] * 4


def test_what_is_no_baseline_is_refused(copied: Watching, tmp_path: Path) -> None:
    with pytest.raises(
        BaselineError, match="no baseline here; expected a FeatureStats"
    ):
        load_baseline(str(tmp_path / "nowhere"))
    reading = copied.model / FOLDER / "baseline.json"
    whole: dict[str, Any] = json.loads(reading.read_text())
    reading.write_text(json.dumps({**whole, "format": 99}))
    with pytest.raises(BaselineError, match=r"format 99; .* reads 1\."):
        load_baseline(str(copied.model))
    reading.write_text(json.dumps(whole)[:-20])
    with pytest.raises(BaselineError, match=r"not a whole baseline \(JSONDecodeError"):
        load_baseline(str(copied.model))


def test_another_models_embeddings_are_not_compared(
    watching: Watching, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "7"
    index = watching.model / "variables" / "variables.index"
    other.mkdir(parents=True)
    (other / "saved_model.pb").write_bytes(
        (watching.model / "saved_model.pb").read_bytes()
    )
    (other / "variables").mkdir()
    (other / "variables" / "variables.index").write_bytes(index.read_bytes() + b"x")
    with pytest.raises(BaselineError, match="not the model of this baseline"):
        Monitor("logs", str(watching.model), str(other))


def test_a_baseline_without_its_model_compares_the_rest(
    copied: Watching, tmp_path: Path
) -> None:
    (copied.model / FOLDER).rename(tmp_path / "baseline")
    write_logs(tmp_path / "logs", logs_of(copied, rows(120, 5)))
    alone = Monitor(str(tmp_path / "logs"), str(tmp_path / "baseline")).run()
    verdicts = {(c.kind, c.feature): c.verdict for c in alone.checks}
    assert verdicts["embedding", "picture_embedding"] == "not logged"
    assert verdicts["missing", "picture"] == "silent"
    assert "embeddings are not compared: give --model" in alone.notes
    given = Monitor(
        str(tmp_path / "logs"), str(tmp_path / "baseline"), str(copied.model)
    ).run()
    verdicts = {(c.kind, c.feature): c.verdict for c in given.checks}
    assert verdicts["embedding", "picture_embedding"] == "silent"


@pytest.mark.parametrize(("labelled", "there"), [(19, False), (20, True)])
def test_columns_that_few_rows_have_are_left_out(
    watching: Watching, labelled: int, there: bool
) -> None:
    judged = rows(60, 3)
    for number, row in enumerate(judged[:labelled]):
        row.labels["years"] = float(number)
    found = measure(watching.config, watching.servable, rows(60, 1), judged)
    assert (Column("numeric", "years (true)") in found.bins) is there
