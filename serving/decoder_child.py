"""The child's side of `serving/decoder_process.py`: answers about files under limits.

A question and an answer are each a line of JSON and as many bytes as it says.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

import numpy as np

from serving.media_error import MediaError


def is_sound(task: str) -> bool:
    """Whether a task is one on sounds: its refusals speak of sounds."""
    return task.startswith("sound")


def send(stream: IO[bytes], head: dict[str, Any], body: Any) -> None:
    """Writes a question or an answer; `body` is whatever holds bytes."""
    body = memoryview(body)
    stream.write(json.dumps({**head, "bytes": body.nbytes}).encode() + b"\n")
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Reads a question or an answer.

    Raises:
        EOFError: the other side has gone.
    """
    line = stream.readline()
    if not line:
        raise EOFError
    head = json.loads(line)
    body = stream.read(head["bytes"])
    if len(body) != head["bytes"]:
        raise EOFError
    return head, body


def main(limits: str) -> None:
    """Answers until the input ends.

    Args:
        limits: JSON of the tasks, name -> `module:function`, the CPU seconds and the
            wall clock's seconds for one file, and the bytes of memory.
    """
    tasks, cpu_seconds, wall_seconds, memory_bytes = json.loads(limits)
    # What a decoder prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError):  # where memory ends, this process is to go
        Path("/proc/self/oom_score_adj").write_text("1000")
    while True:
        try:
            head, data = receive(sys.stdin.buffer)
        except EOFError:
            return
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + cpu_seconds)
        # Where it only waits, and whoever asked has gone.
        signal.alarm(int(wall_seconds) + 5)
        send(answers, *_answer(head["task"], tasks, data, head["options"]))
        signal.alarm(0)


def _limit(kind: int, most: int) -> None:
    """Lowers a limit of this process; where a lower one holds already, that stays."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, hard))


def _answer(
    task: str, tasks: dict[str, str], data: bytes, options: dict[str, Any]
) -> tuple[dict[str, Any], Any]:
    sound = is_sound(task)
    module, _, function = tasks[task].partition(":")
    try:
        value = getattr(importlib.import_module(module), function)(data, **options)
    except MediaError as error:
        return {"reason": error.reason, "message": str(error)}, b""
    except MemoryError:
        told = "needs more memory to decode than it is given; make it smaller"
        reason = "too_long_audio" if sound else "too_many_pixels"
        # What files before left behind may be what is lacking: the next one starts afresh.
        return {"reason": reason, "message": told, "memory": True}, b""
    except Exception as error:  # damaged files raise whatever they break
        better, reason = "PNG", "corrupt_image"
        if sound:
            better, reason = "WAV", "corrupt_audio"
        told = f"cannot be decoded ({type(error).__name__}); convert it to {better}"
        return {"reason": reason, "message": told}, b""
    if isinstance(value, np.ndarray):
        value = np.ascontiguousarray(value)
        return {"dtype": value.dtype.str, "shape": value.shape}, value.reshape(-1)
    return {"value": value}, b""
