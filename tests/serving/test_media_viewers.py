"""A model sees of a picture file what a person sees: the graph against Pillow's viewer."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving import media, pictures
from serving.graph_pictures import plain_gif, seen_orientation
from serving.media import MediaError
from tests.serving.picture_files import (
    encoded,
    exif,
    files,
    png,
    several,
    shown,
    sixteen,
    smooth,
    square,
)
from trainer.decoding import to_channels
from trainer.decoding_pictures import decode_picture

FILES = dict(files())
LOSSY = ("jpeg", "avif", "webp-lossy", "jpeg2000")


@functools.cache
def graph(background: float) -> Callable[[Any], Any]:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def picture(data: Any) -> Any:
        return to_channels(decode_picture(data, 10_000), 3, background)

    return picture


def seen(data: bytes, background: int = 255) -> np.ndarray:
    """As the model sees bytes that a caller sends as they are."""
    return np.asarray(graph(background / 255.0)(tf.constant(data)))


@pytest.mark.parametrize("name", list(FILES))
@pytest.mark.parametrize("background", [255, 0])
def test_the_model_sees_what_a_viewer_shows(name: str, background: int) -> None:
    data = FILES[name]
    got = seen(media.servable_image(data, verify=True), background)
    expected = shown(data, background)
    assert got.shape == expected.shape
    # Two decoders of JPEG differ by the rounding of their transforms and colours.
    atol = 12 / 255 if name.startswith(LOSSY) else 1.01 / 255
    np.testing.assert_allclose(got, expected, atol=atol)
    width_height = media.describe(data, "image")
    assert (width_height["height"], width_height["width"]) == got.shape[:2]


@pytest.mark.parametrize("name", list(FILES))
def test_bytes_sent_as_they_are_look_the_same_or_are_refused(name: str) -> None:
    try:
        got = seen(FILES[name])
    except tf.errors.InvalidArgumentError:
        # Then it is one that ingestion and clients transcode.
        assert media.servable_image(FILES[name]) != FILES[name]
        return
    transcoded = {"jpeg-exif-long", "jpeg-xmp", "png-xmp"}  # not looked for in graphs
    if name not in transcoded:
        np.testing.assert_allclose(got, shown(FILES[name], 255), atol=12 / 255)


def test_only_what_a_graph_would_misread_is_transcoded() -> None:
    unchanged = {name for name, data in FILES.items()
                 if media.servable_image(data) == data}  # fmt: skip
    assert unchanged == {
        *(f"png-{mode}" for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        *("png-palette-trns", "png-palette-trns-one", "png-grey-trns", "png-rgb-trns"),
        *("png-interlaced", "png-gamma", "png-1-trns", "png-2-bits-trns"),
        *("jpeg-exif-motorola", "jpeg-exif-nine"),
        *(f"{kind}-exif-{turn}" for kind in ("png", "jpeg") for turn in range(1, 9)),
        *(f"jpeg-{mode}" for mode in ("L", "CMYK", "RGB")),
        *("jpeg-progressive", "jpeg-rgb-stored", "jpeg-several", "jpeg-behind"),
        *("gif", "gif-grey", "gif-interlaced"),
        *("bmp-L", "bmp-RGB", "bmp-v4", "bmp-top-down"),
    }


def test_see_through_parts_show_the_background_in_every_format() -> None:
    grey, rgb = square(), np.dstack([square()] * 3)
    alpha = (grey > 0).astype(np.uint8) * 255
    same = [
        encoded(Image.fromarray(grey), "PNG", transparency=0),
        encoded(Image.fromarray(rgb), "PNG", transparency=(0, 0, 0)),
        encoded(Image.fromarray(grey).convert("P"), "GIF", transparency=0),
        encoded(Image.fromarray(np.dstack([rgb, alpha])), "PNG"),
        png(sixteen(grey.astype(np.uint16) * 257), 16, 0, (b"tRNS", b"\0\0")),
        png(sixteen(rgb.astype(np.uint16) * 257), 16, 2, (b"tRNS", bytes(6))),
    ]
    expected = np.where(rgb > 0, 200 / 255, 1.0)
    for data in same:
        got = seen(media.servable_image(data, verify=True))
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_sixteen_bits_are_kept_in_turned_and_named_transparent_pictures() -> None:
    values = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24) * 100
    chunks = (b"eXIf", exif(6)[6:]), (b"tRNS", b"\0\0")
    data = png(sixteen(values), 16, 0, *chunks)
    turned = np.rot90(values, -1) / 65535.0
    turned[0, -1] = 1.0  # the one see-through pixel
    for one in (
        data,
        png(sixteen(values), 16, 0, chunks[1], (b"tEXt", b"a\0" + exif(6))),
    ):
        assert media.servable_image(one, verify=True) == one
    np.testing.assert_allclose(seen(data)[..., 0], turned, atol=1e-6)
    tiff = encoded(Image.fromarray(values), "TIFF", tiffinfo={274: 6})
    kept = seen(media.servable_image(tiff))[..., 0]
    turned[0, -1] = 0.0
    np.testing.assert_allclose(kept, turned, atol=1e-6)


def test_sixteen_bits_of_colour_and_alpha_are_composited() -> None:
    levels = np.random.default_rng(5).integers(0, 65536, (24, 24, 4))
    data = png(sixteen(levels), 16, 6)
    assert media.servable_image(data, verify=True) == data
    colour, alpha = levels[..., :3] / 65535.0, levels[..., 3:] / 65535.0
    np.testing.assert_allclose(seen(data), colour * alpha + 1 - alpha, atol=1e-5)
    grey = png(sixteen(levels[..., 2:]), 16, 4)
    shade = colour[..., 2:] * alpha + 1 - alpha
    np.testing.assert_allclose(seen(grey)[..., :1], shade, atol=1e-5)


def test_exif_behind_the_pixels_or_damaged() -> None:
    data = encoded(smooth(), "JPEG", exif=exif(6))
    at = data.index(b"Exif\0\0")
    for k in range(6, 32):  # every byte of the block, one at a time
        broken = bytearray(data)
        broken[at + k] ^= 0xFF
        sent = media.servable_image(bytes(broken), verify=True)
        # Whatever Pillow makes of it, the graph makes the same.
        picture = pictures.opened(bytes(broken), "")
        turns = pictures.orientation(picture) >= 5
        assert seen(sent).shape == ((40, 24, 3) if turns else (24, 40, 3))
        assert seen(bytes(broken)).shape[:2] == (
            (40, 24) if seen_orientation(bytes(broken)) >= 5 else (24, 40)
        )


def test_of_an_animation_only_the_first_frame_is_unpacked() -> None:
    data = several("GIF")
    np.testing.assert_allclose(seen(data), shown(data, 255), atol=1e-6)
    assert not plain_gif(data)
    # Frames that claim 65,535 x 65,535 and come behind the first one.
    frame = b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\x00"
    alone = FILES["gif"]
    np.testing.assert_allclose(
        seen(alone[:-1] + frame * 500 + b";"), shown(alone, 255), atol=1e-6
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        seen(alone[:6] + b"\x60\xea\x60\xea" + alone[10:])  # 60,000 x 60,000


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    data = encoded(smooth(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    bomb = data[:-2] + data[at:-2] * 2000 + data[-2:]
    with pytest.raises(MediaError, match="scans, at most 100 are read"):
        media.servable_image(bomb)
    with pytest.raises(tf.errors.InvalidArgumentError):
        seen(bomb)


def test_what_starts_other_programs_or_has_no_mark_is_not_read() -> None:
    for kind in ("EPS", "TGA"):
        with pytest.raises(MediaError) as caught:
            media.servable_image(encoded(smooth(), kind))
        assert caught.value.reason == "unsupported_format"
    heic = b"\0\0\0\x18ftypheic" + bytes(16)
    with pytest.raises(MediaError, match="HEIC picture, which is not read here"):
        media.servable_image(heic)


def test_a_photo_with_previews_behind_it_is_one_frame() -> None:
    assert pictures.count_frames(FILES["jpeg-several"]) == 1
    assert pictures.count_frames(several("TIFF")) == 3
