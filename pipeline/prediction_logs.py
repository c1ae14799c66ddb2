"""Rows out of request logs: PredictionLogs in TFRecord files, as TF Serving writes them.

Both servers log what was asked and what was answered. Damaged files, other models'
answers and requests of other kinds are counted and left out, never an error: a log is
read while it is written.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pipeline.monitor_rows import AnsweredRow, values_of
from pipeline.stored import (
    listed_labels,
    stored_features,
    stored_labels,
    stored_values,
)
from serving import files
from serving.tensors import tf, to_array
from trainer.config import Config, UserError
from trainer.features import features, input_features, present_key

_GZIP = b"\x1f\x8b\x08"
_EXAMPLES = ("", "serving_default")
_RAW = "serving_raw"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class LogError(UserError, ValueError):
    """Logs that cannot be looked for as asked."""


@dataclass
class Seen:
    """What was read and what was left out.

    Attributes:
        files: read to their end.
        rows: of all records that could be used.
        left_out: why -> records (of damaged files: files).
        damaged: files that could not be read to their end, each with what was wrong.
        redacted: feature keys whose values the server takes out: those that it is
            known to, and those that are found to be.
    """

    files: int = 0
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)
    redacted: set[str] = field(default_factory=set)


def seconds_since(text: str) -> float:
    """When `--since` begins, in seconds of the Unix clock.

    Args:
        text: `90m`, `24h`, `7d` before now, or a date and time of ISO 8601, in local
            time where it has no zone.

    Raises:
        LogError: neither.
    """
    found = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if found:
        ago = timedelta(**{_UNITS[found[2]]: int(found[1])})
        return time.time() - ago.total_seconds()
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise LogError(
            "--since: expected 90m, 24h, 7d or a date such as 2026-11-30T08:00."
            f" Received: {text!r}"
        ) from None


def log_files(place: str) -> list[str]:
    """All files below a folder, or all whose path begins with `place`."""
    found = files.starting(place)
    return [path for path in found if not os.path.basename(path).startswith(".")]


def logged_rows(
    config: Config, paths: list[str], seen: Seen, version: int = 0, since: float = 0.0
) -> Iterator[AnsweredRow]:
    """The rows of all records, in the files' order; `seen` is counted up meanwhile.

    Args:
        config: the model's config.
        paths: of TFRecord files, gzipped or not.
        seen: what is counted.
        version: only what this version of the model answered; 0 = any.
        since: only what was logged from then on, in seconds of the Unix clock; of a
            record without a time, its file's counts.
    """
    for path in paths:
        try:
            written = files.modified(path)
            if written < since:
                continue
            yield from _rows_of_file(config, path, seen, version, since, written)
        except (FileNotFoundError, tf.errors.NotFoundError):
            # It was finished, and so renamed, since the folder was listed.
            finished = path.removesuffix(".partial")
            if finished != path and files.exists(finished):
                yield from logged_rows(config, [finished], seen, version, since)


def _rows_of_file(
    config: Config,
    path: str,
    seen: Seen,
    version: int,
    since: float,
    written: float,
) -> Iterator[AnsweredRow]:
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    count = 0
    try:
        for record in _records(path):
            count += 1
            try:
                log = prediction_log_pb2.PredictionLog.FromString(record)
            except DecodeError:
                seen.left_out["no PredictionLog"] += 1
                continue
            if (log.log_metadata.timestamp_secs or written) >= since:
                yield from _rows_of_log(config, log, seen, version)
        seen.files += 1
    except tf.errors.DataLossError:
        where = f"after record {count}" if count else "from its start: no TFRecord file"
        seen.left_out["rest of a damaged file"] += 1
        seen.damaged.append(f"{path}: cannot be read {where}")


def _records(path: str) -> Iterator[bytes]:
    with files.local_file(path) as local:
        packed = files.read(local, 2) == _GZIP
        records = tf.data.TFRecordDataset(local, "GZIP" if packed else "")
        yield from records.as_numpy_iterator()


def _rows_of_log(
    config: Config, log: Any, seen: Seen, version: int
) -> Iterator[AnsweredRow]:
    if log.WhichOneof("log_type") != "predict_log":
        seen.left_out["not Predict"] += 1
        return
    request, response = log.predict_log.request, log.predict_log.response
    signature = request.model_spec.signature_name
    if signature != _RAW and signature not in _EXAMPLES:
        seen.left_out[f"signature {signature}"] += 1
        return
    answered_by = response.model_spec.version.value or (
        log.log_metadata.model_spec.version.value
    )
    if version and answered_by and answered_by != version:
        seen.left_out[f"answered by version {answered_by}"] += 1
        return
    read = _raw_rows if signature == _RAW else _example_rows
    try:
        outputs = {name: to_array(one) for name, one in response.outputs.items()}
        rows = read(config, request.inputs, outputs)
    except (ValueError, TypeError) as error:
        # Not the error's words: they may hold what somebody sent.
        seen.left_out[f"unreadable ({type(error).__name__})"] += 1
        return
    for row in rows:
        row = _revealed(config, row, seen.redacted)
        seen.redacted |= row.hidden
        seen.rows += 1
        yield row


def _raw_rows(
    config: Config, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> list[AnsweredRow]:
    """Rows of named tensors; a tensor that was emptied or taken out is hidden."""
    keys = [feature.key for feature in features(config)]
    arrays = {key: to_array(inputs[key]).reshape(-1) for key in keys if key in inputs}
    hidden = {key for key in keys if key not in inputs or _emptied(inputs[key])}
    counts = {len(array) for array in (*arrays.values(), *outputs.values())}
    (count,) = counts  # ValueError where they differ, as below
    return [
        AnsweredRow(
            values_of(config, arrays, at),
            frozenset(hidden),
            {name: values[at] for name, values in outputs.items()},
        )
        for at in range(count)
    ]


def _emptied(tensor: Any) -> bool:
    """Whether one value stands for those of several rows, as redaction leaves it."""
    rows = [dim.size for dim in tensor.tensor_shape.dim]
    values = len(tensor.string_val) + len(tensor.float_val)
    if rows == [1]:
        return values == 0 and not tensor.tensor_content
    return values <= 1 and not tensor.tensor_content and rows != [0]


def _example_rows(
    config: Config, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> list[AnsweredRow]:
    """Rows of serialized tf.Examples; an emptied feature is hidden.

    An empty tf.Example is a row without any input, or a redacted one: what the model
    saw of it tells, see `_revealed`.
    """
    keys = frozenset(feature.key for feature in features(config))
    (tensor,) = list(inputs.values()) or [None]
    if tensor is None or _emptied(tensor):
        (count,) = {len(values) for values in outputs.values()}
        return [
            AnsweredRow({}, keys, {name: v[at] for name, v in outputs.items()})
            for at in range(count)
        ]
    examples = to_array(tensor).reshape(-1)
    (_,) = {len(values) for values in (examples, *outputs.values())}
    rows = []
    for at, example in enumerate(examples):
        stored = stored_features(example)
        values = {
            key: value.encode() if isinstance(value, str) else value
            for key, value in stored_values(config, stored).items()
        }
        hidden = frozenset(key for key in keys if _is_emptied(stored, key))
        answers = {name: values[at] for name, values in outputs.items()}
        labels = stored_labels(config, listed_labels(config, stored))
        rows.append(AnsweredRow(values, hidden, answers, labels))
    return rows


def _is_emptied(stored: Any, key: str) -> bool:
    """Whether a feature keeps its kind and has lost its values."""
    kind = stored[key].WhichOneof("kind") if key in stored else None
    return kind is not None and not getattr(stored[key], kind).value


def _revealed(config: Config, row: AnsweredRow, redacted: Set[str]) -> AnsweredRow:
    """Hides what is redacted, and inputs that the model saw and the log does not show."""
    hidden = row.hidden | redacted
    for one in config.inputs:
        keys = {feature.key for feature in input_features(one)}
        seen = bool(row.answers.get(present_key(one.name), False))
        if seen and not keys & {*row.values, *hidden}:
            hidden |= keys
    values = {key: value for key, value in row.values.items() if key not in hidden}
    return AnsweredRow(values, hidden, row.answers, row.labels)
