"""Requests and tf.Examples in short, for the tests of the request logs."""

from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2


def predict_request(**inputs: Any) -> Any:
    """A PredictRequest to the model `m`."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def example(**features: Any) -> Any:
    """A tf.Example; each feature is a list of values of one type."""
    found = tf.train.Example()
    for name, values in features.items():
        feature = found.features.feature[name]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(values)
    return found
