"""Runs signatures for the event loop: what a front awaits."""

import asyncio
from collections.abc import Mapping, Sequence

import grpc

from serving import batching
from serving.metrics import Metrics
from serving.options import BatchingOptions
from serving.runner import Key, Task
from serving.scheduler import Scheduler
from serving.servable import DEFAULT_SIGNATURE, Servable
from serving.status import ServingError
from serving.tensors import Array


class Engine:
    """Answers on the event loop what runs in threads.

    Args:
        batching: how requests are put together; None runs each alone.
        metrics: hears of every run.
        threads: runs that go on at a time without batching; with it, there are
            `num_batch_threads`.
    """

    def __init__(
        self,
        batching: BatchingOptions | None = None,
        metrics: Metrics | None = None,
        threads: int = 8,
    ) -> None:
        self._options = batching
        self._metrics = metrics or Metrics()
        most = batching.num_batch_threads if batching else threads
        self._scheduler = Scheduler(batching, self._metrics, most)

    async def run(
        self,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
        api: str = "Predict",
        deadline: float | None = None,
    ) -> dict[str, Array]:
        """Runs a signature on arrays; see `Servable.run`.

        Cancelling the task that waits for it takes the request out of its queue, or
        stops its graph when nobody else waits for the batch.

        Args:
            servable: the version, held by the caller until this returns.
            signature: its name, or "" for `serving_default`.
            inputs: as `Servable.run` takes them.
            outputs: names of those to return; all when empty.
            api: the method that asks, for the metrics.
            deadline: `time.monotonic()` after which it is not started any more.

        Raises:
            ServingError: as `Servable.run`; with batching UNAVAILABLE for a full queue
                and INVALID_ARGUMENT for what cannot be batched.
        """
        signature = signature or DEFAULT_SIGNATURE
        servable.signature(signature)
        feed = servable.checked(signature, inputs)
        wanted = servable.wanted(signature, outputs)
        tasks = self._tasks((servable, signature, api), feed, deadline)
        self._scheduler.put(tasks)
        try:
            answers = [await task.answer for task in tasks]
        except BaseException:
            for task in tasks:
                self._scheduler.leave(task)
            raise
        found = batching.joined(answers)
        return {name: found[name] for name in wanted}

    def close(self) -> None:
        """Waits for the runs that go on; nothing can be run afterwards."""
        self._scheduler.close()

    def _tasks(
        self, key: Key, inputs: Mapping[str, Array], deadline: float | None
    ) -> list[Task]:
        """A task for the request, or one for each piece of a large one.

        Raises:
            ServingError: INVALID_ARGUMENT for inputs that cannot be batched,
                UNAVAILABLE where the queue has no room for them.
        """
        loop, options = asyncio.get_running_loop(), self._options
        if options is None:
            return [Task(key, inputs, 1, None, deadline, loop.create_future())]
        size = batching.batch_size(inputs)
        if size > options.max_batch_size:
            raise ServingError.invalid(
                f"Task size {size} is larger than maximum input batch size "
                f"{options.max_batch_size}"
            )
        room = self._scheduler.room(key, options)
        if size > room:
            self._metrics.queue_full(key[0].name)
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; "
                f"task size is {size} but scheduling capacity is only {room}",
            )
        largest = batching.largest_batch(options)
        parts = [inputs] if size <= largest else batching.pieces(inputs, largest)
        return [
            Task(
                key,
                part,
                batching.batch_size(part) if len(parts) > 1 else size,
                batching.alike(part, options),
                deadline,
                loop.create_future(),
            )
            for part in parts
        ]
