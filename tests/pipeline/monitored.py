"""A small model with pictures, notes and facts, its rows, and logs of its answers."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2

from pipeline.baseline import FOLDER, write_baseline
from pipeline.baseline_measure import measure
from pipeline.monitor_rows import arrays_of
from pipeline.rows import Row
from serving.servable import Servable
from trainer.config import Config, from_mapping

VERSION = 7
CITIES = ("Bern", "Köln", "北京")
CONFIG = from_mapping(
    {
        "name": "watched",
        "inputs": [
            {"name": "picture", "modality": "image"},
            {"name": "note", "modality": "text"},
            {"name": "facts", "modality": "tabular", "numeric": ["age"],
             "categorical": ["city"]},
        ],
        "heads": [
            {"name": "light", "kind": "classification", "classes": ["dark", "bright"]},
            {"name": "tags", "kind": "classification", "classes": ["long", "old"],
             "multi_label": True},
            {"name": "years", "kind": "regression"},
        ],
    }
)  # fmt: skip
RAW = [
    tf.TensorSpec([None], tf.string, name="picture"),
    tf.TensorSpec([None], tf.string, name="note"),
    tf.TensorSpec([None], tf.float32, name="age"),
    tf.TensorSpec([None], tf.string, name="city"),
]


class Watched(tf.Module):
    """Answers by brightness, length and age; a picture's embedding is its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.sureness = tf.Variable(6.0)

    def _pixels(self, picture: Any) -> Any:
        def decoded(data: Any) -> Any:
            if data == "":
                return tf.zeros([4, 4])
            pixels = tf.io.decode_png(data, channels=1)
            return tf.image.resize(pixels, [4, 4], "area")[:, :, 0] / 255.0

        pixels = tf.map_fn(decoded, picture, fn_output_signature=tf.float32)
        return tf.reshape(pixels, [-1, 16])

    def _present(self, picture: Any, note: Any, age: Any, city: Any) -> Any:
        return {
            "picture_present": picture != "",
            "note_present": note != "",
            "facts_present": ~tf.math.is_nan(age) | (city != ""),
        }

    @tf.function(input_signature=RAW)
    def raw(self, picture: Any, note: Any, age: Any, city: Any) -> dict[str, Any]:
        bright = tf.reduce_mean(self._pixels(picture), 1)
        logit = self.sureness * (bright - 0.5)
        scores = tf.stack([tf.sigmoid(-logit), tf.sigmoid(logit)], 1)
        count = tf.shape(picture)[0]
        known = tf.where(tf.math.is_nan(age), 40.0, age)
        tags = tf.stack([tf.strings.length(note) > 20, known > 60.0], 1)
        return {
            "light": tf.where(scores[:, 1] > 0.5, "bright", "dark"),
            "light_scores": scores,
            "light_classes": tf.tile([["dark", "bright"]], [count, 1]),
            "tags": tf.fill([count], ""),
            "tags_scores": tf.cast(tags, tf.float32) * 0.8 + 0.1,
            "tags_classes": tf.tile([["long", "old"]], [count, 1]),
            "tags_selected": tags,
            "years": known,
            **self._present(picture, note, age, city),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def default(self, examples: Any) -> dict[str, Any]:
        spec = {
            s.name: tf.io.FixedLenFeature(
                [], s.dtype, float("nan") if s.dtype == tf.float32 else ""
            )
            for s in RAW
        }
        parsed = tf.io.parse_example(examples, spec)
        answers: dict[str, Any] = self.raw(**parsed)
        return answers

    @tf.function(input_signature=RAW)
    def embed(self, picture: Any, note: Any, age: Any, city: Any) -> dict[str, Any]:
        pixels = self._pixels(picture)
        length = tf.cast(tf.strings.length(note), tf.float32)[:, None] / 40
        known = tf.where(tf.math.is_nan(age), 0.0, age / 100)[:, None]
        return {
            "embedding": tf.concat([pixels, length, known], 1),
            "picture_embedding": pixels,
            "note_embedding": tf.concat([length, length**2], 1),
            "facts_embedding": known,
            **self._present(picture, note, age, city),
        }


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def rows(count: int, seed: int, **changes: Callable[[Any], Any]) -> list[Row]:
    """Rows of one source; `changes` maps a value, or the generator's `missing`."""
    rng = np.random.default_rng(seed)
    missing = changes.pop("missing", lambda share: share)(0.1)
    found = []
    for number in range(count):
        level = rng.normal(128, 40)
        pixels = np.clip(rng.normal(level, 20, (8, 8)), 0, 255)
        values: dict[str, Any] = {
            "picture": pixels,
            "note": "w" * int(rng.integers(5, 40)),
            "age": float(np.float32(rng.normal(50, 12))),
            "city": str(rng.choice(CITIES, p=[0.5, 0.3, 0.2])),
        }
        there = rng.random(len(values)) >= missing
        values = {k: v for (k, v), on in zip(values.items(), there, strict=True) if on}
        values = {k: changes.get(k, lambda v: v)(v) for k, v in values.items()}
        if "picture" in values:
            values["picture"] = png(values["picture"].astype(np.uint8))
        label = "bright" if level > 128 else "dark"
        found.append(Row(number, str(number), "", values, {"light": (label,)}))
    return found


@dataclass(frozen=True)
class Watching:
    """A model with its baseline in it."""

    model: Path
    servable: Servable
    config: Config


def save_watched(folder: Path) -> Watching:
    """Saves the model as a version, with a baseline of 400 rows."""
    module, path = Watched(), folder / "watched" / str(VERSION)
    signatures = {
        "serving_raw": module.raw,
        "serving_default": module.default,
        "embed": module.embed,
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    servable = Servable("watched", VERSION, str(path))
    baseline = measure(CONFIG, servable, rows(300, 1), rows(400, 2))
    write_baseline(baseline, path / FOLDER)
    return Watching(path, servable, CONFIG)


def sent(given: Sequence[Row]) -> list[dict[str, bytes | float]]:
    return [
        {k: v.encode() if isinstance(v, str) else v for k, v in row.values.items()}
        for row in given
    ]


def example(row: dict[str, bytes | float], label: Any = ()) -> bytes:
    made = tf.train.Example()
    for key, value in row.items():
        if isinstance(value, bytes):
            made.features.feature[key].bytes_list.value.append(value)
        else:
            made.features.feature[key].float_list.value.append(value)
    for name in label:
        made.features.feature["light"].bytes_list.value.append(name.encode())
    return bytes(made.SerializeToString())


def logs_of(
    watching: Watching,
    given: Sequence[Row],
    *,
    examples: bool = False,
    batch: int = 8,
    version: int = VERSION,
    seconds: int = 0,
    labels: bool = False,
) -> list[Any]:
    """PredictionLogs of the rows, as a server writes them."""
    found = []
    for start in range(0, len(given), batch):
        part = given[start : start + batch]
        log = prediction_log_pb2.PredictionLog()
        log.log_metadata.timestamp_secs = seconds
        request, response = log.predict_log.request, log.predict_log.response
        request.model_spec.name = response.model_spec.name = "watched"
        values = sent(part)
        arrays = arrays_of(watching.config, values)
        if examples:
            made = [
                example(v, row.labels["light"] if labels else ())
                for v, row in zip(values, part, strict=True)
            ]
            request.inputs["examples"].CopyFrom(tf.make_tensor_proto(made))
        else:
            request.model_spec.signature_name = "serving_raw"
            for key, array in arrays.items():
                kind = tf.string if array.dtype == object else tf.float32
                proto = tf.make_tensor_proto(array.tolist(), kind)
                request.inputs[key].CopyFrom(proto)
        for key, array in watching.servable.run("serving_raw", arrays).items():
            proto = tf.make_tensor_proto(
                array.tolist() if array.dtype == object else array
            )
            response.outputs[key].CopyFrom(proto)
        response.model_spec.version.value = version
        found.append(log)
    return found


def write_logs(path: Path, logs: Sequence[Any], compressed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
    if compressed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path
