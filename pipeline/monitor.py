"""`polymodal monitor`: logged requests against the baseline of the model they asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from pipeline.apply import newest_version
from pipeline.baseline import BaselineError, baseline_folder, load_baseline
from pipeline.baseline import model_hash as hash_of
from pipeline.monitor_embeddings import SIGNATURE, EmbeddingSample
from pipeline.monitor_report import (
    Gauges,
    Report,
    registry_of,
    show,
    write_json,
    write_textfile,
)
from pipeline.monitor_rows import Column, Reservoir, Value, observed
from pipeline.monitor_statistics import compare, statistics_of, table_of
from pipeline.outputs import writable_file
from pipeline.prediction_logs import (
    LogError,
    Seen,
    log_files,
    logged_rows,
    seconds_since,
)
from pipeline.stopping import stopping
from trainer.config import Config, UserError
from trainer.features import EMBEDDING, embedding_key, features, input_features

NO_DRIFT, DRIFT, UNTOLD = 0, 3, 4
"""Exit statuses of the command; 2 is for what cannot be compared as it was asked."""

_MOST_ROWS = 20_000
_EMBEDDED_ROWS = 500


LOOPBACK = "127.0.0.1"
"""Gauges tell of a model's traffic: other machines see them where asked for only."""


class MonitorError(UserError, ValueError):
    """Options that do not fit together."""


class Monitor:
    """Compares logs with a baseline, as often as asked.

    Args:
        logs: folder of request logs, or how their paths begin.
        baseline: see `load_baseline`.
        model: the model's directory, which embeds the logged inputs; None = the one
            that the baseline lies in. Without any, embeddings are not compared.
        config: its `monitoring` has the thresholds, and its `serving.request_log`
            names what the server redacts; None = the config in the baseline.
        since: only what was logged from then on, see `seconds_since`.

    Raises:
        BaselineError: no baseline, or one of another model than `model`.
        LogError: `since` cannot be read.
    """

    def __init__(
        self,
        logs: str,
        baseline: str,
        model: str | None = None,
        config: Config | None = None,
        since: str | None = None,
    ) -> None:
        self._logs, self._since = logs, since
        self._baseline = load_baseline(baseline)
        self._config = config or self._baseline.config
        if since is not None:
            seconds_since(since)  # refused now, not after the model is loaded
        self._servable = self._embedder(baseline, model)

    def _embedder(self, baseline: str, model: str | None) -> Any:
        """The loaded model, where it is there and embeds."""
        from serving.servable import Servable

        if model is None:
            # As far up as `FOLDER` is deep.
            around = baseline_folder(baseline).resolve().parent.parent
            if not (around / "saved_model.pb").is_file():
                return None
            directory = str(around)
        else:
            directory = newest_version(model)
        if hash_of(directory) != self._baseline.model:
            raise BaselineError(
                f"{directory}: not the model of this baseline; their embeddings cannot"
                " be compared. Give the model that the baseline was pushed with."
            )
        servable = Servable(self._baseline.config.name, 0, directory)
        return servable if SIGNATURE in servable.signature_defs else None

    def run(self) -> Report:
        """Reads all logs once and compares them."""
        baseline, seen = self._baseline, Seen(redacted=self._redacted())
        files = log_files(self._logs)
        since = seconds_since(self._since) if self._since else 0.0
        reservoir = Reservoir(_MOST_ROWS)
        kept: dict[int, dict[Column, Value]] = {}
        sample = None
        if self._servable is not None and baseline.axes:
            sample = EmbeddingSample(
                baseline.config, self._servable, baseline.axes, _EMBEDDED_ROWS
            )
        for row in logged_rows(baseline.config, files, seen, baseline.version, since):
            slot = reservoir.slot()
            if slot is not None:
                kept[slot] = observed(baseline.config, row)
            if sample is not None:
                sample.offer(row)
        embedded = sample.rows() if sample else []
        table = table_of(kept.values()) | table_of(embedded)
        table = self._without_redacted(table, seen.redacted)
        checks = compare(
            baseline.statistics,
            statistics_of(table, baseline.bins),
            baseline.bins,
            self._config.monitoring,
        )
        return Report(
            model_name=baseline.config.name,
            version=baseline.version,
            time=time.time(),
            rows=seen.rows,
            compared_rows=len(kept),
            embedded_rows=len(embedded),
            baseline_rows=baseline.rows,
            checks=tuple(checks),
            notes=tuple(self._notes(seen, files)),
        )

    def _redacted(self) -> set[str]:
        """Feature keys of which the config says that the server redacts them."""
        keys = {feature.key for feature in features(self._baseline.config)}
        names = set(self._config.serving.request_log.redact_inputs)
        return keys if "all" in names else keys & names

    def _without_redacted(
        self, table: Mapping[Column, list[Value]], redacted: set[str]
    ) -> dict[Column, list[Value]]:
        """Leaves out what can only be told from values that are redacted.

        Whether an input as a whole was there is not: the answers say it.
        """
        inputs = self._baseline.config.inputs
        left_out = {EMBEDDING} if redacted else set()
        for one in inputs:
            if any(feature.key in redacted for feature in input_features(one)):
                left_out.add(embedding_key(one.name))
        whole = {Column("missing", one.name) for one in inputs}
        return {
            column: values
            for column, values in table.items()
            if column.feature not in redacted | left_out or column in whole
        }

    def _notes(self, seen: Seen, files: list[str]) -> list[str]:
        notes = []
        if not files:
            notes.append(
                f"no files in {self._logs}, and none whose path begins so; expected the"
                " folder or the filename_prefix of a server's request logs"
            )
        elif not seen.rows:
            wanted = f"version {self._baseline.version or 'any'}"
            notes.append(
                f"no row of the baseline's model ({wanted}) in {len(files)}"
                f" file{'' if len(files) == 1 else 's'}"
            )
        for reason, count in sorted(seen.left_out.items()):
            notes.append(f"left out: {count:,} × {reason}")
        notes += seen.damaged
        if seen.redacted:
            names = ", ".join(sorted(seen.redacted))
            notes.append(f"redacted by the server, so not compared: {names}")
        if seen.rows > _MOST_ROWS:
            notes.append(
                f"a sample of {_MOST_ROWS:,} of {seen.rows:,} rows is compared"
            )
        if self._baseline.axes and self._servable is None:
            notes.append("embeddings are not compared: give --model")
        return notes


def watch(
    monitor: Monitor,
    console: Console,
    *,
    output: str | None = None,
    textfile: str | None = None,
    metrics_port: int | None = None,
    metrics_host: str = LOOPBACK,
    interval: float | None = None,
) -> int:
    """Runs a monitor once, or every `interval` seconds until SIGINT or SIGTERM.

    Args:
        monitor: what to run.
        console: where to show each report.
        output: JSON file of the newest report.
        textfile: gauges for the node exporter's textfile collector.
        metrics_port: gauges at http://HOST:PORT/metrics; 0 = a free port.
        metrics_host: the address that is listened on.
        interval: seconds from the start of a run to that of the next; None = once.

    Returns:
        The exit status: 0; where it ran once, 3 if something drifted and 4 if there
        were too few rows for every check.

    Raises:
        LogError: it ran once, and there was no row to compare.
        MonitorError: a port to be asked at, and an end before anybody can ask; or a
            port that cannot be listened on.
        OutputError: a file that cannot be written; known before anything is read.
    """
    if metrics_port is not None and interval is None:
        raise MonitorError("--metrics_port: needs --interval, or it ends at once.")
    for path in (output, textfile):
        if path:
            writable_file(path)
    if interval is None:
        gauges = Gauges()
        report = _once(monitor, gauges, console, output, textfile)
        if not report.rows:
            raise LogError("nothing to compare: " + "; ".join(report.notes))
        if report.drifted is None:
            return UNTOLD
        return DRIFT if report.drifted else NO_DRIFT
    with (
        stopping() as stop,
        _asked_at(metrics_host, metrics_port, console) as gauges,
    ):
        while not stop.is_set():
            started = time.monotonic()
            try:
                _once(monitor, gauges, console, output, textfile)
            except OSError as error:  # a store that does not answer for a while
                console.print(f"this run is left out: {error}", markup=False)
            stop.wait(max(0.0, interval - (time.monotonic() - started)))
    return NO_DRIFT


def _once(
    monitor: Monitor,
    gauges: Gauges,
    console: Console,
    output: str | None,
    textfile: str | None,
) -> Report:
    report = gauges.report = monitor.run()
    show(report, console)
    if output:
        write_json(report, output)
    if textfile:
        write_textfile(gauges, textfile)
    return report


@contextmanager
def _asked_at(host: str, port: int | None, console: Console) -> Iterator[Gauges]:
    """Gauges, at a port of this machine where one is given."""
    from prometheus_client import start_http_server

    gauges = Gauges()
    if port is None:
        yield gauges
        return
    try:
        server, thread = start_http_server(port, host, registry_of(gauges))
    except OSError as error:
        raise MonitorError(
            f"--metrics_port: cannot listen on {host}:{port}:"
            f" {error.strerror or error}; give another port or --metrics_host."
        ) from None
    shown = f"[{host}]" if ":" in host else host
    console.print(
        f"gauges at http://{shown}:{server.server_port}/metrics",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    try:
        yield gauges
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
