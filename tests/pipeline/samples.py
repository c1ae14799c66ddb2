"""Small media files and manifests, made on the spot."""

import csv
import io
import json
import struct
import wave
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.config import Config, from_mapping


def png(width: int = 8, height: int = 6, level: int = 128) -> bytes:
    """A grey 8-bit PNG."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = (b"\x00" + bytes([level]) * width) * height
    return png_of(header, zlib.compress(rows))


def png_of(header: bytes, data: bytes) -> bytes:
    """A PNG out of its header chunk and its compressed pixels."""
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + tag + body
        + struct.pack(">I", zlib.crc32(tag + body))
        for tag, body in chunks
    )  # fmt: skip


def bomb() -> bytes:
    """A PNG that claims 60000 x 60000 pixels and holds next to none."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    return png_of(header, zlib.compress(b"\x00" * 100))


def wav(seconds: float = 0.1, rate: int = 8000) -> bytes:
    """A silent 16-bit mono WAV."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * int(seconds * rate)))
    return out.getvalue()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """A CSV with the columns of the first row; returns its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """JSON lines; returns the path."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def config(**changes: Any) -> Config:
    """Text in, class a or b out; `changes` replace top-level keys."""
    mapping = {
        "name": "sample",
        "inputs": [{"name": "text", "modality": "text"}],
        "heads": [
            {"name": "label", "kind": "classification", "classes": ["a", "b"]}
        ],
        "data": {"id": "id"},
    }  # fmt: skip
    return from_mapping(mapping | changes)


CHINESE = {
    "name": "sample",
    "inputs": [
        {"name": "image", "modality": "image", "column": "图片"},
        {"name": "audio", "modality": "audio", "column": "声音",
         "max_input_seconds": 1.0},
        {"name": "text", "modality": "text", "column": "文本"},
        {"name": "table", "modality": "tabular",
         "numeric": [{"name": "age", "column": "年龄"}],
         "categorical": [{"name": "sex", "column": "性别"}]},
    ],
    "heads": [
        {"name": "label", "kind": "classification", "column": "标签",
         "classes": ["健康", "肺炎"]},
    ],
    "data": {"id": "编号", "split": {"column": "划分", "train": "训练",
                                    "eval": "测试"},
             "max_quarantine_fraction": 1.0, "max_file_bytes": 100000},
    "evaluation": {"slices": [["性别"]]},
}  # fmt: skip

_GOOD = {
    "编号": "", "划分": "训练", "图片": "media.zip!good.png", "声音": "good.wav",
    "文本": "咳嗽三天", "年龄": "40", "性别": "女", "标签": "肺炎",
}  # fmt: skip

# Row id -> what differs from a good row, and the reason it is set aside for.
BROKEN = {
    "cut-png": ({"图片": "cut.png"}, "corrupt_image"),
    "bomb": ({"图片": "bomb.png"}, "too_many_pixels"),
    "no-file": ({"图片": "nowhere.png"}, "missing_file"),
    "no-member": ({"图片": "media.zip!nowhere.png"}, "missing_file"),
    "no-picture": ({"图片": "notes.txt"}, "unsupported_format"),
    "large": ({"图片": "large.bin"}, "too_many_bytes"),
    "cut-wav": ({"声音": "cut.wav"}, "truncated_audio"),
    "long-wav": ({"声音": "long.wav"}, "too_long_audio"),
    "empty-wav": ({"声音": "empty.wav"}, "empty_file"),
    "other-label": ({"标签": "肺炎症"}, "unknown_label"),
    "no-label": ({"标签": " "}, "empty_label"),
    "words": ({"年龄": "forty"}, "not_a_number"),
    "endless": ({"年龄": "inf"}, "infinite_number"),
    "no-split": ({"划分": ""}, "empty_split"),
    "nothing": (
        {"图片": "", "声音": " ", "文本": "\t", "年龄": "nan", "性别": ""},
        "no_input",
    ),
}
REASONS = {
    "corrupt_image": 1, "too_many_pixels": 1, "missing_file": 2,
    "unsupported_format": 1, "too_many_bytes": 1, "truncated_audio": 1,
    "too_long_audio": 1, "empty_file": 1, "unknown_label": 1, "empty_label": 1,
    "not_a_number": 1, "infinite_number": 1, "empty_split": 1,
    "no_input": 1, "duplicate_id": 2, "malformed_csv": 1, "empty_id": 1,
}  # fmt: skip


def write_broken(folder: Path, good: int = 40) -> str:
    """A manifest with `good` good rows and one or two rows of each reason."""
    with zipfile.ZipFile(folder / "media.zip", "w") as archive:
        archive.writestr("good.png", png())
    (folder / "good.wav").write_bytes(wav())
    (folder / "cut.png").write_bytes(png(64, 64)[:-40])
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "notes.txt").write_bytes(b"no picture at all")
    (folder / "large.bin").write_bytes(bytes(100001))
    (folder / "cut.wav").write_bytes(wav()[:-600])
    (folder / "long.wav").write_bytes(wav(seconds=1.5))
    (folder / "empty.wav").write_bytes(b"")
    rows = [
        _GOOD | {"编号": f"good-{i}", "划分": "训练" if i % 4 else "测试"}
        for i in range(good)
    ]
    rows += [_GOOD | changes | {"编号": name} for name, (changes, _) in BROKEN.items()]
    rows += [_GOOD | {"编号": "good-1"}, _GOOD | {"编号": "cut-png"}, _GOOD]
    path = write_csv(folder / "清单.csv", rows)
    with open(path, "a", encoding="utf-8") as file:
        file.write("one,cell,too,few\n")
    return path
