"""Finds a zip's member by the name a person reads, however it was written.

Archives made on Windows hold names in the maker's own code page and do not say which;
zip's specification has cp437 then, and `zipfile` decodes so. The bytes are compared
instead: a name that is asked for is encoded in each of the code pages in use.
"""

import unicodedata
import zipfile
import zlib

_UTF8_FLAG = 0x800
# What Windows, macOS and old Unix tools write, the most widely used first.
_CODE_PAGES = (
    "utf-8", "gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1252", "cp1251",
    "cp866", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp874", "cp850",
)  # fmt: skip


class MemberNames:
    """The names in one archive; what is not plain ASCII is indexed when first asked."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._by_bytes: dict[bytes, zipfile.ZipInfo] | None = None

    def find(self, member: str) -> zipfile.ZipInfo | None:
        """The entry of a name; None where there is none."""
        try:
            return self._archive.getinfo(member)
        except KeyError:
            pass
        known = self._index()
        for form in ("NFC", "NFD"):
            wanted = unicodedata.normalize(form, member)
            for page in _CODE_PAGES:
                try:
                    found = known.get(wanted.encode(page))
                except UnicodeEncodeError:
                    continue
                if found is not None:
                    return found
        return None

    def some(self) -> str:
        """A sentence of what the archive holds, for whoever asked for another name."""
        files = [i for i in self._archive.infolist() if not i.is_dir()]
        if not files:
            return "the archive holds no file"
        odd = next((i for i in files if not _says_encoding(i)), None)
        if odd is not None:
            return (
                f"the archive holds {len(files)} files, whose names are stored in an"
                f" encoding it does not say, such as {odd.filename.encode('cp437')!r}"
            )
        return f"the archive holds {len(files)} files, such as {files[0].filename!r}"

    def _index(self) -> dict[bytes, zipfile.ZipInfo]:
        if self._by_bytes is None:
            self._by_bytes = {}
            for info in self._archive.infolist():
                for name in _spellings(info):
                    self._by_bytes.setdefault(name.replace(b"\\", b"/"), info)
                    self._by_bytes.setdefault(name, info)
        return self._by_bytes


def _says_encoding(info: zipfile.ZipInfo) -> bool:
    return bool(info.flag_bits & _UTF8_FLAG) or info.filename.isascii()


def _spellings(info: zipfile.ZipInfo) -> list[bytes]:
    """The name's bytes, and its UTF-8 where an extra field holds that."""
    if info.flag_bits & _UTF8_FLAG:
        return [info.filename.encode("utf-8", "surrogatepass")]
    raw = info.filename.encode("cp437", "replace")
    found, extra = [raw], info.extra
    while len(extra) >= 4:
        kind, size = extra[:2], int.from_bytes(extra[2:4], "little")
        body, extra = extra[4 : 4 + size], extra[4 + size :]
        # Info-ZIP's Unicode Path: version, the raw name's checksum, the name.
        if kind == b"up" and body[:5] == b"\1" + zlib.crc32(raw).to_bytes(4, "little"):
            found.append(body[5:])
    return found
