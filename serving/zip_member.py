"""One member of a zip, decompressed in small pieces and never beyond a limit.

`zipfile` decompresses whatever the bytes it reads hold: 4 KiB of bzip2 or LZMA can be
gigabytes. Here each step says how much it may give. Format: PKWARE's APPNOTE 6.3.10.
"""

import bz2
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

_METHODS = {
    1: "Shrink", 6: "Implode", 9: "Deflate64", 19: "LZ77", 93: "Zstandard",
    95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES encryption",
}  # fmt: skip
_PIECE = 64 * 1024
_MAX_DICTIONARY_BYTES = 256 * 2**20


class Refused(Exception):
    """A member that is whole but cannot be read here; the message says why."""


class Damaged(Exception):
    """A member that does not hold what its archive says."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Deflate:
    """zlib's raw stream with bz2's and lzma's interface."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def read(
    info: zipfile.ZipInfo, read_at: Callable[[int, int], bytes], max_bytes: int
) -> bytes:
    """The first `max_bytes + 1` bytes of a member.

    Args:
        info: the archive's entry.
        read_at: gives the archive's bytes from an offset, at most so many.
        max_bytes: one more byte than this tells the caller that it was exceeded.

    Raises:
        Refused: it is encrypted, or compressed by a method unknown here.
        Damaged: it cannot be decompressed, or does not match its checksum.
        OSError: from `read_at`.
    """
    if info.flag_bits & 0x1 or info.compress_type == 99:
        raise Refused("it is under a password; pack it without one")
    methods = (
        zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA
    )  # fmt: skip
    if info.compress_type not in methods:
        known = _METHODS.get(info.compress_type, "unknown")
        raise Refused(
            f"it is compressed by method {info.compress_type} ({known}); pack it with"
            " Deflate"
        )
    pieces, left, checksum = [], max_bytes + 1, 0
    try:
        for piece in _decompressed(info, read_at):
            piece = piece[:left]
            checksum = zlib.crc32(piece, checksum)
            pieces.append(piece)
            left -= len(piece)
            if not left:
                return b"".join(pieces)
    except (zlib.error, lzma.LZMAError, EOFError, MemoryError, ValueError) as error:
        raise Damaged(f"it cannot be decompressed ({error})") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise Damaged(f"it cannot be decompressed ({error})") from error  # bz2's
    size = max_bytes + 1 - left
    if size != info.file_size or checksum != info.CRC:
        raise Damaged(
            f"its {size} bytes do not match the size ({info.file_size}) and checksum"
            " that the archive holds for it"
        )
    return b"".join(pieces)


def _decompressed(
    info: zipfile.ZipInfo, read_at: Callable[[int, int], bytes]
) -> Iterator[bytes]:
    """Pieces of at most `_PIECE` bytes."""
    stored = _stored(info, read_at)
    if info.compress_type == zipfile.ZIP_STORED:
        yield from stored
        return
    decompressor: _Decompressor
    data = b""
    if info.compress_type == zipfile.ZIP_DEFLATED:
        decompressor = _Deflate()
    elif info.compress_type == zipfile.ZIP_BZIP2:
        decompressor = bz2.BZ2Decompressor()
    else:
        data = next(stored, b"")
        decompressor, data = _lzma(data)
    while not decompressor.eof:
        if decompressor.needs_input and not data:
            data = next(stored, b"")
            if not data and info.file_size == 0:
                return
            if not data:
                raise EOFError("it ends too early")
        piece = decompressor.decompress(data, _PIECE)
        data = b""
        if piece:
            yield piece


def _stored(
    info: zipfile.ZipInfo, read_at: Callable[[int, int], bytes]
) -> Iterator[bytes]:
    """The compressed bytes, out of the archive."""
    header = read_at(info.header_offset, 30)
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise ValueError("nothing begins where the archive says")
    name, extra = struct.unpack("<HH", header[26:30])
    at, left = info.header_offset + 30 + name + extra, info.compress_size
    while left > 0:
        data = read_at(at, min(left, _PIECE))
        if not data:
            raise EOFError("the archive ends before it")
        yield data
        at, left = at + len(data), left - len(data)


def _lzma(data: bytes) -> tuple[lzma.LZMADecompressor, bytes]:
    """A decompressor by a member's first bytes, and those that follow its header."""
    if len(data) < 9 or data[2:4] != b"\5\0" or data[4] >= 9 * 5 * 5:
        raise ValueError("no LZMA header")
    rest, lc = divmod(data[4], 9)
    pb, lp = divmod(rest, 5)
    dictionary = max(int.from_bytes(data[5:9], "little"), 4096)
    if dictionary > _MAX_DICTIONARY_BYTES:
        raise ValueError("an LZMA dictionary above 256 MiB")
    chain = {
        "id": lzma.FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb
    }  # fmt: skip
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain]), data[9:]
