"""Decodes media in a process of its own, which a damaged or hostile file may end.

Decoders are written in C and C++ (GDCM, OpenJPEG, CharLS, libtiff, libwebp, libavif,
libsndfile): what a file does to them can be an endless loop, an abort or all of the memory, none of
which Python can catch. So they run in a child that has limits and does not inherit the
credentials that stand in environment variables; when it goes, the file is refused with a
reason, and the next file gets a new child.

A child answers many files, one after the other. It loads neither TensorFlow nor Keras:
it starts in 0.3 s and holds some 60 MB.
"""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.decoder_child import is_sound, receive, send
from serving.media_error import MediaError

CPU_SECONDS = 45
"""Of one file. The largest that is taken, 50 megapixels of JPEG 2000, needs 15."""

WALL_SECONDS = 60.0
"""Of one file, however little CPU time it uses: a decoder that sleeps holds its caller
no longer. The largest file passes while its child gets a quarter of a core or more;
children of one process are never more than there are cores."""

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

_INHERITED = (
    *("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "HOME", "TMPDIR", "TZ"),
    *("LANG", "LC_ALL", "LC_CTYPE", "MALLOC_ARENA_MAX"),
)
"""Environment variables that a child gets: where things are, and no key to anything."""

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
        if child.usable:
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
        self.usable = True
        self._cpu_seconds = cpu_seconds
        self._wall_seconds = wall_seconds
        self._expired = threading.Event()
        limits = json.dumps([tasks, cpu_seconds, wall_seconds, memory_bytes])
        program = (
            f"import sys; sys.path.insert(0, {_ROOT!r});"
            f"from serving.decoder_child import main; main({limits!r})"
        )
        self.process = subprocess.Popen(
            # -P: a file of the working folder must not stand for a library's module.
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders print there what they think of a file
            env={
                **{name: os.environ[name] for name in _INHERITED if name in os.environ},
                **{"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            },
        )

    def ask(
        self, task: str, data: bytes, options: dict[str, Any]
    ) -> tuple[dict[str, Any], npt.NDArray[Any] | None]:
        """One question and its answer; the child has ended where it is not `usable` then.

        Raises:
            _Ended: the child ended before it had answered.
        """
        timer = threading.Timer(self._wall_seconds, self._expire)
        timer.daemon = True
        timer.start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            send(self.process.stdin, {"task": task, "options": options}, data)
            answer, raw = receive(self.process.stdout)
        except (EOFError, OSError, ValueError):
            self.end()
            raise self._ended(task) from None
        finally:
            timer.cancel()
            timer.join()  # it may just have begun: its kill must not meet the next file
        if self._expired.is_set() or "memory" in answer:
            self.end()
        if "dtype" not in answer:
            return answer, None
        pixels = np.frombuffer(raw, answer["dtype"]).reshape(answer["shape"])
        return answer, pixels

    def _expire(self) -> None:
        self._expired.set()
        self.process.kill()

    def _ended(self, task: str) -> _Ended:
        better = "WAV" if is_sound(task) else "PNG"
        status = self.process.returncode
        limit = ""
        if status == -signal.SIGXCPU:
            limit = f"{self._cpu_seconds} s of CPU"
        elif self._expired.is_set():
            limit = f"{self._wall_seconds:g} s"
        if limit:
            told = f"not decoded within {limit}; convert it to {better}"
            return _Ended("decoder_timeout", told)
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return _Ended(
            "decoder_failed",
            f"the file ended its decoder ({how}); check it or convert it to {better}",
        )

    def end(self) -> None:
        """Ends the process and waits for it."""
        self.usable = False
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
