"""Which rows judge and select: each class's share, groups whole, or the latest rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.manifest import ManifestError
from pipeline.rows import Quarantined, Row, iter_rows
from pipeline.scan import Scan, scan
from pipeline.splits import share
from tests.pipeline.samples import write_csv, write_jsonl
from trainer.config import ConfigError, from_mapping

CLASSES = [f"c{i}" for i in range(10)]


def config(multi_label: bool = False, **split: Any) -> Any:
    head = {"name": "label", "kind": "classification", "classes": CLASSES}
    return from_mapping(
        {
            "name": "m",
            "inputs": [{"name": "note", "modality": "text"}],
            "heads": [head | {"multi_label": multi_label}],
            "data": {"id": "id", "split": split},
        }
    )


def rows(count: int, **columns: Any) -> list[dict[str, Any]]:
    """Rows of ten classes in turn; `columns` are functions of the row's number."""
    return [
        {"id": i, "note": "n", "label": CLASSES[i % 10]}
        | {name: column(i) for name, column in columns.items()}
        for i in range(count)
    ]


def split_of(one: Any, path: str, scanned: Scan | None = None) -> dict[str, str]:
    """Row's id -> split, as every reader tells it; held against the scan's counts."""
    scanned = scanned or scan(one, path)
    read = list(iter_rows(one, path, scanned=scanned))
    found = {row.id: row.split for row in read if isinstance(row, Row)}
    assert Counter(found.values()) == scanned.splits
    return found


def counts(
    found: dict[str, str], made: list[dict[str, Any]]
) -> dict[str, Counter[str]]:
    """Class -> split -> rows."""
    out: dict[str, Counter[str]] = defaultdict(Counter)
    for row in made:
        for name in str(row["label"]).split("|"):
            out[name][found[str(row["id"])]] += 1
    return out


def test_each_class_has_its_share_of_each_split(tmp_path: Path) -> None:
    """36 rows of a class: a fifth judges, a tenth of the others selects."""
    made = rows(360)
    found = split_of(config(), write_csv(tmp_path / "m.csv", made))
    per_class = counts(found, made)
    assert per_class == {
        name: {"train": 26, "selection": 3, "eval": 7} for name in CLASSES
    }
    # By the hash alone, one class has two such rows and another fourteen.
    alone = split_of(config(stratify=False), write_csv(tmp_path / "m.csv", made))
    shares = {one["eval"] for one in counts(alone, made).values()}
    assert min(shares) < 5
    assert max(shares) > 9


def test_the_hash_alone_is_the_share_itself(tmp_path: Path) -> None:
    found = split_of(config(stratify=False), write_csv(tmp_path / "m.csv", rows(300)))
    for i in range(300):
        judges = share("eval", f"row:{i}") < 0.2
        selects = share("selection", f"row:{i}") < 0.1
        want = "eval" if judges else "selection" if selects else "train"
        assert found[str(i)] == want


def test_classes_of_one_and_two_rows_teach(tmp_path: Path) -> None:
    made = [row for row in rows(300) if row["label"] not in ("c7", "c8")]
    made += [{"id": f"x{i}", "note": "n", "label": "c7"} for i in range(1)]
    made += [{"id": f"y{i}", "note": "n", "label": "c8"} for i in range(2)]
    per_class = counts(split_of(config(), write_csv(tmp_path / "m.csv", made)), made)
    assert per_class["c7"] == {"train": 1}
    assert per_class["c8"] == {"train": 2}


def test_groups_stay_whole_and_classes_have_their_share(tmp_path: Path) -> None:
    """Patients of one to five rows and one class each, and of several classes."""
    random = np.random.default_rng(3)
    made: list[dict[str, Any]] = []
    for who in range(400):
        one = CLASSES[who % 3]
        for _ in range(int(random.integers(1, 6))):
            label = CLASSES[3 + int(random.integers(4))] if who % 8 == 7 else one
            made.append(
                {"id": len(made), "note": "n", "label": label, "who": f"p{who}"}
            )
    path = write_csv(tmp_path / "m.csv", made)
    found = split_of(config(group_by="who"), path)
    of_group: dict[str, set[str]] = defaultdict(set)
    for row in made:
        of_group[row["who"]].add(found[str(row["id"])])
    assert {len(one) for one in of_group.values()} == {1}
    for name in CLASSES[:3]:
        pure = [row for row in made if int(row["who"][1:]) % 8 != 7]
        parts = counts(found, pure)[name]
        # Half a largest group of five rows, and the twentieth part of the share.
        assert parts["eval"] == pytest.approx(
            0.2 * parts.total(), abs=2.5 + 0.01 * parts.total()
        )


def test_another_seed_splits_otherwise_and_evenly(tmp_path: Path) -> None:
    made = rows(360)
    path = write_csv(tmp_path / "m.csv", made)
    first, again, other = (split_of(config(seed=seed), path) for seed in (0, 0, 1))
    assert first == again
    assert counts(other, made) == counts(first, made)
    both = sum(first[i] == other[i] == "eval" for i in first)
    assert both == pytest.approx(0.2 * 70, abs=12)


@pytest.mark.parametrize("order", ["behind", "before"])
def test_rows_that_are_added_move_few_others(tmp_path: Path, order: str) -> None:
    made = rows(2000)
    before = split_of(config(), write_csv(tmp_path / "m.csv", made))
    new = [{"id": f"n{i}", "note": "n", "label": CLASSES[i % 10]} for i in range(200)]
    together = made + new if order == "behind" else new + made
    after = split_of(config(), write_csv(tmp_path / "m.csv", together))
    assert sum(after[i] != before[i] for i in before) <= 20  # of 2,000
    assert counts(after, together) == {
        name: pytest.approx({"train": 158, "selection": 18, "eval": 44}, abs=3)
        for name in CLASSES
    }


def test_of_large_classes_next_to_no_row_moves(tmp_path: Path) -> None:
    made = [row | {"label": CLASSES[i % 2]} for i, row in enumerate(rows(12_000))]
    one = config(selection_fraction=0.2)
    first = split_of(one, write_csv(tmp_path / "m.csv", made[:8000]))
    second = split_of(one, write_csv(tmp_path / "m.csv", made))
    assert sum(second[i] != first[i] for i in first) <= 20  # of 8,000


def test_of_several_labels_the_rarest_is_shared_out(tmp_path: Path) -> None:
    """Every row has c0; the others are rare and come together with it."""
    made = [
        {"id": i, "note": "n", "label": "c0" if i % 12 else f"c0|c{1 + i // 12 % 5}"}
        for i in range(1200)
    ]
    found = split_of(config(multi_label=True), write_csv(tmp_path / "m.csv", made))
    per_class = counts(found, made)
    for name in CLASSES[1:6]:
        assert per_class[name] == {"train": 14, "selection": 2, "eval": 4}
    assert per_class["c0"]["eval"] == pytest.approx(240, abs=12)


def test_selection_is_cut_off_a_named_train_split_by_class(tmp_path: Path) -> None:
    made = rows(300, split=lambda i: "test" if i < 100 else "train")
    one = config(column="split", eval="test")
    per_class = counts(split_of(one, write_csv(tmp_path / "m.csv", made)), made)
    assert per_class == {
        name: {"train": 18, "selection": 2, "test": 10} for name in CLASSES
    }
    named = rows(300, split=lambda i: ("test", "train", "selection")[i % 3])
    found = split_of(one, write_csv(tmp_path / "m.csv", named))
    assert found == {str(row["id"]): row["split"] for row in named}


def day(i: int) -> str:
    return f"2026-{1 + i // 28:02d}-{1 + i % 28:02d}"


@pytest.mark.parametrize(
    "when",
    [day, lambda i: day(i) + "T08:00:00Z", lambda i: day(i).replace("-", "/"),
     lambda i: i, lambda i: 1e9 + i / 4],
    ids=["days", "moments", "slashes", "whole", "seconds"],
)  # fmt: skip
def test_the_latest_rows_judge(tmp_path: Path, when: Any) -> None:
    """100 rows in disorder: the last 20 judge, the 8 before them select."""
    order = np.random.default_rng(0).permutation(100)
    made = [{"id": i, "note": "n", "label": "c0", "when": when(int(i))} for i in order]
    found = split_of(config(by_time="when"), write_csv(tmp_path / "m.csv", made))
    want = {
        str(i): "train" if i < 72 else "selection" if i < 80 else "eval"
        for i in range(100)
    }
    assert found == want


def test_rows_of_one_time_stay_together(tmp_path: Path) -> None:
    made = rows(100, when=lambda i: 2000 + i // 30)
    found = split_of(config(by_time="when"), write_csv(tmp_path / "m.csv", made))
    of_time: dict[int, set[str]] = defaultdict(set)
    for row in made:
        of_time[row["when"]].add(found[str(row["id"])])
    # Of 30, 30, 30 and 10 rows, the last 10 are nearest to a fifth; nothing of the
    # others is near to a tenth of the rest.
    assert of_time == {
        2000: {"train"},
        2001: {"train"},
        2002: {"train"},
        2003: {"eval"},
    }


def test_a_group_counts_by_its_latest_row(tmp_path: Path) -> None:
    """Patient 0 comes at the start and at the end: nothing of them is in train."""
    made = rows(100, when=day, who=lambda i: 0 if i in (0, 99) else i)
    one = config(by_time="when", group_by="who")
    found = split_of(one, write_csv(tmp_path / "m.csv", made))
    assert found["0"] == found["99"] == "eval"
    assert found["1"] == "train"
    assert Counter(found.values())["eval"] == 20


def test_a_row_without_a_time_is_set_aside(tmp_path: Path) -> None:
    made = rows(100, when=day)
    made[3]["when"], made[4]["when"] = "", "yesterday"
    one = config(by_time="when")
    path = write_jsonl(tmp_path / "m.jsonl", made)
    bad = [row for row in iter_rows(one, path) if isinstance(row, Quarantined)]
    assert [(row.row, row.column, row.reason) for row in bad] == [
        (4, "when", "empty_time"), (5, "when", "not_a_time"),
    ]  # fmt: skip
    assert "2026-11-30" in bad[1].message
    assert sum(scan(one, path).splits.values()) == 98


def test_times_of_two_kinds_and_two_ways_to_split_are_refused(tmp_path: Path) -> None:
    made = rows(100, when=lambda i: i if i % 2 else day(i))
    path = write_csv(tmp_path / "m.csv", made)
    with pytest.raises(ManifestError, match="'when'.*holds numbers and dates"):
        scan(config(by_time="when"), path)
    with pytest.raises(ConfigError, match="by_time: a split column is given too"):
        config(by_time="when", column="split")
    with pytest.raises(ManifestError, match=r"no column 'wen'.*data\.split\.by_time"):
        scan(config(by_time="wen"), path)


def test_dates_of_parquet_are_times(tmp_path: Path) -> None:
    import datetime

    import pyarrow
    import pyarrow.parquet

    first = datetime.date(2026, 1, 1)
    days = [first + datetime.timedelta(days=i) for i in range(50)]
    moments = [datetime.datetime.combine(one, datetime.time(8)) for one in days]
    for when in (days, moments):
        columns = {"id": list(range(50)), "note": ["n"] * 50, "label": ["c0"] * 50}
        path = str(tmp_path / "m.parquet")
        pyarrow.parquet.write_table(pyarrow.table(columns | {"when": when}), path)
        found = split_of(config(by_time="when"), path)
        assert [i for i in range(50) if found[str(i)] == "eval"] == list(range(40, 50))
