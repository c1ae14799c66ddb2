"""Sampled requests with their answers, as PredictionLogs in TFRecord files.

TF Serving's LoggingConfig says per model how often and where to. A thread of its own
writes; requests only put into a bounded queue, and what finds it full is dropped and
counted. A file carries `.partial` after its name until it is complete.
"""

import logging
import os
import queue
import random
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import logging_config_pb2

from serving import file_changes
from serving.record_files import LogFiles, RecordFiles
from serving.redaction import Redaction
from serving.status import ServingError

_log = logging.getLogger(__name__)

_TYPES = ("", "tfrecord")


@dataclass(frozen=True)
class _Record:
    model: str
    config: Any  # LoggingConfig
    kind: str
    request: Any
    response: Any
    seconds: int
    size: int


class RequestLogs:
    """The request logs of a server; without `configure` nothing is logged.

    Args:
        redact: inputs whose values are taken out of what is logged; `all` takes all.
        files: when a file is complete and how much may wait for it.
        tags: of the SavedModels that answer, for the logs' metadata.
    """

    def __init__(
        self,
        redact: Collection[str] = (),
        files: LogFiles | None = None,
        tags: Collection[str] = ("serve",),
    ) -> None:
        self.dropped = 0
        """Records that were lost: the queue was full, or writing failed."""
        self._redaction = Redaction(redact)
        self._files = files or LogFiles()
        self._tags = tags
        self._configs: dict[str, Any] = {}
        self._queue: queue.Queue[_Record | None] = queue.Queue(
            self._files.queue_records
        )
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._told_dropped = 0
        self._writers: dict[str, RecordFiles] = {}
        self._thread: threading.Thread | None = None
        self._closing = False

    def configure(self, configs: Mapping[str, Any]) -> None:
        """Logs these models from now on, model name -> `LoggingConfig`.

        Raises:
            ServingError: INVALID_ARGUMENT, with nothing changed.
        """
        prefixes: set[str] = set()
        for model, config in configs.items():
            _check(model, config, prefixes)
        self._configs = dict(configs)
        if configs and self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="request-log", daemon=True
            )
            self._thread.start()

    def sample(self, model: str) -> bool:
        """Whether this request to `model` is to be logged."""
        config = self._configs.get(model)
        if config is None:
            return False
        rate: float = config.sampling_config.sampling_rate
        return random.random() < rate

    def write(self, model: str, kind: str, request: Any, response: Any) -> None:
        """Takes a request and its answer, to be written soon; never blocks.

        Args:
            model: its name.
            kind: `predict`, `classify`, `regress` or `multi_inference`.
            request: the proto, or its bytes; not to be changed afterwards.
            response: likewise; its ModelSpec goes into the metadata.
        """
        config = self._configs.get(model)
        # Reconfigured, or closed, since it was sampled.
        if config is None or self._closing:
            return
        size = _size(request) + _size(response)
        record = _Record(model, config, kind, request, response, int(time.time()), size)
        with self._lock:
            room = self._waiting_bytes + size <= self._files.queue_bytes
            if room:
                self._waiting_bytes += size
        try:
            if not room:
                raise queue.Full
            self._queue.put_nowait(record)
        except queue.Full:
            with self._lock:
                self.dropped += 1
                if room:
                    self._waiting_bytes -= size

    def close(self) -> None:
        """Writes what waits and completes the files; nothing is logged afterwards."""
        self._closing = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        pause = min(1.0, self._files.max_seconds / 2)
        while True:
            try:
                record = self._queue.get(timeout=pause)
            except queue.Empty:
                self._complete()
                continue
            if record is None:
                break
            self._take(record)
            self._complete()
        self._complete(everything=True)

    def _take(self, record: _Record) -> None:
        writer = self._writer(record)
        try:
            writer.write(self._prediction_log(record).SerializeToString())
        except Exception as error:  # a full disk must not end the log for good
            _log.error(
                "request log of model %s: a record is lost: %s",
                record.model,
                type(error).__name__,
            )
            with self._lock:
                self.dropped += writer.take_lost() or 1
        finally:
            with self._lock:
                self._waiting_bytes -= record.size

    def _writer(self, record: _Record) -> RecordFiles:
        prefix = record.config.log_collector_config.filename_prefix
        if prefix not in self._writers:
            self._writers[prefix] = RecordFiles(prefix, self._files)
        return self._writers[prefix]

    def _complete(self, everything: bool = False) -> None:
        """Closes the files that are old, and those of models that log no more."""
        configs = self._configs.values()
        used = {one.log_collector_config.filename_prefix for one in configs}
        for prefix, writer in list(self._writers.items()):
            if prefix not in used or everything or writer.is_old():
                try:
                    writer.close()
                except Exception as error:
                    lost = writer.take_lost()
                    _log.error(
                        "request log %s: a file of %d records cannot be completed: %s",
                        prefix,
                        lost,
                        type(error).__name__,
                    )
                    with self._lock:
                        self.dropped += lost
            if prefix not in used:
                del self._writers[prefix]
        if self.dropped > self._told_dropped:
            _log.warning(
                "request log: %d records were dropped, %d since the start",
                self.dropped - self._told_dropped,
                self.dropped,
            )
            self._told_dropped = self.dropped

    def _prediction_log(self, record: _Record) -> Any:
        log = prediction_log_pb2.PredictionLog()
        entry = getattr(log, f"{record.kind}_log")
        _fill(entry.request, record.request)
        _fill(entry.response, record.response)
        self._redaction.request(entry.request)
        metadata = log.log_metadata
        answered = entry.response
        if record.kind == "multi_inference" and answered.results:
            answered = answered.results[0]
        metadata.model_spec.name = record.model
        if hasattr(answered, "model_spec"):
            metadata.model_spec.MergeFrom(answered.model_spec)
        metadata.sampling_config.CopyFrom(record.config.sampling_config)
        metadata.saved_model_tags.extend(self._tags)
        metadata.timestamp_secs = record.seconds
        return log


def logging_config(prefix: str, sampling_rate: float) -> Any:
    """A `LoggingConfig`: files that begin with `prefix`, a share of the requests."""
    config = logging_config_pb2.LoggingConfig()
    config.log_collector_config.filename_prefix = prefix
    config.sampling_config.sampling_rate = sampling_rate
    return config


def _check(model: str, config: Any, prefixes: set[str]) -> None:
    collector, rate = config.log_collector_config, config.sampling_config.sampling_rate
    where = f"logging_config of model {model}"
    if collector.type not in _TYPES:
        raise ServingError.invalid(
            f'{where}: log_collector_config.type is expected to be "tfrecord", '
            f"got {collector.type!r}"
        )
    prefix = collector.filename_prefix
    if not prefix:
        raise ServingError.invalid(
            f"{where}: log_collector_config.filename_prefix is missing: the beginning "
            "of the files' paths"
        )
    if prefix in prefixes:
        raise ServingError.invalid(
            f"Duplicate LogCollectorConfig::filename_prefix(): {prefix}"
        )
    prefixes.add(prefix)
    if not 0 <= rate <= 1:
        raise ServingError.invalid(
            f"{where}: sampling_config.sampling_rate is expected to be from 0 to 1, "
            f"got {rate}"
        )
    try:
        file_changes.make_folder(os.path.dirname(prefix) or ".")
    except OSError as error:
        raise ServingError.invalid(
            f"{where}: the folder of {prefix} cannot be made: {error}"
        ) from error


def _size(message: Any) -> int:
    return len(message) if isinstance(message, bytes) else int(message.ByteSize())


def _fill(target: Any, source: Any) -> None:
    if isinstance(source, bytes):
        target.ParseFromString(source)
    else:
        target.CopyFrom(source)
