"""Runs signatures for the event loop, in threads of its own."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from serving.graph_function import Cancellation
from serving.metrics import Metrics
from serving.options import BatchingOptions
from serving.servable import Servable
from serving.tensors import Array


class Engine:
    """Answers on the event loop what runs in threads.

    Args:
        batching: how to put requests together; None runs each alone.
        metrics: hears of every run.
        threads: runs that go on at a time without batching.
    """

    def __init__(
        self,
        batching: BatchingOptions | None = None,
        metrics: Metrics | None = None,
        threads: int = 8,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._executor = ThreadPoolExecutor(threads, "runner")

    async def run(
        self,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
        api: str = "Predict",
    ) -> dict[str, Array]:
        """Runs a signature on arrays; see `Servable.run`.

        Cancelling the task that waits for it takes the request out of the queue, or
        stops its graph.

        Raises:
            ServingError: as `Servable.run`.
        """
        cancellation = Cancellation()

        def work() -> dict[str, Array]:
            began = time.perf_counter()
            found = servable.run(signature, inputs, outputs, cancellation)
            seconds = time.perf_counter() - began
            self._metrics.run(servable.name, servable.version, api, seconds)
            return found

        job = self._executor.submit(work)
        try:
            return await asyncio.shield(asyncio.wrap_future(job))
        except asyncio.CancelledError:
            if not job.cancel():
                cancellation.cancel()
                # The version is held until its graph has really stopped.
                with contextlib.suppress(BaseException):
                    await asyncio.wrap_future(job)
            raise

    def close(self) -> None:
        """Waits for the runs that go on; nothing can be run afterwards."""
        self._executor.shutdown()
