"""The benchmark's parts: loads that notice failures, answers, bars, and a short run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from benchmarks import serving_load
from benchmarks.server_process import ROOT
from benchmarks.serving_checked import CheckedClients
from benchmarks.serving_limit import Limit
from benchmarks.serving_load import (
    LoadError,
    LoadResult,
    closed_loop,
    framed,
    open_loop,
)
from benchmarks.serving_report import bars
from benchmarks.serving_requests import RowAnswers, messages
from serving.server import ModelServer
from tests.serving.promtool import need


def ask(x: float, model: str = "half") -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    proto = request.inputs["x"]
    proto.dtype = 1
    proto.tensor_shape.dim.add().size = 1
    proto.float_val.append(x)
    return bytes(request.SerializeToString())


def response(**outputs: list[Any]) -> bytes:
    answer = predict_pb2.PredictResponse()
    for name, values in outputs.items():
        proto = answer.outputs[name]
        proto.dtype = 1
        proto.tensor_shape.dim.add().size = 1
        proto.tensor_shape.dim.add().size = len(values)
        proto.float_val.extend(values)
    return bytes(answer.SerializeToString())


@pytest.fixture
def address(half_server: ModelServer) -> str:
    return f"localhost:{half_server.port}"


@pytest.fixture
def answer_bytes(address: str) -> int:
    import grpc

    with grpc.insecure_channel(address) as channel:
        return len(channel.unary_unary(serving_load.PREDICT)(ask(1.0)))


@pytest.fixture(params=["h2load", "python"])
def generator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both load generators: the second stands in where the first is missing."""
    if request.param == "h2load":
        need("h2load")
    else:
        monkeypatch.setattr(serving_load, "has_h2load", lambda: False)
    return str(request.param)


def test_a_framed_message() -> None:
    assert framed(b"abc") == b"\x00\x00\x00\x00\x03abc"


def test_figures_of_a_load() -> None:
    load = LoadResult(
        started=np.array([10.0, 10.5, 11.0, 11.5]),
        seconds=np.array([0.1, 0.2, 0.3, 0.4]),
        client_cpu_s=0.0,
        client="h2load",
    )
    # Ends: 10.1, 10.7, 11.3, 11.9.
    assert load.finished_between(10.1, 11.3) == 2
    assert load.finished_between(0, 20) == 4
    assert load.percentile_ms(50) == pytest.approx(250.0)
    assert load.percentile_ms(100) == pytest.approx(400.0)


def test_a_closed_loop(generator: str, address: str, answer_bytes: int) -> None:
    load = closed_loop(address, ask(1.0), answer_bytes, clients=4, calls=60)
    assert load.client == generator
    assert len(load.seconds) == 60
    assert (load.seconds > 0).all()
    assert (np.diff(load.started) >= 0).all()
    # Never more than four at a time.
    ends = load.started + load.seconds
    assert max(int((load.started < e).sum() - (ends < e).sum()) for e in ends) <= 5


def test_an_open_loop_keeps_its_rate(
    generator: str, address: str, answer_bytes: int
) -> None:
    load = open_loop(address, ask(1.0), answer_bytes, rate=100, seconds=2)
    assert load.client == generator
    # Poisson of 200: within four standard deviations.
    assert 140 < len(load.seconds) < 260
    assert 1.5 < load.started[-1] - load.started[0] < 3
    gaps = np.diff(load.started)
    assert gaps.std() > 0.5 * gaps.mean()  # no metronome: exponential gaps have 1


@pytest.mark.usefixtures("generator")
@pytest.mark.parametrize("loop", [closed_loop, open_loop])
def test_failed_calls_are_noticed(loop: Any, address: str, answer_bytes: int) -> None:
    how_much = (4, 20) if loop is closed_loop else (50, 0.5)
    with pytest.raises(LoadError):
        loop(address, ask(1.0, model="no such model"), answer_bytes, *how_much)
    with pytest.raises(LoadError, match=f"expected .*{answer_bytes - 1}"):
        loop(address, ask(1.0), answer_bytes - 1, *how_much)


def test_checked_clients_see_an_answer_of_another_row(address: str) -> None:
    rows = [ask(float(row)) for row in range(8)]

    def is_right(row: int, answer: bytes) -> bool:
        found = predict_pb2.PredictResponse.FromString(answer)
        expected = 99.0 if row == 5 else row / 2 + 2  # row 5's is wrong on purpose
        return bool(found.outputs["y"].float_val[0] == expected)

    clients = CheckedClients(address, rows, is_right, 3)
    with clients:
        closed_loop_calls = 200
        while clients.checked < closed_loop_calls:
            clients._stop.wait(0.01)
    assert set(clients.wrong) == {5}
    assert not clients.failed
    missing = CheckedClients(address, [ask(1.0, "no such model")], is_right, 1)
    with missing:
        while not missing.failed:
            missing._stop.wait(0.01)
    assert missing.failed[0].startswith("NOT_FOUND: Servable not found")


def test_answers_of_rows() -> None:
    answers = RowAnswers({"s": [[0.1, 0.9], [0.2, 0.8]], "p": [[1.0], [1.0]]})
    assert answers.is_right(0, response(s=[0.1, 0.90001], p=[1.0]))
    assert not answers.is_right(1, response(s=[0.1, 0.9], p=[1.0]))
    assert not answers.is_right(0, response(s=[0.1, 0.9, 0.0], p=[1.0]))
    with pytest.raises(ValueError, match="row 1 has the answer of another row"):
        RowAnswers({"s": [[0.1, 0.9], [0.10001, 0.9]]})


def test_the_direct_call(half_base: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.npz"
    np.savez(rows, x=np.array([0.0, 3.0, 10.0], np.float32))
    with Limit(half_base / "0007", "serving_default", rows, 1, 1) as limit:
        # Half: y = x / 2 + 2, x2 = 2 x.
        assert limit.expected() == {"y": [2.0, 3.5, 7.0], "x2": [0.0, 6.0, 20.0]}
        phase = limit.run(batch=8, threads=2, seconds=0.3)
    assert phase.examples_per_s > 100
    assert 0 < phase.p50_ms <= phase.p99_ms
    # Two threads on these cores: CPU time cannot be more than wall time times two.
    assert 0 < phase.cpu_ms < 2.5 * 1000 / phase.examples_per_s
    requests = messages("half", "serving_default", rows)
    assert len(requests) == 3
    parsed = predict_pb2.PredictRequest.FromString(requests[1])
    assert parsed.model_spec.signature_name == "serving_default"
    assert list(parsed.inputs["x"].float_val) == [3.0]


def test_the_bars() -> None:
    report = {
        "fused": {
            "throughput_over_limit": 0.9,
            "cpu_over_limit": 1.1,
            "direct": {"p50_ms": 4.0},
            "one_client": {"p50_ms": 5.7},
        },
        "tiny": {"server": {"cpu_ms": 0.4}, "cpu_over_plain": 0.5},
    }
    assert bars(report) == [
        ("fused: throughput over limit", 0.9, ">=", 0.85),
        ("fused: CPU per example over limit", 1.1, "<=", pytest.approx(1 / 0.85)),
        # 1.15 x 4 + 1
        ("fused: one client, p50 ms", 5.7, "<=", pytest.approx(5.6)),
        ("tiny: CPU ms a call", 0.4, "<=", 0.81),
        # 0.81 / 1.36
        (
            "tiny: CPU a call over plain grpcio's",
            0.5,
            "<=",
            pytest.approx(0.595588, abs=1e-6),
        ),
    ]


@pytest.mark.slow
@pytest.mark.e2e
def test_a_short_benchmark(tmp_path: Path) -> None:
    """The whole command on the small model: its file, its table, no wrong answer."""
    need("h2load")
    path = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "benchmarks/serving.py", "--clients", "8"]
        + ["--seconds", "1", "--rounds", "2", "--models", "tiny", "--json", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stderr  # 1: a bar, on a busy machine
    tiny = json.loads(path.read_text())["tiny"]
    assert {
        "throughput_over_limit",
        "cpu_over_limit",
        "p50_ms",
        "p99_ms",
        "limit",
    } <= set(tiny)
    assert tiny["checked"]["checked"] > 10
    assert tiny["checked"]["wrong"] == 0
    assert set(tiny["server"]["requests_by_status"]) == {"OK"}
    assert len(tiny["open_loop"]) == 3
    assert len(tiny["rounds"]["limit"]) == 2
    low, high = tiny["throughput_over_limit_range"]
    assert low <= tiny["throughput_over_limit"] <= high
    assert "tiny: CPU ms a call" in done.stdout
