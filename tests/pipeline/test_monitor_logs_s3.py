"""Request logs on s3:// are read as those on disk are."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.monitor import Monitor, watch
from pipeline.prediction_logs import Seen, log_files, logged_rows
from tests import object_stores
from tests.object_stores import Store
from tests.pipeline.monitored import CONFIG, Watching, logs_of, rows, sent, write_logs


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with (
        object_stores.running("moto") as running,
        object_stores.used(running, monkeypatch),
    ):
        yield running


@pytest.mark.parametrize("compressed", [False, True])
def test_rows_come_back_from_a_store(
    store: Store, watching: Watching, tmp_path: Path, compressed: bool
) -> None:
    logs = logs_of(watching, rows(24, 5), seconds=1000)
    local = write_logs(tmp_path / "log", logs, compressed)
    store.put("logs/m-1.tfrecord", local.read_bytes())
    store.put("logs/.hidden", b"x")
    seen = Seen()
    for place in ("s3://bucket/logs", "s3://bucket/logs/m-"):
        found = list(logged_rows(CONFIG, log_files(place), seen))
        assert [row.values for row in found] == sent(rows(24, 5))
    assert (seen.files, seen.rows, seen.left_out) == (2, 48, {})
    gone = ["s3://bucket/logs/gone.tfrecord.partial"]
    assert list(logged_rows(CONFIG, gone, seen)) == []


def test_it_runs_on_where_logs_cannot_be_read_for_a_while(
    watching: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = Monitor(str(tmp_path / "logs"), str(watching.model))
    printed, real, runs = io.StringIO(), monitor.run, 0

    def run() -> Any:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise OSError("s3://bucket/[logs]: no answer")
        os.kill(os.getpid(), signal.SIGTERM)
        return real()

    monkeypatch.setattr(monitor, "run", run)
    assert watch(monitor, Console(file=printed, width=99), interval=0.01) == 0
    assert runs == 2
    assert "this run is left out: s3://bucket/[logs]: no answer" in printed.getvalue()
