"""The SavedModel: signatures over one graph, assets, warm-up requests."""

from __future__ import annotations

import io
import json
import os
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.answers import answer
from trainer.calibration import CALIBRATION_ASSET, Calibration, to_json
from trainer.config import CONFIG_ASSET, Config, to_yaml
from trainer.features import (
    EMBEDDING,
    FUSED,
    embedding_key,
    features,
    pooled_key,
    weight_answer,
)
from trainer.heads import heads
from trainer.modalities import Resources, modalities
from trainer.modalities.text import Text
from trainer.preprocessing import input_spec, labels, preprocess, sparsify, stored_spec
from trainer.transfer import VARIABLES_ASSET, variable_names
from trainer.weight_names import STATISTICS_ASSET

SIGNATURES = (
    "serving_default",
    "serving_raw",
    "transform_features",
    "serving_tensors",
    "embed",
)
WARMUP_ASSET = os.path.join("assets.extra", "tf_serving_warmup_requests")


class ServingModule(tf.Module):
    """Holds what the signatures need, and nothing that the TF1-style loader trips over.

    The Keras model stays in closures: as an attribute it would be saved with names
    that TF Serving's loader cannot restore. Its variables are held one by one.
    """

    def __init__(
        self,
        config: Config,
        model: keras.Model,
        resources: Resources,
        transform: Callable[[dict[str, Any]], dict[str, Any]],
        vocabulary_dir: str,
        calibration: Calibration,
    ) -> None:
        super().__init__(name="serving")
        self._model_variables = [v.value for v in model.variables]
        self.transform = transform
        self._vocabulary_assets = _vocabulary_assets(config, resources, vocabulary_dir)

        examples = tf.TensorSpec([None], tf.string, name="examples")
        raw = {
            f.key: tf.TensorSpec(
                [None], tf.float32 if f.kind == "numeric" else tf.string, name=f.key
            )
            for f in features(config)
        }
        tensors = {
            key: tf.TensorSpec([None, *value.shape[1:]], value.dtype, name=key)
            for key, value in model.input.items()
        }
        sparse = {
            key: tf.SparseTensorSpec([None, None], spec.dtype)
            for key, spec in input_spec(config).items()
        }

        # Traced once and called by all signatures: the graph holds the model once.
        @tf.function(input_signature=[tensors])
        def forward(tensors: dict[str, Any]) -> dict[str, Any]:
            return dict(model(tensors, training=False))

        @tf.function(input_signature=[sparse])
        def prepared(sparse: dict[str, Any]) -> dict[str, Any]:
            return preprocess(config, self.transform(sparse), resources)

        def unpadded(tensors: dict[str, Any]) -> dict[str, Any]:
            # Batch normalization fails on an empty batch: it gets one row of zeros.
            count = tf.shape(next(iter(tensors.values())))[0]

            def row() -> dict[str, Any]:
                return {
                    key: tf.zeros([1, *value.shape[1:]], value.dtype)
                    for key, value in tensors.items()
                }

            filled = tf.cond(count > 0, lambda: dict(tensors), row)
            return {key: value[:count] for key, value in forward(filled).items()}

        def answers(
            tensors: dict[str, Any], run: Callable[[dict[str, Any]], dict[str, Any]]
        ) -> dict[str, tf.Tensor]:
            outputs = run(tensors)
            return answer(config, outputs, tensors, resources, calibration)

        def parse(examples: tf.Tensor, spec: dict[str, Any]) -> dict[str, Any]:
            parsed: dict[str, Any] = tf.io.parse_example(examples, spec)
            return parsed

        def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return answers(prepared(parse(examples, input_spec(config))), unpadded)

        def serving_raw(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return answers(prepared(sparsify(config, inputs)), unpadded)

        def transform_features(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            transformed = self.transform(parse(examples, stored_spec(config)))
            tensors = preprocess(config, transformed, resources)
            present = {
                one.present: tf.cast(tensors[one.present], tf.int64)
                for one in modalities(config)
            }
            return {**_known(config, labels(config, transformed)), **present}

        def serving_tensors(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            # Nothing but the model: TFLite and ONNX start here.
            return answers(inputs, forward)

        def embed(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            tensors = prepared(sparsify(config, inputs))
            outputs = unpadded(tensors)
            out = {EMBEDDING: outputs[FUSED]}
            for one in modalities(config):
                out[embedding_key(one.name)] = outputs[pooled_key(one.name)]
                out[one.present] = tf.identity(tensors[one.present])
            return out

        self.signatures_by_name = {
            "serving_default": tf.function(serving_default).get_concrete_function(
                examples
            ),
            "serving_raw": tf.function(serving_raw).get_concrete_function(raw),
            "transform_features": tf.function(transform_features).get_concrete_function(
                examples
            ),
            "serving_tensors": tf.function(serving_tensors).get_concrete_function(
                tensors
            ),
            "embed": tf.function(embed).get_concrete_function(raw),
        }


def _known(config: Config, labels: dict[str, Any]) -> dict[str, Any]:
    """Labels with zeros where unknown: TFMA weighs such a row 0, but still reads it."""
    out = dict(labels)
    for head in heads(config):
        label, weight = labels[head.name], out.pop(head.weight)
        out[weight_answer(config, head.name)] = weight
        known = weight > 0
        if label.shape.rank == 2:
            known = known[:, None]
        out[head.name] = tf.where(known, label, tf.zeros_like(label))
    return out


def _vocabulary_assets(config: Config, resources: Resources, folder: str) -> list[Any]:
    """Each text input's vocabulary as a file `assets/INPUT_vocabulary.txt`."""
    assets = []
    for one in modalities(config):
        if isinstance(one, Text):
            path = Path(folder, f"{one.name}_vocabulary.txt")
            path.write_text("\n".join(one.vocabulary(resources)) + "\n", "utf-8")
            assets.append(tf.saved_model.Asset(str(path)))
    return assets


def export(
    config: Config,
    model: keras.Model,
    resources: Resources,
    transform: Callable[[dict[str, Any]], dict[str, Any]],
    directory: str,
    calibration: Calibration | None = None,
) -> None:
    """Writes the SavedModel, its config and its warm-up requests to `directory`.

    Args:
        calibration: of `trainer.calibration`; None = scores stay as they are.
    """
    calibration = calibration or {}
    with tempfile.TemporaryDirectory() as folder:
        module = ServingModule(config, model, resources, transform, folder, calibration)
        tf.saved_model.save(module, directory, signatures=module.signatures_by_name)
    extra = os.path.join(directory, "assets.extra")
    tf.io.gfile.makedirs(extra)
    with tf.io.gfile.GFile(os.path.join(directory, CONFIG_ASSET), "w") as file:
        file.write(to_yaml(config))
    with tf.io.gfile.GFile(os.path.join(directory, VARIABLES_ASSET), "w") as file:
        json.dump(variable_names(model), file)
    with tf.io.gfile.GFile(os.path.join(directory, STATISTICS_ASSET), "w") as file:
        json.dump(resources.statistics, file)
    with tf.io.gfile.GFile(os.path.join(directory, CALIBRATION_ASSET), "w") as file:
        file.write(to_json(calibration))
    _write_warmup(config, os.path.join(directory, WARMUP_ASSET))


def sample_row(config: Config) -> dict[str, Any]:
    """One made-up value per feature: grey picture, silence, a letter, zero, a word.

    Made up, because warm-up requests travel with the model and must not carry
    anybody's data.
    """
    values: dict[str, Any] = {}
    for feature in features(config):
        if feature.kind in ("image", "images"):
            # One picture is also a sequence of one.
            picture = tf.fill([32, 32, 3], tf.constant(128, tf.uint8))
            values[feature.key] = tf.io.encode_png(picture).numpy()
        elif feature.kind == "audio":
            values[feature.key] = _silence()
        elif feature.kind == "numeric":
            values[feature.key] = 0.0
        else:
            values[feature.key] = b"a"
    return values


def _silence(rate: int = 16000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.zeros(rate // 10, np.int16).tobytes())
    return buffer.getvalue()


def to_example(values: dict[str, Any]) -> bytes:
    """Feature key -> bytes or float, as one serialized tf.Example."""
    example = tf.train.Example()
    for key, value in values.items():
        if isinstance(value, bytes):
            example.features.feature[key].bytes_list.value.append(value)
        else:
            example.features.feature[key].float_list.value.append(value)
    serialized: bytes = example.SerializeToString()
    return serialized


def _write_warmup(config: Config, path: str) -> None:
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    row = sample_row(config)
    requests = []
    for count in (1, 8):
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = "serving_default"
        serialized = tf.make_tensor_proto([to_example(row)] * count)
        request.inputs["examples"].CopyFrom(serialized)
        requests.append(request)
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = "serving_raw"
        for key, value in row.items():
            dtype = tf.string if isinstance(value, bytes) else tf.float32
            request.inputs[key].CopyFrom(tf.make_tensor_proto([value] * count, dtype))
        requests.append(request)
    with tf.io.TFRecordWriter(path) as writer:
        for request in requests:
            request.model_spec.name = config.name
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
