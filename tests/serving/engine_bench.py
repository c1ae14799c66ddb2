"""An engine with a model whose every run a test lets go."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
import pytest

from serving.engine import Engine
from serving.metrics import Metrics
from serving.options import BatchingOptions
from serving.status import ServingError

SECONDS = 20.0  # for what is expected to come at once
BAD = -1.0  # a value that the model refuses


class Gated:
    """Doubles `x`; a run waits until `gate` is open, and is refused for `BAD`."""

    name, version = "gated", 3

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.runs: list[list[float]] = []
        self.stopped = 0

    def signature(self, name: str) -> None:
        pass

    def checked(self, signature: str, inputs: Any) -> Any:
        return dict(inputs)

    def wanted(self, signature: str, outputs: Sequence[str]) -> Sequence[str]:
        return outputs or ["y"]

    def execute(self, signature: str, inputs: Any, cancellation: Any) -> Any:
        x = inputs["x"]
        self.runs.append(x.ravel().tolist())
        stop = threading.Event()
        cancellation.cancel = stop.set
        while not self.gate.wait(0.005):
            if stop.is_set():
                self.stopped += 1
                raise ServingError(grpc.StatusCode.CANCELLED, "stopped")
        if BAD in x:
            raise ServingError.invalid("the graph refused its input")
        return {"y": x * 2, "z": x + 1}


class Heard(Metrics):
    def __init__(self) -> None:
        self.batches: list[tuple[int, int, int]] = []
        self.full = 0
        self.waits: list[int] = []
        self.told: list[list[float]] = []

    def batch(self, model: str, size: int, padding: int, requests: int) -> None:
        self.batches.append((size, padding, requests))

    def queue_full(self, model: str) -> None:
        self.full += 1

    def queued(self, model: str, seconds: float, size: int = 0) -> None:
        self.waits.append(size)

    def answers(self, model: str, version: int, outputs: Mapping[str, Any]) -> None:
        self.told.append(outputs["y"].tolist())


class Bench:
    """An engine on a loop of its own, with a model."""

    def __init__(self, options: BatchingOptions | None, threads: int = 1) -> None:
        self.model: Any = Gated()
        self.heard = Heard()
        self.engine = Engine(options, self.heard, threads)

    def ask(self, *values: float, **more: Any) -> "asyncio.Task[list[float]]":
        x = np.array(values, np.float32)

        async def answer() -> list[float]:
            found = await self.engine.run(self.model, "s", {"x": x}, **more)
            return [float(one) for one in found["y"]]

        return asyncio.ensure_future(answer())

    async def running(self, count: int = 1) -> None:
        """Waits until that many runs have begun, and what was asked is in its queue."""
        await until(lambda: len(self.model.runs) >= count)
        for _ in range(100):  # more turns than the scheduler ever waits
            await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.002)


async def code(answer: Awaitable[Any]) -> str:
    with pytest.raises(ServingError) as caught:
        await asyncio.wait_for(answer, SECONDS)
    return str(caught.value.code.name)


def options(**given: Any) -> BatchingOptions:
    return BatchingOptions(**{"max_batch_size": 8, "num_batch_threads": 1, **given})


def play(
    scene: Callable[[Bench], Coroutine[Any, Any, None]],
    given: BatchingOptions | None,
    threads: int = 1,
) -> Bench:
    """Runs a scene on a bench, and closes its engine."""
    bench = Bench(given, threads)
    try:
        asyncio.run(asyncio.wait_for(scene(bench), 2 * SECONDS))
    finally:
        bench.model.gate.set()
        bench.engine.close()
    return bench
