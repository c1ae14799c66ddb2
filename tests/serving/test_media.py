"""Reading files and making pictures servable; sounds and DICOM have their own files."""

import io
import multiprocessing
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving import media
from serving.media import MediaError


def encode(pixels: np.ndarray, kind: str, mode: str | None = None) -> bytes:
    out = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def reason(call: object, *args: object, **kwargs: object) -> str:
    with pytest.raises(MediaError) as caught:
        call(*args, **kwargs)  # type: ignore[operator]
    return caught.value.reason


class TestReading:
    def test_relative_absolute_and_zip_member(self, tmp_path: Path) -> None:
        (tmp_path / "a.bin").write_bytes(b"one")
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            archive.writestr("deep/b.bin", b"two")
        assert media.read_media("a.bin", base=str(tmp_path)) == b"one"
        assert media.read_media(str(tmp_path / "a.bin"), base="/nowhere") == b"one"
        assert media.read_media("set.zip!deep/b.bin", base=str(tmp_path)) == b"two"

    def test_a_pipe_holds_nobody(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        os.mkfifo(tmp_path / "pipe.zip")
        found: list[str] = []

        def read() -> None:
            for name in ("pipe", "pipe.zip!x", "/dev/zero"):
                found.append(reason(media.read_media, name, base=str(tmp_path)))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(60)
        assert found == ["not_a_file"] * 3

    def test_a_replaced_archive_is_read_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "set.zip"
        for content in (b"first", b"second!"):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("m", content)
            assert media.read_media(f"{path}!m") == content

    def test_any_tensorflow_filesystem_also_for_archives(self) -> None:
        import tensorflow as tf

        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("m", b"in memory")
        with tf.io.gfile.GFile("ram://set.zip", "wb") as file:
            file.write(out.getvalue())
        assert media.read_media("ram://set.zip!m") == b"in memory"
        assert media.read_media("set.zip!m", base="ram://") == b"in memory"
        assert reason(media.read_media, "ram://absent.png") == "missing_file"

    def test_errors_have_a_reason_and_name_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        (tmp_path / "bad.zip").write_bytes(b"PK no zip")
        (tmp_path / "big").write_bytes(bytes(11))
        with zipfile.ZipFile(tmp_path / "ok.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("big", bytes(1000))
        cases = {
            "absent": "missing_file",
            "ok.zip!absent": "missing_file",
            "absent.zip!x": "missing_file",
            ".": "not_a_file",
            "empty": "empty_file",
            "bad.zip!x": "corrupt_archive",
            "big": "too_many_bytes",
            "ok.zip!big": "too_many_bytes",
        }
        for path, expected in cases.items():
            with pytest.raises(MediaError) as caught:
                media.read_media(path, base=str(tmp_path), max_bytes=10)
            assert caught.value.reason == expected, path
            assert caught.value.name == path
            assert str(caught.value).startswith(f"{path}: ")

    def test_archives_serve_threads_and_forked_children(self, tmp_path: Path) -> None:
        path = tmp_path / "set.zip"
        expected = {f"m{i}": bytes([i]) * 50_000 for i in range(8)}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in expected.items():
                archive.writestr(member, content)
        wrong: list[str] = []

        def read_all() -> None:
            for _ in range(20):
                for member, content in expected.items():
                    if media.read_media(f"{path}!{member}") != content:
                        wrong.append(member)

        threads = [threading.Thread(target=read_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        child = multiprocessing.get_context("fork").Process(
            target=_read_in_child, args=(path,)
        )
        child.start()
        child.join(30)
        assert child.exitcode == 0


def _read_in_child(path: Path) -> None:
    assert media.read_media(f"{path}!m3") == bytes([3]) * 50_000


class TestPictures:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
    def test_what_tensorflow_decodes_passes_unchanged(
        self, kind: str, rgb: np.ndarray
    ) -> None:
        data = encode(rgb, kind)
        assert media.servable_image(data, verify=True) == data

    @pytest.mark.parametrize("kind", ["BMP", "GIF"])
    def test_half_a_picture_whose_length_is_known_is_refused(
        self, kind: str, rgb: np.ndarray
    ) -> None:
        cut = encode(rgb, kind)
        cut = cut[: len(cut) // 2]
        assert reason(media.servable_image, cut) == "corrupt_image"

    @pytest.mark.parametrize("kind", ["PNG", "JPEG"])
    def test_half_a_picture_is_found_only_by_verify(
        self, kind: str, rgb: np.ndarray
    ) -> None:
        cut = encode(rgb, kind)
        cut = cut[: len(cut) // 2]
        assert media.servable_image(cut) == cut
        assert reason(media.servable_image, cut, verify=True) == "corrupt_image"

    def test_webp_and_tiff_become_png_without_loss(self, rgb: np.ndarray) -> None:
        import tensorflow as tf

        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "WEBP", lossless=True)
        for data in (out.getvalue(), encode(rgb, "TIFF")):
            png = media.servable_image(data, verify=True)
            np.testing.assert_array_equal(tf.io.decode_png(png).numpy(), rgb)

    def test_16_bit_tiff_keeps_its_depth(self) -> None:
        import tensorflow as tf

        grey = np.array([[0, 1, 256], [40000, 65534, 65535]], np.uint16)
        png = media.servable_image(encode(grey, "TIFF"))
        decoded = tf.io.decode_png(png, dtype=tf.uint16).numpy()[..., 0]
        np.testing.assert_array_equal(decoded, grey)

    def test_bmp_with_palette_or_alpha_becomes_png(self, rgb: np.ndarray) -> None:
        import tensorflow as tf

        palette = Image.fromarray(rgb).convert("P")
        out = io.BytesIO()
        palette.save(out, "BMP")
        png = media.servable_image(out.getvalue())
        expected = np.asarray(palette.convert("RGB"))
        np.testing.assert_array_equal(
            tf.io.decode_image(png, channels=3).numpy(), expected
        )
        alpha = media.servable_image(encode(rgb, "BMP", mode="RGBA"))
        assert tf.io.decode_image(alpha, channels=3).shape == (24, 40, 3)

    def test_pixels_are_limited_before_decoding(self, rgb: np.ndarray) -> None:
        data = encode(rgb, "PNG")
        assert media.servable_image(data, max_pixels=960) == data
        assert reason(media.servable_image, data, max_pixels=959) == "too_many_pixels"
        # A header that claims 10^9 pixels and holds none must not be decoded.
        huge = bytearray(data)
        huge[16:24] = (10**5).to_bytes(4, "big") + (10**4).to_bytes(4, "big")
        import zlib

        huge[29:33] = zlib.crc32(bytes(huge[12:29])).to_bytes(4, "big")
        assert (
            reason(media.servable_image, bytes(huge), verify=True) == "too_many_pixels"
        )

    def test_no_picture(self, rgb: np.ndarray) -> None:
        assert reason(media.servable_image, b"") == "empty_file"
        assert reason(media.servable_image, b"hello") == "unsupported_format"
        assert reason(media.servable_image, encode(rgb, "PNG")[:20]) == "corrupt_image"
        with pytest.raises(MediaError, match=r"^scan\.xyz: no picture format"):
            media.servable_image(b"hello", name="scan.xyz")

    def test_describe(self, rgb: np.ndarray) -> None:
        assert media.describe(encode(rgb, "JPEG"), "image") == {
            "format": "jpeg",
            "width": 40,
            "height": 24,
            "channels": 3,
            "bits": 8,
        }
        grey = np.zeros((2, 3), np.uint16)
        found = media.describe(encode(grey, "PNG"), "image")
        assert (found["bits"], found["channels"]) == (16, 1)
