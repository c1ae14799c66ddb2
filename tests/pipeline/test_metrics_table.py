"""The tables of a summary stay readable, whatever the heads."""

from typing import Any

from rich.console import Console

from pipeline.metrics_table import MAX_CLASSES, class_tables, metrics_tables


def drawn(by_inputs: dict[str, dict[str, Any]]) -> list[list[list[str]]]:
    """Each table as rows of cells, its title first."""
    found = []
    for table in metrics_tables(by_inputs):
        columns = [[str(c.header), *map(str, c.cells)] for c in table.columns]
        rows = [list(row) for row in zip(*columns, strict=True)]
        found.append([[table.title], *rows])
    return found


def test_one_head_is_one_table() -> None:
    both = {"examples": 10, "accuracy": 0.5, "auc": 0.75}
    assert drawn({"a": {"examples": 4, "accuracy": 1.0}, "a+b": both}) == [
        [
            ["metrics by inputs (eval split)"],
            ["inputs", "examples", "accuracy", "auc"],
            ["a", "4", "1.0000", "-"],
            ["a+b", "10", "0.5000", "0.7500"],
        ]
    ]


def test_each_head_has_its_own_and_only_inputs_that_judge_it() -> None:
    alone = {"examples": 9, "grade/mae": 1.0}
    both = {"examples": 9, "grade/mae": 0.5, "match/recall_at_1": 0.25}
    grade, match = drawn({"a": alone, "a+b": both})
    assert grade[0] == ["grade: metrics by inputs (eval split)"]
    assert [row[0] for row in grade[2:]] == ["a", "a+b"]
    assert match[1:] == [["inputs", "examples", "recall_at_1"], ["a+b", "9", "0.2500"]]


METRICS = {f"m{i}": i / 10 for i in range(12)}


def test_many_metrics_of_many_sets_of_inputs_are_several_tables() -> None:
    tables = drawn({name: {"examples": 3, **METRICS} for name in "abcde"})
    assert [t[1][2:] for t in tables] == [
        [f"m{i}" for i in range(at, min(at + 4, 12))] for at in (0, 4, 8)
    ]
    assert [row[0] for row in tables[2][2:]] == list("abcde")


def test_many_metrics_of_few_are_a_row_each() -> None:
    (table,) = drawn(
        {"a": {"examples": 3, "m0": 1.0}, "a+b": {"examples": 2, **METRICS}}
    )
    assert table[1] == ["metric", "a\n3 examples", "a+b\n2 examples"]
    assert table[2:4] == [["m0", "1.0000", "0.0000"], ["m1", "-", "0.1000"]]
    assert len(table) == 2 + 12


def test_they_fit_into_eighty_characters() -> None:
    metrics = {f"digit/{n}": 0.1234 for n in ("accuracy", "mae", "log_loss", "auc")}
    console = Console(width=80, record=True)
    for table in metrics_tables({"audio+image+mention": {"examples": 300, **metrics}}):
        console.print(table)
    assert "audio+image+mention" in console.export_text()


def test_nothing_judged_is_no_table() -> None:
    assert drawn({"a": {"examples": 0}}) == []


def test_each_class_has_a_row_the_least_found_first() -> None:
    found = {
        "cat": {"examples": 4, "precision": 1.0, "recall": 0.75, "f1": 0.8571},
        "[dog]": {"examples": 6, "precision": 0.5, "recall": 0.25, "f1": 0.3333},
        "owl": {"examples": 0},
        "eel": {"examples": 0, "precision": 0.0, "f1": 0.0},
    }
    (table,) = class_tables({"label": found})
    assert table.title == "label: each class, the least found first"
    columns = [[str(c.header), *map(str, c.cells)] for c in table.columns]
    assert [list(row) for row in zip(*columns, strict=True)] == [
        ["class", "examples", "precision", "recall", "f1"],
        ["\\[dog]", "6", "0.5000", "0.2500", "0.3333"],
        ["cat", "4", "1.0000", "0.7500", "0.8571"],
        ["eel", "0", "0.0000", "-", "0.0000"],
    ]


def test_of_many_classes_the_worst_are_shown() -> None:
    found = {
        f"c{i}": {"examples": 1, "precision": 1.0, "recall": i / 50, "f1": 1.0}
        for i in range(50)
    }
    (table,) = class_tables({"label": found})
    assert table.title.endswith("first; 20 of 50")
    assert list(table.columns[0].cells) == [f"c{i}" for i in range(MAX_CLASSES)]
