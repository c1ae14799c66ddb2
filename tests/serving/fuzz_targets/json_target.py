"""Coverage-guided fuzzing of the REST body's parser, with atheris; see wire_target.py.

    PYTHONPATH=build/atheris:. python tests/serving/fuzz_targets/json_target.py \
        -max_total_time=60 -max_len=4096 build/corpus
"""

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["serving"]):
    from serving import json_inputs
    from serving.options import Limits
    from serving.status import ServingError

from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

_SEED = b'{"instances": [{"x": 1.0, "s": {"b64": "YQ=="}, "n": 1, "b": true}]}'
_LIMITS = Limits(max_json_bytes=2**16, max_json_depth=20, max_tensor_elements=1000)


def _definition() -> SignatureDef:
    definition = SignatureDef()
    for name, dtype in (("x", 1), ("s", 7), ("n", 9), ("b", 10)):
        definition.inputs[name].dtype = dtype
        definition.inputs[name].tensor_shape.unknown_rank = True
    return definition


_DEFINITION = _definition()


def parse(data: bytes) -> None:
    """One body: arrays of the signature's types, or a ServingError."""
    try:
        request = json_inputs.read(data, _LIMITS)
        arrays = json_inputs.inputs(request, _DEFINITION, _LIMITS)
    except ServingError:
        return
    assert set(arrays) == {"x", "s", "n", "b"}
    assert str(arrays["x"].dtype) == "float32"
    assert str(arrays["n"].dtype) == "int64"


if __name__ == "__main__":
    for folder in filter(Path.is_dir, map(Path, sys.argv[1:])):
        (folder / "seed").write_bytes(_SEED)
    atheris.Setup(sys.argv, parse)
    atheris.Fuzz()
