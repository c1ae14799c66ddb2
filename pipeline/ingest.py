"""Manifest and media files to TFRecords by split, through Beam.

What travels between Beam's stages are places in the manifest and counts: a worker
reads its rows' media and writes them where they stay, so that memory holds one row at
a time. Files become part of the output only after all workers are done; what a killed
or repeated worker leaves behind is never read.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import posixpath
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions

from pipeline.integrity.media_hashes import media_digests
from pipeline.manifest import (
    BadRow,
    Manifest,
    ManifestError,
    Record,
    Start,
    needed_columns,
)
from pipeline.quarantine import Counts, QuarantineError, too_many
from pipeline.rows import Quarantined, Row, duplicate, read_row, to_example
from pipeline.scan import Scan, scan
from pipeline.shards import (
    WORKING,
    ShardWriter,
    clear,
    commit,
    copy_report,
    write_result,
)
from serving import file_changes
from trainer.config import Config, from_json, to_json

_LOG = logging.getLogger(__name__)
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True)
class Chunk:
    """Rows from `start` up to, not including, row `end`."""

    start: Start
    end: int
    duplicates: tuple[int, ...]


def ingest(
    beam_pipeline: beam.Pipeline,
    config: Config,
    manifest: str,
    output: str,
    report_dir: str,
    fingerprint: str = "",
) -> Counts:
    """Writes a manifest's rows below `output`.

    Args:
      beam_pipeline: Not yet used; it is run here.
      config: Says what is read.
      manifest: Path or URL.
      output: Folder for `Split-NAME/`, `quarantine/` and `counts.json`.
      report_dir: Where quarantine and counts are copied to before an error is raised.
      fingerprint: Of the manifest as it was planned; empty = not compared.

    Raises:
      ManifestError: the manifest cannot be used, or changed since it was planned.
      QuarantineError: more rows are unusable than the config allows.
    """
    _LOG.info("scanning %s", manifest)
    scanned = scan(config, manifest)
    if fingerprint and fingerprint != scanned.fingerprint:
        raise ManifestError(
            f"{manifest}: the manifest or its files changed after the pipeline was"
            " planned; start the pipeline again."
        )
    if problems := list(scanned.problems()):
        raise ManifestError("\n".join(problems))
    _LOG.info("%s rows, splits %s", f"{scanned.rows:,}", scanned.splits)
    for warning in scanned.warnings():
        _LOG.info("warning: %s", warning)
    source = Manifest(manifest)
    # Where rows are cheap to read past, workers share a row group; lines come in small
    # chunks as they are.
    shared = source.suffix == ".parquet" and not source.blobs
    pieces = _workers(beam_pipeline) if shared else 1
    clear(output)
    working = posixpath.join(output, WORKING, uuid.uuid4().hex)
    file_changes.make_folder(working)
    with beam_pipeline as p:
        _ = (
            p
            | "Chunks" >> beam.Create(list(_chunks(scanned, pieces)))
            | "Write" >> beam.ParDo(_WriteChunk(manifest, config, working, scanned))
        )
    counts = commit(working, output)
    file_changes.remove(posixpath.join(output, WORKING))
    if counts.read != scanned.rows:
        raise RuntimeError(
            f"{manifest}: the Beam runner read {counts.read} of {scanned.rows} rows"
            " and reported success; use another runner, or run again."
        )
    _LOG.info(
        "%s rows written, %s quarantined %s",
        f"{counts.written:,}", f"{counts.quarantined:,}", dict(counts.main_reasons()),
    )  # fmt: skip
    _judge(counts, config, manifest, output, report_dir)
    return counts


def _workers(beam_pipeline: beam.Pipeline) -> int:
    options = beam_pipeline.options.view_as(DirectOptions)
    return int(options.direct_num_workers or os.cpu_count() or 1)


def _judge(
    counts: Counts, config: Config, manifest: str, output: str, report_dir: str
) -> None:
    message = too_many(
        manifest, counts, config.data.max_quarantine_fraction, report_dir
    )
    split = config.data.split
    empty = [n for n in (split.train, split.eval) if not counts.splits.get(n)]
    if message is None and empty:
        message = (
            f"{manifest}: no usable row is left in split {', '.join(empty)}."
            f" Every quarantined row with its reason: {report_dir}"
        )
    if message is not None:
        # TFX deletes the output of a failed component.
        copy_report(output, report_dir)
        raise QuarantineError(message, counts)


def _chunks(scanned: Scan, pieces: int) -> Iterator[Chunk]:
    """What a worker reads at once; Parquet's row groups, where they are large, in pieces.

    A place in a row group is reached by reading past the rows before it.
    """
    starts = scanned.chunks
    ends = [s.row for s in starts[1:]] + [scanned.rows + 1]
    for start, end in zip(starts, ends, strict=True):
        rows = end - start.row
        each = max(min(rows, scanned.chunk_rows), -(-rows // pieces))
        for skip in range(0, rows, each):
            begin = Start(start.position + skip, start.row + skip)
            last = min(end, begin.row + each)
            yield Chunk(begin, last, scanned.duplicates_between(begin.row, last))


class _WriteChunk(beam.DoFn):
    """Writes a chunk's rows to files of its own and yields what it wrote."""

    def __init__(
        self, manifest: str, config: Config, working: str, scanned: Scan
    ) -> None:
        # The config travels as JSON: plain text pickles the same everywhere.
        self._manifest_path, self._config_json = manifest, to_json(config)
        self._working, self._total = working, scanned.rows
        self._plan = scanned.plan
        self._file_rows = scanned.chunk_rows

    def setup(self) -> None:
        """Opens what all chunks share."""
        self._manifest = Manifest(self._manifest_path)
        self._config = from_json(self._config_json)
        self._columns = {column for _, column in needed_columns(self._config)}

    def process(self, chunk: Chunk) -> None:
        """One chunk to a file of results for each of its files."""
        records = self._manifest.records(chunk.start, self._columns)
        mine = itertools.takewhile(lambda one: one.start.row < chunk.end, records)
        # Files of some hundred rows each: a reader of a few rows sees all places.
        while first := next(mine, None):
            some = itertools.chain(
                (first,), itertools.islice(mine, self._file_rows - 1)
            )
            self._write(first.start.row, some, chunk.duplicates)

    def _write(
        self, first: int, records: Iterator[Record], duplicates: tuple[int, ...]
    ) -> None:
        stem = posixpath.join(self._working, uuid.uuid4().hex)
        counts = Counts()
        hashes: list[tuple[str, str, str, str]] = []
        with ShardWriter(stem) as shards:
            for record in records:
                number = record.start.row
                found = self._read(number, record.cells, number in duplicates)
                _PROGRESS.row(self._total, isinstance(found, Quarantined))
                if isinstance(found, Quarantined):
                    counts.take(found)
                    shards.quarantine(found.to_json())
                else:
                    row, example = found
                    counts.write(row.split)
                    shards.example(row.split, example)
                    hashes += (
                        (key, digest, row.split, row.id)
                        for key, digest in media_digests(self._config, row.values)
                    )
        result = {
            "counts": dataclasses.asdict(counts),
            "files": shards.names,
            "quarantine": shards.quarantine_name,
            "hashes": hashes,
        }
        write_result(self._working, first, result)

    def _read(
        self, number: int, cells: Any, is_duplicate: bool
    ) -> Quarantined | tuple[Row, bytes]:
        """A row and its example, or why there is none."""
        if is_duplicate and not isinstance(cells, BadRow):
            return duplicate(number, cells, self._config)
        found = read_row(number, cells, self._config, self._manifest.base, self._plan)
        if isinstance(found, Quarantined):
            return found
        try:
            return found, to_example(found)
        except Exception as error:  # More bytes than a tf.Example holds.
            text = f"cannot be stored ({type(error).__name__}: {str(error)[:200]})."
            return Quarantined(number, found.id, "unreadable_row", "", text)


class _Progress:
    """Logs rows per second; one for all threads of a worker process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows = self._bad = 0
        self._began = self._last = 0.0

    def row(self, total: int, bad: bool) -> None:
        """Counts a row; logs when some seconds have passed since the last time."""
        with self._lock:
            now = time.monotonic()
            if self._rows == 0 or self._rows >= total:
                self._rows, self._bad, self._began, self._last = 0, 0, now, now
            self._rows += 1
            self._bad += bad
            if now - self._last >= _PROGRESS_SECONDS:
                self._last = now
                _LOG.info(
                    "%s of %s rows, %s quarantined, %.0f rows/s",
                    f"{self._rows:,}", f"{total:,}", f"{self._bad:,}",
                    self._rows / (now - self._began),
                )  # fmt: skip


_PROGRESS = _Progress()
