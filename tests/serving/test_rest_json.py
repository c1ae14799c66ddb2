"""JSON of predict calls to arrays: formats, types, shapes, and what an error may say."""

import base64
import math
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.status import ServingError
from tests.serving.rest_json import SECRET, read, refused


class TestFormats:
    """The examples of TF Serving's documentation of the REST API."""

    ROWS = {
        "instances": [
            {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
            {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
        ]
    }
    COLUMNS = {
        "inputs": {
            "tag": ["foo", "bar"],
            "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
            "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
        }
    }

    @pytest.mark.parametrize("body", [ROWS, COLUMNS])
    def test_rows_and_columns_make_the_same_arrays(self, body: Any) -> None:
        found = read(body, tag="string", signal="int32", sensor="float32")
        assert found["tag"].tolist() == [b"foo", b"bar"]
        assert found["signal"].dtype == np.int32
        assert found["signal"].tolist() == [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]]
        assert found["sensor"].dtype == np.float32
        assert found["sensor"].shape == (2, 2, 2)
        assert found["sensor"][1].tolist() == [[4.0, 5.0], [6.0, 8.0]]

    def test_a_single_input_needs_no_name(self) -> None:
        for body in ({"instances": ["foo", "bar"]}, {"inputs": ["foo", "bar"]}):
            assert read(body, x="string")["x"].tolist() == [b"foo", b"bar"]
        rows = {"instances": [{"x": [1.0]}, {"x": [2.0]}]}
        assert read(rows, x="float32")["x"].tolist() == [[1.0], [2.0]]
        assert read({"inputs": 4}, x="int64")["x"].shape == ()

    def test_base64(self) -> None:
        image = {"b64": "aW1hZ2UgYnl0ZXM="}
        rows = {"instances": [{"image": image, "caption": "seaside"}]}
        found = read(rows, image="string", caption="string")
        assert found["image"].tolist() == [b"image bytes"]
        assert read({"instances": [image]}, x="string")["x"].tolist() == [
            b"image bytes"
        ]
        assert read({"inputs": image}, x="string")["x"].tolist() == b"image bytes"

    def test_unknown_keys(self) -> None:
        columns = {"inputs": {"x": [1], "other": [2]}, "more": 3}
        assert read(columns, x="int32")["x"].tolist() == [1]
        rows = {"instances": [{"x": 1, "other": 2}]}
        assert "Its keys other,x must be equal to: x" in refused(rows, x="int32")

    @pytest.mark.parametrize(
        ("body", "dtypes", "words"),
        [
            ({"instances": [1], "inputs": [1]}, {"x": "int32"}, "only one of"),
            ({}, {"x": "int32"}, "Missing 'inputs' or 'instances' key"),
            ({"instances": []}, {"x": "int32"}, "No values in 'instances' array"),
            ({"instances": {"x": 1}}, {"x": "int32"}, "to be a list/array"),
            (
                {"instances": [1]},
                {"x": "int32", "y": "int32"},
                "list of objects as multiple input tensors required: x, y",
            ),
            (
                {"inputs": [1]},
                {"x": "int32", "y": "int32"},
                "object as multiple input tensors required: x, y",
            ),
            (
                {"inputs": {"x": [1]}},
                {"x": "int32", "y": "int32"},
                "Missing named input: y in 'inputs' object",
            ),
            (
                {"instances": [{"x": 1}, 2]},
                {"x": "int32"},
                "Expecting object but got Number at item 1",
            ),
            (
                {"instances": [1, {"x": 2}]},
                {"x": "int32"},
                "Expecting value/list but got object at item 1",
            ),
            (
                {"instances": [{"x": 1}, {"y": 1}]},
                {"x": "int32"},
                "Failed to process element: 1 of 'instances' list. Its keys y must",
            ),
            ({"inputs": [1]}, {}, "Failed to get input map for signature: DEFAULT"),
            ({"signature_name": 1, "inputs": 1}, {"x": "int32"}, "be a string value"),
        ],
    )
    def test_bodies_that_do_not_fit(
        self, body: Any, dtypes: dict[str, str], words: str
    ) -> None:
        assert words in refused(body, None, **dtypes)

    def test_a_long_key_is_cut(self) -> None:
        message = refused({"instances": [{"k" * 5000: 1}]}, x="int32")
        assert "k" * 64 + "..." in message
        assert len(message) < 300


class TestTypes:
    @pytest.mark.parametrize(
        ("dtype", "text", "value"),
        [
            ("int64", "9223372036854775807", 2**63 - 1),
            ("int64", "-9223372036854775808", -(2**63)),
            ("uint64", "18446744073709551615", 2**64 - 1),
            ("int8", "-128", -128),
            ("uint8", "255", 255),
            ("bool", "true", True),
            ("float32", "16777215", 2.0**24 - 1),
            ("float64", "9007199254740991", 2.0**53 - 1),
            ("float64", "0.1", 0.1),
            ("float32", "3.4028234663852886e+38", float(np.finfo(np.float32).max)),
            ("float32", "20000000000000000000000", float(np.float32(2e22))),
            ("float32", "-Infinity", -math.inf),
            ("float64", "Infinity", math.inf),
            ("string", '"h\\u00e9\\u0000"', "hé\0".encode()),
            ("string", '"NaN"', b"NaN"),
        ],
    )
    def test_exact(self, dtype: str, text: str, value: Any) -> None:
        found = read(b'{"instances": [%b]}' % text.encode(), x=dtype)["x"]
        assert found.tolist() == [value]
        assert found.dtype == ("object" if dtype == "string" else dtype)

    def test_nan_beside_other_values(self) -> None:
        body = b'{"instances": [NaN, 1.5, 2, -Infinity], "note": "NaN \\" Infinity"}'
        found = read(body, x="float32")["x"].tolist()
        assert math.isnan(found[0])
        assert found[1:] == [1.5, 2.0, -math.inf]

    @pytest.mark.parametrize(
        ("dtype", "text", "words"),
        [
            ("int32", "1.5", "Type: Number is not of expected type: int32"),
            ("int32", "1.0", "Type: Number is not of expected type: int32"),
            ("int32", "1e3", "Type: Number is not of expected type: int32"),
            ("int32", "true", "Type: Boolean is not of expected type: int32"),
            ("int32", '"1"', "Type: String is not of expected type: int32"),
            ("int32", "null", "Type: Null is not of expected type: int32"),
            ("int32", '{"b64": "MQ=="}', "Type: Object is not of expected type"),
            ("int32", "2147483648", "Type: Number is not of expected type: int32"),
            ("int8", "128", "is not of expected type: int8"),
            ("uint8", "-1", "is not of expected type: uint8"),
            ("uint32", "4294967296", "is not of expected type: uint32"),
            ("int64", "9223372036854775808", "is not of expected type: int64"),
            ("uint64", "18446744073709551616", "is not of expected type: uint64"),
            ("bool", "1", "Type: Number is not of expected type: bool"),
            ("float32", "true", "Type: Boolean is not of expected type: float32"),
            ("float32", '"1"', "Type: String is not of expected type: float32"),
            ("float32", "16777216", "to float32 without loss of precision"),
            ("float32", "-16777216", "to float32 without loss of precision"),
            ("float32", "3.5e38", "to float32 without loss of precision"),
            ("float64", "9007199254740992", "to float64 without loss of precision"),
            ("string", "1", "Type: Number is not of expected type: string"),
            ("string", '{"b64": 1}', "not formatted correctly for base64 data"),
            ("string", '{"b64": "a", "x": 1}', "not formatted correctly for base64"),
            ("string", '{"b64": "a"}', "Unable to base64 decode"),
        ],
    )
    def test_nothing_is_converted(self, dtype: str, text: str, words: str) -> None:
        # In the column format: an object in a list of instances is a row.
        message = refused(b'{"inputs": [%b]}' % text.encode(), x=dtype)
        assert words in message
        assert "inputs[0]" in message

    @pytest.mark.parametrize("dtype", ["half", "bfloat16", "complex64", "uint16"])
    def test_types_that_json_cannot_carry(self, dtype: str) -> None:
        with pytest.raises(ServingError, match="use gRPC") as caught:
            read({"instances": [1]}, x=dtype)
        assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED

    @pytest.mark.parametrize(
        ("text", "data"),
        [
            ("aGk=", b"hi"),
            ("aGk", b"hi"),
            ("aG\nk=\r\n", b"hi"),
            ("", b""),
            ("//79", b"\xff\xfe\xfd"),
        ],
    )
    def test_base64_as_abseil_reads_it(self, text: str, data: bytes) -> None:
        assert read({"inputs": {"b64": text}}, x="string")["x"].tolist() == data

    @pytest.mark.parametrize(
        "text", ["a", "aGk=k", "aG=k", "a===", "__79", "aG!k", "é"]
    )
    def test_base64_that_is_none(self, text: str) -> None:
        assert "Unable to base64 decode" in refused(
            {"inputs": {"b64": text}}, x="string"
        )

    @given(st.binary(max_size=200))
    def test_base64_of_anything(self, data: bytes) -> None:
        text = base64.b64encode(data).decode()
        assert read({"instances": [{"b64": text}]}, x="string")["x"].tolist() == [data]


class TestShapes:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[[1, 2], [3]]", "unexpected size: 1 at level: 1 expected size: 2"),
            ("[[1], [2, 3]]", "unexpected size: 2 at level: 1 expected size: 1"),
            ("[1, [2]]", "Encountered list at unexpected level: inputs[1]"),
            ("[[1], 2]", "at inputs[1] Type: Number found at incorrect level: 1"),
            ("[[[1]], [2]]", "at inputs[1][0] Type: Number found at incorrect level"),
            ("[[], [1]]", "unexpected size: 1 at level: 1 expected size: 0"),
            ("[" * 33 + "1" + "]" * 33, "nested deeper than 32 levels"),
        ],
    )
    def test_ragged(self, text: str, words: str) -> None:
        assert words in refused(b'{"inputs": %b}' % text.encode(), x="int32")

    def test_empty_lists(self) -> None:
        assert read({"inputs": [[], []]}, x="int32")["x"].shape == (2, 0)
        assert read({"inputs": []}, x="string")["x"].shape == (0,)

    def test_where_a_value_stands(self) -> None:
        rows = {"instances": [{"x": [[1, 2]]}, {"x": [[3, "a"]]}]}
        assert "at instances[1].x[0][1] Type: String" in refused(rows, x="int32")
        columns = {"inputs": {"x": [[1, 2], [3, "a"]]}}
        assert "at inputs.x[1][1] Type: String" in refused(columns, x="int32")


def test_no_error_repeats_a_value() -> None:
    """Every way in which a value can be wrong, with a value that is easy to find."""
    word = "secret-77145"
    for value in (SECRET, SECRET + 0.5, word, {word: 1}, [SECRET], None, True):
        for dtype in ("float32", "int8", "bool", "string"):
            for body in (
                {"inputs": [value, [value]]},
                {"inputs": [[value], value]},
                {"inputs": {"x": [1, value], "s": value}},
                {"instances": [{"x": value}, {"x": [value]}]},
                {"instances": [value, 1, "a"]},
                {"instances": value},
                {"signature_name": value, "inputs": [1]},
                {"inputs": {"b64": word + "!"}},
            ):
                try:
                    read(body, x=dtype)
                except ServingError as error:
                    # A key that is unknown is named.
                    keyless = error.message.replace(f"keys {word}", "")
                    assert "77145" not in keyless
