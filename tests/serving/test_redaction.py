"""Input values that are taken out of logged requests."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2

from serving.redaction import Redaction
from tests.serving.prediction_protos import example, predict_request

SECRET = "hunter2"


class TestRedaction:
    INPUTS = {
        "note": [SECRET, "b"],
        "age": np.array([[1], [2]], np.float32),
        "count": np.array([7, 8], np.int64),
        "examples": [
            example(name=[SECRET.encode()], age=[4.0]).SerializeToString(),
            b"\xff no example " + SECRET.encode(),
        ],
    }

    def arrays(self, names: list[str]) -> dict[str, Any]:
        request = predict_request(**self.INPUTS)
        Redaction(names).request(request)
        return {key: tf.make_ndarray(one) for key, one in request.inputs.items()}

    def test_named_inputs_keep_shape_and_dtype(self) -> None:
        found = self.arrays(["note", "age"])
        assert found["note"].tolist() == [b"", b""]
        assert found["age"].shape == (2, 1)
        assert found["age"].dtype == np.float32
        assert np.isnan(found["age"]).all()
        assert found["count"].tolist() == [7, 8]
        # Features by the same names are emptied, and what is no Example is nothing.
        kept = tf.train.Example.FromString(found["examples"][0])
        assert list(kept.features.feature["age"].float_list.value) == []
        assert kept.features.feature["age"].WhichOneof("kind") == "float_list"
        assert list(kept.features.feature["name"].bytes_list.value) == [b"hunter2"]
        assert found["examples"][1] == b""

    def test_all_inputs(self) -> None:
        found = self.arrays(["all"])
        assert found["count"].tolist() == [0, 0]
        assert found["examples"].tolist() == [b"", b""]
        assert SECRET.encode() not in b"".join(one.tobytes() for one in found.values())

    def test_the_whole_tensor_by_its_name(self) -> None:
        assert self.arrays(["examples"])["examples"].tolist() == [b"", b""]

    def test_strings_behind_their_lengths(self) -> None:
        request = predict_request(x=[1.0])
        tensor = request.inputs["examples"]
        tensor.dtype = 7
        tensor.tensor_shape.dim.add().size = 1
        tensor.tensor_content = b"\x07hunter2"
        Redaction(["name"]).request(request)
        assert tf.make_ndarray(tensor).tolist() == [b""]
        assert tensor.tensor_content == b""

    def test_an_empty_tensor_stays_one(self) -> None:
        request = predict_request(x=np.zeros([0, 3], np.float32))
        Redaction(["all"]).request(request)
        assert tf.make_ndarray(request.inputs["x"]).shape == (0, 3)

    @pytest.mark.parametrize("kind", ["example_list", "example_list_with_context"])
    def test_examples_of_the_other_methods(self, kind: str) -> None:
        request = classification_pb2.ClassificationRequest()
        given = getattr(request.input, kind)
        given.examples.append(example(name=[SECRET.encode()], age=[4.0]))
        if kind == "example_list_with_context":
            given.context.CopyFrom(example(name=[SECRET.encode()]))
        Redaction(["name"]).request(request)
        assert SECRET.encode() not in request.SerializeToString()
        assert given.examples[0].features.feature["age"].float_list.value[0] == 4.0
        Redaction(["all"]).request(request)
        assert not given.examples[0].features.feature["age"].float_list.value
