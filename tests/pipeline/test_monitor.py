"""The command as a whole: a shift fires, a fresh sample of the same rows does not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from pipeline.baseline import FOLDER, STATISTICS
from pipeline.cli import main
from pipeline.monitor import Monitor, MonitorError, watch
from pipeline.monitor_report import Report
from tests.pipeline.monitored import (
    VERSION,
    Watching,
    logs_of,
    rows,
    write_logs,
)
from trainer.config import MonitoringConfig, replace, to_yaml

# Kind and feature that must alarm -> what was done to the rows.
SHIFTS: dict[tuple[str, str], dict[str, Any]] = {
    ("missing", "note"): {"missing": lambda share: 0.4},
    ("embedding", "picture_embedding"): {"picture": lambda pixels: pixels * 0.6},
    ("label", "light"): {"picture": lambda pixels: pixels * 0.6},
    ("label", "tags"): {"age": lambda age: age + 25},
    ("score", "light"): {"picture": lambda pixels: pixels * 0.2 + 102},
    ("score", "years"): {"age": lambda age: age + 25},
    ("numeric", "note"): {"note": lambda note: note[:10]},
    ("numeric", "age"): {"age": lambda age: age + 25},
    ("categorical", "city"): {"city": lambda city: "Genève"},
}


def polymodal(*words: str) -> Result:
    return CliRunner().invoke(main, ["monitor", *words])


def gauges(text: str) -> dict[tuple[str, str, str], float]:
    """Name, kind and feature -> value; all of them of the model `watched`."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        for one in family.samples:
            assert one.labels["model_name"] == "watched"
            kind, feature = (one.labels.get(key, "") for key in ("kind", "feature"))
            found[one.name.removeprefix("polymodal_drift_"), kind, feature] = one.value
    return found


def report(watching: Watching, logs: Path, **options: Any) -> Report:
    return Monitor(str(logs), str(watching.model), **options).run()


@pytest.mark.parametrize("what", SHIFTS, ids=lambda what: "-".join(what))
def test_a_shift_alarms(
    watching: Watching, tmp_path: Path, what: tuple[str, str]
) -> None:
    kind, feature = what
    write_logs(tmp_path / "logs/a", logs_of(watching, rows(400, 9, **SHIFTS[what])))
    text, output = tmp_path / "drift.prom", tmp_path / "drift.json"
    done = polymodal(
        "--logs", str(tmp_path / "logs"), "--textfile", str(text), "--output",
        str(output), "--baseline", str(watching.model / FOLDER / STATISTICS),
    )  # fmt: skip
    assert done.exit_code == 3, done.output
    found = gauges(text.read_text())
    assert found["alert", kind, feature] == 1
    assert found["value", kind, feature] > found["threshold", kind, feature]
    assert found["rows", "", ""] == 400
    assert abs(found["last_run_timestamp_seconds", "", ""] - time.time()) < 60
    told = json.loads(output.read_text())
    assert told["drift"] is True
    (check,) = [c for c in told["checks"] if (c["kind"], c["feature"]) == what]
    assert check["verdict"] == "drift"
    assert check["value"] == pytest.approx(found["value", kind, feature])
    # Nothing but what the shift touches.
    untouched = {"age": "note", "city": "note", "note": "age", "picture": "age"}
    for changed in SHIFTS[what]:
        for other in ("numeric", "missing"):
            if changed in untouched:
                assert found["alert", other, untouched[changed]] == 0


@pytest.mark.parametrize("count", [100, 300, 1000])
def test_fresh_rows_of_the_same_source_are_silent(
    watching: Watching, tmp_path: Path, count: int
) -> None:
    for seed in range(20, 23):
        write_logs(tmp_path / "logs", logs_of(watching, rows(count, seed)))
        found = report(watching, tmp_path / "logs")
        assert not found.drifted, [c for c in found.checks if c.verdict == "drift"]
        assert sum(check.verdict == "silent" for check in found.checks) >= 9


def test_what_is_printed(watching: Watching, tmp_path: Path) -> None:
    write_logs(tmp_path / "logs", logs_of(watching, rows(400, 9)))
    done = CliRunner(env={"COLUMNS": "160"}).invoke(
        main,
        ["monitor", "--logs", str(tmp_path), "--baseline", str(watching.model.parent)],
    )
    assert done.exit_code == 0, done.output
    assert "watched: 400 logged rows against 400 of the baseline" in done.output
    assert "no drift in any of 18 checks" in done.output
    assert re.search(
        r"picture +│ missing +│ 0\.\d{3} │ +0\.\d{3} │ silent", done.output
    )


def test_the_same_rows_as_examples_and_as_tensors_give_the_same(
    watching: Watching, tmp_path: Path
) -> None:
    """TF Serving's logs of both signatures, one of them compressed."""
    given = rows(200, 9, missing=lambda share: 0.3)
    write_logs(tmp_path / "raw/a", logs_of(watching, given))
    write_logs(tmp_path / "default/b.gz", logs_of(watching, given, examples=True), True)
    raw, default = (report(watching, tmp_path / kind) for kind in ("raw", "default"))
    assert raw.checks == default.checks
    assert raw.drifted


def test_labels_in_examples_are_compared(watching: Watching, tmp_path: Path) -> None:
    bright = [row for row in rows(400, 9) if row.labels["light"] == ("bright",)]
    write_logs(tmp_path / "a", logs_of(watching, bright, examples=True, labels=True))
    checks = {(c.kind, c.feature): c for c in report(watching, tmp_path).checks}
    check = checks["label", "light (true)"]
    assert (check.verdict, check.rows) == ("drift", len(bright))
    assert (check.changed, check.now) == ("bright", 1.0)


def test_thresholds_of_a_config(watching: Watching, tmp_path: Path) -> None:
    write_logs(
        tmp_path / "logs/a", logs_of(watching, rows(300, 9, missing=lambda s: 0.4))
    )
    lenient = MonitoringConfig(
        missing_rate=1, numeric=1, categorical=1, label=1, score=1, embedding=1
    )
    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(replace(watching.config, monitoring=lenient)))
    words = ("--logs", str(tmp_path / "logs"), "--baseline", str(watching.model))
    assert polymodal(*words).exit_code == 3
    assert polymodal(*words, "--config", str(config)).exit_code == 0


def test_many_rows_are_sampled(
    watching: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.monitor._MOST_ROWS", 150)
    monkeypatch.setattr("pipeline.monitor._EMBEDDED_ROWS", 120)
    # In order: a sample of the first rows alone would be dark.
    given = sorted(rows(600, 9), key=lambda row: row.labels["light"], reverse=True)
    write_logs(tmp_path / "a", logs_of(watching, given))
    found = report(watching, tmp_path)
    assert (found.rows, found.compared_rows, found.embedded_rows) == (600, 150, 120)
    assert not found.drifted
    assert "a sample of 150 of 600 rows is compared" in found.notes


def test_it_runs_on_and_answers_prometheus(watching: Watching, tmp_path: Path) -> None:
    """New logs show in the gauges; SIGTERM ends it with status 0."""
    monitor = Monitor(str(tmp_path / "logs"), str(watching.model))
    printed = io.StringIO()
    seen: list[dict[tuple[str, str, str], float]] = []

    def scrape(until: Callable[[dict[tuple[str, str, str], float]], bool]) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            port = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", printed.getvalue())
            if port:
                with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics") as r:
                    found = gauges(r.read().decode())
                if found and until(found):
                    seen.append(found)
                    return
            time.sleep(0.05)

    def ask() -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(os.kill, os.getpid(), signal.SIGTERM)
            scrape(lambda found: found["rows", "", ""] == 0)
            shifted = rows(200, 9, missing=lambda share: 0.5)
            write_logs(tmp_path / "logs/a", logs_of(watching, shifted))
            scrape(lambda found: found["rows", "", ""] == 200)

    before = signal.getsignal(signal.SIGTERM)
    asking = threading.Thread(target=ask)
    asking.start()
    status = watch(monitor, Console(file=printed), metrics_port=0, interval=0.2)
    asking.join()
    assert status == 0
    assert signal.getsignal(signal.SIGTERM) == before
    empty, full = seen
    assert set(empty.values()) - {empty["last_run_timestamp_seconds", "", ""]} == {0}
    assert full["alert", "missing", "picture"] == 1


def test_a_port_without_an_interval_is_refused(watching: Watching) -> None:
    monitor = Monitor("nowhere", str(watching.model))
    with pytest.raises(MonitorError, match="needs --interval"):
        watch(monitor, Console(file=io.StringIO()), metrics_port=0)


def test_nothing_to_compare_is_no_silence(watching: Watching, tmp_path: Path) -> None:
    words = ("--baseline", str(watching.model))
    done = polymodal("--logs", str(tmp_path / "none"), *words)
    assert done.exit_code == 2
    assert "no files in" in done.output
    other = logs_of(watching, rows(8, 9), version=VERSION + 1)
    write_logs(tmp_path / "a", other)
    done = polymodal("--logs", str(tmp_path), *words)
    assert done.exit_code == 2
    assert "no row of the baseline's model (version 7) in 1 file" in done.output
    assert "left out: 1 × answered by version 8" in done.output


def test_too_few_rows_is_no_silence(watching: Watching, tmp_path: Path) -> None:
    """Every check of 8 rows lacks `min_rows`: neither drift nor its absence is said."""
    write_logs(tmp_path / "logs/a", logs_of(watching, rows(8, 9)))
    text, output = tmp_path / "drift.prom", tmp_path / "drift.json"
    words = ("--logs", str(tmp_path / "logs"), "--baseline", str(watching.model))
    done = polymodal(*words, "--output", str(output), "--textfile", str(text))
    assert done.exit_code == 4, done.output
    said = " ".join(done.output.split())
    assert "could not be told: 8 logged rows are too few for any of 18 checks" in said
    assert "no drift" not in said
    assert json.loads(output.read_text())["drift"] is None
    found = gauges(text.read_text())
    assert found["judged_checks", "", ""] == 0
    assert found["rows", "", ""] == 8


def test_what_was_judged_and_what_was_not(watching: Watching, tmp_path: Path) -> None:
    """One input in a few rows only: its checks could not be told, the others could."""
    given = rows(200, 9, missing=lambda share: 0.97)
    write_logs(tmp_path / "logs/a", logs_of(watching, given))
    found = report(watching, tmp_path / "logs")
    few = sum(check.verdict == "too few rows" for check in found.checks)
    assert 0 < few < len(found.checks)
    (not_logged,) = (c for c in found.checks if c.verdict == "not logged")
    assert not_logged.feature == "light (true)"  # requests carry no labels
    assert found.judged == len(found.checks) - few - 1
    assert found.drifted is True
