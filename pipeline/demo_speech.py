"""Spoken words from eSpeak NG, which the `espeakng-loader` wheel carries.

eSpeak NG keeps global state: what it said before changes a little what it says next,
and it seeds its breath noise with the time of day. `speak` therefore hands the whole
list to a fresh process, which initialises the library once and seeds it; the same list
always gives the same samples.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.config import UserError

SAMPLE_RATE_HZ = 22_050

# Values of eSpeak NG's C interface (speak_lib.h).
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_BY_CHARACTER = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
# The library cuts longer data paths off without a word and then finds no voice.
_LONGEST_DATA_PATH = 120
_CHILD = "from pipeline.demo_speech import _child; _child()"


class SpeechError(UserError, RuntimeError):
    """Speech could not be made; the message says what to do."""


@dataclass(frozen=True)
class Utterance:
    """One thing to say.

    Attributes:
        text: what is said, in the voice's language.
        voice: eSpeak NG's voice, with or without a variant: `en-us+f2`, `cmn+m3`.
        rate_wpm: speed in words per minute, 80 to 450.
        pitch: 0 to 99, 50 is the voice's own.
        pitch_range: 0 (monotone) to 99, 50 is the voice's own.
    """

    text: str
    voice: str
    rate_wpm: int = 170
    pitch: int = 50
    pitch_range: int = 50


def speak(utterances: Sequence[Utterance]) -> list[npt.NDArray[np.int16]]:
    """Says each utterance.

    Args:
        utterances: what to say, and how.

    Returns:
        For each utterance its samples: int16, shape (samples,), 22,050 Hz, one channel.

    Raises:
        SpeechError: eSpeak NG is missing, does not load, or does not know a voice.
    """
    with tempfile.TemporaryDirectory(prefix="speech") as scratch:
        wanted, said = Path(scratch, "wanted.json"), Path(scratch, "said.npy")
        wanted.write_text(json.dumps([asdict(item) for item in utterances]))
        # The child sees the same packages however this process found them.
        paths = [str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)]
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, str(wanted), str(said)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        if child.returncode != 0:
            reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
            raise SpeechError(
                f"eSpeak NG could not speak {len(utterances)} utterances (exit code "
                f"{child.returncode}): {reason}"
            )
        with said.open("rb") as file:
            return [np.load(file) for _ in utterances]


class _Engine:
    """eSpeak NG through ctypes. One per process: the library is global state."""

    def __init__(self, scratch: Path) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise SpeechError(
                "the package espeakng-loader is not installed in "
                f"{sys.prefix}; run `make setup`, or pip install espeakng-loader"
            ) from error
        library, data = (
            espeakng_loader.get_library_path(),
            _short(Path(espeakng_loader.get_data_path()), scratch),
        )
        try:
            self._lib = ctypes.CDLL(library)
        except OSError as error:
            raise SpeechError(
                f"eSpeak NG's library {library} does not load ({error}); reinstall "
                "espeakng-loader for this platform"
            ) from error
        self._lib.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
            ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        rate = self._lib.espeak_Initialize(
            _SYNCHRONOUS, 0, os.fsencode(data), _DO_NOT_EXIT
        )
        if rate != SAMPLE_RATE_HZ:
            raise SpeechError(
                f"eSpeak NG did not start with the data in {data}: expected "
                f"{SAMPLE_RATE_HZ} Hz, received {rate}; reinstall espeakng-loader"
            )
        self._lib.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self._lib.espeak_ng_SetRandSeed(1)
        self._chunks: list[npt.NDArray[np.int16]] = []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_short),
            ctypes.c_int,
            ctypes.c_void_p,
        )
        # Kept on self: ctypes would otherwise free it while the library holds it.
        self._callback = kind(self._receive)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, _: object) -> int:
        if samples and count > 0:
            array = np.ctypeslib.as_array(samples, (count,))
            self._chunks.append(array.astype(np.int16))
        return 0

    def say(self, utterance: Utterance) -> npt.NDArray[np.int16]:
        if self._lib.espeak_SetVoiceByName(utterance.voice.encode()) != 0:
            raise SpeechError(
                f"eSpeak NG has no voice {utterance.voice!r}; expected LANGUAGE or "
                "LANGUAGE+VARIANT, such as en-us+f2 or cmn+m3"
            )
        for parameter, value in (
            (_RATE, utterance.rate_wpm),
            (_PITCH, utterance.pitch),
            (_RANGE, utterance.pitch_range),
        ):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        text = utterance.text.encode() + b"\0"
        status = self._lib.espeak_Synth(
            text, len(text), 0, _BY_CHARACTER, 0, _UTF8, None, None
        )
        if status != 0 or not self._chunks:
            raise SpeechError(
                f"eSpeak NG made no sound of {utterance.text!r} with voice "
                f"{utterance.voice!r} (status {status})"
            )
        return np.concatenate(self._chunks)


def _short(data: Path, scratch: Path) -> Path:
    """A name of the data folder that is short enough for eSpeak NG."""
    if len(os.fsencode(data)) <= _LONGEST_DATA_PATH:
        return data
    link = scratch / "espeak-ng-data"
    link.symlink_to(data, target_is_directory=True)
    return link


def _child() -> None:
    wanted, said = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        engine = _Engine(wanted.parent)
        with said.open("wb") as file:
            for item in json.loads(wanted.read_text()):
                np.save(file, engine.say(Utterance(**item)))
    except SpeechError as error:
        sys.exit(str(error))
