"""Coverage-guided fuzzing of the request decoder, with atheris (libFuzzer).

    pip install --only-binary :all: --target build/atheris atheris
    mkdir -p build/corpus
    PYTHONPATH=build/atheris:. python tests/serving/fuzz_targets/wire_target.py \
        -max_total_time=60 build/corpus

Optional: atheris is no dependency of the project (2.3.0 is its last wheel for Python
3.10). Any exception but ServingError, any difference between the two decoders, and any
value of more elements than allowed is a finding; libFuzzer writes the input to
`crash-...`, and the same command with that file as argument repeats it.
"""

import sys
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["serving"]):
    from serving import tensors, wire
    from serving.status import ServingError

from tensorflow_serving.apis import predict_pb2

_MAX_ELEMENTS = 1000


def _read(data: bytes) -> Any:
    try:
        return wire.Request(data).inputs(_MAX_ELEMENTS)
    except ServingError:
        return None


def decode(data: bytes) -> None:
    """One input: both decoders say the same, or both refuse."""
    wire._SMALL = 0
    scanned = _read(data)
    wire._SMALL = sys.maxsize
    parsed = _read(data)
    assert (scanned is None) == (parsed is None), "one decoder refuses"
    if scanned is None or parsed is None:
        return
    assert scanned.keys() == parsed.keys()
    for name, array in parsed.items():
        assert array.size <= _MAX_ELEMENTS
        assert scanned[name].dtype == array.dtype
        assert scanned[name].shape == array.shape
        assert scanned[name].tobytes() == array.tobytes() or array.dtype == object


def seed() -> bytes:
    """A good request, from which libFuzzer can start; it goes into the corpus."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    for name, kind in (("a", "float32"), ("b", "string"), ("c", "int64")):
        proto = request.inputs[name]
        proto.dtype = int(tensors.tf.as_dtype(kind).as_datatype_enum)
        proto.tensor_shape.dim.add().size = 2
    request.inputs["a"].float_val.extend([1.0, 2.0])
    request.inputs["b"].string_val.extend([b"x", b""])
    request.inputs["c"].tensor_content = bytes(16)
    return bytes(request.SerializeToString())


if __name__ == "__main__":
    for folder in filter(Path.is_dir, map(Path, sys.argv[1:])):
        (folder / "seed").write_bytes(seed())
    atheris.Setup(sys.argv, decode)
    atheris.Fuzz()
