"""Decodes media in a process of its own, which a damaged or hostile file may end.

Decoders are written in C and C++ (GDCM, OpenJPEG, CharLS, libtiff, libwebp, libavif,
libsndfile): what a file does to them can be an endless loop, an abort or all of the memory, none of
which Python can catch. So they run in a child that holds no secret and has limits; when
it goes, the file is refused with a reason, and the next file gets a new child.

A child answers many files, one after the other. It loads neither TensorFlow nor Keras:
it starts in 0.3 s and holds some 60 MB.
"""

import atexit
import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from serving.media_error import MediaError

CPU_SECONDS = 60
"""Of one file. The largest that is taken, 50 megapixels of JPEG 2000, needs 15."""

WALL_SECONDS = 600.0
"""Of one file; on a busy machine CPU time is the truer limit, but a wait uses none."""

MEMORY_BYTES = 8 * 2**30
"""Of the child's addresses. 50 megapixels of 16 bits need 2 GiB on their way."""

TASKS = {
    "dicom": "serving.dicom:render",
    "dicom_facts": "serving.dicom:facts",
    "picture": "serving.pictures:render",
    "picture_facts": "serving.pictures:facts",
    "picture_frames": "serving.pictures:count_frames",
    "sound": "serving.sound_decoder:to_wav",
    "sound_facts": "serving.sound_decoder:facts",
}
"""What a child may be asked: a function of a file's bytes and of keyword arguments."""

_SOUND = "sound"
"""How the names of tasks on sounds begin: their refusals speak of sounds."""

_ROOT = str(Path(__file__).resolve().parents[1])


def decode(task: str, data: bytes, name: str = "", **options: Any) -> Any:
    """Runs a task of TASKS on a file's bytes, in a child.

    Args:
        task: a key of TASKS.
        data: the whole file.
        name: the file's name, for messages.
        options: the task's keyword arguments, as JSON can hold them.

    Returns:
        What the task returns: an array, or what JSON can hold.

    Raises:
        MediaError: what the task raises; `decoder_timeout` or `decoder_failed` where
            the limits end the child or the decoder kills it.
    """
    with _places:
        child = _take()
        try:
            answer, pixels = child.ask(task, data, options)
        except _Ended as error:
            raise MediaError(*error.told, name) from None
        except BaseException:
            child.end()  # half a question was asked: no further answer can be trusted
            raise
        _idle.append(child)
    if "reason" in answer:
        raise MediaError(answer["reason"], answer["message"], name)
    return answer["value"] if pixels is None else pixels


class _Ended(Exception):
    """The child is gone; `told` is the reason and the sentence."""

    def __init__(self, reason: str, message: str) -> None:
        self.told = (reason, message)
        super().__init__(message)


class Child:
    """The parent's side of one decoding process."""

    def __init__(
        self,
        tasks: dict[str, str] = TASKS,
        cpu_seconds: int = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._cpu_seconds = cpu_seconds
        self._wall_seconds = wall_seconds
        limits = json.dumps([tasks, cpu_seconds, wall_seconds, memory_bytes])
        program = (
            f"import sys; sys.path.insert(0, {_ROOT!r});"
            f"from serving.decoder_process import main; main({limits!r})"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders print there what they think of a file
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    def ask(
        self, task: str, data: bytes, options: dict[str, Any]
    ) -> tuple[dict[str, Any], npt.NDArray[Any] | None]:
        """One question and its answer.

        Raises:
            _Ended: the child ended before it had answered.
        """
        timer = threading.Timer(self._wall_seconds, self.process.kill)
        timer.daemon = True
        timer.start()
        began = time.monotonic()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            _send(self.process.stdin, {"task": task, "options": options}, data)
            answer, raw = _receive(self.process.stdout)
        except (EOFError, OSError, ValueError):
            self.end()
            raise self._ended(task, time.monotonic() - began) from None
        finally:
            timer.cancel()
        if "dtype" not in answer:
            return answer, None
        pixels = np.frombuffer(raw, answer["dtype"]).reshape(answer["shape"])
        return answer, pixels

    def _ended(self, task: str, seconds: float) -> _Ended:
        better = "WAV" if task.startswith(_SOUND) else "PNG"
        status = self.process.returncode
        if status == -signal.SIGXCPU or seconds >= self._wall_seconds:
            return _Ended(
                "decoder_timeout",
                f"not decoded within {self._cpu_seconds} s of CPU; convert it to {better}",
            )
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return _Ended(
            "decoder_failed",
            f"the file ended its decoder ({how}); check it or convert it to {better}",
        )

    def end(self) -> None:
        """Ends the process and waits for it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):  # what was still to be written
                stream.close()

    def forget(self) -> None:
        """In a fork: the process is the parent's, neither to be asked nor waited for."""
        self.process.returncode = 0


_idle: list[Child] = []
_places = threading.BoundedSemaphore(os.cpu_count() or 1)


def _take() -> Child:
    while True:
        try:
            child = _idle.pop()  # not asked first whether there is one: threads
        except IndexError:
            return Child()
        if child.process.poll() is None:
            return child
        child.end()


def _end_all() -> None:
    with contextlib.suppress(IndexError):
        while True:
            _idle.pop().end()


def _forget_all() -> None:
    global _places
    while _idle:
        _idle.pop().forget()
    _places = threading.BoundedSemaphore(os.cpu_count() or 1)


atexit.register(_end_all)
os.register_at_fork(after_in_child=_forget_all)


def _send(stream: IO[bytes], head: dict[str, Any], body: Any) -> None:
    body = memoryview(body)
    stream.write(json.dumps({**head, "bytes": body.nbytes}).encode() + b"\n")
    stream.write(body)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    line = stream.readline()
    if not line:
        raise EOFError
    head = json.loads(line)
    body = stream.read(head["bytes"])
    if len(body) != head["bytes"]:
        raise EOFError
    return head, body


def main(limits: str) -> None:
    """The child: answers until its input ends."""
    tasks, cpu_seconds, wall_seconds, memory_bytes = json.loads(limits)
    # What a decoder prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # where memory ends, this process is to go
        Path("/proc/self/oom_score_adj").write_text("1000")
    while True:
        try:
            head, data = _receive(sys.stdin.buffer)
        except EOFError:
            return
        used = int(time.process_time())
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (used + 1 + cpu_seconds, hard))
        # Where it only waits, and whoever asked has gone.
        signal.alarm(int(wall_seconds) + 5)
        _send(answers, *_answer(head["task"], tasks, data, head["options"]))
        signal.alarm(0)


def _answer(
    task: str, tasks: dict[str, str], data: bytes, options: dict[str, Any]
) -> tuple[dict[str, Any], Any]:
    sound = task.startswith(_SOUND)
    module, _, function = tasks[task].partition(":")
    try:
        value = getattr(importlib.import_module(module), function)(data, **options)
    except MediaError as error:
        return {"reason": error.reason, "message": str(error)}, b""
    except MemoryError:
        told = "needs more memory to decode than it is given; make it smaller"
        reason = "too_long_audio" if sound else "too_many_pixels"
        return {"reason": reason, "message": told}, b""
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
