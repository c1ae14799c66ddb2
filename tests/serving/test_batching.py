"""Putting requests together and taking their outputs apart, on arrays alone."""

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import batching
from serving.options import BatchingOptions
from serving.status import ServingError


def numbers(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def texts(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_merge_then_split_by_hand() -> None:
    merged = batching.merge(
        [
            {"x": numbers(1, 2), "t": texts(b"a", b"b")},
            {"x": numbers(3), "t": texts(b"c")},
        ],
        size=3,
    )
    assert merged["x"].tolist() == [1, 2, 3]
    assert merged["t"].tolist() == [b"a", b"b", b"c"]
    first, second = batching.split({"y": merged["x"] * 10}, [2, 1], 3)
    assert first["y"].tolist() == [10, 20]
    assert second["y"].tolist() == [30]


def test_padding_repeats_an_example_of_the_batch() -> None:
    merged = batching.merge([{"x": numbers(1, 2)}, {"x": numbers()}], size=4)
    assert merged["x"].tolist() == [1, 2, 1, 1]
    answers = batching.split({"y": merged["x"]}, [2, 0], 4)
    assert [answer["y"].tolist() for answer in answers] == [[1, 2], []]


def test_lengths_are_made_equal_by_a_tensors_first_value() -> None:
    """The expected values are TF Serving's: padded after, with the tensor's own."""
    merged = batching.merge(
        [
            {"x": np.array([[1, 2, 3]], np.int32)},
            {"x": np.array([[7], [8]], np.int32)},
        ],
        size=3,
        pad_lengths=True,
    )
    assert merged["x"].tolist() == [[1, 2, 3], [7, 7, 7], [8, 7, 7]]


def test_an_empty_tensor_cannot_be_padded() -> None:
    requests = [{"x": np.zeros((1, 2))}, {"x": np.zeros((1, 0))}]
    with pytest.raises(ServingError, match="Got empty tensor in batch of non-empty"):
        batching.merge(requests, 2, pad_lengths=True)


@pytest.mark.parametrize(
    ("size", "expected"), [(0, 0), (1, 2), (2, 2), (3, 8), (8, 8), (9, 9)]
)
def test_allowed_sizes(size: int, expected: int) -> None:
    options = BatchingOptions(max_batch_size=8, allowed_batch_sizes=(2, 8))
    assert batching.padded_size(size, options) == expected
    assert batching.padded_size(size, BatchingOptions()) == size


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([], "must have at least one input tensor"),
        ([()], "must have at least one dimension"),
        ([(2,), (3, 1)], "must have equal 0th-dimension size"),
    ],
)
def test_what_cannot_be_batched(shapes: list[tuple[int, ...]], words: str) -> None:
    inputs = {str(at): np.zeros(shape) for at, shape in enumerate(shapes)}
    with pytest.raises(ServingError, match=words) as caught:
        batching.batch_size(inputs)
    assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (np.array(1.0), "Batched output tensor has 0 dimensions"),
        (numbers(1, 2), "0th dimension does not equal the sum of the 0th dimension"),
    ],
)
def test_outputs_that_are_not_one_row_each(output: np.ndarray, words: str) -> None:
    with pytest.raises(ServingError, match=words) as caught:
        batching.split({"y": output}, [1, 2], 3)
    assert caught.value.code == grpc.StatusCode.FAILED_PRECONDITION


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(sum),
    st.integers(0, 4),
)
def test_everyone_gets_their_own_rows(sizes: list[int], padding: int) -> None:
    marks = iter(range(100))
    requests = [
        {"x": np.array([next(marks) for _ in range(size)], np.int64)} for size in sizes
    ]
    size = sum(sizes) + padding
    merged = batching.merge(requests, size)
    assert len(merged["x"]) == size
    answers = batching.split({"y": merged["x"] + 1000}, sizes, size)
    for request, answer in zip(requests, answers, strict=True):
        assert answer["y"].tolist() == [mark + 1000 for mark in request["x"].tolist()]


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 40), st.integers(1, 9))
def test_pieces_join_again(size: int, largest: int) -> None:
    parts = batching.pieces({"x": np.arange(size)}, largest)
    assert max(len(part["x"]) for part in parts) <= largest
    assert batching.joined(parts)["x"].tolist() == list(range(size))
