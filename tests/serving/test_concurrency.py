"""Thousands of marked requests at once: nobody gets another's answer."""

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.metrics import Metrics
from serving.options import BatchingOptions
from serving.server import ModelServer
from serving.versions import LoadPolicy
from tests.serving.conftest import wait_until
from tests.serving.saved_models import save_half

CLIENTS, REQUESTS = 24, 150


class Sizes(Metrics):
    """How many requests each batch had."""

    def __init__(self) -> None:
        self.requests: list[int] = []

    def batch(self, model: str, size: int, padding: int, requests: int) -> None:
        self.requests.append(requests)


@pytest.fixture
def batched(half_base: Path) -> Iterator[tuple[int, Sizes]]:
    sizes = Sizes()
    options = BatchingOptions(
        max_batch_size=64, num_batch_threads=2, allowed_batch_sizes=(1, 8, 64)
    )
    with ModelServer(str(half_base), "half", batching=options, metrics=sizes) as server:
        yield server.port, sizes


def marked(kind: str, marks: Any) -> Any:
    """A request whose answer can only be its own; a negative `strict` one is refused."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    if kind == "half":
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(marks.astype(np.float32)))
    elif kind == "pair":
        request.model_spec.signature_name = "pair"
        threes = np.repeat(marks[:, np.newaxis], 3, 1).astype(np.float32)
        request.inputs["a"].CopyFrom(tf.make_tensor_proto(threes))
        texts = [f"mark {mark}".encode() for mark in marks]
        request.inputs["b"].CopyFrom(tf.make_tensor_proto(texts))
    else:
        request.model_spec.signature_name = "strict"
        request.inputs["n"].CopyFrom(tf.make_tensor_proto(marks, tf.int64))
    return request


def is_own(kind: str, marks: Any, answer: Any) -> bool:
    """Half-plus-two, three times it in upper case, or its digits."""
    if kind == "half":
        halves = [float(np.float32(mark) / 2 + 2) for mark in marks]
        return list(answer.outputs["y"].float_val) == halves
    if kind == "pair":
        texts = [f"MARK {mark}".encode() for mark in marks]
        return list(answer.outputs["loud"].string_val) == texts and list(
            answer.outputs["sum"].float_val
        ) == [float(3 * mark) for mark in marks]
    digits = [str(mark).encode() for mark in marks]
    return list(answer.outputs["out_bytes"].string_val) == digits


def client(port: int, number: int, wrong: list[str]) -> None:
    random = np.random.default_rng(number)
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"localhost:{port}", options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for at in range(REQUESTS):
            kind = str(random.choice(["half", "half", "pair", "strict"]))
            first = 1 + (number * REQUESTS + at) * 10  # nobody else has these marks
            marks = np.arange(first, first + random.integers(1, 5))
            bad = kind == "strict" and random.random() < 0.3
            try:
                answer = stub.Predict(marked(kind, -marks if bad else marks))
            except grpc.RpcError as error:
                code: Any = error
                if not bad or code.code() != grpc.StatusCode.INVALID_ARGUMENT:
                    wrong.append(f"{kind} {marks}: {error}")
            else:
                if bad or not is_own(kind, marks, answer):
                    wrong.append(f"{kind} {marks}: {answer}")


def test_everyone_gets_their_own_answer(batched: tuple[int, Sizes]) -> None:
    port, sizes = batched
    wrong: list[str] = []
    clients = [
        threading.Thread(target=client, args=(port, number, wrong))
        for number in range(CLIENTS)
    ]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert not wrong, wrong[:3]
    assert max(sizes.requests) >= 4  # they did meet in batches


def test_a_swap_fails_nobody(tmp_path: Path, quick: LoadPolicy) -> None:
    """Version 1 answers x / 2 + 1, version 2 x / 2 + 2: an answer says whose it is."""
    save_half(tmp_path, "1", offset=1.0)
    seen: set[int] = set()
    wrong: list[str] = []
    with ModelServer(
        str(tmp_path), "half", policy=quick, batching=BatchingOptions()
    ) as server:
        swapped = threading.Event()

        def ask_on(number: int) -> None:
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"localhost:{server.port}", options) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                while not swapped.is_set():
                    try:
                        answer = stub.Predict(marked("half", np.array([number])))
                    except grpc.RpcError as error:
                        wrong.append(str(error))
                        return
                    version = answer.model_spec.version.value
                    seen.add(version)
                    if list(answer.outputs["y"].float_val) != [number / 2 + version]:
                        wrong.append(f"{number}: {answer}")

        clients = [
            threading.Thread(target=ask_on, args=(number,)) for number in range(8)
        ]
        for one in clients:
            one.start()
        wait_until(lambda: seen == {1})
        save_half(tmp_path, "2", offset=2.0)
        shutil.rmtree(tmp_path / "1")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: seen == {1, 2} or bool(wrong), 60)
        swapped.set()
        for one in clients:
            one.join()
    assert not wrong, wrong[:3]
    assert seen == {1, 2}
