"""What kind of input a column is, or why it is left out."""

from __future__ import annotations

import re

from pipeline import column_names as names
from pipeline.cell_forms import MISSING_WORDS, alike, form_of, number_of
from pipeline.column_roles import is_code
from pipeline.profile import Column, Profile

_FEW = 10
"""So few different whole numbers, or forms of a number, are categories."""
_YEARS = (1900, 2100)


def column_kind(column: Column, found: Profile) -> tuple[str, str]:
    """`numeric`, `categorical` or `text`; else "" and why the column is left out."""
    texts = found.texts(column.name)
    if why := _empty(column, texts) or _by_name(column.name):
        return "", why
    if column.numeric:
        return _numbers(column, texts)
    form = form_of(texts)
    if form and (column.distinct > _FEW or not form.startswith("numbers")):
        return "", form
    if column.numbers >= 0.8 * column.filled:
        return "", (
            f"numbers in {column.numbers:,} of {column.filled:,} cells, text in the"
            f" rest (such as {column.odd[:40]!r}): correct them to use it"
        )
    few = column.distinct <= max(20, min(200, found.rows // 20))
    if is_code(column, found) and not few:
        several = column.filled / max(1, column.distinct)
        return "", (
            "nearly one different value per row: an identifier"
            if several < 1.2
            else f"codes, no words (such as {texts[0][:40]!r}), each some {several:.1f}"
            " times: an identifier"
        )
    if not column.overflow and few and column.mean_characters <= 40:
        return "categorical", ""
    return "text", ""


def _empty(column: Column, texts: list[str]) -> str:
    if column.filled == 0:
        return "empty in every row"
    if column.values and all(v.lower() in MISSING_WORDS for v in column.values):
        return f"{next(iter(column.values))!r} wherever it is filled: no value"
    if column.distinct == 1 and not column.blobs:
        return f"constant: {texts[0][:40]!r} wherever it is filled"
    if column.blobs or column.lists:
        return "bytes or lists that are neither pictures nor sounds"
    return ""


def _by_name(name: str) -> str:
    if re.fullmatch(r"Unnamed: \d+|__index_level_\d+__", name):
        return "row numbers, as pandas writes them: no input"
    if names.has_word(name, names.PROVENANCE):
        return (
            "tells where a row came from rather than what it shows: a model would"
            " learn the source"
        )
    if names.is_afterwards(name):
        return (
            "by its name known only when the answer is; add it if requests will have it"
        )
    if names.has_word(name, names.PERSONS):
        return "names of persons: who it is rather than what it shows"
    if names.is_one(name, names.LABELS):
        return "by its name an answer too: to predict it, name it with --label"
    return ""


def _numbers(column: Column, texts: list[str]) -> tuple[str, str]:
    """Numbers are measures, categories, points in time, or numbers given to things."""
    whole = column.whole == column.numbers
    example = next(iter(column.values), "") or f"{column.low:.0f}"
    few = column.distinct <= _FEW
    if whole and (why := _moments(column, example)):
        return "", why
    if whole and names.has_word(column.name, names.PHONES) and column.low > 99999:
        return "", f"telephone numbers (such as {example[:40]!r})"
    padded = [v for v in column.values if re.fullmatch(r"0\d+", v)]
    if whole and (padded or names.has_word(column.name, names.CODES)):
        if few:
            return "categorical", ""
        return "", (
            f"codes written in digits (such as {(padded or [example])[0]!r}), no"
            " quantities: an identifier"
        )
    # Measures too can be whole, such as 3e30, but nobody numbers things that way.
    counted = all(re.fullmatch(r"\d+(\.0+)?", text) for text in texts)
    if whole and counted and column.unique and column.filled > 20:
        return "", "one different whole number per row: an identifier"
    if whole and names.ends_as_id(column.name):
        return "", "numbers given to things (an id by its name): an identifier"
    return ("categorical" if few and whole else "numeric"), ""


def _moments(column: Column, example: str) -> str:
    """Dates as 20240102, or seconds and milliseconds since 1970."""
    if column.distinct <= _FEW:
        return ""
    dates = [v for v in column.values if _is_date(v)]
    if column.values and len(dates) >= 0.98 * len(column.values):
        return f"points in time (such as {example!r}): give what matters of them"
    if names.has_word(column.name, names.TIMES):
        # From 1990 on, in seconds, milliseconds, microseconds or nanoseconds.
        for unit, name in enumerate(("seconds", "milli", "micro", "nano")):
            scale = 1000.0**unit
            if 6.3e8 * scale <= column.low <= column.high <= 4.1e9 * scale:
                long = name if unit == 0 else f"{name}seconds"
                return (
                    f"points in time ({long} since 1970, such as {example!r}): give"
                    " what matters of them as numbers (hour, month, days since an event)"
                )
    return ""


def _is_date(text: str) -> bool:
    match = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", text)
    if not match:
        return False
    year, month, day = map(int, match.groups())
    return _YEARS[0] <= year <= _YEARS[1] and 1 <= month <= 12 and 1 <= day <= 31


def doubtful_cells(kind: str, column: Column) -> str:
    """What a person should look at in an input's cells; empty where nothing."""
    if kind == "numeric" and column.numbers < column.filled:
        bad = column.filled - column.numbers
        cells = f"{bad:,} cells are" if bad > 1 else "1 cell is"
        return (
            f"{cells} no number (such as {column.odd[:40]!r}): such rows are set aside"
        )
    if kind == "categorical":
        several = alike(list(column.values))
        if several:
            written = ", ".join(repr(one[:20]) for one in several[0])
            return f"{written} are different categories"
        odd = [v for v in column.values if v.lower() in MISSING_WORDS]
        if odd and number_of(odd[0]) is None:
            return f"{odd[0]!r} is a category; empty these cells if it stands for none"
    return ""
