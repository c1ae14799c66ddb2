"""The process that decodes sounds with libsndfile, one after another.

`python -m serving.sound_helper` is started by `serving/sound_process.py`, which says how
the two speak. A file that hangs or crashes the native code ends this process alone.

libsndfile (LGPL-2.1-or-later; its wheel holds libFLAC, libvorbis, libopus and mpg123)
is called through soundfile (BSD-3-Clause).
"""

import contextlib
import hashlib
import json
import os
import resource
import signal
import socket
import tempfile
from typing import IO, Any

import numpy as np
import soundfile

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
from serving.sound_samples import to_int16

# Far above what a chunk takes, far below what a machine has.
_MAX_MEMORY_BYTES = 2 * 2**30
_CHUNK_SAMPLES = 2**18
# libsndfile's numbers of "format not recognised", "unsupported encoding" and
# "unimplemented format" (sndfile.h and common.h).
_UNSUPPORTED = (1, 4, 18)
_BITS = {
    "PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32,
    "FLOAT": 32, "DOUBLE": 64,
}  # fmt: skip


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """Read from begin to end: soundfile seeks after every read otherwise."""

    def seekable(self) -> bool:
        return False


class _Refused(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def main() -> None:
    """Answers requests on the socket at descriptor 0 until it is closed."""
    with socket.socket(fileno=os.dup(0)) as channel:
        _limit_memory()
        _send(channel, READY, b"")
        while True:
            request = receive(channel, REQUEST.size)
            if request is None:
                return
            size, max_seconds, max_samples, deadline, decode = REQUEST.unpack(request)
            # Ends the process in the middle of native code, also once nobody is there
            # to do it any more.
            signal.alarm(deadline)
            with tempfile.TemporaryFile() as file:
                _receive_into(file, channel, size)
                try:
                    _answer(channel, file, max_seconds, max_samples, decode)
                except _Refused as error:
                    _send_error(channel, error.reason, str(error))
                except soundfile.LibsndfileError as error:
                    _send_error(channel, *_reason(error))
                except MemoryError:
                    _send_error(channel, "corrupt_audio", "it asks for too much memory")
            signal.alarm(0)


def _reason(error: soundfile.LibsndfileError) -> tuple[str, str]:
    text = error.error_string.removeprefix("Error : ").rstrip(".")
    if error.code in _UNSUPPORTED:
        message = f"libsndfile cannot read this kind ({text}); convert it to WAV"
        return "unsupported_format", message
    message = f"libsndfile cannot decode it ({text}): damaged or cut short"
    return "corrupt_audio", message


def _limit_memory() -> None:
    with contextlib.suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES,) * 2)


def _receive_into(file: IO[bytes], channel: socket.socket, size: int) -> None:
    """The next `size` bytes as a nameless file: libsndfile reads it itself."""
    while size:
        data = channel.recv(min(size, 2**20))
        if not data:
            raise SystemExit  # whoever asked has gone
        file.write(data)
        size -= len(data)
    file.flush()
    os.lseek(file.fileno(), 0, os.SEEK_SET)


def _answer(
    channel: socket.socket,
    file: IO[bytes],
    max_seconds: float,
    max_samples: int,
    decode: bool,
) -> None:
    head = os.pread(file.fileno(), 42, 0)
    with _Sound(file.fileno(), closefd=False) as sound:
        rate, channels = sound.samplerate, sound.channels
        # libsndfile's greatest number stands for "not known".
        known = sound.frames if 0 <= sound.frames < 2**62 else None
        facts = {
            "sample_rate_hz": rate,
            "channels": channels,
            "bits": _BITS.get(sound.subtype, 16),
            "frames": known,
        }
        _send(channel, FACTS, json.dumps(facts).encode())
        if not decode or rate <= 0:
            _send(channel, END, b"")
            return
        _check_length(known or 0, rate, channels, max_seconds, max_samples)
        flac = head[:4] == b"fLaC"
        digest = hashlib.md5(usedforsecurity=False)
        read = 0
        while True:
            chunk = sound.read(
                max(1, _CHUNK_SAMPLES // channels),
                dtype="int32" if flac else "float64",
                always_2d=True,
            )
            if not len(chunk):
                break
            read += len(chunk)
            _check_length(read, rate, channels, max_seconds, max_samples)
            if flac:
                digest.update(_as_stored(chunk, facts["bits"]))
                chunk = chunk / 2.0**31
            _send(channel, SAMPLES, to_int16(chunk).astype("<i2").tobytes())
        # Of MP3 the length is a guess; its container was checked frame by frame.
        if known and read < known and sound.format != "MPEG":
            raise _Refused(
                "truncated_audio",
                f"it claims {known} samples and {read} could be decoded; copy it again",
            )
        if flac and any(head[26:42]) and digest.digest() != head[26:42]:
            raise _Refused(
                "corrupt_audio", "the FLAC's samples do not match its own checksum"
            )
    _send(channel, END, b"")


def _check_length(
    frames: int, rate: int, channels: int, max_seconds: float, max_samples: int
) -> None:
    if frames > max_seconds * rate:
        raise _Refused(
            "too_long_audio",
            f"{frames / rate:.1f} s of sound, at most {max_seconds:.1f} s are taken;"
            " cut it",
        )
    if frames * channels > max_samples:
        raise _Refused(
            "too_long_audio",
            f"{frames} samples in each of {channels} channels, at most {max_samples}"
            " in all are taken; cut it, or leave out channels",
        )


def _as_stored(chunk: Any, bits: int) -> bytes:
    """What FLAC's checksum is of: little-endian integers of the stored width.

    Args:
        chunk: int32 [frames, channels], shifted up to fill 32 bits.
        bits: a sample's stored width.
    """
    unused = 4 - (bits + 7) // 8
    stored = chunk.astype("<i4").view(np.uint8).reshape(-1, 4)[:, unused:]
    return bytes(stored.tobytes())


def _send(channel: socket.socket, kind: bytes, data: bytes) -> None:
    channel.sendall(ANSWER.pack(kind, len(data)) + data)


def _send_error(channel: socket.socket, reason: str, message: str) -> None:
    text = json.dumps({"reason": reason, "message": message})
    _send(channel, ERROR, text.encode())


if __name__ == "__main__":
    main()
