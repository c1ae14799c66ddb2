"""Threads that run batches, and what becomes of the requests in one."""

import asyncio
import itertools
import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import grpc

from serving import batching
from serving.batching import Arrays
from serving.graph_function import Cancellation
from serving.metrics import Metrics
from serving.options import BatchingOptions
from serving.servable import Servable
from serving.status import ServingError
from serving.tensors import Array

_log = logging.getLogger(__name__)

Answer = dict[str, Array] | ServingError
Key = tuple[Servable, str, str]
"""Whose requests can be run together: version, signature and API."""


class Task:
    """A request that waits for its outputs, or a piece of one.

    Attributes:
        key: what it asks for.
        inputs: an array for each input.
        size: its examples; 1 without batching.
        shapes: requests that are equal in it can be put together.
        deadline: `time.monotonic()` of it, or None.
        answer: future of the outputs, on the event loop.
        queued: `time.monotonic()` when it came.
        batch: the one it runs in, once there is one.
    """

    __slots__ = (
        "answer",
        "batch",
        "deadline",
        "inputs",
        "key",
        "queued",
        "shapes",
        "size",
    )

    def __init__(
        self,
        key: Key,
        inputs: Arrays,
        size: int,
        shapes: object,
        deadline: float | None,
        answer: "asyncio.Future[dict[str, Array]]",
    ) -> None:
        self.key = key
        self.inputs = inputs
        self.size = size
        self.shapes = shapes
        self.deadline = deadline
        self.answer = answer
        self.queued = time.monotonic()
        self.batch: Batch | None = None


class Batch:
    """Requests that are run together.

    Attributes:
        callers: how many of them somebody still waits for.
        answered: outputs of the runs that did not fail, padding left out.
    """

    def __init__(self, key: Key, tasks: Sequence[Task]) -> None:
        self.key = key
        self.servable, self.signature, self.api = key
        self.tasks = tasks
        self.callers = len(tasks)
        self._abandoned = False
        self._cancellation: Cancellation | None = None
        self.answered: list[Arrays] = []

    def abandon(self) -> None:
        """Nobody waits for it any more: nothing of it is begun from here on."""
        self._abandoned = True

    def stop(self) -> None:
        """Stops the run that goes on; does nothing once it is over."""
        if self._cancellation is not None:
            self._cancellation.cancel()

    def cancellation(self) -> Cancellation:
        """What stops the next run; a run that fails uses its own up.

        Raises:
            ServingError: CANCELLED for a batch that was abandoned.
        """
        self._cancellation = fresh = Cancellation()
        if self._abandoned:  # looked at afterwards, or a `stop` could slip between
            raise ServingError(
                grpc.StatusCode.CANCELLED, "nobody waits for the answer any more"
            )
        return fresh


class Runner:
    """A thread that runs one batch after the other.

    Args:
        options: None runs each request alone, whatever its shapes.
        metrics: hears of every batch.
        finished: called in the thread with the runner, the batch and an answer for
            each of its tasks.
    """

    _numbers = itertools.count()

    def __init__(
        self,
        options: BatchingOptions | None,
        metrics: Metrics,
        finished: "Callable[[Runner, Batch, list[Answer]], None]",
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._finished = finished
        self._inbox: SimpleQueue[Batch | None] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._work, name=f"runner-{next(self._numbers)}", daemon=True
        )
        self._thread.start()

    def take(self, batch: Batch) -> None:
        """Gives it a batch to run."""
        self._inbox.put(batch)

    def close(self) -> None:
        """Waits for the batch that runs, and ends the thread."""
        self._inbox.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (batch := self._inbox.get()) is not None:
            answers = self._answers(batch, batch.tasks)
            self._finished(self, batch, answers)
            if batch.api == "Predict":  # nobody waits for the counting
                for outputs in batch.answered:
                    name, version = batch.servable.name, batch.servable.version
                    self._metrics.answers(name, version, outputs)
            batch.answered.clear()
            del batch, answers  # the wait may be long, and they are large

    def _answers(self, batch: Batch, tasks: Sequence[Task]) -> list[Answer]:
        """Runs tasks together; where that fails, halves of them, down to each alone."""
        try:
            return list(self._run(batch, tasks))
        except ServingError as error:
            code, message = error.code, error.message
        except Exception as error:
            # Its text may quote input values, and so may the lines of a traceback's
            # exception: only where it happened is told.
            stack = "".join(traceback.format_tb(error.__traceback__))
            _log.error("a batch failed: %s\n%s", type(error).__name__, stack)
            code, message = grpc.StatusCode.INTERNAL, type(error).__name__
        if len(tasks) == 1 or batch.callers == 0:
            return [ServingError(code, message) for _ in tasks]
        middle = len(tasks) // 2
        return [
            *self._answers(batch, tasks[:middle]),
            *self._answers(batch, tasks[middle:]),
        ]

    def _run(self, batch: Batch, tasks: Sequence[Task]) -> list[dict[str, Array]]:
        if self._options is None:
            (task,) = tasks
            outputs = self._execute(batch, task.inputs)
            batch.answered.append(outputs)
            return [outputs]
        sizes = [task.size for task in tasks]
        size = sum(sizes)
        run_size = batching.padded_size(size, self._options)
        pad_lengths = self._options.pad_variable_length_inputs
        inputs = batching.merge([task.inputs for task in tasks], run_size, pad_lengths)
        outputs = self._execute(batch, inputs)
        answers = batching.split(outputs, sizes, run_size)
        name = batch.servable.name
        self._metrics.batch(name, size, run_size - size, len(tasks))
        batch.answered.append({key: array[:size] for key, array in outputs.items()})
        return answers

    def _execute(self, batch: Batch, inputs: Arrays) -> dict[str, Array]:
        began = time.perf_counter()
        servable = batch.servable
        outputs = servable.execute(batch.signature, inputs, batch.cancellation())
        seconds = time.perf_counter() - began
        self._metrics.run(servable.name, servable.version, batch.api, seconds)
        return outputs
