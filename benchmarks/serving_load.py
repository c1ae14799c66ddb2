"""Load on a model server: h2load where only cost matters, Python where answers do.

h2load (Debian: nghttp2-client) posts one framed gRPC message again and again for some
10 microseconds of CPU a call; a Python gRPC client takes 300. h2load cannot see
`grpc-status`, which comes in trailers: that no call failed is shown by the bytes of the
answers, for a failed call has none.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

PREDICT = "/tensorflow.serving.PredictionService/Predict"
Floats = npt.NDArray[np.float64]
_OPEN_LOOP_CONNECTIONS = 8
# h2load rounds each pause of a timing script up to whole milliseconds.
_H2LOAD_TIMER_S = 0.0005


class LoadError(RuntimeError):
    """A load whose figures mean nothing: calls failed, or were not the expected ones."""


@dataclass(frozen=True)
class LoadResult:
    """What a load generator saw.

    Attributes:
        started: seconds since the epoch when each call was sent, in order of sending.
        seconds: from there until the whole answer was there.
        client_cpu_s: CPU seconds that the load generator itself took.
        client: `h2load` or `python`.
    """

    started: Floats
    seconds: Floats
    client_cpu_s: float
    client: str

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the calls' wall time, milliseconds."""
        return float(np.percentile(self.seconds, percent)) * 1000

    def finished_between(self, begin: float, end: float) -> int:
        """Calls whose answer came in that time, seconds since the epoch."""
        at = self.started + self.seconds
        return int(np.count_nonzero((at >= begin) & (at < end)))


def has_h2load() -> bool:
    """Whether h2load is on this machine."""
    return shutil.which("h2load") is not None


def framed(message: bytes) -> bytes:
    """A gRPC message as it lies in the HTTP/2 body: uncompressed, length, content."""
    return struct.pack(">BI", 0, len(message)) + message


def closed_loop(
    address: str, message: bytes, answer_bytes: int, clients: int, calls: int
) -> LoadResult:
    """`clients` connections, each sending its next call when the last is answered.

    Args:
        answer_bytes: size of the answer's message, to prove that no call failed.
        calls: how many in all.

    Raises:
        LoadError: where a call failed.
    """
    if not has_h2load():
        return _python_load(address, message, answer_bytes, clients, calls)
    arguments = ["--clients", str(clients), "--requests", str(calls)]
    url = f"http://{address}{PREDICT}"
    return _h2load(message, answer_bytes, [calls], [[*arguments, url]])


def open_loop(
    address: str, message: bytes, answer_bytes: int, rate: float, seconds: float
) -> LoadResult:
    """Poisson arrivals at `rate` calls a second, whether or not answers come.

    A slow server cannot hide its queue by slowing the generator (coordinated
    omission): calls are sent when they are due, and `started` is when they were.

    Raises:
        LoadError: where a call failed.
    """
    random = np.random.default_rng(0)
    if not has_h2load():
        due = _arrivals(random, rate, seconds)
        return _python_load(address, message, answer_bytes, 0, len(due), due)
    # Independent Poisson arrivals on each connection add up to Poisson arrivals.
    loads, counts = [], []
    with contextlib.ExitStack() as files:
        for _ in range(_OPEN_LOOP_CONNECTIONS):
            due = _arrivals(random, rate / _OPEN_LOOP_CONNECTIONS, seconds)
            gaps = np.diff(due, prepend=0.0)
            at = np.cumsum(np.maximum(gaps - _H2LOAD_TIMER_S, 0))
            script = files.enter_context(tempfile.NamedTemporaryFile("w"))
            url = f"http://{address}{PREDICT}"
            script.writelines(f"{1000 * one:.3f}\t{url}\n" for one in at)
            script.flush()
            arguments = ["--clients", "1", "--max-concurrent-streams", "100000"]
            loads.append([*arguments, "--timing-script-file", script.name])
            counts.append(len(due))
        return _h2load(message, answer_bytes, counts, loads)


def _arrivals(random: np.random.Generator, rate: float, seconds: float) -> Floats:
    """Times of Poisson arrivals within `seconds`, at least one."""
    count = max(1, int(random.poisson(rate * seconds)))
    return np.sort(random.uniform(0, seconds, count))


def _h2load(
    message: bytes, answer_bytes: int, calls: list[int], loads: list[list[str]]
) -> LoadResult:
    """Runs h2load once for each list of arguments and its calls, at the same time."""
    logs = []
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder, "body")
        body.write_bytes(framed(message))
        command = [
            "h2load",
            "--data",
            str(body),
            "-H",
            "content-type: application/grpc",
        ]
        command += ["-H", "te: trailers"]
        began = os.times()
        running = []
        for number, arguments in enumerate(loads):
            logs.append(Path(folder, f"log{number}"))
            running.append(
                subprocess.Popen(
                    [*command, "--log-file", str(logs[-1]), *arguments],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        reports = [process.communicate()[0] for process in running]
        ended = os.times()
        for process, report, count in zip(running, reports, calls, strict=True):
            if process.returncode:
                raise LoadError(f"h2load ended with {process.returncode}: {report}")
            _check_report(report, answer_bytes, count)
        rows = np.concatenate([np.loadtxt(log, np.int64, ndmin=2) for log in logs])
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    cpu = ended.children_user + ended.children_system
    cpu -= began.children_user + began.children_system
    return LoadResult(rows[:, 0] / 1e6, rows[:, 2] / 1e6, cpu, "h2load")


def _check_report(report: str, answer_bytes: int, calls: int) -> None:
    """h2load's own summary: every call ended, with an answer of the right size."""
    succeeded = re.search(r"(\d+) succeeded", report)
    received = re.search(r"headers \(.*\), .* \((\d+)\) data", report)
    if succeeded is None or received is None:
        raise LoadError(f"h2load's report is not understood:\n{report}")
    expected = calls * (answer_bytes + 5)  # 5: the frame of a gRPC message
    if int(succeeded[1]) != calls or int(received[1]) != expected:
        raise LoadError(
            f"of {calls} calls {succeeded[1]} ended, with {received[1]} bytes; "
            f"expected {expected}, {answer_bytes} a call and 5 for its frame: some "
            f"calls failed, or their answers are not all alike.\n{report}"
        )


def _python_load(
    address: str,
    message: bytes,
    answer_bytes: int,
    clients: int,
    calls: int,
    due: Floats | None = None,
) -> LoadResult:
    """The same over grpc.aio, at many times the CPU. `clients` 0 = open loop."""
    import asyncio

    import grpc

    begun, took = np.zeros(calls), np.zeros(calls)
    sizes = np.zeros(calls, np.int64)

    async def one(call: Any, index: int, began: float) -> None:
        answer = await call(message)
        begun[index], took[index] = began, time.time() - began
        sizes[index] = len(answer)

    async def all_calls() -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(PREDICT)
            if due is None:
                left = iter(range(calls))

                async def client() -> None:
                    for index in left:
                        await one(call, index, time.time())

                await asyncio.gather(*(client() for _ in range(clients)))
                return
            began, tasks = time.time(), []
            for index, at in enumerate(due):
                if (pause := began + at - time.time()) > 0:
                    await asyncio.sleep(pause)
                # Counted from when it was due, should this loop have come late.
                tasks.append(asyncio.ensure_future(one(call, index, began + at)))
            await asyncio.gather(*tasks)

    cpu = time.process_time()
    try:
        asyncio.run(all_calls())
    except grpc.RpcError as error:
        raise LoadError(f"a call failed: {error}") from error
    cpu = time.process_time() - cpu
    if (sizes != answer_bytes).any():
        raise LoadError(f"answers of {set(sizes)} bytes, expected {answer_bytes}")
    order = np.argsort(begun, kind="stable")
    return LoadResult(begun[order], took[order], cpu, "python")
