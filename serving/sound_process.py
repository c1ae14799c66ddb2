"""Decodes sounds in helper processes, under a deadline that native code cannot outlast.

libsndfile reads files from anywhere. Whatever it does with one of them, hang or crash
included, that file alone is refused: its helper is killed, and the next file gets a new
one. Helpers are kept between files: starting one costs what hundreds of sounds do.

Safe among threads, and after a fork.
"""

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.media_error import MediaError
from serving.sound_protocol import (
    ANSWER,
    END,
    ERROR,
    FACTS,
    READY,
    REQUEST,
    SAMPLES,
    receive,
)

DEADLINE_SECONDS = 30.0
"""For one file: ten minutes of FLAC at 48 kHz take less than three on one core."""

COMMAND = [sys.executable, "-P", "-m", "serving.sound_helper"]
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Facts:
    """What libsndfile knows once a file is open; `frames` is None where it does not."""

    sample_rate_hz: int
    channels: int
    bits: int
    frames: int | None


class _Gone(Exception):
    """The helper closed its socket: it crashed, or something killed it."""


class _Helper:
    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair()
        self.used = False
        path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
        with theirs:
            self.process = subprocess.Popen(
                COMMAND,
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # mpg123 comments on every odd file there
                env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            )
        try:
            self.channel.settimeout(_START_SECONDS)
            if self.receive()[0] != READY:
                raise _Gone
        except (_Gone, OSError) as error:
            self.kill()
            raise MediaError(
                "decoder_failed",
                f"the sound decoder does not start ({' '.join(COMMAND)}); is soundfile"
                " installed? `polymodal doctor` tells",
            ) from error

    def receive(self) -> tuple[bytes, bytes]:
        """One answer: its kind and its bytes."""
        head = receive(self.channel, ANSWER.size)
        if head is None:
            raise _Gone
        kind, size = ANSWER.unpack(head)
        data = receive(self.channel, size)
        if data is None:
            raise _Gone
        return kind, data

    def kill(self) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def forget(self) -> None:
        """For a forked child, whose parent goes on with the process."""
        self.channel.close()
        self.process.returncode = 0


_idle: list[_Helper] = []
_lock = threading.Lock()
_places = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))


def close_all() -> None:
    """Ends the helpers that wait for work; the next sound starts a new one."""
    with _lock:
        while _idle:
            _idle.pop().kill()


def _after_fork() -> None:
    global _lock, _places
    _lock = threading.Lock()
    _places = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))
    while _idle:
        _idle.pop().forget()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close_all)


def facts(data: bytes, name: str = "") -> Facts:
    """What the headers say, without decoding.

    Raises:
        MediaError: `unsupported_format`, `corrupt_audio`, `decoder_timeout` or
            `decoder_failed`.
    """
    found, _ = _ask(data, 0.0, 0, False, name)
    return found


def decode(
    data: bytes, max_seconds: float, max_samples: int, name: str = ""
) -> tuple[Facts, npt.NDArray[np.int16]]:
    """A sound file as int16 [frames, channels], wider samples rounded.

    Args:
        data: any file that libsndfile reads.
        max_seconds: limit on the length, checked before decoding where the file tells.
        max_samples: limit on frames times channels.
        name: the file's name, for messages.

    Raises:
        MediaError: `unsupported_format`, `corrupt_audio`, `truncated_audio`,
            `too_long_audio`, `decoder_timeout` or `decoder_failed`.
    """
    found, samples = _ask(data, max_seconds, max_samples, True, name)
    return found, samples.reshape(-1, found.channels)


def _ask(
    data: bytes, max_seconds: float, max_samples: int, decode: bool, name: str
) -> tuple[Facts, npt.NDArray[np.int16]]:
    request = REQUEST.pack(
        len(data), max_seconds, max_samples, int(DEADLINE_SECONDS) + 5, decode
    )
    while True:
        with _helper(name) as helper:
            fresh, helper.used = not helper.used, True
            try:
                return _answer(helper, request, data, name)
            except TimeoutError as error:
                helper.kill()
                raise MediaError(
                    "decoder_timeout",
                    f"not decoded within {DEADLINE_SECONDS:g} s; convert it to WAV",
                    name,
                ) from error
            except (_Gone, OSError) as error:
                helper.kill()
                # One that had waited may have been killed meanwhile: not this file's
                # doing.
                if fresh:
                    raise MediaError(
                        "corrupt_audio", "it makes libsndfile crash", name
                    ) from error


@contextmanager
def _helper(name: str) -> Iterator[_Helper]:
    places = _places
    with places:
        with _lock:
            helper = _idle.pop() if _idle else None
        try:
            helper = helper or _Helper()
        except MediaError as error:
            raise MediaError(error.reason, str(error), name) from error
        try:
            yield helper
        except MediaError:
            raise
        except BaseException:
            helper.kill()  # interrupted in the middle of an answer
            raise
        finally:
            if helper.process.returncode is None:
                with _lock:
                    _idle.append(helper)


def _answer(
    helper: _Helper, request: bytes, data: bytes, name: str
) -> tuple[Facts, npt.NDArray[np.int16]]:
    end = time.monotonic() + DEADLINE_SECONDS

    def within() -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        helper.channel.settimeout(left)

    within()
    helper.channel.sendall(request)
    within()
    helper.channel.sendall(data)
    found, pieces = None, []
    while True:
        within()
        kind, body = helper.receive()
        if kind == FACTS:
            found = Facts(**json.loads(body))
        elif kind == SAMPLES:
            pieces.append(body)
        elif kind == ERROR:
            error = json.loads(body)
            raise MediaError(error["reason"], error["message"], name)
        elif kind == END and found is not None:
            return found, np.frombuffer(b"".join(pieces), "<i2")
