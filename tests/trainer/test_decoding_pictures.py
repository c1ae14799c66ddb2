import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.trainer.samples import encoded, picture, smooth_picture
from trainer.decoding import decode_rows, resize, to_channels
from trainer.decoding_pictures import decode_picture

PIXELS = 10_000


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decoded(data: Any) -> Any:
    return decode_picture(data, PIXELS)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def rows_of(data: Any) -> Any:
    def decode(one: Any) -> Any:
        image = to_channels(decode_picture(one, PIXELS), 3, 1.0)
        return resize(image, 6, 6, "stretch", 1.0)

    return decode_rows(data, decode, (6, 6, 3))


def values(data: bytes) -> np.ndarray:
    return np.asarray(decoded(tf.constant(data)))


def test_broken_rows_are_zeros_and_change_no_other_row() -> None:
    whole = encoded(picture(10, 12))
    corrupt = bytearray(encoded(picture(10, 12, seed=1)))
    corrupt[60] ^= 0xFF
    data = [whole, bytes(corrupt), whole[:-40], b"", b"hello, world", b"\x89PNG", whole]
    other = encoded(smooth_picture(9, 7), "JPEG")
    rows, present = rows_of(tf.constant([*data, other]))
    expected = [True, False, False, False, False, False, True, True]
    np.testing.assert_array_equal(present, expected)
    assert not np.asarray(rows)[~np.array(expected)].any()
    for i, alone in ((0, whole), (6, whole), (7, other)):
        np.testing.assert_array_equal(rows[i], rows_of(tf.constant([alone]))[0][0])


def test_an_empty_batch_gives_no_rows() -> None:
    rows, present = rows_of(tf.constant([], tf.string))
    assert rows.shape == (0, 6, 6, 3)
    assert present.shape == (0,)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_every_channel_count_is_read_exactly(channels: int) -> None:
    pixels = picture(5, 7, channels)
    np.testing.assert_allclose(values(encoded(pixels)), pixels / 255.0, atol=1e-7)


def test_sixteen_bits_are_kept() -> None:
    pixels = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1872 + 1
    got = values(encoded(pixels))
    np.testing.assert_allclose(got[..., 0], pixels / 65535.0, atol=1e-7)
    # Eight bits would have left 256 levels, 1/255 apart.
    assert len(np.unique(got)) == 35


def test_jpeg_is_near_pillows() -> None:
    data = encoded(smooth_picture(24, 31), "JPEG", quality=95)
    reference = np.asarray(Image.open(io.BytesIO(data))) / 255.0
    # Two decoders may differ by the rounding of their inverse cosine transforms.
    np.testing.assert_allclose(values(data), reference, atol=8 / 255)


def test_grey_jpeg_has_one_channel() -> None:
    data = encoded(smooth_picture(8, 8)[..., :1], "JPEG")
    assert values(data).shape == (8, 8, 1)


def top_down(bitmap: bytes) -> bytes:
    """The same BMP with its rows from the top, told by a negative height."""
    (offset,) = struct.unpack_from("<I", bitmap, 10)
    width, height = struct.unpack_from("<ii", bitmap, 18)
    stride = (width * 3 + 3) // 4 * 4
    rows = [bitmap[offset + i * stride :][:stride] for i in range(height)]
    out = bytearray(bitmap[:offset] + b"".join(rows[::-1]))
    struct.pack_into("<i", out, 22, -height)
    return bytes(out)


@pytest.mark.parametrize("turn", [bytes, top_down], ids=["bottom_up", "top_down"])
def test_bmp_is_read_exactly(turn: Callable[[bytes], bytes]) -> None:
    pixels = picture(5, 7)
    got = values(turn(encoded(pixels, "BMP")))
    np.testing.assert_allclose(got, pixels / 255.0, atol=1e-7)


def test_of_a_gif_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (7, 5), colour) for colour in ("#102030", "#ff0000")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    reference = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    got = values(buffer.getvalue())
    np.testing.assert_allclose(got, reference / 255.0, atol=1e-7)
    np.testing.assert_allclose(got[0, 0] * 255, [0x10, 0x20, 0x30], atol=1e-4)


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0")
    chunks = [header, data, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in chunks
    )


def patched(data: bytes, at: int, layout: str, *numbers: int) -> bytes:
    out = bytearray(data)
    struct.pack_into(layout, out, at, *numbers)
    return bytes(out)


def jpeg_of(width: int, height: int) -> bytes:
    data = encoded(smooth_picture(8, 8), "JPEG")
    return patched(data, data.index(b"\xff\xc0") + 5, ">HH", height, width)


SMALL = picture(8, 8)
BOMBS = {
    "png": png_header(60_000, 60_000),
    "png_overflow": png_header(2**31 - 1, 2**31 - 1),
    "gif": patched(encoded(SMALL, "GIF"), 6, "<HH", 65_000, 65_000),
    "bmp": patched(encoded(SMALL, "BMP"), 18, "<ii", 40_000, 40_000),
    "bmp_top_down": patched(encoded(SMALL, "BMP"), 18, "<ii", 40_000, -40_000),
    "jpeg": jpeg_of(65_000, 65_000),
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_what_claims_too_many_pixels_is_refused_by_its_header(name: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"assert|Condition|<="):
        decoded(tf.constant(BOMBS[name]))


def test_the_bound_itself_is_allowed() -> None:
    assert values(encoded(picture(100, 100))).shape == (100, 100, 3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(tf.constant(encoded(picture(100, 101))))


def test_transparent_pixels_show_the_background() -> None:
    image = np.array([[[0.2, 0.4, 0.6, 1.0], [0.2, 0.4, 0.6, 0.0]],
                      [[0.2, 0.4, 0.6, 0.25], [1.0, 1.0, 1.0, 0.5]]])  # fmt: skip
    got = to_channels(tf.constant(image, tf.float32), 3, 0.8)
    # colour * alpha + 0.8 * (1 - alpha)
    wanted = [[[0.2, 0.4, 0.6], [0.8, 0.8, 0.8]], [[0.65, 0.7, 0.75], [0.9, 0.9, 0.9]]]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_grey_with_alpha_is_composited_too() -> None:
    image = tf.constant([[[0.5, 0.5]]])
    np.testing.assert_allclose(to_channels(image, 3, 0.0), [[[0.25] * 3]], atol=1e-7)
    np.testing.assert_allclose(to_channels(image, 1, 0.0), [[[0.25]]], atol=1e-4)


def test_colour_becomes_grey_by_luma_and_grey_stays() -> None:
    grey = to_channels(tf.constant([[[0.2, 0.4, 0.6]]]), 1, 1.0)
    # 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    np.testing.assert_allclose(grey, [[[0.3630]]], atol=1e-4)
    pixels = tf.constant(picture(3, 4, 1) / 255.0, tf.float32)
    np.testing.assert_allclose(to_channels(pixels, 1, 1.0), pixels, atol=2e-4)


def pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow's antialiased bilinear resize, channel by channel in float32."""
    channels = [
        Image.fromarray(image[..., c].astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for c in range(image.shape[-1])
    ]
    return np.stack([np.asarray(c) for c in channels], -1)


@pytest.mark.parametrize("size", [(20, 30), (64, 64), (7, 50)])
def test_stretch_is_pillows_antialiased_resize(size: tuple[int, int]) -> None:
    image = smooth_picture(40, 60) / 255.0
    got = resize(tf.constant(image, tf.float32), *size, "stretch", 1.0)
    np.testing.assert_allclose(got, pillow(image, *size), atol=2e-3)


def test_pad_keeps_the_whole_picture_in_the_middle() -> None:
    image = np.full((4, 8, 1), 0.25, np.float32)
    got = np.asarray(resize(tf.constant(image), 8, 8, "pad", 0.75))[..., 0]
    wanted = np.full((8, 8), 0.75)
    wanted[2:6] = 0.25
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_pad_scales_down_and_up_without_distortion() -> None:
    image = smooth_picture(40, 20) / 255.0
    got = resize(tf.constant(image, tf.float32), 20, 20, "pad", 0.0)
    np.testing.assert_allclose(got[:, 5:15], pillow(image, 20, 10), atol=2e-3)
    assert not np.asarray(got)[:, :5].any()
    assert not np.asarray(got)[:, 15:].any()


def test_crop_keeps_the_middle() -> None:
    image = smooth_picture(40, 80) / 255.0
    got = resize(tf.constant(image, tf.float32), 20, 20, "crop", 0.0)
    np.testing.assert_allclose(got, pillow(image, 20, 40)[:, 10:30], atol=2e-3)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size", [(1, 1), (1, 400), (333, 2), (37, 41)])
def test_every_shape_is_met(fit: str, size: tuple[int, int]) -> None:
    image = tf.ones((*size, 3))
    got = resize(image, 13, 17, fit, 0.0)
    assert got.shape == (13, 17, 3)
    assert np.asarray(got).max() == pytest.approx(1.0, abs=1e-5)
