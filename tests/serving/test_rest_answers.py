"""Arrays to JSON."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving import json_outputs
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
