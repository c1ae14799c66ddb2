"""A SavedModel whose signatures take serialized tf.Examples."""

from pathlib import Path
from typing import Any

import tensorflow as tf

_SERIALIZED = [tf.TensorSpec([None], tf.string, name="inputs")]


class Judge(tf.Module):
    """Of an example with the floats `a` and `b`: scores, a label, a value."""

    def _features(self, inputs: Any) -> tuple[Any, Any]:
        spec = {name: tf.io.FixedLenFeature([], tf.float32, 0.0) for name in "ab"}
        parsed = tf.io.parse_example(inputs, spec)
        return parsed["a"], parsed["b"]

    @tf.function(input_signature=_SERIALIZED)
    def classify(self, inputs: Any) -> Any:
        a, b = self._features(inputs)
        labels = tf.tile([["small", "large"]], [tf.shape(a)[0], 1])
        return {"classes": labels, "scores": tf.stack([a, b], 1)}

    @tf.function(input_signature=_SERIALIZED)
    def scores(self, inputs: Any) -> Any:
        a, b = self._features(inputs)
        return {"scores": tf.stack([a, b], 1)}

    @tf.function(input_signature=_SERIALIZED)
    def classes(self, inputs: Any) -> Any:
        a, b = self._features(inputs)
        return {"classes": tf.where(a < b, "rising", "falling")[:, tf.newaxis]}

    @tf.function(input_signature=_SERIALIZED)
    def regress(self, inputs: Any) -> Any:
        a, b = self._features(inputs)
        return {"outputs": a * 10 + b}

    @tf.function(input_signature=_SERIALIZED)
    def column(self, inputs: Any) -> Any:
        return {"outputs": self.regress(inputs)["outputs"][:, tf.newaxis]}

    @tf.function(input_signature=_SERIALIZED)
    def wrong(self, inputs: Any) -> Any:
        """Neither a score nor a value that TF Serving could pass on."""
        a, b = self._features(inputs)
        return {"scores": a, "outputs": tf.stack([a, b], 1)}

    @tf.function(input_signature=_SERIALIZED)
    def flat_scores(self, inputs: Any) -> Any:
        return {"scores": self._features(inputs)[0]}

    @tf.function(input_signature=_SERIALIZED)
    def wide_value(self, inputs: Any) -> Any:
        return {"outputs": tf.stack(self._features(inputs), 1)}

    @tf.function(input_signature=_SERIALIZED)
    def whole_value(self, inputs: Any) -> Any:
        return {"outputs": tf.cast(self._features(inputs)[0], tf.int64)}

    @tf.function(input_signature=_SERIALIZED)
    def uneven(self, inputs: Any) -> Any:
        a, b = self._features(inputs)
        return {"classes": tf.constant([["x"]]), "scores": tf.stack([a, b], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def misnamed(self, examples: Any) -> Any:
        return self.classify(examples)

    @tf.function(
        input_signature=[*_SERIALIZED, tf.TensorSpec([None], tf.string, name="more")]
    )
    def two_inputs(self, inputs: Any, more: Any) -> Any:
        return self.classify(inputs)


SIGNATURES = (
    "scores",
    "classes",
    "regress",
    "column",
    "wrong",
    "flat_scores",
    "wide_value",
    "whole_value",
    "uneven",
    "misnamed",
    "two_inputs",
)


def save_judge(path: Path) -> Path:
    """Saves a `Judge`; `classify` is its default signature."""
    model = Judge()
    signatures = {name: getattr(model, name) for name in SIGNATURES}
    signatures["serving_default"] = model.classify
    tf.saved_model.save(model, str(path), signatures=signatures)
    return path
