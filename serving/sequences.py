"""Sequences of pictures: which frames are taken, and how they travel as one value.

A row's frames are one string: a serialized `tensorflow.TensorProto` of type DT_STRING
and shape [frames], each element a picture file. TensorFlow core parses it in the graph
(`tf.io.parse_tensor`), and a batch stays [rows] however many frames its rows have, so
that requests of different lengths can be answered together.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from serving import dicom, media
from serving.decoder_process import decode
from serving.media_error import MediaError
from serving.tensorflow_core import tensorflow

_PACKED = b"\x08\x07"
"""How a TensorProto of strings begins: field `dtype`, DT_STRING."""


def chosen(count: int, most: int) -> list[int]:
    """The frames that are taken of `count`, at most `most`, spread evenly.

    The middles of `most` equal parts: of 10 frames, 4 are 1, 3, 6 and 8. The graph
    chooses in the same way, and of what was chosen here it takes all.
    """
    if count <= most:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * most) for i in range(most)]


def pack(frames: Sequence[bytes]) -> bytes:
    """Picture files as one value; b"" for none."""
    if not frames:
        return b""
    tf = tensorflow()
    proto = tf.make_tensor_proto(list(frames), tf.string, shape=[len(frames)])
    return bytes(proto.SerializeToString())


def is_packed(value: Any) -> bool:
    """Whether it is what `pack` gives; no picture file begins so."""
    return isinstance(value, bytes) and value.startswith(_PACKED)


def unpack(value: bytes) -> list[bytes]:
    """The frames of a value: what `pack` was given, or a picture file alone.

    Raises:
        MediaError: `corrupt_sequence`.
    """
    if not is_packed(value):
        return [value] if value else []
    proto = tensorflow().make_tensor_proto(0)
    try:
        proto.ParseFromString(value)
    except Exception as error:  # protobuf's own, by implementation
        raise MediaError(
            "corrupt_sequence", "frames that were packed are cut"
        ) from error
    return list(proto.string_val)


def frame_count(data: bytes) -> int:
    """How many pictures a file holds: of DICOM, GIF, WebP and TIFF perhaps several.

    Raises:
        MediaError: as `media.servable_image`.
    """
    if dicom.is_dicom(data):
        return int(decode("dicom_facts", data)["frames"])
    return int(decode("picture_frames", data))


def servable_frames(
    sources: Sequence[Any],
    read: Callable[[Any], bytes],
    max_frames: int,
    max_pixels: int = media.MAX_PIXELS,
    verify: bool = False,
    servable: Callable[..., bytes] = media.servable_image,
) -> tuple[list[bytes], list[MediaError]]:
    """Reads the frames that are taken, as files that a serving graph decodes.

    Args:
        sources: what `read` turns into a file's bytes, in the frames' order. Several
            are a frame each; a single one is read frame by frame (DICOM, GIF, TIFF,
            WebP), if it has several.
        read: may raise MediaError.
        max_frames: at most so many are taken, see `chosen`; nothing else is read.
        max_pixels, verify: see `media.servable_image`.
        servable: `media.servable_image`, or what remembers its results.

    Returns:
        The frames, and why the others could not be read: a frame that is damaged is
        left out, and the rest stays.
    """
    frames: list[bytes] = []
    failures: list[MediaError] = []

    def take(data: Callable[[], bytes], frame: dicom.Frame) -> None:
        try:
            frames.append(servable(data(), max_pixels, verify, frame))
        except MediaError as error:
            failures.append(error)

    if len(sources) != 1:
        for i in chosen(len(sources), max_frames):
            take(partial(read, sources[i]), "middle")
        return frames, failures
    try:
        whole = read(sources[0])
        count = frame_count(whole)
    except MediaError as error:
        return frames, [error]
    for i in chosen(count, max_frames):
        take(lambda: whole, i if count > 1 else "middle")
    return frames, failures
