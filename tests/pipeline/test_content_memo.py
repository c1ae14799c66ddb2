"""A file that many rows name is decoded once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.check import check
from pipeline.content_memo import ContentMemo
from pipeline.integrity import rows as integrity_rows
from serving import media
from tests.pipeline.samples import config, png, write_jsonl


def test_equal_bytes_are_worked_on_once_and_errors_are_remembered() -> None:
    calls: list[tuple[bytes, int]] = []

    def function(data: bytes, times: int = 1, name: str = "") -> bytes:
        calls.append((data, times))
        if not data:
            raise media.MediaError("empty_file", "no bytes", name)
        return data if times == 1 else data * times

    memo = ContentMemo(function)
    same = b"abc"
    assert memo(same) is same
    # The file itself is not kept: other bytes that are equal come back as they are.
    other = bytes(bytearray(b"abc"))
    assert memo(other) is other
    assert [memo(b"abc", times=2), memo(b"abc", times=2)] == [b"abcabc"] * 2
    for name in ("a", "a", "b"):
        with pytest.raises(media.MediaError, match=name):
            memo(b"", name=name)
    assert calls == [(b"abc", 1), (b"abc", 2), (b"", 1), (b"", 1)]


def test_memory_is_bounded_and_the_least_recent_goes_first() -> None:
    calls: list[bytes] = []

    def function(data: bytes) -> np.ndarray:
        calls.append(data)
        return np.zeros(1000, np.uint8)

    memo = ContentMemo(function, max_bytes=4000)  # Three entries of 1,300 bytes.
    for data in (b"a", b"b", b"c", b"a", b"d", b"a", b"b"):
        memo(data)
    assert calls == [b"a", b"b", b"c", b"d", b"b"]
    # What does not fit is given back and not kept.
    small = ContentMemo(function, max_bytes=100)
    assert len(small(b"x")) == len(small(b"x")) == 1000
    assert calls[-2:] == [b"x", b"x"]


def test_a_check_decodes_each_picture_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    decoded, drawn = [], []
    decode, picture = tf.io.decode_image, integrity_rows.descriptors.picture

    def counted(data: bytes, *args: Any, **kwargs: Any) -> Any:
        decoded.append(data)
        return decode(data, *args, **kwargs)

    def counted_picture(data: bytes) -> np.ndarray:
        drawn.append(data)
        return picture(data)

    monkeypatch.setattr(tf.io, "decode_image", counted)
    monkeypatch.setattr(integrity_rows, "_picture", ContentMemo(counted_picture))
    # Sizes that no other test has: nothing of these is remembered yet.
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(png(31 + i, 37))
    rows = [
        {"id": i, "card": f"{i % 3}.png", "label": "ab"[i % 2],
         "history": "|".join(f"{(i + k) % 3}.png" for k in range(8))}
        for i in range(30)
    ]  # fmt: skip
    described = config(
        inputs=[
            {"name": "card", "modality": "image"},
            {"name": "history", "modality": "images", "separator": "|"},
        ]
    )
    report = check(described, write_jsonl(tmp_path / "m.jsonl", rows))
    assert report.counts.written == 30
    assert report.present == {"card": 30, "history": 30}
    assert "width 31 to 33, mean 32" in report.facts["card"].lines()
    assert len(decoded) == len(set(decoded)) == 3
    assert len(drawn) == len(set(drawn)) == 3
