"""JSON text of any size and depth: round trips, long lists, limits, what is no JSON."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving import json_long_lists, json_text
from serving.options import Limits
from serving.status import ServingError
from serving.tensors import Array
from tests.serving.rest_json import SECRET, read, refused


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of few numbers are long lists here, read in pieces of few characters."""
    monkeypatch.setattr(json_long_lists, "_LONG", 12)
    monkeypatch.setattr(json_long_lists, "_PIECE", 23)


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
