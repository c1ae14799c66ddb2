"""Whatever a picture file holds: a picture or a reason, within seconds, and no crash."""

import functools
import struct
import time
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from serving import media, sequences
from serving.graph_pictures import seen_orientation
from serving.media import MediaError
from tests.serving.fuzz_targets.settings import fuzz
from tests.serving.picture_files import chunk, encoded, exif, files, smooth
from tests.serving.test_dicom_display import CUBIC, TWELVE, lut
from tests.serving.test_dicom_syntaxes import LOSSLESS, PLAIN
from tests.serving.test_media_dicom import build
from tests.serving.test_media_viewers import seen
from trainer.decoding import decode_rows, resize, to_channels
from trainer.decoding_pictures import decode_picture

MAX_PIXELS = 10_000
SECONDS = 20.0
"""Of one file on a busy machine; what hangs is ended by its limits much later."""


@functools.cache
def samples() -> dict[str, bytes]:
    found = dict(files())
    found |= {f"dicom-{name}": make() for name, make in LOSSLESS.items()}
    found["dicom"] = PLAIN
    found["dicom-voi-lut"] = build(
        TWELVE, bits=12, VOILUTSequence=[lut(CUBIC[::64], 0, 12)]
    )
    return found


EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["flip", "set", "insert", "delete", "repeat"]),
              st.integers(0, 255), st.integers(1, 40)),
    max_size=6,
)  # fmt: skip


def edited(data: bytes, edits: list[tuple[float, str, int, int]]) -> bytes:
    out = bytearray(data)
    for where, what, value, count in edits:
        # Headers are the smaller part of a file and decide the most.
        at = int(where**3 * len(out))
        if what == "flip" and at < len(out):
            out[at] ^= 1 << value % 8
        elif what == "set":
            out[at : at + 1] = bytes([value])
        elif what == "insert":
            out[at:at] = bytes([value]) * count
        elif what == "delete":
            del out[at : at + count]
        elif what == "repeat":
            out[at:at] = out[at : at + count] * (1 + value % 8)
    return bytes(out)


def summed(data: bytes) -> bytes:
    """A PNG whose checksums are right again, so that what is edited is read."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, at = [data[:8]], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        out.append(chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return b"".join(out)


@functools.cache
def graph() -> Any:
    """As a serving graph decodes a batch: a row that cannot be read is absent."""

    def decode(data: Any) -> Any:
        picture = to_channels(decode_picture(data, MAX_PIXELS), 3, 1.0)
        return resize(picture, 6, 6, "stretch", 1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def rows(data: Any) -> Any:
        return decode_rows(data, decode, (6, 6, 3))

    return rows


def present(data: bytes) -> bool:
    rows, there = graph()(tf.constant([data]))
    assert rows.shape == (1, 6, 6, 3)
    return bool(there[0])


def outcome(call: Any, *args: Any, **options: Any) -> Any:
    """What a call gives or why it refuses; nothing else may come of it."""
    began = time.monotonic()
    try:
        got = call(*args, **options)
    except MediaError as error:
        got = error.reason
    assert time.monotonic() - began < SECONDS
    return got


@fuzz(300)
@given(st.data())
def test_edited_files_are_pictures_or_have_a_reason(drawn: st.DataObject) -> None:
    name = drawn.draw(st.sampled_from(sorted(samples())))
    data = summed(edited(samples()[name], drawn.draw(EDITS)))
    outcome(media.describe, data, "image")
    outcome(sequences.frame_count, data)
    got = outcome(media.servable_image, data, MAX_PIXELS, verify=True)
    if isinstance(got, bytes):
        assert present(got)  # what ingestion takes, the graph can decode
    else:
        assert got in REASONS
    present(data)  # a caller may send it as it is, and is answered either way


TURNS: dict[int, Any] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
"""What EXIF 2.3 says of each orientation: where the first row and column are shown."""


@fuzz(150)
@given(st.integers(0, 9), st.sampled_from("<>"), EDITS, st.booleans())
def test_the_graph_turns_a_picture_as_the_rules_outside_of_it_say(
    orientation: int, order: str, edits: list[Any], photo: bool
) -> None:
    block = edited(exif(orientation, order)[6:], edits)
    if photo:
        plain = encoded(smooth(), "JPEG")
        segment = b"Exif\0\0" + block
        head = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
        data = plain[:2] + head + plain[2:]
    else:
        plain = encoded(smooth(), "PNG")
        data = plain[:33] + chunk(b"eXIf", block) + plain[33:]
    turn = seen_orientation(data)
    np.testing.assert_array_equal(seen(data), TURNS[turn](seen(plain)))
    if not edits and 1 <= orientation <= 8:
        assert turn == orientation


REASONS = {
    *("empty_file", "unsupported_format", "corrupt_image", "too_many_pixels"),
    *("no_pixel_data", "bad_frame", "decoder_timeout", "decoder_failed"),
}


@fuzz(60)
@given(st.data())
def test_frames_of_edited_files_are_read_or_have_a_reason(drawn: st.DataObject) -> None:
    several = [name for name in samples() if "animated" in name or "several" in name]
    name = drawn.draw(st.sampled_from(sorted(several)))
    data = edited(samples()[name], drawn.draw(EDITS))
    frames, failures = sequences.servable_frames(
        [data], lambda one: one, 4, MAX_PIXELS, verify=True
    )
    assert all(present(frame) for frame in frames)
    assert frames or failures
    assert {error.reason for error in failures} <= REASONS | {"too_many_frames"}
