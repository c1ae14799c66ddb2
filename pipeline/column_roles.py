"""Which columns tell rows apart, part them into splits, or keep them together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pipeline import column_names as names
from pipeline.cell_forms import form_of
from pipeline.profile import Column, Profile
from trainer.schema import nearest

_MAX_SPLIT_VALUES = 20
_MIN_GROUPS = 3
"""Fewer groups than splits leave a split empty."""
_MIN_PLACES = 20
_MIN_CODES = 20

_TRAIN = (
    "train", "training", "trn", "tr", "trainset", "trainingset", "fit", "trainval",
    "训练", "训练集", "训练数据",
)  # fmt: skip
_SELECTION = (
    "val", "valid", "validation", "dev", "devel", "development", "tune", "valset",
    "validationset", "publictest", "验证", "验证集", "开发集",
)  # fmt: skip
_EVAL = (
    "test", "testing", "tst", "eval", "evaluation", "testset", "holdout", "heldout",
    "privatetest", "测试", "测试集", "测试数据",
)  # fmt: skip
_YES = ("1", "true", "yes", "y", "t", "是")
_NO = ("0", "false", "no", "n", "f", "否")


def column_named(found: Profile, name: str, flag: str) -> Column:
    """The column that a flag of the command names.

    Raises:
      ValueError: there is none.
    """
    if name not in found.columns:
        raise ValueError(
            f"{flag}: no column {name!r}.{nearest(name, list(found.columns))} Columns:"
            f" {', '.join(found.columns)}"
        )
    return found.columns[name]


def find_id(
    found: Profile, taken: Collection[str], given: str | None
) -> tuple[str | None, str]:
    """The column whose every cell is filled and different, and why it is this one.

    Raises:
      ValueError: `given` is no such column.
    """
    if given is not None:
        column = column_named(found, given, "--id")
        if why := _no_id(column, found):
            raise ValueError(f"--id: column {given!r} {why}.")
        return given, "filled and different in each row"
    free = [c for c in found.columns.values() if c.name not in taken]
    exact = {names.flat(c.name): c for c in reversed(free)}
    by_name = [exact[one] for one in names.IDS if one in exact]
    by_name += [c for c in free if names.ends_as_id(c.name)]
    for column in by_name:
        if not _no_id(column, found):
            return column.name, "filled and different in each row"
    for column in free:
        answer = names.is_one(column.name, (*names.LABELS, *names.LIKELY_LABELS))
        if not (answer or _no_id(column, found)) and is_code(column, found):
            return column.name, "a guess: filled and different in each row, no words"
    return None, ""


def _no_id(column: Column, found: Profile) -> str:
    """Why a column cannot tell all rows apart; empty where it can."""
    if column.blobs or column.lists:
        return "holds bytes or lists"
    if column.filled < found.rows:
        return f"is empty in {found.rows - column.filled:,} rows"
    if column.repeated:
        again = f"{column.repeated:,} rows" if column.repeated > 1 else "a row"
        return f"holds {column.twice[:40]!r} twice; {again} repeat an earlier id"
    return "" if column.unique else "has a single row"


def is_code(column: Column, found: Profile) -> bool:
    """Whether the cells are codes rather than words: nearly all with digits, no blanks."""
    texts = found.texts(column.name)
    if not texts or column.blobs or column.lists or column.numeric or form_of(texts):
        return False
    wordless = sum(not any(map(str.isalpha, t)) for t in texts) >= 0.7 * len(texts)
    coded = sum(any(map(str.isdigit, t)) for t in texts) >= 0.8 * len(texts)
    unspaced = column.spaced < 0.05 * column.filled
    return unspaced and (wordless or (coded and all(map(str.isascii, texts))))


@dataclass
class Split:
    """A column that parts rows.

    Attributes:
      names: Key of `data.split` -> its value in the column.
      unused: Values that take part in nothing, with their rows.
    """

    column: str
    names: dict[str, str] = field(default_factory=dict)
    unused: dict[str, int] = field(default_factory=dict)


def find_split(found: Profile) -> tuple[Split | None, dict[str, str]]:
    """The split column, and why columns of such a name are none."""
    refused: dict[str, str] = {}
    for column in sorted(
        found.columns.values(), key=lambda c: not names.is_one(c.name, names.SPLITS)
    ):
        if column.overflow or column.lists or column.distinct > _MAX_SPLIT_VALUES:
            continue
        split = _by_words(column) or _by_flag(column)
        if split is not None:
            return split, refused
        if names.is_one(column.name, names.FOLDS) or "fold" in names.words(column.name):
            refused[column.name] = (
                f"{column.distinct} folds of a cross-validation, no input. To keep each"
                f" fold whole, data.split.group_by: {column.name}; to judge on one of"
                " them, write a column that says train or test and name it in"
                " data.split.column"
            )
        elif names.is_one(column.name, names.SPLITS) and column.distinct <= 5:
            seen = ", ".join(value[:20] for value in column.values)
            refused[column.name] = (
                f"a split by its name, but which of its values ({seen}) teaches cannot be"
                " told: call them train, val and test"
            )
    return None, refused


def _by_words(column: Column) -> Split | None:
    """A split that calls its values train and test, or the like."""
    found: dict[str, list[str]] = {"train": [], "selection": [], "eval": []}
    unused: dict[str, int] = {}
    for value, count in column.values.most_common():
        key = next(
            (key for key, known in zip(found, (_TRAIN, _SELECTION, _EVAL), strict=True)
             if names.flat(value) in known), None,
        )  # fmt: skip
        # The same name in another case is the same split.
        again = key is not None and value.casefold() in map(str.casefold, found[key])
        if key is None or (found[key] and not again):
            unused[value] = count
        if key is not None:
            found[key].append(value)
    if not found["train"] or not (found["selection"] or found["eval"]):
        return None
    by_name = names.is_one(column.name, names.SPLITS)
    if sum(unused.values()) > (0.5 * column.filled if by_name else 0):
        return None
    chosen = {key: several[0] for key, several in found.items() if several}
    # With one split beside train, it judges; selection is cut off train.
    if "eval" not in chosen:
        chosen["eval"] = chosen.pop("selection")
    order = [key for key in ("train", "eval", "selection") if key in chosen]
    return Split(column.name, {key: chosen[key] for key in order}, unused)


def _by_flag(column: Column) -> Split | None:
    """A column such as `is_train` or `is_valid`."""
    learns = names.is_one(column.name, names.IS_TRAIN)
    if not (learns or names.is_one(column.name, names.IS_EVAL)):
        return None
    values = {value.lower(): value for value in column.values}
    yes = next((values[one] for one in _YES if one in values), None)
    no = next((values[one] for one in _NO if one in values), None)
    if yes is None or no is None or len(column.values) != 2:
        return None
    train, judge = (yes, no) if learns else (no, yes)
    return Split(column.name, {"train": train, "eval": judge})


def find_group(
    found: Profile, taken: Collection[str], given: str | None
) -> tuple[str | None, str, dict[str, str]]:
    """The column whose rows may not part, why, and why others are no inputs.

    Raises:
      ValueError: `given` is no column of this manifest.
    """
    refused: dict[str, str] = {}
    candidates: list[tuple[float, int, str, str]] = []
    for column in found.columns.values():
        if column.name in taken or column.unique or column.distinct < 2:
            continue
        if column.blobs or column.lists or _quantity(column):
            continue
        rank, why = _group_rank(column, found)
        form = form_of(found.texts(column.name)) if why else ""
        if not why or (form and "identifier" not in form):
            continue
        if column.distinct > 0.98 * column.filled and names.ends_as_id(column.name):
            refused[column.name] = (
                f"an id by its name, but {column.twice[:40]!r} comes twice:"
                f" {column.repeated:,} rows repeat an earlier one. It tells no rows apart"
            )
        elif column.distinct < _MIN_GROUPS:
            refused[column.name] = (
                f"only {column.distinct} different: too few to keep each in one split"
            )
        else:
            candidates.append((rank, column.distinct, column.name, why))
    if given is not None:
        column_named(found, given, "--group")
        chosen, why = given, "as asked"
    elif candidates:
        _, _, chosen, why = min(candidates)
    else:
        return None, "", refused
    for _, _, name, _ in candidates:
        refused[name] = (
            f"tells rows that belong together apart from others; {chosen!r} groups them"
        )
    refused.pop(chosen, None)
    return chosen, why, refused


def _quantity(column: Column) -> bool:
    """Numbers with fractions or signs are measured, not given to things."""
    return column.numeric and (column.whole < column.numbers or column.low < 0)


def _group_rank(column: Column, found: Profile) -> tuple[float, str]:
    """How surely a column is a group (0 = most), and why; "" where it is none."""
    name, kept = column.name, "its rows never part"
    rank = names.group_rank(name)
    if rank is not None:
        return rank, kept
    if names.is_one(name, names.LABELS):
        return 0, ""
    several = column.filled / max(1, column.distinct)
    if names.ends_as_id(name):
        return 100, f"{kept}: an id that comes again, {several:.1f} times each"
    if names.has_word(name, names.PLACES) and column.distinct >= _MIN_PLACES:
        return 200, f"{kept}: rows of one place are alike"
    again = several >= 1.2 and column.distinct >= max(_MIN_CODES, found.rows // 50)
    if again and is_code(column, found) and not names.is_one(name, names.LIKELY_LABELS):
        return 300, f"{kept}: a guess, codes that come {several:.1f} times each"
    return 0, ""
