"""One picture file in a graph: limits, decoding, the turn that EXIF asks for.

TensorFlow core decodes PNG, JPEG, BMP and GIF, and leaves out what a viewer does not:
it is done here. What TensorFlow would misread is refused, so that the row's picture is
absent rather than another one: a client or ingestion transcodes such files
(`media.servable_image`), a caller that sends bytes itself is told by `NAME_present`.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_JPEG_SCANS = 100
"""Of a progressive JPEG. Encoders write about ten; each costs a pass over all pixels."""

_HEAD_BYTES = 2**17
"""How far into a JPEG EXIF is looked for, whose block is the first or second."""

_EXIF_ENTRIES = 512
_GIF_BLOCKS = 1024
"""Sub-blocks that may stand before a GIF's picture: comments and profiles."""

_GREY_PALETTE = b"".join(bytes([level, level, level, 0]) for level in range(256))


def decode_picture(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Scalar string -> float32 [height, width, 1-4] in [0, 1]; 16 bits are kept.

    Upright, as EXIF says; a colour that is named transparent has alpha 0.

    Raises InvalidArgumentError in-graph for corrupt bytes, for pictures whose header
    claims more than `max_pixels`, before anything is decoded, and for what TensorFlow
    would misread.
    """
    image = tf.cond(
        _starts(encoded, b"\x89PNG"),
        lambda: _png(encoded, max_pixels),
        lambda: tf.cond(
            _starts(encoded, b"\xff\xd8"),
            lambda: _jpeg(encoded, max_pixels),
            lambda: _apart(_gif_or_bmp)(encoded, max_pixels),
        ),
    )
    return tf.ensure_shape(image, (None, None, None))


def _apart(rare: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """A branch that is seldom taken, as a call: one operation where it is not.

    The branches of a cond become part of the graph, where each operation of those that
    are not taken costs as much as a small one that is.
    """
    called: Callable[..., tf.Tensor] = tf.function(
        rare, experimental_attributes={"_noinline": True}, autograph=False
    )
    return called


def _gif_or_bmp(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    return tf.cond(
        _starts(encoded, b"GIF8"),
        lambda: _gif(encoded, max_pixels),
        lambda: _bmp(encoded, max_pixels),
    )


def _decoded(encoded: tf.Tensor, channels: int = 0) -> tf.Tensor:
    return tf.io.decode_image(
        encoded, channels=channels, dtype=tf.float32, expand_animations=False
    )


def _limited(encoded: tf.Tensor, sides: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """The same bytes, once their header has been found to claim no more."""
    claimed = tf.reduce_prod(tf.abs(tf.cast(sides, tf.int64)))
    return _provided(encoded, claimed <= max_pixels, claimed)


def _provided(encoded: tf.Tensor, held: tf.Tensor, told: tf.Tensor) -> tf.Tensor:
    """The same bytes; an error where what they must hold is not so."""
    # tf.debugging's own are a dozen operations each, and a batch of one feels them.
    check = tf.raw_ops.Assert(condition=held, data=[told])
    with tf.control_dependencies([check]):
        return tf.identity(encoded)


def _png(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    sides = tf.strings.substr(encoded, 16, 8)
    sides = tf.io.decode_raw(sides, tf.int32, little_endian=False)
    encoded = _limited(encoded, sides, max_pixels)
    # Mostly the pixels come at once: then there is neither a colour nor a turn named.
    return tf.cond(
        tf.equal(tf.strings.substr(encoded, 37, 4), b"IDAT"),
        lambda: _decoded(encoded),
        lambda: _apart(_png_with_chunks)(encoded),
    )


def _png_with_chunks(encoded: tf.Tensor) -> tf.Tensor:
    head = _parted(encoded, b"IDAT")[0]
    colour = _number(encoded, 25, 1)
    named = tf.size(_parted(head, b"tRNS")) > 1
    # Alpha out of a named colour is made only where four channels are asked for.
    image = tf.cond(
        named & (tf.equal(colour, 0) | tf.equal(colour, 2)),
        lambda: _decoded(encoded, 4),
        lambda: _decoded(encoded),
    )
    return _turned(image, _orientation(head, b"eXIf"))


def _jpeg(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    shape = tf.image.extract_jpeg_shape(encoded)
    encoded = _limited(encoded, shape[:2], max_pixels)
    scans = tf.size(_parted(encoded, b"\xff\xda", -1)) - 1
    image = _decoded(_provided(encoded, scans <= _JPEG_SCANS, scans))
    # Behind a JFIF header mostly come tables: then no turn is asked for.
    return tf.cond(
        tf.equal(tf.strings.substr(encoded, 20, 2), b"\xff\xdb"),
        lambda: image,
        lambda: _apart(_jpeg_with_exif)(image, encoded),
    )


def _jpeg_with_exif(image: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
    head = tf.strings.substr(encoded, 0, _HEAD_BYTES)
    return _turned(image, _orientation(head, b"Exif\0\0"))


def _bmp(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    # The height is negative for top-down bitmaps.
    sides = tf.io.decode_raw(tf.strings.substr(encoded, 18, 8), tf.int32)
    encoded = _limited(encoded, sides, max_pixels)
    bits = _number(encoded, 28, 2)
    grey = (
        tf.equal(bits, 8)
        & tf.equal(_number(encoded, 10, 4), 1078)
        & tf.equal(tf.strings.substr(encoded, 54, 1024), _GREY_PALETTE)
    )
    plain = tf.equal(_number(encoded, 30, 4), 0) & _starts(encoded, b"BM")
    encoded = _provided(encoded, plain & (tf.equal(bits, 24) | grey), bits)
    # As floats, decode_image 2.16 aborts the whole process on top-down bitmaps.
    return tf.cast(tf.io.decode_bmp(encoded), tf.float32) / 255.0


def _gif(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """The first frame, alone: the decoder would unpack all of them into memory."""
    screen = tf.stack([_number(encoded, k, 2) for k in (6, 8)])
    encoded = _limited(encoded, screen, max_pixels)
    at = 13 + _table(_number(encoded, 10, 1))

    def byte(place: tf.Tensor) -> tf.Tensor:
        return _number(encoded, place, 1)

    def more(at: tf.Tensor, inside: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return inside | tf.equal(byte(at), 0x21)

    def block(
        at: tf.Tensor, inside: tf.Tensor, opaque: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Over the mark of an extension, or over a sub-block inside of one."""
        control = ~inside & tf.equal(byte(at + 1), 0xF9)
        flags = tf.cond(control, lambda: byte(at + 3), lambda: tf.constant(0, tf.int64))
        opaque = tf.where(control, tf.equal(flags % 2, 0), opaque)
        size = byte(at)
        after = tf.where(inside, at + 1 + size, at + 2)
        return after, ~inside | (size > 0), opaque

    at, inside, opaque = tf.while_loop(
        more,
        block,
        (at, tf.constant(False), tf.constant(True)),
        maximum_iterations=2 * _GIF_BLOCKS,
    )
    frame = tf.stack([_number(encoded, at + k, 2) for k in (1, 3, 5, 7)])
    whole = tf.reduce_all(tf.equal(frame, tf.pad(screen, [[2, 0]])))
    found = whole & opaque & ~inside & tf.equal(byte(at), 0x2C)
    encoded = _provided(encoded, found, at)
    at = at + 11 + _table(byte(at + 9))
    # No second frame can begin without these two bytes: mostly there is none to cut.
    length = tf.cast(tf.strings.length(encoded), tf.int64)
    rest = tf.strings.substr(encoded, at, length)
    encoded = tf.cond(
        tf.size(_parted(rest, b"\0\x2c")) > 1,
        lambda: _cut(encoded, at),
        lambda: encoded,
    )
    return _decoded(encoded)


def _cut(encoded: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """A GIF up to the end of the frame whose first sub-block stands at `at`."""
    raw = tf.cast(tf.io.decode_raw(encoded, tf.uint8), tf.int64)
    (end,) = tf.while_loop(
        lambda at: raw[at] > 0, lambda at: (at + 1 + raw[at],), (at,)
    )
    whole = tf.strings.substr(encoded, tf.constant(0, tf.int64), end + 1)
    return tf.strings.join([whole, b";"])


def _table(flags: tf.Tensor) -> tf.Tensor:
    """Bytes of the colour table that a GIF's flags tell of."""
    sizes = tf.constant([3 << power for power in range(1, 9)], tf.int64)
    return tf.where(flags >= 128, tf.gather(sizes, flags % 8), 0)


def _starts(encoded: tf.Tensor, magic: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(encoded, 0, len(magic)), magic)


def _parted(encoded: tf.Tensor, mark: bytes, most: int = 1) -> tf.Tensor:
    """What stands before, between and behind the first `most` marks; -1 = all."""
    # tf.strings.split makes a ragged tensor first, which costs more than the search.
    return tf.raw_ops.StringSplitV2(input=encoded[None], sep=mark, maxsplit=most).values


def _orientation(head: tf.Tensor, mark: bytes) -> tf.Tensor:
    """The EXIF orientation, 1 to 8, of the TIFF directory behind a mark; 1 if none."""
    parts = _parted(head, mark)
    upright = tf.constant(1, tf.int64)
    return tf.cond(
        tf.size(parts) > 1, lambda: _tiff_orientation(parts[-1]), lambda: upright
    )


def _tiff_orientation(tiff: tf.Tensor) -> tf.Tensor:
    """Of a directory whose entries have 12 bytes each (TIFF 6.0, section 2)."""
    length = tf.strings.length(tiff)
    raw = tf.cast(tf.io.decode_raw(tiff, tf.uint8), tf.int64)
    big = _starts(tiff, b"MM")
    known = (big | _starts(tiff, b"II")) & (length >= 8)
    length = tf.cast(length, tf.int64)
    padded = tf.pad(raw, [[0, 16]])

    def number(at: tf.Tensor, width: int) -> tf.Tensor:
        """Of `at`, int64 of any shape, clipped to the block."""
        at = tf.clip_by_value(at, 0, length)
        found = [tf.gather(padded, at + k) for k in range(width)]
        little = tf.add_n([one * 256**k for k, one in enumerate(found)])
        backwards = [one * 256**k for k, one in enumerate(found[::-1])]
        return tf.where(big, tf.add_n(backwards), little)

    first = number(tf.constant(4, tf.int64), 4) + 2
    entries = tf.minimum(number(first - 2, 2), (length - first) // 12)
    entries = tf.where(known, tf.clip_by_value(entries, 0, _EXIF_ENTRIES), 0)
    at = first + 12 * tf.range(entries)
    ours = tf.boolean_mask(at, tf.equal(number(at, 2), 0x0112))[:1]
    value = tf.where(tf.equal(number(ours + 2, 2), 3), number(ours + 8, 2), 1)
    value = tf.concat([value, tf.constant([1], tf.int64)], 0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _turned(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """[height, width, channels] as EXIF wants it shown."""
    image = tf.cond(
        orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image
    )
    for axis, which in ((0, (3, 4, 7, 8)), (1, (2, 3, 6, 7))):
        back = tf.reduce_any(tf.equal(orientation, tf.constant(which, tf.int64)))
        image = _reversed(image, back, axis)
    return image


def _reversed(image: tf.Tensor, back: tf.Tensor, axis: int) -> tf.Tensor:
    return tf.cond(back, lambda: tf.reverse(image, [axis]), lambda: image)


def _number(encoded: tf.Tensor, start: int | tf.Tensor, width: int) -> tf.Tensor:
    """A whole number of `width` bytes, the lowest first; int64."""
    raw = tf.io.decode_raw(tf.strings.substr(encoded, start, width), tf.uint8)
    weights = tf.constant([256**k for k in range(width)], tf.int64)
    return tf.reduce_sum(tf.cast(raw, tf.int64) * weights)
