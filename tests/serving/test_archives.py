"""Members of zips: any name, any damage, never more than the limit."""

import bz2
import concurrent.futures
import io
import lzma
import random
import struct
import threading
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import pytest

from serving import archives, media, zip_member
from serving.media import MediaError

METHODS = (
    zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA
)  # fmt: skip
CONTENT = random.Random(0).randbytes(3000) + bytes(200_000)


def refusal(
    path: Path, member: str = "m", max_bytes: int = media.MAX_BYTES
) -> MediaError:
    with pytest.raises(MediaError) as caught:
        media.read_media(f"{path}!{member}", max_bytes=max_bytes)
    return caught.value


def write(path: Path, members: dict[str, bytes], method: int = 0) -> bytes:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path.read_bytes()


def renamed(path: Path, encoded: bytes, stands_for: bytes) -> None:
    """Writes a name's bytes as old tools do: no flag says their encoding."""
    assert len(encoded) == len(stands_for)
    path.write_bytes(path.read_bytes().replace(stands_for, encoded))


@pytest.mark.parametrize("method", METHODS)
def test_members_are_read_whole(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    write(path, {"m": CONTENT, "empty": b"", "o": b"other"}, method)
    assert media.read_media(f"{path}!m") == CONTENT
    assert media.read_media(f"{path}!o") == b"other"
    assert media.read_media(f"{path}!m", max_bytes=len(CONTENT)) == CONTENT
    assert refusal(path, max_bytes=len(CONTENT) - 1).reason == "too_many_bytes"
    assert refusal(path, "empty").reason == "empty_file"


def test_a_server_that_keeps_waiting_holds_its_own_archive_only(
    tmp_path: Path,
) -> None:
    write(tmp_path / "slow.zip", {"m": b"late"})
    write(tmp_path / "a.zip", {"m": b"x"})
    asked, go = threading.Event(), threading.Event()
    opened: list[str] = []

    def wait(path: str) -> BinaryIO:
        opened.append(path)
        asked.set()
        assert go.wait(60)
        return open(tmp_path / "slow.zip", "rb")

    def read() -> bytes:
        return archives.read_member("x://slow.zip", "m", wait, 100, "slow")

    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        try:
            slow = [threads.submit(read) for _ in range(2)]
            assert asked.wait(60)
            other = threads.submit(media.read_media, str(tmp_path / "a.zip!m"))
            assert other.result(60) == b"x"
        finally:
            go.set()
        assert [one.result(60) for one in slow] == [b"late"] * 2
    assert opened == ["x://slow.zip"]
    archives.close_all()


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_member_is_refused_alone(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    whole = bytearray(write(path, {"good": CONTENT, "m": CONTENT}, method))
    start = zipfile.ZipFile(path).getinfo("m").header_offset + 31 + 20
    whole[start : start + 200] = random.Random(1).randbytes(200)
    path.write_bytes(whole)
    error = refusal(path)
    assert error.reason == "corrupt_archive"
    assert "member 'm' is damaged" in str(error)
    assert media.read_media(f"{path}!good") == CONTENT


def test_a_member_without_a_beginning_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(write(path, {"m": b"x"}).replace(b"PK\3\4", b"PK\3\5"))
    assert refusal(path).reason == "corrupt_archive"


def test_a_damaged_directory_is_a_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    whole = write(path, {"m": b"x"})
    at = whole.index(b"PK\1\2")
    path.write_bytes(whole[:at] + b"XX" + whole[at + 2 :])
    assert refusal(path).reason == "corrupt_archive"
    # A name that says it is UTF-8 and is not.
    path.write_bytes(write(path, {"é": b"x"}).replace("é".encode(), b"\xff\xff"))
    assert refusal(path).reason == "corrupt_archive"


@pytest.mark.parametrize(
    ("member", "encoding"),
    [
        ("图片/1.png", "gbk"), ("圖片/1.png", "big5"), ("写真/1.png", "cp932"),
        ("사진/1.png", "cp949"), ("Öl/1.png", "cp1252"), ("фото/1.png", "cp866"),
        ("фото/1.png", "cp1251"), ("图片/1.png", "utf-8"),
    ],
)  # fmt: skip
def test_names_in_an_unnamed_code_page_are_found(
    tmp_path: Path, member: str, encoding: str
) -> None:
    path = tmp_path / "a.zip"
    name = member.encode(encoding)
    placeholder = b"X" * len(name)
    write(path, {placeholder.decode(): CONTENT, "z": b""})
    renamed(path, name, placeholder)
    assert media.read_media(f"{path}!{member}") == CONTENT


def test_other_spellings_of_a_name_are_found(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    decomposed = unicodedata.normalize("NFD", "é/ü.png")
    write(path, {decomposed: b"macOS", "dir\\x.png": b"Windows"})
    assert media.read_media(f"{path}!é/ü.png") == b"macOS"
    assert media.read_media(f"{path}!dir/x.png") == b"Windows"
    info = zipfile.ZipInfo("AB.png")
    raw = "图".encode("gbk") + b".png"
    body = b"\1" + struct.pack("<I", zlib.crc32(raw)) + "图.png".encode()
    info.extra = b"up" + struct.pack("<H", len(body)) + body
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, b"Info-ZIP")
    renamed(path, raw, b"AB.png")
    assert media.read_media(f"{path}!图.png") == b"Info-ZIP"


def test_a_missing_member_is_told_with_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write(path, {"dir/": b"", "dir/one.png": b"x"})
    assert str(refusal(path, "one.png")).endswith(
        "no member 'one.png'; the archive holds 1 files, such as 'dir/one.png'"
    )
    renamed(path, "图".encode("gbk") + b"e.png", b"one.png")
    assert "stored in an encoding it does not say, such as b'dir/\\xcd" in str(
        refusal(path, "二.png")
    )
    with zipfile.ZipFile(path, "w"):
        pass
    assert "the archive holds no file" in str(refusal(path))


def patched(path: Path, change: tuple[int, int, int]) -> None:
    """Writes 16 bits into both headers of the only member: two offsets, a value."""
    data = bytearray(path.read_bytes())
    local, central, value = change
    struct.pack_into("<H", data, local, value)
    struct.pack_into("<H", data, data.index(b"PK\1\2") + central, value)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((6, 8, 1), "under a password"),
        ((8, 10, 99), "under a password"),
        ((8, 10, 9), r"method 9 \(Deflate64\); pack it with Deflate"),
        ((8, 10, 93), r"method 93 \(Zstandard\)"),
    ],
)
def test_what_cannot_be_read_says_why(
    tmp_path: Path, change: tuple[int, int, int], says: str
) -> None:
    path = tmp_path / "a.zip"
    write(path, {"m": b"secret"})
    patched(path, change)
    with pytest.raises(MediaError, match=says) as caught:
        media.read_media(f"{path}!m")
    assert caught.value.reason == "unreadable_file"


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_bomb_gives_no_more_than_the_limit(tmp_path: Path, method: int) -> None:
    path = tmp_path / "bomb.zip"
    packed = {
        zipfile.ZIP_DEFLATED: zlib.compress(bytes(5_000_000))[2:-4],
        zipfile.ZIP_BZIP2: bz2.compress(bytes(5_000_000)) ,
        zipfile.ZIP_LZMA: b"\x10\2\5\0" + lzma.compress(
            bytes(5_000_000), lzma.FORMAT_ALONE
        )[:5] + lzma.compress(bytes(5_000_000), lzma.FORMAT_ALONE)[13:],
    }[method]  # fmt: skip
    assert len(packed) < 60_000
    # The archive says that ten bytes come out.
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m", packed)
    path.write_bytes(out.getvalue())
    patched(path, (8, 10, method))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    struct.pack_into("<I", data, at + 24, 10)
    path.write_bytes(data)
    largest = 0
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:

        def read_at(offset: int, size: int) -> bytes:
            file.seek(offset)
            return file.read(size)

        for piece in zip_member._decompressed(archive.getinfo("m"), read_at):
            largest = max(largest, len(piece))
    assert largest <= 65536
    assert refusal(path, max_bytes=1000).reason == "too_many_bytes"
    assert refusal(path).reason == "corrupt_archive"


def test_archives_are_closed(tmp_path: Path) -> None:
    for i in range(40):
        write(tmp_path / f"{i}.zip", {"m": b"x"})
        media.read_media(f"{tmp_path / f'{i}.zip'}!m")
    assert len(archives._open_archives) <= 16
    archives.close_all()
    assert not archives._open_archives
