"""Request logs as they are found: torn, mixed, compressed, redacted, half written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tensorflow_serving.apis import prediction_log_pb2

from pipeline.monitor import Monitor
from pipeline.prediction_logs import (
    LogError,
    Seen,
    log_files,
    logged_rows,
    seconds_since,
)
from serving.redaction import Redaction
from tests.pipeline.monitored import (
    CONFIG,
    VERSION,
    Watching,
    logs_of,
    rows,
    sent,
    write_logs,
)
from trainer.config import ServingConfig, replace
from trainer.serving_config import RequestLogConfig


@pytest.fixture(scope="module")
def logs(watching: Watching) -> list[Any]:
    """24 rows in 3 records."""
    return logs_of(watching, rows(24, 5), seconds=1000)


def read(path: Path, **options: Any) -> tuple[list[Any], Seen]:
    seen = Seen()
    return list(logged_rows(CONFIG, log_files(str(path)), seen, **options)), seen


def test_rows_come_back_as_they_were_sent(logs: list[Any], tmp_path: Path) -> None:
    found, seen = read(write_logs(tmp_path / "a", logs))
    assert [row.values for row in found] == sent(rows(24, 5))
    assert (seen.files, seen.rows, seen.left_out, seen.redacted) == (1, 24, {}, set())
    one = found[0].answers
    assert sorted(one["light_scores"]) == pytest.approx(
        [1 - max(one["light_scores"]), max(one["light_scores"])]
    )


def test_files_of_a_folder_and_of_a_prefix(logs: list[Any], tmp_path: Path) -> None:
    for name in ("day/one-1", "day/one-2", "day/.hidden", "two-1"):
        write_logs(tmp_path / name, logs)
    names = [Path(path).name for path in log_files(str(tmp_path))]
    assert names == ["one-1", "one-2", "two-1"]
    names = [Path(path).name for path in log_files(str(tmp_path / "day" / "one-"))]
    assert names == ["one-1", "one-2"]


def test_a_torn_file_gives_its_whole_records(logs: list[Any], tmp_path: Path) -> None:
    path = write_logs(tmp_path / "torn", logs)
    path.write_bytes(path.read_bytes()[:-7])
    (tmp_path / "notes.txt").write_text("no TFRecord file at all, but rather long")
    write_logs(tmp_path / "whole", logs)
    found, seen = read(tmp_path)
    assert len(found) == 16 + 24
    assert (seen.files, seen.left_out) == (1, {"rest of a damaged file": 2})
    notes, torn = seen.damaged
    assert notes.endswith("notes.txt: cannot be read from its start: no TFRecord file")
    assert torn.endswith("torn: cannot be read after record 2")


def test_a_torn_gzip_file(logs: list[Any], tmp_path: Path) -> None:
    path = write_logs(tmp_path / "torn.gz", logs, compressed=True)
    assert len(read(path)[0]) == 24
    path.write_bytes(path.read_bytes()[:-30])
    found, seen = read(path)
    assert len(found) < 24
    assert seen.left_out == {"rest of a damaged file": 1}


def test_a_file_that_was_completed_meanwhile(logs: list[Any], tmp_path: Path) -> None:
    path = write_logs(tmp_path / "a.tfrecord.partial", logs)
    files = log_files(str(tmp_path))
    path.rename(tmp_path / "a.tfrecord")
    assert len(list(logged_rows(CONFIG, files, Seen()))) == 24


def test_records_of_other_kinds_are_counted(
    watching: Watching, logs: list[Any], tmp_path: Path
) -> None:
    classify = prediction_log_pb2.PredictionLog()
    classify.classify_log.SetInParent()
    (embed,) = logs_of(watching, rows(8, 6))
    embed.predict_log.request.model_spec.signature_name = "embed"
    (uneven,) = logs_of(watching, rows(8, 6))
    del uneven.predict_log.request.inputs["note"].string_val[:]
    uneven.predict_log.request.inputs["note"].tensor_shape.dim[0].size = 3
    uneven.predict_log.request.inputs["note"].string_val.extend([b"a", b"b", b"c"])
    path = write_logs(tmp_path / "a", [classify, embed, uneven, *logs])
    from tensorflow.io import TFRecordWriter

    with TFRecordWriter(str(tmp_path / "b")) as writer:
        writer.write(b"\xff\xff\xff no proto")
    found, seen = read(tmp_path)
    assert len(found) == 24
    assert seen.left_out == {
        "not Predict": 1,
        "signature embed": 1,
        "unreadable (ValueError)": 1,
        "no PredictionLog": 1,
    }
    assert path.exists()


def test_other_versions_are_left_out(watching: Watching, tmp_path: Path) -> None:
    mine = logs_of(watching, rows(8, 5))
    others = logs_of(watching, rows(16, 5), version=VERSION + 1)
    path = write_logs(tmp_path / "a", [*mine, *others])
    found, seen = read(path, version=VERSION)
    assert len(found) == 8
    assert seen.left_out == {"answered by version 8": 2}
    assert len(read(path)[0]) == 24


def test_since(watching: Watching, tmp_path: Path) -> None:
    early, late = (logs_of(watching, rows(8, 5), seconds=s) for s in (1000, 2000))
    path = write_logs(tmp_path / "a", [*early, *late])
    assert len(read(path, since=1500)[0]) == 8
    untimed = write_logs(tmp_path / "untimed", logs_of(watching, rows(8, 5)))
    os.utime(untimed, (1200, 1200))
    assert len(read(untimed, since=1500)[0]) == 0
    assert len(read(untimed, since=1100)[0]) == 8


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("24h", 86400), ("7d", 604800)]
)
def test_since_before_now(text: str, seconds: int) -> None:
    assert seconds_since(text) == pytest.approx(time.time() - seconds, abs=5)


def test_since_a_date() -> None:
    assert seconds_since("1970-01-02T00:00+00:00") == 86400
    with pytest.raises(LogError, match=r"expected 90m, 24h.* Received: 'yesterday'"):
        seconds_since("yesterday")


Change = Callable[[Any], None]


def redacting(*names: str) -> Change:
    return lambda log: Redaction(names).request(log.predict_log.request)


def removing(*names: str) -> Change:
    def change(log: Any) -> None:
        for name in names:
            del log.predict_log.request.inputs[name]

    return change


FACTS = {"age", "city"}


@pytest.mark.parametrize(
    ("change", "options", "redacted"),
    [
        (redacting("picture"), {}, {"picture"}),
        (redacting("picture"), {"batch": 1}, {"picture"}),
        (redacting("age"), {}, {"age"}),
        (redacting("age", "city"), {"batch": 1}, FACTS),
        (redacting("all"), {}, {"picture", "note", *FACTS}),
        (removing("age"), {"batch": 1}, {"age"}),
        (redacting("note", "age"), {"examples": True}, {"note", "age"}),
        (redacting("all"), {"examples": True}, {"picture", "note", *FACTS}),
        (redacting("all"), {"examples": True, "batch": 1}, {"picture", "note", *FACTS}),
        (removing("examples"), {"examples": True}, {"picture", "note", *FACTS}),
    ],
    ids=(
        "picture", "picture alone in its batch", "column", "table alone in its batch",
        "all", "taken out", "in examples", "all examples", "all examples alone",
        "examples taken out",
    ),
)  # fmt: skip
def test_redacted_inputs_are_not_missing_ones(
    watching: Watching,
    tmp_path: Path,
    change: Change,
    options: dict[str, Any],
    redacted: set[str],
) -> None:
    given: Sequence[Any] = logs_of(watching, rows(160, 8), **options)
    for log in given:
        change(log)
    write_logs(tmp_path / "a", given)
    report = Monitor(str(tmp_path), str(watching.model)).run()
    names = ", ".join(sorted(redacted))
    assert f"redacted by the server, so not compared: {names}" in report.notes
    assert not report.drifted, [c for c in report.checks if c.verdict == "drift"]
    checks = {(c.kind, c.feature): c.verdict for c in report.checks}
    for key in redacted - {"city"}:
        assert checks["numeric", key] == "not logged"
    if "age" in redacted:
        assert checks["missing", "age"] == "not logged"
    # What the answers tell stays: presence of whole inputs, classes, scores.
    for kind, feature in (
        ("missing", "picture"), ("missing", "facts"), ("label", "light"),
        ("score", "years"),
    ):  # fmt: skip
        assert checks[kind, feature] == "silent"  # type: ignore[index]


def test_what_the_config_redacts_is_known(watching: Watching, tmp_path: Path) -> None:
    """A column that is alone in its batch: its log looks as if it had been missing."""
    given = logs_of(watching, rows(160, 8, city=lambda city: "Bern"), batch=1)
    for log in given:
        redacting("age")(log)
    write_logs(tmp_path / "a", given)
    request_log = RequestLogConfig(redact_inputs=("age",))
    config = replace(CONFIG, serving=ServingConfig(request_log=request_log))
    report = Monitor(str(tmp_path), str(watching.model), config=config).run()
    verdicts = {(c.kind, c.feature): c.verdict for c in report.checks}
    assert verdicts["missing", "age"] == verdicts["numeric", "age"] == "not logged"
    assert verdicts["embedding", "facts_embedding"] == "not logged"
    assert verdicts["embedding", "embedding"] == "not logged"
    assert verdicts["embedding", "picture_embedding"] == "silent"
    assert verdicts["categorical", "city"] == "drift"
    everything = RequestLogConfig(redact_inputs=("all",))
    config = replace(CONFIG, serving=ServingConfig(request_log=everything))
    report = Monitor(str(tmp_path), str(watching.model), config=config).run()
    compared = {c.kind for c in report.checks if c.verdict == "silent"}
    assert compared == {"missing", "label", "score"}
