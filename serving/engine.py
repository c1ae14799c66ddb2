"""Runs signatures for the event loop: queues, batches, and threads that run them.

Greedy: a runner that is free takes what waits, up to a batch; under load the batches
grow by themselves, and a lone request waits for nobody. Only beside a batch of the same
signature a new one is not begun with fewer requests than that has: two runners would
otherwise take turns at scraps, at twice the CPU an example. All state belongs to the
event loop, so nothing here is locked; a runner gets one batch at a time and hands its
answers back to the loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence

import grpc

from serving import batching
from serving.metrics import Metrics
from serving.options import BatchingOptions
from serving.runner import Answer, Batch, Runner, Task
from serving.servable import DEFAULT_SIGNATURE, Servable
from serving.status import ServingError
from serving.tensors import Array

_Key = tuple[Servable, str, str]  # version, signature, API


class _Queue:
    """Requests that wait for the same signature; `size` is their examples."""

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.tasks: deque[Task] = deque()
        self.size = 0


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
        self._most_runners = batching.num_batch_threads if batching else threads
        self._wait_s = batching.batch_timeout_micros / 1e6 if batching else 0.0
        self._runners: list[Runner] = []
        self._idle: list[Runner] = []
        # What waits and what runs; emptied ones are dropped.
        self._queues: dict[_Key, _Queue] = {}
        self._running: dict[_Key, list[Batch]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dispatching = False
        self._timer: asyncio.TimerHandle | None = None

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
        self._loop = asyncio.get_running_loop()
        key = servable, signature, api
        queue = self._queues.get(key) or _Queue(key)
        tasks = self._tasks(queue, feed, deadline)
        self._queues[key] = queue
        queue.tasks.extend(tasks)
        queue.size += sum(task.size for task in tasks)
        self._dispatch_soon()
        try:
            answers = [await task.answer for task in tasks]
        except BaseException:
            for task in tasks:
                self._leave(queue, task)
            raise
        found = batching.joined(answers)
        return {name: found[name] for name in wanted}

    def close(self) -> None:
        """Waits for the runs that go on; nothing can be run afterwards."""
        for runner in self._runners:
            runner.close()

    def _tasks(
        self, queue: _Queue, inputs: Mapping[str, Array], deadline: float | None
    ) -> list[Task]:
        """A task for the request, or one for each piece of a large one.

        Raises:
            ServingError: INVALID_ARGUMENT for inputs that cannot be batched,
                UNAVAILABLE where the queue has no room for them.
        """
        assert self._loop is not None
        options = self._options
        if options is None:
            return [Task(inputs, 1, None, deadline, self._loop.create_future())]
        size = batching.batch_size(inputs)
        if size > options.max_batch_size:
            raise ServingError.invalid(
                f"Task size {size} is larger than maximum input batch size "
                f"{options.max_batch_size}"
            )
        largest = batching.largest_batch(options)
        room = options.max_enqueued_batches * largest - queue.size
        if size > room:
            self._metrics.queue_full(queue.key[0].name)
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; "
                f"task size is {size} but scheduling capacity is only {room}",
            )
        parts = [inputs]
        if size > largest:
            parts = batching.pieces(inputs, largest)
        return [
            Task(
                part,
                batching.batch_size(part),
                tuple(
                    array.ndim
                    if options.pad_variable_length_inputs
                    else array.shape[1:]
                    for array in part.values()
                ),
                deadline,
                self._loop.create_future(),
            )
            for part in parts
        ]

    def _leave(self, queue: _Queue, task: Task) -> None:
        """Nobody waits for a task any more."""
        answered = task.answer.done() and not task.answer.cancelled()
        task.answer.cancel()
        if task.batch is not None:
            if not answered:
                task.batch.callers -= 1
                if task.batch.callers == 0:
                    task.batch.cancel()
        elif task in queue.tasks:
            queue.tasks.remove(task)
            queue.size -= task.size
            if not queue.tasks:
                self._queues.pop(queue.key, None)

    def _dispatch_soon(self) -> None:
        # Not at once: what else arrived in this turn of the loop comes along.
        if not self._dispatching:
            self._dispatching = True
            assert self._loop is not None
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Gives every free runner a batch, the queues in turn."""
        self._dispatching = False
        while self._idle or len(self._runners) < self._most_runners:
            queue = self._ready()
            if queue is None:
                return
            batch = self._batch(queue)
            if batch is None:
                continue
            if not self._idle:
                self._runners.append(
                    Runner(self._options, self._metrics, self._hand_back)
                )
                self._idle.append(self._runners[-1])
            self._idle.pop().take(batch)

    def _ready(self) -> _Queue | None:
        """The next queue with a batch to run; it moves behind the others."""
        earliest: float | None = None
        for key, queue in self._queues.items():
            if self._options and queue.size < batching.largest_batch(self._options):
                beside = [len(batch.tasks) for batch in self._running.get(key, ())]
                if beside and len(queue.tasks) < min(beside):
                    continue
                due = queue.tasks[0].queued + self._wait_s
                if self._wait_s and due > time.monotonic():
                    earliest = min(due, earliest or due)
                    continue
            del self._queues[key]
            return queue
        if earliest is not None:
            self._dispatch_at(earliest)
        return None

    def _dispatch_at(self, due: float) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(
            max(0.0, due - time.monotonic()), self._dispatch_soon
        )

    def _batch(self, queue: _Queue) -> Batch | None:
        """Takes the first request and all that fit to it; the rest goes on waiting."""
        now = time.monotonic()
        room = batching.largest_batch(self._options) if self._options else 1
        taken: list[Task] = []
        rest: deque[Task] = deque()
        while queue.tasks:
            task = queue.tasks.popleft()
            if task.deadline is not None and task.deadline <= now:
                queue.size -= task.size
                if not task.answer.done():
                    task.answer.set_exception(
                        ServingError(
                            grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"
                        )
                    )
            elif not taken or (
                task.size <= room and task.shapes == taken[0].shapes and self._options
            ):
                taken.append(task)
                room -= task.size
            else:
                rest.append(task)
        queue.tasks = rest
        if rest:
            self._queues[queue.key] = queue
        if not taken:
            return None
        batch = Batch(*queue.key, taken)
        self._running.setdefault(queue.key, []).append(batch)
        for task in taken:
            task.batch = batch
            queue.size -= task.size
            self._metrics.queued(batch.servable.name, now - task.queued, task.size)
        return batch

    def _hand_back(self, runner: Runner, batch: Batch, answers: list[Answer]) -> None:
        """Called by a runner in its thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._answer, runner, batch, answers)

    def _answer(self, runner: Runner, batch: Batch, answers: list[Answer]) -> None:
        self._idle.append(runner)
        key = batch.servable, batch.signature, batch.api
        self._running[key].remove(batch)
        if not self._running[key]:
            del self._running[key]
        for task, answer in zip(batch.tasks, answers, strict=True):
            if task.answer.done():  # its caller has gone
                continue
            if isinstance(answer, ServingError):
                task.answer.set_exception(answer)
            else:
                task.answer.set_result(answer)
        self._dispatch_soon()
