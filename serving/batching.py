"""Puts the inputs of several requests together and takes their outputs apart."""

from collections.abc import Mapping, Sequence

import numpy as np

from serving.options import BatchingOptions
from serving.status import ServingError
from serving.tensors import Array

Arrays = Mapping[str, Array]


def batch_size(inputs: Arrays) -> int:
    """The 0th dimension that all inputs of a request have.

    Raises:
        ServingError: INVALID_ARGUMENT where they have none in common.
    """
    sizes = {array.shape[:1] for array in inputs.values()}
    if not sizes:
        raise ServingError.invalid(
            "Batching session Run() must have at least one input tensor"
        )
    if () in sizes:
        raise ServingError.invalid(
            "Batching session Run() input tensors must have at least one dimension"
        )
    if len(sizes) > 1:
        raise ServingError.invalid(
            "Batching session Run() input tensors must have equal 0th-dimension size"
        )
    return sizes.pop()[0]


def largest_batch(options: BatchingOptions) -> int:
    """Examples in the largest batch that is run."""
    if options.enable_large_batch_splitting and options.max_execution_batch_size:
        return options.max_execution_batch_size
    return options.max_batch_size


def alike(inputs: Arrays, options: BatchingOptions) -> object:
    """What has to be equal for requests to be run together, besides the signature."""
    if options.pad_variable_length_inputs:
        return [array.ndim for array in inputs.values()]
    return [array.shape[1:] for array in inputs.values()]


def padded_size(size: int, options: BatchingOptions) -> int:
    """The size that a batch of `size` examples is run with."""
    allowed = [one for one in options.allowed_batch_sizes if one >= size]
    return min(allowed) if allowed and size else size


def merge(requests: Sequence[Arrays], size: int, pad_lengths: bool = False) -> Arrays:
    """One array for each input, out of those of several requests.

    Args:
        requests: the inputs of each; of the same rank and, without `pad_lengths`, the
            same shape but for the 0th dimension.
        size: examples of the batch; what is missing is filled with copies of an
            example of the batch, which is a valid one.
        pad_lengths: make shapes equal by appending a tensor's own first value, as TF
            Serving does.

    Raises:
        ServingError: INVALID_ARGUMENT for an empty tensor that would need padding.
    """
    merged = {}
    for name in requests[0]:
        parts = [inputs[name] for inputs in requests]
        if pad_lengths:
            parts = _equally_long(parts)
        missing = size - sum(len(part) for part in parts)
        if missing:
            example = next(part for part in reversed(parts) if len(part))[:1]
            parts.append(np.repeat(example, missing, axis=0))
        merged[name] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return merged


def _equally_long(parts: Sequence[Array]) -> list[Array]:
    longest = [max(sizes) for sizes in zip(*(p.shape[1:] for p in parts), strict=True)]
    padded = []
    for part in parts:
        if list(part.shape[1:]) != longest:
            if part.size == 0:
                raise ServingError.invalid(
                    "Got empty tensor in batch of non-empty tensors."
                )
            full = np.full((len(part), *longest), part.flat[0], part.dtype)
            full[tuple(slice(size) for size in part.shape)] = part
            part = full
        padded.append(part)
    return padded


def split(outputs: Arrays, sizes: Sequence[int], size: int) -> list[dict[str, Array]]:
    """The outputs of each request, out of those of a batch.

    Args:
        outputs: an array for each output.
        sizes: how many examples each request has, in the order of `merge`.
        size: how many the batch was run with.

    Raises:
        ServingError: FAILED_PRECONDITION for an output that has not one row for each
            example.
    """
    for array in outputs.values():
        if array.ndim == 0:
            raise ServingError.failed_precondition(
                "Batched output tensor has 0 dimensions"
            )
        if len(array) != size:
            raise ServingError.failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the "
                "0th dimension sizes of the input tensors"
            )
    answers, start = [], 0
    for one in sizes:
        answers.append({k: array[start : start + one] for k, array in outputs.items()})
        start += one
    return answers


def pieces(inputs: Arrays, largest: int) -> list[Arrays]:
    """A large request cut into consecutive ones of at most `largest` examples."""
    size = batch_size(inputs)
    return [
        {name: array[at : at + largest] for name, array in inputs.items()}
        for at in range(0, size, largest)
    ]


def joined(answers: Sequence[Arrays]) -> dict[str, Array]:
    """The outputs of a request that was cut by `pieces`."""
    if len(answers) == 1:
        return dict(answers[0])
    return {
        name: np.concatenate([answer[name] for answer in answers])
        for name in answers[0]
    }
