"""What is refused before any work is spent on it."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving import tensors
from serving.metrics import Metrics
from serving.options import BatchingOptions, Limits
from serving.server import ModelServer
from tests.serving.conftest import wait_until

FLOAT, STRING, INT8, INT64, HALF, COMPLEX = 1, 7, 6, 9, 19, 8


def claim(*shape: int, dtype: int = FLOAT, **values: Any) -> Any:
    proto = TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (claim(2**62), "its shape announces 4611686018427387904 values, more than"),
        (claim(2**32, 2**32, float_val=[1.0]), "18446744073709551616 values, more"),
        (claim(2**31, 2**31, 4), "18446744073709551616 values, more than the limit"),
        (claim(3, -1), "its shape is not fully known"),
        (claim(-(2**63), -(2**63)), "its shape is not fully known"),
        (claim(2**27, float_val=[1.0, 2.0]), "announces 134217728 values and it carr"),
        (claim(2**20, dtype=STRING, tensor_content=b"ab"), "ends inside its string le"),
        (
            claim(1, dtype=STRING, tensor_content=b"\xff" * 9 + b"\x01"),
            "impossible string length",
        ),
        (claim(2, tensor_content=b"abc"), "holds 3 bytes, a float32 tensor of shape"),
        (claim(1, dtype=INT8, int_val=[300]), "a value does not fit int8"),
        (claim(1, dtype=HALF, half_val=[70000]), "a value does not fit float16"),
        (claim(1, dtype=99), "data type 99 is invalid"),
        (claim(1, dtype=20), "data type 20 is invalid or carries no values"),
    ],
)
def test_claims(proto: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tensors.to_array(proto)


def test_claims_that_fit_take_no_memory() -> None:
    """2^27 copies of one value are 512 MB as an array; it is stored once."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    one = tensors.to_array(claim(2**27, float_val=[2.5]))
    none = tensors.to_array(claim(2**25, 4, dtype=STRING))
    assert (one.shape, one[0], one[-1]) == ((2**27,), 2.5, 2.5)
    assert (none.shape, none[5, 3]) == ((2**25, 4), b"")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 50_000  # kB


def test_odd_values_are_read_as_tensorflow_reads_them() -> None:
    assert tensors.to_array(claim(2, float_val=[1, 2, 3])).tolist() == [1, 2]
    assert tensors.to_array(claim(4, dtype=INT64, int64_val=[1, 2])).tolist() == [
        1,
        2,
        2,
        2,
    ]
    assert tensors.to_array(claim(0)).tolist() == []
    assert tensors.to_array(claim(dtype=INT64)).tolist() == 0
    half = claim(1, dtype=COMPLEX, scomplex_val=[1.0, 2.0, 3.0])
    assert tensors.to_array(half).tolist() == [1 + 2j]


class InFlight(Metrics):
    def __init__(self) -> None:
        self.now = 0
        self.answered: list[str] = []

    def in_flight(self, change: int) -> None:
        self.now += change

    def request(
        self, model: str, api: str, entrypoint: str, status: str, seconds: float
    ) -> None:
        self.answered.append(f"{model} {api} {entrypoint} {status}")


LIMITS = Limits(
    max_request_bytes=100_000, max_tensor_elements=10_000, max_concurrent_requests=2
)


@pytest.fixture(
    scope="module",
    params=[None, BatchingOptions(max_batch_size=20_000)],
    ids=["", "batching"],
)
def limited(
    request: pytest.FixtureRequest, half_base: Path
) -> Iterator[tuple[Any, InFlight]]:
    metrics = InFlight()
    with (
        ModelServer(
            str(half_base),
            "half",
            batching=request.param,
            limits=LIMITS,
            metrics=metrics,
        ) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel), metrics


def ask(value: Any, signature: str = "", name: str = "x") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.model_spec.signature_name = signature
    if not isinstance(value, TensorProto):
        value = tf.make_tensor_proto(value)
    request.inputs[name].CopyFrom(value)
    return request


def refused(stub: Any, request: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, **more)
    error: Any = caught.value
    return error.code().name, error.details()


def test_a_server_of_limits(limited: tuple[Any, InFlight]) -> None:
    stub, metrics = limited
    assert refused(stub, ask(np.zeros(10_001, np.float32))) == (
        "INVALID_ARGUMENT",
        "tensor parsing error: x: its shape announces 10001 values, more than the "
        "limit of 10000",
    )
    code, words = refused(stub, ask(np.zeros(30_000, np.float32)))
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in words
    assert len(stub.Predict(ask(np.zeros(10_000, np.float32))).outputs["y"].float_val)
    assert "half Predict GRPC INVALID_ARGUMENT" in metrics.answered
    assert metrics.answered[-1] == "half Predict GRPC OK"


def slow(loops: int) -> Any:
    """A request of about `loops` milliseconds; its input is a scalar, or a batch."""
    return ask(np.int32(loops), "slow", "loops")


def test_too_many_at_once(half_base: Path) -> None:
    metrics = InFlight()
    with (
        ModelServer(str(half_base), "half", limits=LIMITS, metrics=metrics) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        held = [stub.Predict.future(slow(10**8)) for _ in range(2)]
        wait_until(lambda: metrics.now == 2)
        assert refused(stub, ask([1.0])) == (
            "RESOURCE_EXHAUSTED",
            "2 requests are in the server, which is its limit; try again later",
        )
        for call in held:
            call.cancel()
        wait_until(lambda: metrics.now == 0)
        assert list(stub.Predict(ask([1.0])).outputs["y"].float_val) == [2.5]
    assert metrics.answered == [
        " Predict GRPC RESOURCE_EXHAUSTED",
        *["half Predict GRPC CANCELLED"] * 2,
        "half Predict GRPC OK",
    ]


def test_what_its_caller_gave_up_is_not_begun(half_base: Path) -> None:
    """One thread, held for a second: what ran out of time behind it never runs."""

    class Runs(InFlight):
        def __init__(self) -> None:
            super().__init__()
            self.apis: list[str] = []

        def run(self, model: str, version: int, api: str, seconds: float) -> None:
            self.apis.append(api)

    runs = Runs()
    with (
        ModelServer(str(half_base), "half", max_threads=1, metrics=runs) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(ask([1.0]))
        held = stub.Predict.future(slow(10**8))
        late = [stub.Predict.future(ask([1.0]), timeout=0.2) for _ in range(5)]
        gone = [stub.Predict.future(ask([1.0])) for _ in range(5)]
        assert {call.code() for call in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        for call in gone:
            call.cancel()
        time.sleep(0.1)
        held.cancel()
        assert stub.Predict(ask([1.0]), timeout=20)
    assert runs.apis == ["Predict"] * 2
    ends = [status.split()[-1] for status in runs.answered]
    assert sorted(ends) == sorted(
        ["OK", "OK", *["DEADLINE_EXCEEDED"] * 5, *["CANCELLED"] * 6]
    )


def test_a_scalar_cannot_be_batched(half_base: Path) -> None:
    with (
        ModelServer(str(half_base), "half", batching=BatchingOptions()) as server,
        grpc.insecure_channel(f"localhost:{server.port}") as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert refused(stub, slow(1)) == (
            "INVALID_ARGUMENT",
            "Batching session Run() input tensors must have at least one dimension",
        )
