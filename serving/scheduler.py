"""Which requests are run together, and when: queues and the runners that empty them.

Greedy: a runner that is free takes what waits, up to a batch; under load the batches
grow by themselves, and a lone request waits for nobody. Two things keep the batches from
being scraps, which cost twice the CPU an example: what arrives in the same moment comes
along, and beside a batch of the same signature none is begun with fewer requests than
that has. All state belongs to the event loop, so nothing here is locked; a runner gets
one batch at a time and hands its answers back to the loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable

import grpc

from serving.batching import largest_batch
from serving.metrics import Metrics
from serving.options import BatchingOptions
from serving.runner import Answer, Batch, Key, Runner, Task
from serving.status import ServingError

# Turns of the event loop without a new request before a batch is begun: what the loop
# has still to read comes along. They cost a lone request 0.04 ms, and under load save a
# fourth of a small model's CPU. So many turns at most, whatever arrives.
_QUIET_TURNS, _MOST_TURNS = 16, 128

# A run that nobody waits for is stopped only if it still goes on after so long:
# TensorFlow 2.16 keeps some bytes of every run that is stopped until the process ends
# (its list of aborted rendezvous), and a short run is over before the stop would pay.
_SHORT_RUN_S = 0.1


class _Queue:
    """Requests that wait for the same signature; `size` is their examples."""

    def __init__(self) -> None:
        self.tasks: deque[Task] = deque()
        self.size = 0


class Scheduler:
    """Puts the requests of an event loop into batches, and runs them in threads.

    Args:
        options: None runs each alone.
        metrics: hears of every batch.
        most_runners: threads at the most; they are started as they are needed.
    """

    def __init__(
        self, options: BatchingOptions | None, metrics: Metrics, most_runners: int
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._most_runners = most_runners
        self._wait_s = options.batch_timeout_micros / 1e6 if options else 0.0
        self._runners: list[Runner] = []
        self._idle: list[Runner] = []
        # What waits and what runs; emptied ones are dropped.
        self._queues: dict[Key, _Queue] = {}
        self._running: dict[Key, list[Batch]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dispatching = False
        self._quiet = self._turns = 0
        self._timer: asyncio.TimerHandle | None = None

    def room(self, key: Key, options: BatchingOptions) -> int:
        """How many examples a queue still takes."""
        queue = self._queues.get(key)
        most = options.max_enqueued_batches * largest_batch(options)
        return most - (queue.size if queue else 0)

    def put(self, tasks: Iterable[Task]) -> None:
        """Queues tasks; their answers are set once they have run."""
        self._loop = asyncio.get_running_loop()
        for task in tasks:
            queue = self._queues.setdefault(task.key, _Queue())
            queue.tasks.append(task)
            queue.size += task.size
        self._quiet = 0
        self._dispatch_soon()

    def leave(self, task: Task) -> None:
        """Nobody waits for a task any more: it is not begun, or its batch may stop."""
        answered = task.answer.done() and not task.answer.cancelled()
        task.answer.cancel()
        queue = self._queues.get(task.key)
        if task.batch is not None:
            if not answered:
                task.batch.callers -= 1
                if task.batch.callers == 0:
                    task.batch.abandon()
                    assert self._loop is not None
                    self._loop.call_later(_SHORT_RUN_S, task.batch.stop)
        elif queue is not None and task in queue.tasks:
            queue.tasks.remove(task)
            queue.size -= task.size
            if not queue.tasks:
                del self._queues[task.key]

    def close(self) -> None:
        """Waits for the runs that go on; nothing can be run afterwards."""
        for runner in self._runners:
            runner.close()

    def _dispatch_soon(self) -> None:
        if not self._dispatching:
            self._dispatching = True
            assert self._loop is not None
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Dispatches once requests have ceased to come in."""
        self._turns += 1
        if self._options and self._quiet < _QUIET_TURNS and self._turns < _MOST_TURNS:
            self._quiet += 1
            assert self._loop is not None
            self._loop.call_soon(self._turn)
            return
        self._quiet = self._turns = 0
        self._dispatching = False
        self._dispatch()

    def _dispatch(self) -> None:
        """Gives every free runner a batch, the queues in turn."""
        while self._idle or len(self._runners) < self._most_runners:
            found = self._ready()
            if found is None:
                return
            batch = self._batch(*found)
            if batch is None:
                continue
            if not self._idle:
                self._runners.append(
                    Runner(self._options, self._metrics, self._hand_back)
                )
                self._idle.append(self._runners[-1])
            self._idle.pop().take(batch)

    def _ready(self) -> tuple[Key, _Queue] | None:
        """Takes out the next queue with a batch to run."""
        earliest: float | None = None
        for key, queue in self._queues.items():
            if self._options and queue.size < largest_batch(self._options):
                beside = [len(batch.tasks) for batch in self._running.get(key, ())]
                if beside and len(queue.tasks) < min(beside):
                    continue
                due = queue.tasks[0].queued + self._wait_s
                if self._wait_s and due > time.monotonic():
                    earliest = min(due, earliest or due)
                    continue
            del self._queues[key]
            return key, queue
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

    def _batch(self, key: Key, queue: _Queue) -> Batch | None:
        """The first request and all that fit to it; the rest is queued again."""
        now = time.monotonic()
        room = largest_batch(self._options) if self._options else 1
        taken: list[Task] = []
        rest = _Queue()
        for task in queue.tasks:
            if task.deadline is not None and task.deadline <= now:
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
                rest.tasks.append(task)
                rest.size += task.size
        if rest.tasks:
            self._queues[key] = rest
        if not taken:
            return None
        batch = Batch(key, taken)
        self._running.setdefault(key, []).append(batch)
        for task in taken:
            task.batch = batch
            self._metrics.queued(batch.servable.name, now - task.queued, task.size)
        return batch

    def _hand_back(self, runner: Runner, batch: Batch, answers: list[Answer]) -> None:
        """Called by a runner in its thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._answer, runner, batch, answers)

    def _answer(self, runner: Runner, batch: Batch, answers: list[Answer]) -> None:
        self._idle.append(runner)
        self._running[batch.key].remove(batch)
        if not self._running[batch.key]:
            del self._running[batch.key]
        for task, answer in zip(batch.tasks, answers, strict=True):
            if task.answer.done():  # its caller has gone
                continue
            if isinstance(answer, ServingError):
                task.answer.set_exception(answer)
            else:
                task.answer.set_result(answer)
        batch.tasks = ()  # they know their batch: a cycle would keep their inputs
        self._dispatch_soon()
