"""Decodes media inside a graph, one bad row at a time.

TensorFlow's decoders raise for the whole batch. tf.data can drop a failing element,
so each row is decoded as a dataset element and scattered back to its place: a row
that cannot be decoded becomes zeros and is reported as absent. All ops are TF core's.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_TAPS = 16  # zero crossings on each side of the resampling kernel
_TILE = 2**17
"""Products of a sample and the kernel that are held at a time: some 10 MiB."""

_MAX_RATE_HZ = 10_000_000
"""A higher rate is a damaged header; `serving.sound` sets such files aside, too."""


def decode_rows(
    encoded: tf.Tensor,
    decode: Callable[[tf.Tensor], tf.Tensor],
    shape: tuple[int, ...],
    dtype: tf.DType = tf.float32,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes every row that can be decoded.

    Args:
        encoded: string [batch], the files' bytes; "" = absent.
        decode: scalar string -> `dtype` of `shape`; may raise inside the graph.
        shape: static shape of one decoded row.
        dtype: of what is decoded.

    Returns:
        `dtype` [batch, *shape], zeros where decoding failed, and bool [batch].
    """
    count = tf.shape(encoded, out_type=tf.int64)[0]

    def element(i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return i, tf.ensure_shape(decode(encoded[i]), shape)

    rows = tf.data.Dataset.range(count).map(element).ignore_errors()
    # A sentinel behind the last row: get_single_element needs at least one.
    rows = rows.concatenate(
        tf.data.Dataset.from_tensors((count, tf.zeros(shape, dtype)))
    )
    indices, values = rows.batch(count + 1).get_single_element()
    indices = indices[:, None]
    dims = tf.concat([[count + 1], tf.constant(shape, tf.int64)], 0)
    decoded = tf.scatter_nd(indices, values, dims)[:-1]
    present = tf.scatter_nd(indices, tf.ones_like(indices[:, 0]), [count + 1])[:-1] > 0
    return tf.ensure_shape(decoded, (None, *shape)), present


def to_channels(image: tf.Tensor, channels: int, background: float) -> tf.Tensor:
    """Grey, grey+alpha, RGB or RGBA in [0, 1] -> 1 or 3 channels, alpha composited.

    Args:
        image: float32 [height, width, 1-4].
        channels: 1 (ITU-R BT.601 luma, as tf.image.rgb_to_grayscale) or 3.
        background: grey level in [0, 1] that shows through transparent pixels.
    """
    count = tf.shape(image)[-1]
    colour = tf.cond(
        count >= 3,
        lambda: image[..., :3],
        lambda: tf.repeat(image[..., :1], 3, axis=-1),
    )
    has_alpha = tf.equal(count % 2, 0)
    colour = tf.cond(
        has_alpha,
        lambda: colour * image[..., -1:] + background * (1.0 - image[..., -1:]),
        lambda: colour,
    )
    colour = tf.ensure_shape(colour, (None, None, 3))
    return tf.image.rgb_to_grayscale(colour) if channels == 1 else colour


def resize(
    image: tf.Tensor, height: int, width: int, fit: str, background: float
) -> tf.Tensor:
    """float32 [h, w, c] -> [height, width, c], antialiased bilinear.

    `fit`: stretch ignores the aspect ratio; pad keeps all of the picture on a
    background; crop keeps the middle.
    """
    if fit == "stretch":
        return tf.image.resize(image, (height, width), antialias=True)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    scales = tf.constant([height, width], tf.float32) / size
    scale = tf.reduce_min(scales) if fit == "pad" else tf.reduce_max(scales)
    new = tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1)
    image = tf.image.resize(image, new, antialias=True)
    return (
        tf.image.resize_with_crop_or_pad(image - background, height, width) + background
    )


def decode_sound(
    encoded: tf.Tensor, sample_rate_hz: int, samples: int, max_input_seconds: float
) -> tf.Tensor:
    """Scalar string (16-bit PCM WAV) -> float32 [samples].

    The mean of the channels, resampled to `sample_rate_hz`; longer sounds keep their
    middle, shorter ones are padded with zeros at the end.

    Raises InvalidArgumentError in-graph for what is no such WAV or is too long.
    """
    wave, rate = tf.audio.decode_wav(encoded)
    seconds = tf.shape(wave)[0] / tf.maximum(rate, 1)
    with tf.control_dependencies(
        [
            tf.debugging.assert_positive(rate),
            tf.debugging.assert_less_equal(rate, _MAX_RATE_HZ),
            tf.debugging.assert_positive(tf.shape(wave)[0]),
            tf.debugging.assert_less_equal(
                tf.cast(seconds, tf.float32), tf.constant(max_input_seconds, tf.float32)
            ),
        ]
    ):
        mono = tf.reduce_mean(wave, axis=-1)
    whole = resampled_length(tf.shape(mono)[0], rate, sample_rate_hz)
    start = tf.maximum((whole - samples) // 2, 0)
    length = tf.minimum(whole, samples)
    # Only what is kept is resampled: ten minutes would take gigabytes.
    mono = tf.cond(
        tf.equal(rate, sample_rate_hz),
        lambda: mono[start : start + length],
        lambda: resample(mono, rate, sample_rate_hz, start, length),
    )
    return tf.pad(mono, [[0, samples - length]])


def resampled_length(count: tf.Tensor, rate: tf.Tensor, new_rate: int) -> tf.Tensor:
    """ceil(count * new_rate / rate), int32."""
    exact = tf.cast(count, tf.int64) * new_rate
    rate = tf.cast(rate, tf.int64)
    return tf.cast(-(-exact // rate), tf.int32)


def resample(
    wave: tf.Tensor, rate: tf.Tensor, new_rate: int, start: tf.Tensor, length: tf.Tensor
) -> tf.Tensor:
    """Band-limited interpolation with a Hann-windowed sinc (Smith, 1984).

    The new samples are made a tile at a time: memory does not grow with the wave.

    Args:
        wave: float32 [samples].
        rate: int32 scalar, the wave's rate in Hz.
        new_rate: the wanted rate in Hz.
        start, length: int32 scalars, which of the new samples are wanted.

    Returns:
        float32 [length].
    """
    old = tf.cast(rate, tf.float64)
    count = tf.shape(wave)[0]
    # Going down, the kernel widens so that it cuts at the new Nyquist frequency.
    cutoff = tf.minimum(tf.constant(1.0, tf.float64), new_rate / old)
    half = tf.cast(tf.math.ceil(_TAPS / cutoff), tf.int32)
    half = tf.minimum(half, count)  # beyond the wave's ends there is nothing
    offsets = tf.range(-half + 1, half + 1)
    rows = tf.maximum(_TILE // (2 * half), 1)
    end = start + length

    def tile(begin: tf.Tensor) -> tf.Tensor:
        at = tf.range(begin, tf.minimum(begin + rows, end))
        centre = tf.cast(at, tf.float64) * old / new_rate
        index = tf.cast(tf.floor(centre), tf.int32)[:, None] + offsets[None]
        distance = tf.cast(centre[:, None] - tf.cast(index, tf.float64), tf.float32)
        scaled = distance * tf.cast(cutoff, tf.float32)
        window = tf.where(
            tf.abs(scaled) < _TAPS, 0.5 + 0.5 * tf.cos(3.14159265 * scaled / _TAPS), 0.0
        )
        angle = 3.14159265 * scaled
        sinc = tf.where(
            tf.abs(angle) < 1e-6,
            1.0,
            tf.sin(angle) / tf.where(tf.abs(angle) < 1e-6, 1.0, angle),
        )
        inside = (index >= 0) & (index < count)
        samples = tf.where(
            inside, tf.gather(wave, tf.clip_by_value(index, 0, count - 1)), 0.0
        )
        kernel = sinc * window * tf.cast(cutoff, tf.float32)
        return tf.reduce_sum(samples * kernel, axis=-1)

    tiles = -(-length // rows)
    found = tf.TensorArray(
        tf.float32, size=tiles, infer_shape=False, element_shape=[None]
    )
    _, found = tf.while_loop(
        lambda i, _: i < tiles,
        lambda i, found: (i + 1, found.write(i, tile(start + i * rows))),
        (0, found),
        parallel_iterations=1,
    )
    return found.concat()
