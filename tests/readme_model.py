"""What stands in for a pipeline run: a model that has learned nothing, and a curve."""

from pathlib import Path
from typing import Any

from trainer.config import Config, to_yaml
from trainer.features import features, input_features


def save_curve(directory: Path) -> None:
    """One point of the curve that training draws for TensorBoard."""
    import tensorflow as tf

    with tf.summary.create_file_writer(str(directory / "train")).as_default():
        tf.summary.scalar("epoch_loss", 0.5, step=0)


def save_stand_in(config: Config, directory: Path) -> None:
    """A SavedModel with a config's inputs and answers that has learned nothing."""
    import tensorflow as tf

    (head,) = config.heads
    classes = tf.constant(head.classes)  # type: ignore[union-attr]
    specs = {
        f.key: tf.TensorSpec(
            [None], tf.float32 if f.kind == "numeric" else tf.string, name=f.key
        )
        for f in features(config)
    }

    def present(value: Any) -> Any:
        is_number = value.dtype == tf.float32
        return ~tf.math.is_nan(value) if is_number else tf.not_equal(value, "")

    @tf.function
    def raw(inputs: dict[str, Any]) -> dict[str, Any]:
        rows = tf.shape(next(iter(inputs.values())))[0]
        scores = tf.fill([rows, len(classes)], 1 / len(classes))
        answers = {
            head.name: tf.repeat(classes[:1], rows),
            f"{head.name}_scores": scores,
            f"{head.name}_classes": tf.tile(classes[None], [rows, 1]),
        }
        for one in config.inputs:
            keys = [f.key for f in input_features(one)]
            there = tf.stack([present(inputs[key]) for key in keys])
            answers[f"{one.name}_present"] = tf.reduce_any(there, axis=0)
        return answers

    marks = {"image": "pixels", "audio": "log_mel"}
    tensors = {
        name: tf.TensorSpec([None], tf.float32, name=name)
        for name in (
            f"{f.key}_{marks[f.kind]}" for f in features(config) if f.kind in marks
        )
    }

    @tf.function
    def prepared(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"sum": tf.add_n(list(inputs.values()))}

    tf.saved_model.save(
        tf.Module(),
        str(directory),
        signatures={
            "serving_raw": raw.get_concrete_function(specs),
            "serving_tensors": prepared.get_concrete_function(tensors),
        },
    )
    extra = directory / "assets.extra"
    extra.mkdir()
    (extra / "polymodal_config.yaml").write_text(to_yaml(config), encoding="utf-8")
