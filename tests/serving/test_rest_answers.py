"""Arrays and responses to JSON, and classify and regress calls to protos."""

import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving import json_examples, json_outputs
from serving.options import Limits
from serving.status import ServingError
from serving.tensors import Array


def strings(*values: bytes) -> Array:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def answer(rows: bool, **outputs: Array) -> str:
    return json_outputs.answer(outputs, rows).decode()


class TestFormats:
    def test_rows(self) -> None:
        x, y = np.array([[1, 2], [3, 4]], np.float32), np.array([5, 6], np.int64)
        assert answer(True, x=x) == '{"predictions":[[1.0,2.0],[3.0,4.0]]}'
        assert answer(True, x=x, y=y) == (
            '{"predictions":[{"x":[1.0,2.0],"y":5},{"x":[3.0,4.0],"y":6}]}'
        )

    def test_columns(self) -> None:
        x, y = np.array([[1, 2], [3, 4]], np.float32), np.array(True)
        assert answer(False, x=x) == '{"outputs":[[1.0,2.0],[3.0,4.0]]}'
        assert answer(False, y=y) == '{"outputs":true}'
        assert answer(False, x=x, y=y) == (
            '{"outputs":{"x":[[1.0,2.0],[3.0,4.0]],"y":true}}'
        )
        assert answer(False, x=np.zeros((2, 0), np.int8)) == '{"outputs":[[],[]]}'

    def test_strings_and_bytes(self) -> None:
        values = strings("é\n".encode(), b"\xff")
        assert answer(True, text=values) == '{"predictions":["é\\n","\ufffd"]}'
        # The name decides; only strings are bytes.
        assert answer(True, text_bytes=values) == (
            '{"predictions":[{"b64":"w6kK"},{"b64":"/w=="}]}'
        )
        assert answer(True, n_bytes=np.array([1], np.int32)) == '{"predictions":[1]}'

    @pytest.mark.parametrize(
        ("outputs", "words"),
        [
            ({"x": np.array(1, np.float32)}, "x has no shape information"),
            ({"x": np.zeros((0, 2))}, "x has invalid batch size: 0"),
            (
                {"x": np.zeros(2), "y": np.zeros(3)},
                "y has inconsistent batch size: 3 expecting: 2",
            ),
        ],
    )
    def test_rows_that_cannot_be_told_apart(
        self, outputs: dict[str, Array], words: str
    ) -> None:
        with pytest.raises(ServingError, match=words):
            json_outputs.answer(outputs, rows=True)
        json_outputs.answer(outputs, rows=False)

    @pytest.mark.parametrize("dtype", ["float16", "uint16", "complex64"])
    def test_types_that_json_lacks(self, dtype: str) -> None:
        with pytest.raises(ServingError, match=f"tensor type: {dtype}"):
            answer(False, x=np.zeros(2, dtype))

    def test_no_output(self) -> None:
        with pytest.raises(ServingError, match="empty tensor map"):
            json_outputs.answer({}, rows=False)


class TestNumbers:
    @pytest.mark.parametrize(
        ("array", "text"),
        [
            (np.array([0.1, 16, 2 / 3], np.float32), "[0.1,16.0,0.6666667]"),
            (np.array([0.1, 16, 2 / 3], np.float64), "[0.1,16.0,0.6666666666666666]"),
            (np.array([1e20, -1e-7], np.float32), "[1e+20,-1e-7]"),
            (np.array([2**63 - 1, -(2**63)], np.int64), "[9223372036854775807,"),
            (np.array([2**64 - 1], np.uint64), "[18446744073709551615]"),
            (np.array([-1], np.int8), "[-1]"),
            (
                np.array([np.nan, 1, np.inf, -np.inf], np.float32),
                "[NaN,1.0,Infinity,-Infinity]",
            ),
            (np.array([[np.nan], [-np.inf]], np.float64), "[[NaN],[-Infinity]]"),
        ],
    )
    def test_text(self, array: Array, text: str) -> None:
        assert answer(False, x=array).startswith('{"outputs":' + text)
        # Among other outputs too.
        one = answer(True, x=array, y=strings(*[b"null"] * len(array)))
        rows = [row["x"] for row in json.loads(one)["predictions"]]
        np.testing.assert_array_equal(np.array(rows, array.dtype), array)
        assert '"null"' in one

    def test_a_scalar_that_is_not_finite(self) -> None:
        assert answer(False, x=np.array(np.nan)) == '{"outputs":NaN}'

    @given(
        arrays.arrays(
            st.sampled_from([np.float32, np.float64]),
            arrays.array_shapes(min_dims=1, max_dims=3, max_side=4),
        )
    )
    def test_floats_read_back_as_they_were(self, array: Array) -> None:
        found = np.array(json.loads(answer(False, x=array))["outputs"], array.dtype)
        np.testing.assert_array_equal(found, array)
        rows = json.loads(answer(True, x=array, y=array))["predictions"]
        found = np.array([row["y"] for row in rows], array.dtype)
        np.testing.assert_array_equal(found, array)

    @given(st.floats(width=32, allow_nan=False, allow_infinity=False))
    def test_the_text_of_a_float32_is_the_shortest(self, value: float) -> None:
        text = answer(False, x=np.array([value], np.float32))[len('{"outputs":[') : -2]
        # NumPy's shortest text, by another algorithm; both in digits alone.
        shortest = np.format_float_scientific(np.float32(value), unique=True)
        digits = [
            one.split("e")[0].replace(".", "").strip("-0") for one in (text, shortest)
        ]
        assert digits[0] == digits[1]
        assert "." in text or "e" in text


class TestPieces:
    """Large answers are printed piece by piece, and read the same."""

    @pytest.mark.parametrize("shape", [(100_000,), (3, 50_000), (50_000, 3), (2, 3, 7)])
    def test_large_arrays(self, shape: tuple[int, ...]) -> None:
        array = np.random.default_rng(0).random(shape, np.float32)
        array.ravel()[::1000] = np.nan
        plain = json.loads(answer(False, x=array))["outputs"]
        np.testing.assert_array_equal(np.array(plain, np.float32), array)
        rows = json.loads(answer(True, x=array, n=np.arange(len(array))))["predictions"]
        found = np.array([row["x"] for row in rows], np.float32)
        np.testing.assert_array_equal(found, array)
        assert [row["n"] for row in rows] == list(range(len(array)))

    def test_no_call_of_the_printer_makes_much_text(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        longest = 0
        dumps = orjson.dumps

        def measured(value: Any, **options: Any) -> bytes:
            nonlocal longest
            text = dumps(value, **options)
            longest = max(longest, len(text))
            return text

        monkeypatch.setattr(orjson, "dumps", measured)
        array = np.random.default_rng(0).random((20, 30_000), np.float32)
        answer(False, x=array)
        answer(True, x=array)
        answer(True, x=array.T)
        assert longest < 300_000
        longest = 0
        answer(True, x=array.T, y=np.arange(30_000))
        assert longest < 300_000


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
