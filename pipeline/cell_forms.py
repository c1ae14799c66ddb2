"""In which form text cells are written: dates, telephone numbers, numbers with signs.

A model would take such text as words. `form_of` tells the form, so that a column can be
left out with the true reason.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

MISSING_WORDS = frozenset(
    [
        "nan",
        "null",
        "none",
        "na",
        "n/a",
        "#n/a",
        "<na>",
        "nil",
        "-",
        "--",
        ".",
        "?",
        "unknown",
        "missing",
        "无",
        "未知",
        "空",
        "缺失",
        "不详",
    ]
)
"""Lower-case text that often stands for an empty cell."""

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+"
_CLOCK = (
    r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s*[ap]\.?m\.?)?"
    r"(?:\s*(?:z|utc|gmt|[+-]\d{2}:?\d{2}))?"
)
_DATE = "|".join(
    [
        r"\d{4}(?:[-/]\d{1,2}){1,2}|\d{4}\.\d{1,2}\.\d{1,2}",
        r"\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})",
        rf"(?:{_DAY})?\d{{1,2}}[ -]{_MONTH}[ -,]*\d{{2,4}}",
        rf"(?:{_DAY})?{_MONTH}\s+\d{{1,2}},?\s+\d{{4}}",
        r"\d{4}\s*年\s*\d{1,2}\s*月(?:\s*\d{1,2}\s*[日号])?",
    ]
)
_TIME = re.compile(
    rf"(?:(?:{_DATE})(?:(?:[t,_]|\s)\s*{_CLOCK})?|{_CLOCK}|\d{{8}}t\d{{4,6}}z?"
    r"|\d{4}年\d{1,2}月\d{1,2}日\s*\d{1,2}[时点](?:\d{1,2}分)?(?:\d{1,2}秒)?)",
    re.IGNORECASE,
)
_PHONE = re.compile(r"\+\d[\d ()./-]{6,20}\d|\(\d{2,5}\)[\d ./-]{5,15}\d"
                    r"|1[3-9]\d([ -]?)\d{4}\1\d{4}|0\d{2,3}-\d{7,8}"
                    r"|\d{3}[-. ]\d{3}[-. ]\d{4}")  # fmt: skip
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}"), "e-mail addresses"),
    (re.compile(r"(?:[a-z][a-z0-9+.-]*://|www\.|doi:|mailto:)\S+", re.IGNORECASE),
     "web addresses"),
    (re.compile(r"\{?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\}?", re.IGNORECASE),
     "UUIDs: an identifier"),
    (re.compile(r"(?=.*\d)(?=.*[a-f])(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})",
                re.IGNORECASE), "checksums: an identifier"),
    (re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?"), "network addresses"),
    # How PNG, JPEG, GIF, WAV or WebP, FLAC, Ogg and MP3 with ID3 begin in base64.
    (re.compile(r"(?:data:[\w./+-]+;base64,"
                r"|iVBORw0KGgo|/9j/|R0lGOD|UklGR|ZkxhQ|T2dnUw|SUQz)\S{60,}"),
     "files as base64 text"),
)  # fmt: skip

_DIGITS = r"\d+(?:\.\d+)?"
_CURRENCY = r"(?:[$€£¥￥₹₩₽]|(?:US|HK|AU|CA)\$|R\$|RMB|CNY|USD|EUR|GBP|JPY|CHF|元|万元|人民币|円)"
_ANY_NUMBER = r"[-+]?\d+(?:[., '\u00a0\u202f]\d+)*"
_NUMBERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"{_ANY_NUMBER}\s*[%％‰]"), "percent signs"),
    (re.compile(rf"[-+]?{_CURRENCY}\s*{_ANY_NUMBER}|{_ANY_NUMBER}\s*{_CURRENCY}",
                re.IGNORECASE), "currency signs"),
    (re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?"), "thousands separators"),
    (re.compile(r"[-+]?\d{1,3}(?:[.' \u00a0\u202f]\d{3})+(?:,\d+)?"),
     "thousands separators"),
    (re.compile(r"[-+]?\d+,\d+"), "decimal commas"),
    (re.compile(r"[<>≤≥~≈±]=?\s*[-+]?" + _DIGITS), "signs such as < or >"),
    (re.compile(rf"[(]?[-+]?{_DIGITS}(?:(?:\s*[,;/x×|:]\s*|\s+)[-+]?{_DIGITS})+[)]?"),
     "several in a cell"),
    (re.compile(rf"[-+]?{_DIGITS}\s*(?P<unit>[a-zµμ°℃℉²³][a-z/µμ°²³^0-9]{{0,9}}"
                r"|['\"′″]|[\u4e00-\u9fff]{1,3})", re.IGNORECASE), "units"),
)  # fmt: skip


_MAX_UNITS = 5


def number_of(text: str) -> float | None:
    """The finite number that a text spells, else None."""
    if "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def form_of(texts: Sequence[str]) -> str:
    """Why cells of this form are no words; empty where they may be.

    Args:
      texts: Cells that are filled, a sample of the column.
    """
    texts = [t for t in texts if t.lower() not in MISSING_WORDS]
    if not texts:
        return ""
    forms: list[tuple[Callable[[str], object], str]] = [
        *((pattern.fullmatch, what) for pattern, what in _FORMS),
        (_TIME.fullmatch, "points in time"),
        (_PHONE.fullmatch, "telephone numbers"),
        (listed, "lists"),
    ]
    for matches, what in forms:
        if _most(sum(matches(t) is not None for t in texts), texts):
            return f"{what} (such as {texts[0][:40]!r}){_ADVICE.get(what, '')}"
    return _signed(texts)


_ADVICE = {
    "points in time": ": a model would learn when a row was made; give what matters of"
    " them as numbers (hour, month, days since an event)",
    "files as base64 text": ": write each to a file and its path here, or its bytes into"
    " a Parquet column",
}


def _most(count: int, texts: Sequence[str]) -> bool:
    return count >= 0.9 * len(texts)


def _signed(texts: Sequence[str]) -> str:
    """Numbers that are not written plainly."""
    found: dict[str, str] = {}
    known = 0
    units: set[str] = set()
    for text in texts:
        if number_of(text) is not None:
            known += 1
            continue
        for pattern, what in _NUMBERS:
            if match := pattern.fullmatch(text):
                found.setdefault(what, text)
                known += 1
                units |= {match["unit"].lower()} if what == "units" else set()
                break
    # Codes (12A, 7XK) have many letters, quantities one unit or a few.
    if not found or not _most(known, texts) or len(units) > _MAX_UNITS:
        return ""
    signs = ", ".join(f"{what} (such as {text[:40]!r})" for what, text in found.items())
    return f"numbers with {signs}: write them plainly, as 1234.5"


def is_time(text: str) -> bool:
    """Whether a text is a point in time."""
    return _TIME.fullmatch(text) is not None


def listed(text: str) -> list[Any] | dict[Any, Any] | None:
    """The list or mapping that a text spells, as JSON or as Python prints it."""
    if not text.startswith(("[", "{")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(found, (list, dict)):
            return found
    return None


def alike(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Names that look alike: case, blanks and hyphens between words, Unicode's forms.

    Unicode has several forms of é, of a full-width Ａ, and characters without width.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        plain = "".join(c for c in plain if unicodedata.category(c) != "Cf")
        key = re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", plain.strip())
        found.setdefault(key, []).append(name)
    return [tuple(several) for several in found.values() if len(several) > 1]
