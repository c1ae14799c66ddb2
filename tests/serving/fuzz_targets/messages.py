"""PredictRequests for `saved_models.Half`, good and broken, and what each must get.

`judge` is an oracle of its own: it reads the message with protobuf and works the answer
out with NumPy; nothing of `serving` takes part in it.
"""

import math
import struct
import warnings
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from hypothesis import strategies as st
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2

VERSION = 7
OFFSET = 2.0
# Values that no name contains: an error or a log line with one of them quotes an input.
MARKER = "qXmarkXq"
MARKED_NUMBER = 918273645
FORBIDDEN = (MARKER, MARKER.upper(), str(MARKED_NUMBER), "918,273,645", "9.1827e+08")

_FLOAT, _STRING, _INT64 = 1, 7, 9
_SIGNATURES: dict[str, dict[str, tuple[int, tuple[int | None, ...]]]] = {
    "serving_default": {"x": (_FLOAT, (None,))},
    "pair": {"a": (_FLOAT, (None, 3)), "b": (_STRING, (None,))},
    "strict": {"n": (_INT64, (None,))},
}
_OUTPUTS = {
    "serving_default": {"x2", "y"},
    "pair": {"sum", "loud"},
    "strict": {"out_bytes"},
}
# Above this a claim is refused whatever it carries; see `Limits.max_tensor_elements`.
_MAX_ELEMENTS = 2**27
_INVALID = grpc.StatusCode.INVALID_ARGUMENT
# From here on the server looks at the ModelSpec before it reads the tensors' bytes.
_LARGE = 16 * 1024


@dataclass
class Verdict:
    """What a message must be answered with.

    Attributes:
        codes: the codes of all that is wrong with it; OK alone where nothing is. Which
            of two mistakes is told first is nobody's business.
        outputs: the right answer by output name, where it is OK.
        names_marked: the marker got into a name, which errors may quote.
    """

    codes: set[grpc.StatusCode] = field(default_factory=set)
    outputs: dict[str, Any] = field(default_factory=dict)
    names_marked: bool = False


class Message:
    """Bytes that are sent; long ones are not printed with a failure."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        data = self.data
        return repr(data) if len(data) < 2000 else f"<{len(data)} bytes>"


def judge(data: bytes) -> Verdict:
    """The verdict on the bytes of a PredictRequest."""
    verdict = Verdict()
    try:
        with warnings.catch_warnings(record=True) as ended_early:
            warnings.simplefilter("always")
            request = predict_pb2.PredictRequest.FromString(data)
    except Exception:
        verdict.codes.add(_INVALID)
        if len(data) >= _LARGE:
            verdict.codes |= {
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.FAILED_PRECONDITION,
            }
            verdict.names_marked = True
        return verdict
    spec = request.model_spec
    names = [spec.name, spec.signature_name, spec.version_label]
    names += [*request.inputs, *request.output_filter]
    verdict.names_marked = any(_is_marked(name) for name in names)
    choice = spec.WhichOneof("version_choice")
    if not spec.name or choice == "version_label":
        verdict.codes.add(_INVALID)
    if spec.name not in ("", "half"):
        verdict.codes.add(grpc.StatusCode.NOT_FOUND)
    if choice == "version" and spec.version.value != VERSION:
        verdict.codes.add(grpc.StatusCode.NOT_FOUND)
    inputs = {name: _values(proto) for name, proto in request.inputs.items()}
    if any(value is None for value in inputs.values()):
        verdict.codes.add(_INVALID)
    signature = spec.signature_name or "serving_default"
    if signature in _SIGNATURES:
        _judge_inputs(verdict, signature, request, inputs)
    else:
        verdict.codes.add(grpc.StatusCode.FAILED_PRECONDITION)
    if not verdict.codes:
        verdict.codes.add(grpc.StatusCode.OK)
        with np.errstate(over="ignore"):
            verdict.outputs = _run(signature, inputs)
        wanted = set(request.output_filter) or _OUTPUTS[signature]
        verdict.outputs = {k: v for k, v in verdict.outputs.items() if k in wanted}
    if ended_early:
        # Python's protobuf takes an end-group tag for the end of the message and drops
        # the rest with a warning; to refuse it is right, too.
        verdict.codes.add(_INVALID)
    return verdict


def told(data: bytes) -> str:
    """A request in one line, for the report of a failure."""
    try:
        request = predict_pb2.PredictRequest.FromString(data)
    except Exception:
        return "no PredictRequest"
    tensors = {
        name: (
            f"dtype {proto.dtype}",
            [dim.size for dim in proto.tensor_shape.dim],
            f"{len(proto.tensor_content)} bytes of content",
            f"{len(proto.float_val)} floats",
        )
        for name, proto in request.inputs.items()
    }
    spec = str(request.model_spec).replace("\n", " ")
    return f"{spec}{tensors} -> {list(request.output_filter)}"


def _is_marked(name: str) -> bool:
    return any(name[at : at + 4] in MARKER for at in range(len(name) - 3))


def _judge_inputs(
    verdict: Verdict, signature: str, request: Any, inputs: dict[str, Any]
) -> None:
    expected = _SIGNATURES[signature]
    wanted = list(request.output_filter)
    if set(inputs) != set(expected):
        verdict.codes.add(_INVALID)
    if len(set(wanted)) != len(wanted) or not set(wanted) <= _OUTPUTS[signature]:
        verdict.codes.add(_INVALID)
    rows = set()
    for name, (dtype, shape) in expected.items():
        value = inputs.get(name)
        if value is None:
            continue
        if request.inputs[name].dtype != dtype or not _fits(value.shape, shape):
            verdict.codes.add(_INVALID)
        rows.add(value.shape[:1])
        if signature == "strict" and value.dtype == np.int64 and (value <= 0).any():
            verdict.codes.add(_INVALID)
    if len(rows) > 1:  # the server batches
        verdict.codes.add(_INVALID)


def _fits(found: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(found) == len(expected) and all(
        size in (None, one) for size, one in zip(expected, found, strict=True)
    )


def _run(signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
    if signature == "serving_default":
        x = inputs["x"]
        return {"y": x / np.float32(2) + np.float32(OFFSET), "x2": x * np.float32(2)}
    if signature == "pair":
        loud = [_upper(text) for text in inputs["b"]]
        return {"sum": inputs["a"].sum(1, dtype=np.float32), "loud": loud}
    return {"out_bytes": [str(n).encode() for n in inputs["n"]]}


def _upper(text: bytes) -> bytes:
    """ASCII only, as tf.strings.upper."""
    return bytes(c - 32 if 97 <= c <= 122 else c for c in text)


def _values(proto: Any) -> Any:
    """A TensorProto's values as TensorFlow's C++ reads them; None where it does not.

    Only float32, string and int64 are worked out: no other dtype fits a signature.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        return None
    count = math.prod(shape)
    if count > _MAX_ELEMENTS or proto.dtype not in (_FLOAT, _STRING, _INT64):
        return None
    if any(size > _MAX_ELEMENTS for size in shape):  # [0, 2**62]: NumPy has none such
        return None
    content = proto.tensor_content
    if proto.dtype == _STRING:
        found = _packed_strings(content, count) if content else list(proto.string_val)
        if found is None:
            return None
        filled = np.empty(count, object)
        filled[:] = _fill(found, count, b"")
        return filled.reshape(shape)
    numpy_type = np.dtype("<f4" if proto.dtype == _FLOAT else "<i8")
    if content:
        if len(content) != count * numpy_type.itemsize:
            return None
        return np.frombuffer(content, numpy_type).reshape(shape)
    field_name = "float_val" if proto.dtype == _FLOAT else "int64_val"
    values = list(getattr(proto, field_name))
    return np.array(_fill(values, count, 0), numpy_type).reshape(shape)


def _fill(values: list[Any], count: int, nothing: Any) -> list[Any]:
    last = values[-1] if values else nothing
    return (values + [last] * (count - len(values)))[:count]


def _packed_strings(content: bytes, count: int) -> list[bytes] | None:
    """Varint lengths, then the bytes of all."""
    lengths, at = [], 0
    for _ in range(count):
        value = shift = 0
        while True:
            if at >= len(content):
                return None
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(value)
    if at + sum(lengths) != len(content):
        return None
    found = []
    for length in lengths:
        found.append(content[at : at + length])
        at += length
    return found


_numbers = st.one_of(
    st.floats(width=32), st.just(float(MARKED_NUMBER)), st.integers(-5, 5).map(float)
)
_texts = st.one_of(
    st.just(MARKER.encode()), st.binary(max_size=6), st.text(max_size=4).map(str.encode)
)
_sizes = st.one_of(
    st.integers(0, 4),
    st.sampled_from([-1, -(2**63), 2**27 + 1, 2**31, 2**32, 2**62, 2**63 - 1]),
)


@st.composite
def tensors(draw: Any, dtype: int, rows: int, width: int | None) -> TensorProto:
    """A TensorProto of `rows` rows; one in a few is broken."""
    proto = TensorProto(dtype=dtype)
    shape = [rows] if width is None else [rows, width]
    count = math.prod(shape)
    broken = draw(st.sampled_from(["no"] * 12 + ["shape", "dtype", "count", "other"]))
    if broken == "shape":
        shape = draw(st.lists(_sizes, max_size=4))
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    if broken == "count":
        count = draw(st.integers(0, count + 2))
    if dtype == _STRING:
        texts = draw(st.lists(_texts, min_size=count, max_size=count))
        # An empty tensor_content would be none; lengths below 128 are one byte.
        if texts and draw(st.booleans()):
            lengths = bytes(len(text) for text in texts)
            proto.tensor_content = lengths + b"".join(texts)
        else:
            proto.string_val.extend(texts)
    elif dtype == _FLOAT:
        floats = draw(st.lists(_numbers, min_size=count, max_size=count))
        if draw(st.booleans()):
            proto.tensor_content = struct.pack(f"<{count}f", *floats)
        else:
            proto.float_val.extend(floats)
    else:
        number = st.one_of(st.integers(1, 2**62), st.just(MARKED_NUMBER))
        if draw(st.integers(0, 3)) == 0:
            number = st.one_of(st.just(-MARKED_NUMBER), st.integers(-(2**63), 0))
        proto.int64_val.extend(draw(st.lists(number, min_size=count, max_size=count)))
    if broken == "dtype":
        proto.dtype = draw(st.integers(0, 130))
    if broken == "other":
        proto.tensor_shape.unknown_rank = True
    return proto


@st.composite
def requests(draw: Any) -> bytes:
    """A PredictRequest: mostly good, else with one or more mistakes."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    signature = draw(st.sampled_from([*_SIGNATURES, "serving_default"]))
    request.model_spec.signature_name = signature
    rows = draw(st.integers(1, 4))
    large = signature == "serving_default" and draw(st.integers(0, 5)) == 0
    if large:  # beyond 16 KiB the server reads the bytes itself
        seed = draw(st.integers(0, 2**16))
        values = np.random.default_rng(seed).normal(size=5000).astype("<f4")
        proto = request.inputs["x"]
        proto.dtype = _FLOAT
        proto.tensor_shape.dim.add().size = draw(
            st.sampled_from([5000, 5001, 3, 2**62])
        )
        if draw(st.booleans()):
            proto.tensor_content = values.tobytes()
        else:
            proto.float_val.extend(values)
    else:
        for name, (dtype, shape) in _SIGNATURES[signature].items():
            width = shape[1] if len(shape) == 2 else None
            request.inputs[name].CopyFrom(draw(tensors(dtype, rows, width)))
    spec = request.model_spec
    mistake = draw(
        st.sampled_from(
            ["none"] * 16
            + ["model", "version", "label", "signature", "missing", "extra"]
            + ["filter", "twice", "no spec", "right version"]
        )
    )
    if mistake == "model":
        spec.name = draw(st.sampled_from(["", "halb", "half ", "../half", "hálf"]))
    elif mistake == "version":
        spec.version.value = draw(st.sampled_from([0, 8, -1, 2**63 - 1, -(2**63)]))
    elif mistake == "right version":
        spec.version.value = VERSION
    elif mistake == "label":
        spec.version_label = "stable"
    elif mistake == "signature":
        spec.signature_name = draw(st.sampled_from(["no", "serving", "\0"]))
    elif mistake == "missing":
        del request.inputs[draw(st.sampled_from(sorted(request.inputs)))]
    elif mistake == "extra":
        request.inputs["z"].CopyFrom(draw(tensors(_FLOAT, rows, None)))
    elif mistake == "filter":
        request.output_filter.extend(
            draw(st.lists(st.sampled_from(["y", "x2", "sum", "no", ""]), min_size=1))
        )
    elif mistake == "twice":
        request.output_filter.extend(["y", "y"])
    elif mistake == "no spec":
        request.ClearField("model_spec")
    return bytes(request.SerializeToString())


@st.composite
def broken_bytes(draw: Any) -> bytes:
    """A request's bytes cut off, changed, repeated in part, or no request at all."""
    data = draw(requests())
    kind = draw(st.sampled_from(["cut", "flip", "insert", "repeat", "random"]))
    at = draw(st.integers(0, len(data)))
    if kind == "cut":
        return bytes(data[:at])
    if kind == "flip" and at < len(data):
        return bytes(data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :])
    if kind == "insert":
        return bytes(data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:])
    if kind == "repeat":
        return bytes(data + data[at:])
    return bytes(draw(st.binary(max_size=64)) + MARKER.encode())


@st.composite
def anything(draw: Any) -> Message:
    """Good, wrong and broken requests."""
    return Message(draw(st.one_of(requests(), requests(), broken_bytes())))
