"""JSON of classify and regress calls to protos, and their responses to JSON."""

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving import json_examples
from serving.options import Limits
from serving.status import ServingError


def request(body: Any, kind: Any = classification_pb2.ClassificationRequest) -> Any:
    found = kind()
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    json_examples.fill_request(found, text, Limits(max_tensor_elements=100))
    return found


def refused(body: Any) -> str:
    with pytest.raises(ServingError) as caught:
        request(body)
    return caught.value.message


class TestExamples:
    def test_the_documented_example(self) -> None:
        found = request(
            {
                "signature_name": "classify_objects",
                "examples": [
                    {"image": {"b64": "aW1hZ2UgYnl0ZXM="}, "caption": "seaside"},
                    {
                        "image": {"b64": "YXdlc29tZSBpbWFnZSBieXRlcw=="},
                        "caption": "mountains",
                    },
                ],
            }
        )
        assert found.model_spec.signature_name == "classify_objects"
        first, second = found.input.example_list.examples
        assert list(first.features.feature["image"].bytes_list.value) == [
            b"image bytes"
        ]
        caption = second.features.feature["caption"]
        assert list(caption.bytes_list.value) == [b"mountains"]

    def test_context_and_every_kind(self) -> None:
        found = request(
            b'{"context": {"q": "what"}, "examples": ['
            b'{"i": 9223372036854775807, "f": [1.5, NaN, 2.0], "b": [true, false, 3],'
            b' "e": [], "s": ["x", {"b64": "/w=="}]}, {"big": 18446744073709551616}]}',
            regression_pb2.RegressionRequest,
        )
        listed = found.input.example_list_with_context
        assert json_format.MessageToDict(listed.context) == {
            "features": {"feature": {"q": {"bytesList": {"value": ["d2hhdA=="]}}}}
        }
        features = listed.examples[0].features.feature
        assert list(features["i"].int64_list.value) == [2**63 - 1]
        decimals = list(features["f"].float_list.value)
        assert (decimals[0], decimals[2]) == (1.5, 2.0)
        assert math.isnan(decimals[1])
        assert list(features["b"].int64_list.value) == [1, 0, 3]
        assert features["e"].WhichOneof("kind") is None
        assert list(features["s"].bytes_list.value) == [b"x", b"\xff"]
        big = listed.examples[1].features.feature["big"]
        assert list(big.float_list.value) == [2.0**64]

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({}, "key 'examples' is expected and was not found"),
            ({"examples": {}}, "'examples' value to be a list/array"),
            ({"examples": []}, "'examples' value is an empty array"),
            (
                {"examples": [{"x": 1}, [77145]]},
                "Example must be JSON object but got JSON Array (examples[1])",
            ),
            (
                {"context": 77145, "examples": [{}]},
                "Example must be JSON object but got JSON Number (context)",
            ),
            (
                {"examples": [{"x": [77145, 1.5]}]},
                "Unexpected element type in feature: examples[0].x expecting type: "
                "int64",
            ),
            ({"examples": [{"x": [1.5, "77145"]}]}, "expecting type: float"),
            (
                {"examples": [{"x": [1, [77145]]}]},
                "Feature: examples[0].x[1] has element with unexpected JSON type: "
                "Array",
            ),
            ({"examples": [{"x": None}]}, "unexpected JSON type: Null"),
            ({"examples": [{"x": {"y": 77145}}]}, "unexpected JSON type: Object"),
            ({"examples": [{"x": 2**63}]}, "Only int64 is supported"),
            ({"examples": [{"x": 3.5e38}]}, "without loss of precision"),
            ({"examples": [{"x": {"b64": "77145"}}]}, "Unable to base64 decode"),
            (
                {"examples": [{"x": [77145] * 60}, {"y": [77145] * 41}]},
                "the list of examples has 101 elements; at most 100 are accepted",
            ),
            ({"examples": [{"x": [77145] * 9000}]}, "at most 100 are accepted"),
            ({"examples": [{"x": [[77145]] * 9000}]}, "at most 100 are accepted"),
            ({"signature_name": 77145, "examples": [{}]}, "must be a string value"),
        ],
    )
    def test_bodies_that_do_not_fit(self, body: Any, words: str) -> None:
        message = refused(body)
        assert words in message
        assert "77145" not in message

    def test_long_lists(self) -> None:
        found = classification_pb2.ClassificationRequest()
        values = [1.25 * n for n in range(9000)]
        text = json.dumps({"examples": [{"x": values}]}).encode()
        json_examples.fill_request(found, text, Limits())
        feature = found.input.example_list.examples[0].features.feature["x"]
        assert list(feature.float_list.value) == values
        nested = json.dumps({"examples": [{"x": [values]}]}).encode()
        with pytest.raises(ServingError, match="unexpected JSON type: Array"):
            json_examples.fill_request(found, nested, Limits())


class TestResults:
    def test_classifications(self) -> None:
        response = classification_pb2.ClassificationResponse()
        first = response.result.classifications.add()
        first.classes.add(label="dog", score=0.1)
        first.classes.add(label="", score=3)
        response.result.classifications.add()
        assert json_examples.classifications(response) == (
            b'{"results":[[["dog",0.1],["",3.0]],[]]}'
        )
        first.classes[0].score = math.inf
        assert b'["dog",Infinity],["",3.0]' in json_examples.classifications(response)

    def test_regressions(self) -> None:
        response = regression_pb2.RegressionResponse()
        for value in (0.1, 3.0, math.nan):
            response.result.regressions.add(value=value)
        assert json_examples.regressions(response) == b'{"results":[0.1,3.0,NaN]}'

    def test_none(self) -> None:
        with pytest.raises(ServingError, match="empty ClassificationResults"):
            json_examples.classifications(classification_pb2.ClassificationResponse())
        with pytest.raises(ServingError, match="empty RegressionResults"):
            json_examples.regressions(regression_pb2.RegressionResponse())
