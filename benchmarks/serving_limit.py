"""The in-process limit: a signature called directly, in a process that does only that.

`Limit` starts this file as a child process and asks it, one phase at a time, over its
standard input and output; between phases the child sleeps. The direct call is
`serving.graph_function.GraphFunction`, NumPy outputs included, on tensors that are
already made: decoding a request is the server's cost, not the model's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class LimitPhase:
    """What one phase of direct calls gave.

    Attributes:
        examples_per_s: throughput.
        cpu_ms: CPU milliseconds of the process per example.
        p50_ms, p99_ms: wall time of one call.
    """

    examples_per_s: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float


class Limit:
    """A child process that calls one signature of a SavedModel.

    Args:
        version_path: the SavedModel.
        signature: which signature.
        rows_path: npz with an array of rows for each input.
        intra_op, inter_op: TensorFlow's threads, 0 for its default.
    """

    def __init__(
        self,
        version_path: Path,
        signature: str,
        rows_path: Path,
        intra_op: int,
        inter_op: int,
    ) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.serving_limit"]
            + [str(version_path), signature, str(rows_path)]
            + [str(intra_op), str(inter_op)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def _ask(self, **command: Any) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(command) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the limit process ended, status {self._child.wait()}")
        return json.loads(line)

    def run(self, batch: int, threads: int, seconds: float) -> LimitPhase:
        """Calls the signature on `batch` times row 0 from `threads` threads."""
        return LimitPhase(**self._ask(batch=batch, threads=threads, seconds=seconds))

    def expected(self) -> dict[str, list[Any]]:
        """Output name -> its value for each row, every row alone in its call.

        Outputs of strings are left out.
        """
        answers: dict[str, list[Any]] = self._ask(expected=True)
        return answers

    def close(self) -> None:
        """Ends the child."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait(30)
        self._child.stdout.close()

    def __enter__(self) -> Limit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _measure(call: Callable[[], Any], threads: int, seconds: float) -> dict[str, float]:
    """Calls from `threads` threads for `seconds`; rates in calls."""
    call()
    barrier = Barrier(threads + 1)
    times: list[list[float]] = [[] for _ in range(threads)]
    end = 0.0

    def work(mine: list[float]) -> None:
        barrier.wait()
        barrier.wait()
        now = time.perf_counter()
        while now < end:
            call()
            began, now = now, time.perf_counter()
            mine.append(now - began)

    workers = [Thread(target=work, args=(mine,)) for mine in times]
    for worker in workers:
        worker.start()
    barrier.wait()
    cpu, began = time.process_time(), time.perf_counter()
    end = began + seconds
    barrier.wait()
    for worker in workers:
        worker.join()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    spent = sorted(value for mine in times for value in mine)
    return {
        "examples_per_s": len(spent) / wall,
        "cpu_ms": 1000 * cpu / len(spent),
        "p50_ms": 1000 * spent[len(spent) // 2],
        "p99_ms": 1000 * spent[len(spent) * 99 // 100],
    }


def _child(
    path: str, signature: str, rows_path: str, intra_op: str, inter_op: str
) -> None:
    from serving.tensorflow_core import load_text_ops, tensorflow

    tf = tensorflow()
    tf.config.threading.set_intra_op_parallelism_threads(int(intra_op))
    tf.config.threading.set_inter_op_parallelism_threads(int(inter_op))
    import numpy as np

    from serving.graph_function import GraphFunction

    load_text_ops()
    loaded = tf.saved_model.load(path, tags=["serve"])
    function = GraphFunction(loaded.signatures[signature])
    with np.load(rows_path, allow_pickle=True) as file:
        rows = {name: list(file[name]) for name in file.files}
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any]
        if "expected" in command:
            answer = {}
            for row in zip(*rows.values(), strict=True):
                feed = {
                    key: tf.constant([value])
                    for key, value in zip(rows, row, strict=True)
                }
                for key, value in function(feed).items():
                    if value.dtype != object:
                        answer.setdefault(key, []).append(value[0].tolist())
        else:
            size = command["batch"]
            feed = {
                key: tf.constant([values[0]] * size) for key, values in rows.items()
            }
            answer = _measure(
                lambda feed=feed: function(feed),  # type: ignore[misc]
                command["threads"],
                command["seconds"],
            )
            answer["examples_per_s"] *= size
            answer["cpu_ms"] /= size
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _child(*sys.argv[1:])
