"""JSON of predict calls to arrays: types, shapes, limits, and what an error may say."""

import base64
import json
import math
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.protobuf import meta_graph_pb2

from serving import json_inputs, json_long_lists, json_text
from serving.options import Limits
from serving.status import ServingError
from serving.tensors import Array, tf

# A value that no error may repeat.
SECRET = 77145


def signature(**dtypes: str) -> Any:
    found = meta_graph_pb2.SignatureDef()
    for name, dtype in dtypes.items():
        found.inputs[name].dtype = tf.as_dtype(dtype).as_datatype_enum
    return found


def read(body: Any, limits: Limits | None = None, **dtypes: str) -> dict[str, Array]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    limits = limits or Limits()
    request = json_inputs.read(text, limits)
    return json_inputs.inputs(request, signature(**dtypes), limits)


def refused(body: Any, limits: Limits | None = None, **dtypes: str) -> str:
    with pytest.raises(ServingError) as caught:
        read(body, limits, **dtypes)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    return caught.value.message


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of few numbers are long lists here, read in pieces of few characters."""
    monkeypatch.setattr(json_long_lists, "_LONG", 12)
    monkeypatch.setattr(json_long_lists, "_PIECE", 23)


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


ARRAYS = arrays.array_shapes(min_dims=1, max_dims=4, max_side=5).flatmap(
    lambda shape: st.sampled_from(
        ["float32", "float64", "int32", "int64", "uint8", "uint64", "bool"]
    ).flatmap(lambda dtype: arrays.arrays(dtype, shape))
)


class TestRoundTrips:
    @given(ARRAYS)
    def test_any_array(self, array: Array) -> None:
        text = json.dumps({"instances": array.tolist()}).encode()
        found = read(text, x=array.dtype.name)["x"]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(array=ARRAYS, indent=st.sampled_from([None, 0, 3]))
    @pytest.mark.usefixtures("short_pieces")
    def test_any_array_in_pieces(self, array: Array, indent: int | None) -> None:
        body = {"inputs": {"x": array.tolist(), "s": '"[1, 2\\"'}, "z": [1, {}]}
        text = json.dumps(body, indent=indent).encode()
        found = read(text, x=array.dtype.name, s="string")
        np.testing.assert_array_equal(found["x"], array)
        assert found["s"].tolist() == b'"[1, 2\\"'

    JSON = st.recursive(
        st.one_of(
            st.integers(-(10**6), 10**6),
            st.floats(width=32),
            st.sampled_from(['"[1, 2], [3]"', "a\\", None, True]),
        ),
        lambda inner: st.lists(inner, max_size=6),
        max_leaves=40,
    )

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(value=JSON)
    def test_pieces_change_no_answer(
        self, value: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is refused whole is refused in pieces; what is read is the same."""
        text = json.dumps({"a": "x", "instances": [{"x": value}, {"x": value}]})
        for dtype in ("float32", "int32", "string"):
            answers: list[Any] = []
            for long, piece in ((10**6, 10**6), (10, 17)):
                monkeypatch.setattr(json_long_lists, "_LONG", long)
                monkeypatch.setattr(json_long_lists, "_PIECE", piece)
                try:
                    found = read(text.encode(), x=dtype)["x"]
                    answers.append((found.shape, found.dtype, repr(found.tolist())))
                except ServingError as error:
                    answers.append((error.code, None, ""))
            assert answers[0] == answers[1]


class TestLongLists:
    def test_no_call_of_the_parser_gets_much_text(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One call keeps every thread of the process waiting."""
        longest = 0
        loads = orjson.loads

        def measured(text: bytes) -> Any:
            nonlocal longest
            longest = max(longest, len(text))
            return loads(text)

        monkeypatch.setattr(orjson, "loads", measured)
        values = np.random.default_rng(0).random((2, 300, 300), np.float32)
        rows = [{"x": one, "s": "a"} for one in values]
        bodies = [{"instances": rows}, {"inputs": {"x": values, "s": ["a", "a"]}}]
        for body in bodies:
            text = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
            assert len(text) > 10**6
            found = read(text, x="float32", s="string")
            np.testing.assert_array_equal(found["x"], values)
        assert longest <= 64 * 1024 + 2

    def test_rows_of_which_some_are_long(self) -> None:
        # Rows of about 8 kB: some lists stay text and some do not.
        values = np.arange(6 * 2000).reshape(6, 2000) * 10 ** np.arange(6)[:, None]
        rows = [{"x": one, "s": "a"} for one in values.tolist()]
        found = read({"instances": rows}, x="int64", s="string")["x"]
        np.testing.assert_array_equal(found, values)

    @pytest.mark.parametrize("text", [b"[ ], ", b"[" + b" " * 70_000 + b"], "])
    def test_empty_lists(self, text: bytes) -> None:
        body = b'{"inputs": [' + text * (60_000 // len(text) + 20) + b"[]]}"
        assert read(body, x="float32")["x"].shape == (body.count(b"]") - 1, 0)

    def test_not_a_number_inside(self) -> None:
        values = np.arange(40000, dtype=np.float32)
        values[[5, 20000]] = np.nan, -np.inf
        found = read({"inputs": values.tolist()}, x="float32")["x"]
        np.testing.assert_array_equal(found, values)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda rows: rows[700].append(1), "Encountered list at unexpected size"),
            (lambda rows: rows[700].pop(), "Encountered list at unexpected size"),
            (lambda rows: rows.append(1), "Encountered list at unexpected size"),
            (
                lambda rows: rows[700].__setitem__(1, True),
                "at inputs.x[700][1] Type: Boolean is not of expected type: int32",
            ),
            (
                lambda rows: rows[700].__setitem__(1, 1.5),
                "at inputs.x[700][1] Type: Number is not of expected type: int32",
            ),
            (lambda rows: rows[700].__setitem__(1, [1]), "at unexpected size"),
        ],
    )
    def test_errors_tell_where(self, change: Any, words: str) -> None:
        rows = [[SECRET] * 30 for _ in range(1000)]
        change(rows)
        message = refused({"inputs": {"x": rows}}, x="int32")
        assert words in message
        assert str(SECRET) not in message

    @pytest.mark.parametrize("broken", [b"1 2", b"1,,2", b"01", b"1]", b"[1", b"x"])
    def test_broken_text(self, broken: bytes) -> None:
        text = b'{"inputs": {"x": [' + b"77145, " * 9000 + broken + b", 3]}}"
        message = refused(text, x="int32")
        assert "JSON Parse error" in message or "unexpected size" in message
        assert str(SECRET) not in message

    def test_the_place_of_an_error_behind_a_long_list(self) -> None:
        text = b'{"x": [' + b"1, " * 9000 + b'1], "y": nul}'
        assert refused(text, x="int32").endswith(f"at offset: {text.index(b'nul')}")


class TestLimits:
    def test_depth(self) -> None:
        limits = Limits(max_json_depth=5)
        deep = b'{"inputs": [[[[1]]]], "s": "[[[[[[[["}'
        assert read(deep, limits, x="int32")["x"].shape == (1, 1, 1, 1)
        message = refused(b'{"inputs": [[[[[1]]]]]}', limits, x="int32")
        assert message == "JSON Parse error: nested deeper than 5 levels"
        ignored = b'{"other": [[[[[1]]]]], "inputs": 1}'
        assert "nested deeper than 5" in refused(ignored, limits, x="int32")
        # Brackets in a string hide none.
        hidden = b'{"s": "]]]]\\"]]]]", "inputs": [[[[[1]]]]]}'
        assert "nested deeper than 5" in refused(hidden, limits, x="int32")

    def test_the_default_depth_takes_every_tensor(self) -> None:
        text = b'{"inputs": ' + b"[" * 32 + b"1" + b"]" * 32 + b"}"
        assert read(text, x="int32")["x"].ndim == 32

    @pytest.mark.parametrize("opener", [b"[", b'{"a":', b"[{"])
    def test_millions_of_levels(self, opener: bytes) -> None:
        assert "nested deeper than 64" in refused(opener * 10**6, x="int32")

    def test_a_deep_long_list(self) -> None:
        numbers = b"1, " * 5000
        text = b'{"inputs": ' + b"[" * 40 + numbers + b"1" + b"]" * 40 + b"}"
        assert "nested deeper than 32 levels" in refused(text, x="int32")

    @pytest.mark.parametrize("count", [10, 30000])
    def test_elements(self, count: int) -> None:
        body = {"inputs": list(range(count))}
        assert len(read(body, Limits(max_tensor_elements=count), x="int32")["x"])
        message = refused(body, Limits(max_tensor_elements=count - 1), x="int32")
        assert message == (
            f"input x has {count} elements; at most {count - 1} are accepted"
        )

    @pytest.mark.parametrize("part", [b"[],", b"{},", b'"",'])
    def test_values(self, part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two bytes of text that would make a hundred in memory, many times."""
        monkeypatch.setattr(json_text, "MAX_VALUES", 2**10)
        text = b'{"x": [' + part * 2000 + b'1], "inputs": 1}'
        assert "more than 1024 lists, objects and strings" in refused(text, x="int32")


class TestText:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (b"", "JSON Parse error: The document is empty"),
            (b"  \n", "JSON Parse error: The document is empty"),
            (b"[1]", "JSON Value Type: Array Is not object"),
            (b"77145", "JSON Value Type: Number Is not object"),
            (b'{"inputs": 77145x}', "at offset: 16"),
            (b'{"inputs": NaN, "a": 77145x}', "at offset: 26"),
            (b'{"inputs": [77145, NaN,]}', "JSON Parse error"),
            (b'{"inputs": "77145\xff"}', "JSON Parse error"),
            (b'{"inputs": "77145\\ud800"}', "JSON Parse error"),
            (b'{"inputs": ["77145\\ud800", NaN]}', "JSON Parse error"),
            (b'{"inputs": "77145\n"}', "JSON Parse error"),
            (b'{"inputs": 1e400}', "JSON Parse error"),
            (b'{"inputs": [1e400, NaN]}', "JSON Parse error"),
            (b'{"inputs": [' + b"7" * 5000 + b"]}", "JSON Parse error"),
            (b'{"inputs": [' + b"7" * 5000 + b", NaN]}", "JSON Parse error"),
            (b'{"inputs": 77145} 1', "JSON Parse error"),
            (b"{'inputs': 77145}", "JSON Parse error"),
        ],
    )
    def test_what_is_no_json(self, text: bytes, words: str) -> None:
        message = refused(text, x="string")
        assert words in message
        assert str(SECRET) not in message

    def test_a_byte_order_mark_is_skipped(self) -> None:
        assert read(b'\xef\xbb\xbf{"inputs": 1}', x="int32")["x"] == 1

    def test_whole_numbers_beyond_64_bits_are_decimals(self) -> None:
        text = b'{"inputs": [18446744073709551616, NaN]}'
        assert read(text, x="float64")["x"][0] == 2.0**64


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
