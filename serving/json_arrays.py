"""Nested JSON lists to arrays."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from serving.json_long_lists import MAX_RANK, LongList, check_elements
from serving.json_text import Document
from serving.json_values import FLOATS, INTEGERS, values
from serving.options import Limits
from serving.status import ServingError
from serving.tensors import Array, tf


@dataclass(frozen=True)
class Column:
    """What a request gives for one input.

    Attributes:
        name: the input's name.
        value: nested lists, or a bare value.
        prefix: where it stands in the request.
        suffix: what comes after the first index there: rows with names have
            `instances[3].x[0]`, not `instances.x[3][0]`.
    """

    name: str
    value: Any
    prefix: str
    suffix: str = ""

    def place(self, index: Sequence[int]) -> str:
        """Where an element stands in the request."""
        found = [f"[{at}]" for at in index]
        return "".join([self.prefix, *found[:1], self.suffix, *found[1:]])


def to_array(column: Column, dtype: int, document: Document, limits: Limits) -> Array:
    """A nested JSON list (or a bare value) as an array of exactly that dtype.

    Strings come as an object array of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT for ragged lists and wrong types,
            UNIMPLEMENTED for a dtype that JSON cannot carry.
    """
    kind = str(tf.as_dtype(dtype).name)
    if kind not in (*FLOATS, *INTEGERS, "bool", "string"):
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON to type {kind} (input {column.name}); use gRPC",
        )
    return _Conversion(column, kind, document, limits).array(column.value, ())


@dataclass(frozen=True)
class _Conversion:
    """One column on its way to an array of a kind."""

    column: Column
    kind: str
    document: Document
    limits: Limits

    def array(self, value: Any, outer: tuple[int, ...]) -> Array:
        """The array of a value that stands at the index `outer`."""
        long = self.document.long_list(value)
        if long is not None:
            return self._long(long, outer)
        shape: list[int] = []
        level = [value]
        while level and self._is_list(level[0]):
            if set(map(type, level)) != {list}:
                self._check_lists(level, shape, outer)
                return self._stacked(level, shape, outer)
            if len(set(map(len, level))) > 1:
                self._check_lists(level, shape, outer)
            shape.append(len(level[0]))
            check_elements(
                len(level) * shape[-1], f"input {self.column.name}", self.limits
            )
            level = list(itertools.chain.from_iterable(level))
        if len(outer) + len(shape) > MAX_RANK:
            raise ServingError.invalid(
                f"input {self.column.name}: lists nested deeper than {MAX_RANK} levels"
            )
        types = set(map(type, level))
        for at, one in enumerate(level if types & {list, dict} else ()):
            if self._is_list(one):
                raise ServingError.invalid(
                    f"input {self.column.name}: Encountered list at unexpected level: "
                    f"{self._place(at, shape, outer)} must be a value"
                )

        def place(at: int) -> str:
            return self._place(at, shape, outer)

        return values(level, self.kind, place).reshape(shape)

    def _is_list(self, value: Any) -> bool:
        return type(value) is list or self.document.long_list(value) is not None

    def _check_lists(
        self, level: list[Any], shape: list[int], outer: tuple[int, ...]
    ) -> None:
        for at, one in enumerate(level):
            if not self._is_list(one):
                raise ServingError.invalid(
                    f"input {self.column.name}: JSON Value at "
                    f"{self._place(at, shape, outer)} Type: "
                    f"{self.document.type_name(one)} found at incorrect level: "
                    f"{len(outer) + len(shape)} in the JSON DOM. Expected a list"
                )
            if type(one) is type(level[0]) is list and len(one) != len(level[0]):
                raise ServingError.invalid(
                    f"input {self.column.name}: Encountered list at unexpected size: "
                    f"{len(one)} at level: {len(outer) + len(shape)} expected size: "
                    f"{len(level[0])} ({self._place(at, shape, outer)})"
                )

    def _stacked(
        self, level: list[Any], shape: list[int], outer: tuple[int, ...]
    ) -> Array:
        """A level where some lists are long ones."""
        parts: list[Array] = []
        for at, one in enumerate(level):
            index = (*outer, *_index(at, shape))
            part = self.array(one, index)
            if parts and part.shape != parts[0].shape:
                raise ServingError.invalid(
                    f"input {self.column.name}: Encountered list at unexpected size: "
                    f"{list(part.shape)} expected size: {list(parts[0].shape)} "
                    f"({self.column.place(index)})"
                )
            parts.append(part)
            check_elements(
                len(level) * part.size, f"input {self.column.name}", self.limits
            )
        return np.stack(parts).reshape(*shape, *parts[0].shape)

    def _long(self, long: LongList, outer: tuple[int, ...]) -> Array:
        shape = long.shape(f"input {self.column.name}", self.limits)
        array = np.empty(
            math.prod(shape), object if self.kind == "string" else self.kind
        )
        filled = 0

        def place(at: int) -> str:
            return self._place(filled + at, shape, outer)

        for piece in long.pieces():
            array[filled : filled + len(piece)] = values(piece, self.kind, place)
            filled += len(piece)
        return array.reshape(shape)

    def _place(self, at: int, shape: Sequence[int], outer: tuple[int, ...]) -> str:
        return self.column.place((*outer, *_index(at, shape)))


def _index(at: int, shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(one) for one in np.unravel_index(at, shape)) if shape else ()
