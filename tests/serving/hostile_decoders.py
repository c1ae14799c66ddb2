"""Stands for decoders that a file does something to; run in a child by its tests."""

import os
import sys

import numpy as np

from serving.media_error import MediaError


def turned(data: bytes, times: int = 1) -> np.ndarray:
    print("a decoder's own words")
    sys.stdout.flush()
    os.write(1, b"and those of one written in C")
    values = np.frombuffer(data, np.uint8).astype(np.uint16)
    return np.tile(values[::-1], (times, 1))


def told(data: bytes) -> dict[str, int]:
    return {"bytes": len(data)}


def environment(data: bytes) -> dict[str, str]:
    return dict(os.environ)


def refused(data: bytes) -> None:
    raise MediaError("bad_frame", "there is no such frame")


def broken(data: bytes) -> None:
    raise ZeroDivisionError


def endless(data: bytes) -> None:
    while True:
        pass


def asleep(data: bytes, **options: float) -> None:
    sys.stdin.read()


def killed(data: bytes) -> None:
    os.abort()


def gone(data: bytes) -> None:
    os._exit(3)


def hungry(data: bytes) -> int:
    return len(bytearray(20 * 2**30))


TASKS = {
    name: f"{__name__}:{name}"
    for name in (
        *("turned", "told", "refused", "broken", "endless", "asleep", "killed"),
        *("gone", "hungry", "environment"),
    )
}

SOUND_TASKS = {
    "sound": f"{__name__}:asleep",
    **{f"sound_{name}": place for name, place in TASKS.items()},
}
