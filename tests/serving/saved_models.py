"""Small SavedModels that the tests here serve."""

import os
from pathlib import Path
from typing import Any

import tensorflow as tf


class Half(tf.Module):
    """`serving_default`: y = x / 2 + offset. `pair` and `slow` besides."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = tf.Variable(offset)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def half(self, x: Any) -> dict[str, Any]:
        return {"y": x / 2 + self.offset, "x2": x * 2}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="a"),
            tf.TensorSpec([None], tf.string, name="b"),
        ]
    )
    def pair(self, a: Any, b: Any) -> dict[str, Any]:
        return {"sum": tf.reduce_sum(a, 1), "loud": tf.strings.upper(b)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="loops")])
    def slow(self, loops: Any) -> dict[str, Any]:
        """About a millisecond a loop."""
        _, x = tf.while_loop(
            lambda i, _: i < loops,
            lambda i, x: (i + 1, tf.linalg.matmul(x, x) * 0.003),
            [0, tf.ones([300, 300])],
        )
        return {"done": tf.cast(tf.math.is_finite(x[0, 0]), tf.int32) + loops}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="n")])
    def strict(self, n: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_positive(n)]):
            return {"out_bytes": tf.strings.as_string(n)}


def save_half(base: Path, version: str, offset: float) -> Path:
    """Saves a `Half` as a version; it appears all at once, as a push should."""
    model = Half(offset)
    hidden, path = base / f".{version}", base / version
    signatures = {
        "serving_default": model.half,
        "pair": model.pair,
        "slow": model.slow,
        "strict": model.strict,
    }
    tf.saved_model.save(model, str(hidden), signatures=signatures)
    os.rename(hidden, path)
    return path


class Clinic(tf.Module):
    """Every kind of input and head, with answers that show what arrived."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="xray"),
            tf.TensorSpec([None], tf.string, name="voice"),
            tf.TensorSpec([None], tf.string, name="note"),
            tf.TensorSpec([None], tf.string, name="ward"),
            tf.TensorSpec([None], tf.float32, name="age"),
        ]
    )
    def raw(self, xray: Any, voice: Any, note: Any, ward: Any, age: Any) -> Any:
        def brightness(data: Any) -> Any:
            if data == "":
                return 0.0
            picture = tf.io.decode_image(data, channels=3, expand_animations=False)
            return tf.reduce_mean(tf.cast(picture, tf.float32))

        def seconds(data: Any) -> Any:
            if data == "":
                return 0.0
            sound, rate = tf.audio.decode_wav(data)
            return tf.cast(tf.shape(sound)[0], tf.float32) / tf.cast(rate, tf.float32)

        count = tf.shape(xray)[0]
        bright = tf.map_fn(brightness, xray, fn_output_signature=tf.float32)
        scores = tf.stack([bright / 255, 1 - bright / 255], axis=1)
        classes = tf.tile([["light", "dark"]], [count, 1])
        long_note = tf.strings.length(note) > 5
        return {
            "finding": tf.where(scores[:, 0] > 0.5, "light", "dark"),
            "finding_scores": scores,
            "finding_classes": classes,
            "finding_abstained": tf.reduce_max(scores, axis=1) < 0.7,
            "tags_scores": scores,
            "tags_classes": tf.tile([["long", "ward"]], [count, 1]),
            "tags_selected": tf.stack([long_note, ward != ""], axis=1),
            "seconds": tf.map_fn(seconds, voice, fn_output_signature=tf.float32),
            "xray_present": xray != "",
            "note_echo": note,
            "age_present": ~tf.math.is_nan(age),
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 8, 8, 3], tf.float32, name="xray_pixels"),
            tf.TensorSpec([None, 4, 4], tf.float32, name="voice_log_mel"),
            tf.TensorSpec([None, 6], tf.int32, name="note_token_ids"),
            tf.TensorSpec([None, 1], tf.float32, name="patient_numeric"),
            tf.TensorSpec([None, 1], tf.int32, name="patient_categorical"),
        ]
    )
    def tensors(
        self,
        xray_pixels: Any,
        voice_log_mel: Any,
        note_token_ids: Any,
        patient_numeric: Any,
        patient_categorical: Any,
    ) -> dict[str, Any]:
        return {"pixels": tf.reduce_mean(xray_pixels, [1, 2, 3])}


def save_clinic(path: Path) -> Path:
    """Saves a `Clinic`; the autographed Python branches become graph ones."""
    model = Clinic()
    tf.saved_model.save(
        model,
        str(path),
        signatures={"serving_raw": model.raw, "serving_tensors": model.tensors},
    )
    return path
