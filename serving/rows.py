"""Rows of raw values to a model's inputs, and its outputs to rows of answers.

What `Client` and `LocalModel` share: all but the transport. The model's own signatures
say what it takes. `serving_raw` has one input for each feature; a string input is a
picture, a sound or a text by the suffix that its name has among the inputs of
`serving_tensors`: `_pixels`, `_log_mel`; anything else is text or a category.
"""

import math
import numbers
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from serving import media, sequences
from serving.tensors import Array, tf

RAW = "serving_raw"
TENSORS = "serving_tensors"
Kind = Literal["image", "images", "audio", "text", "numeric"]
Row = Mapping[str, Any]
OnBadMedia = Literal["raise", "absent"]


class RowError(ValueError):
    """A row that cannot be sent; the message names the row and the input.

    Attributes:
        row: index in the list that was given to `predict`.
        input: the input's name, or "" where the row as a whole is wrong.
    """

    def __init__(self, row: int, input: str, message: str) -> None:
        self.row = row
        self.input = input
        where = f"row {row}, input {input!r}" if input else f"row {row}"
        super().__init__(f"{where}: {message}")


@dataclass(frozen=True)
class Contract:
    """What a model takes.

    Attributes:
        inputs: input name -> kind (a category counts as text).
        table: names of those that are columns of a table: numbers and categories.
        frames: for each sequence of pictures, how many frames the model looks at.
    """

    inputs: Mapping[str, Kind]
    table: frozenset[str] = frozenset()
    frames: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, signatures: Mapping[str, Any]) -> "Contract":
        """Learns it from `SignatureDef` protos by signature name.

        Raises:
            ValueError: without a signature `serving_raw`, or with an input there that
                is neither string nor float32.
        """
        if RAW not in signatures:
            raise ValueError(
                f"the model has no signature {RAW!r}; it has: "
                + (", ".join(sorted(signatures)) or "none")
            )
        known: Mapping[str, Any] = {}
        if TENSORS in signatures:
            known = signatures[TENSORS].inputs
        kinds: dict[str, Kind] = {}
        frames: dict[str, int] = {}
        for name, info in signatures[RAW].inputs.items():
            dtype = tf.as_dtype(info.dtype)
            if dtype == tf.float32:
                kinds[name] = "numeric"
            elif dtype != tf.string:
                raise ValueError(
                    f"input {name!r} of {RAW!r} is {dtype.name}; expected string or "
                    "float32"
                )
            elif f"{name}_pixels" in known:
                kinds[name] = "image"
            elif f"{name}_frames" in known:
                kinds[name] = "images"
                frames[name] = known[f"{name}_frames"].tensor_shape.dim[1].size
            elif f"{name}_log_mel" in known:
                kinds[name] = "audio"
            else:
                kinds[name] = "text"
        table = {
            name
            for name, kind in kinds.items()
            if kind == "numeric"
            or (kind == "text" and known and f"{name}_token_ids" not in known)
        }
        return cls(kinds, frozenset(table), frames)

    def check_keys(self, rows: Sequence[Row]) -> None:
        """Refuses keys that the model does not know, before anything is read.

        Raises:
            RowError: naming the unknown keys, the inputs left out and those known.
        """
        for index, row in enumerate(rows):
            unknown = sorted(set(row) - set(self.inputs))
            if unknown:
                left_out = sorted(set(self.inputs) - set(row))
                raise RowError(
                    index,
                    "",
                    f"unknown: {', '.join(unknown)}; "
                    f"left out: {', '.join(left_out) or 'none'}; "
                    f"the model takes: {', '.join(sorted(self.inputs))}",
                )

    def encode(
        self,
        rows: Sequence[Row],
        base: str = "",
        on_bad_media: OnBadMedia = "raise",
        first: int = 0,
    ) -> dict[str, Array]:
        """Arrays of shape [rows] for each input: objects of bytes, or float32.

        An absent value (no key, or None) is sent as b"" or NaN.

        Args:
            rows: input name -> value, see `Client.predict`.
            base: folder or URL that relative paths of media start from.
            on_bad_media: what to do with a file that cannot be read or transcoded.
            first: index of the first row, for messages.

        Raises:
            RowError: a value of the wrong type, or bad media.
        """
        found = {}
        for name, kind in self.inputs.items():
            numeric = kind == "numeric"
            array = np.empty(len(rows), np.float32 if numeric else object)
            for index, row in enumerate(rows):
                value = row.get(name)
                if value is None:
                    array[index] = math.nan if numeric else b""
                    continue
                try:
                    if kind == "images":
                        most, strict = self.frames[name], on_bad_media == "raise"
                        array[index] = _sequence(value, base, most, strict)
                    else:
                        array[index] = _encode(kind, value, base)
                except media.MediaError as error:
                    if on_bad_media == "raise":
                        raise RowError(first + index, name, str(error)) from error
                    array[index] = b""
                except TypeError as error:
                    raise RowError(first + index, name, str(error)) from error
            found[name] = array
        return found


def _is_frames(value: Any) -> bool:
    """Whether it is an array [frames, height, width(, channels)], not one picture."""
    if not isinstance(value, np.ndarray) or value.ndim < 3:
        return False
    return value.ndim == 4 or value.shape[2] not in (1, 3, 4)


def _sequence(value: Any, base: str, most: int, strict: bool) -> bytes:
    """A list of pictures, an array of frames, or one file that holds several."""

    def read(one: Any) -> bytes:
        if isinstance(one, np.ndarray):
            return _png(one)
        return _file(one, base, " or a uint8 array")[0]

    several = [value]
    if sequences.is_packed(value):
        several = sequences.unpack(value)
    elif isinstance(value, (list, tuple)) or _is_frames(value):
        several = list(value)
    frames, failures = sequences.servable_frames(several, read, most)
    if failures and strict:
        raise failures[0]
    return sequences.pack(frames)


def _encode(kind: Kind, value: Any, base: str) -> bytes | float:
    if kind == "numeric":
        if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)):
            return float(value)
        raise TypeError(f"expected a number, got {type(value).__name__}")
    if kind == "text":
        if isinstance(value, str):
            return value.encode()
        raise TypeError(f"expected a str, got {type(value).__name__}")
    if kind == "image" and isinstance(value, np.ndarray):
        return _png(value)
    data, name = _file(value, base, " or a uint8 array" if kind == "image" else "")
    if kind == "image":
        return media.servable_image(data, name=name)
    return media.servable_audio(data, name=name)


def _file(value: Any, base: str, or_else: str = "") -> tuple[bytes, str]:
    """A file's bytes, and its name where there is one."""
    if isinstance(value, (str, os.PathLike)):
        name = os.fspath(value)
        return media.read_media(name, base), name
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), ""
    raise TypeError(f"expected bytes, a path{or_else}, got {type(value).__name__}")


def _png(pixels: Array) -> bytes:
    shaped = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    grey_or_colour = shaped.ndim == 3 and shaped.shape[2] in (1, 3, 4)
    if not grey_or_colour or pixels.dtype not in (np.uint8, np.uint16):
        raise TypeError(
            "expected a uint8 or uint16 array [height, width] or [height, width, 1, 3 "
            f"or 4], got {pixels.dtype} {list(pixels.shape)}"
        )
    return bytes(tf.io.encode_png(shaped).numpy())


def decode(outputs: Mapping[str, Array], version: int) -> list[dict[str, Any]]:
    """Answers, one row an example.

    Args:
        outputs: output name -> array [batch, ...] as `serving_raw` returns them.
        version: the model's version, put into every row as `model_version`.

    Returns:
        Of a head H: `H` is the class, the list of selected classes or the number, and
        `H_scores` maps each class to its score. Everything else, `N_present` or
        `H_abstained` say, is the row's value or nested list. Bytes become str.
    """
    plain = {name: _plain(array) for name, array in outputs.items()}
    used = set()
    rows: list[dict[str, Any]] = [{} for _ in next(iter(plain.values()), [])]
    for name in outputs:
        if not name.endswith("_classes") or f"{name[:-8]}_scores" not in plain:
            continue
        head = name.removesuffix("_classes")
        scores, chosen = f"{head}_scores", f"{head}_selected"
        used |= {name, scores, chosen}
        for index, row in enumerate(rows):
            classes = plain[name][index]
            if chosen in plain:
                flags = plain[chosen][index]
                row[head] = [c for c, on in zip(classes, flags, strict=True) if on]
            row[scores] = dict(zip(classes, plain[scores][index], strict=True))
    for name, values in plain.items():
        if name not in used:
            for row, value in zip(rows, values, strict=True):
                row[name] = value
    for row in rows:
        row["model_version"] = version
    return rows


def _plain(array: Array) -> list[Any]:
    if array.dtype == object:
        texts = np.empty(array.size, object)
        texts[:] = [value.decode("utf-8", "replace") for value in array.ravel()]
        array = texts.reshape(array.shape)
    values: list[Any] = array.tolist()
    return values


def batches(rows: Sequence[Row], size: int) -> Iterator[tuple[int, Sequence[Row]]]:
    """Slices of at most `size` rows, each with the index of its first."""
    for start in range(0, len(rows), size):
        yield start, rows[start : start + size]
