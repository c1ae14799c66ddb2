"""What `init` says of the label: why it is refused, and what is doubtful in it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.init_config import infer
from pipeline.manifest import ManifestError
from pipeline.rows import iter_rows
from tests.pipeline.first_configs import inferred, note, table
from tests.pipeline.samples import write_jsonl
from trainer.config import from_mapping


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [
        (3000, lambda i: f"c{i % 1200}", "column 'label': more than 1,000 classes"),
        (60, lambda i: "cat", r"column 'label': a single class \('cat'\) in every row"),
        (60, lambda i: f"c{i % 40}", "40 different values in 60 rows: too few rows of"),
        (60, lambda i: f"c{i}", "column 'label': a different value in every row"),
        (60, lambda i: "", "column 'label': empty in every row"),
        (60, lambda i: f"${i}", r"numbers with currency signs \(such as '\$0'\)"),
        (60, lambda i: f"2023-01-{i % 28 + 1:02d}", "column 'label': points in time"),
    ],
)
def test_a_column_that_is_called_label_is_refused_with_the_reason(
    tmp_path: Path, rows: int, values: Any, message: str
) -> None:
    cells = [
        {"note": note(i), "mood": "xy"[i % 2], "label": values(i)} for i in range(rows)
    ]
    with pytest.raises(ManifestError, match=message) as caught:
        inferred(tmp_path, cells)
    assert "name another column with --label" in str(caught.value)
    assert inferred(tmp_path, cells, label="mood")[0].heads[0].name == "mood"


def test_other_columns_that_could_be_the_label_are_named(tmp_path: Path) -> None:
    rows = [
        {"note": note(i), "sex": "MF"[i % 2], "flag": i // 2 % 2, "kind": "pqr"[i % 3]}
        for i in range(60)
    ]
    config, text = inferred(tmp_path, rows)
    assert config.heads[0].name == "kind"
    assert "set another with --label (such as flag, sex) if it is wrong" in text


def test_class_names_with_a_comma_stay_whole(tmp_path: Path) -> None:
    organs = ("lung, left", "lung, right", "heart, left", "heart, right")
    rows = [{"note": note(i), "label": organs[i * 7 % 4]} for i in range(80)]
    config, text = inferred(tmp_path, rows)
    assert config.heads[0].classes == tuple(sorted(organs))  # type: ignore[union-attr]
    assert not config.heads[0].multi_label  # type: ignore[union-attr]
    assert "# Review: Names hold ','. If each is several labels: multi_label" in text
    # Cells of one, two and three are several labels.
    tags = ("a", "a,b", "b", "a,b,c", "c")
    rows = [{"note": note(i), "label": tags[i % 5]} for i in range(80)]
    config, text = inferred(tmp_path, rows)
    assert config.heads[0].classes == ("a", "b", "c")  # type: ignore[union-attr]
    assert "# Review: cells hold several, as in 'a,b'" in text


def test_classes_that_look_like_one_or_like_none_are_marked(tmp_path: Path) -> None:
    values = ("Cat", "cat ", "dog", "N/A", "unknown")
    rows = [{"note": note(i), "label": values[i % 5]} for i in range(60)]
    _, text = inferred(tmp_path, rows)
    assert "- \"Cat\"  # review: 12 rows; the same as 'cat'?" in text
    assert "- \"cat\"  # review: 12 rows; the same as 'Cat'?" in text
    assert '- "dog"\n' in text
    assert '- "N/A"  # review: 12 rows; if it stands for no label, empty these' in text
    assert '- "unknown"  # review: 12 rows; if it stands for no label' in text
    rows = [
        {"note": note(i), "label": "nan" if i % 5 else "ab"[i % 2]} for i in range(60)
    ]
    config, text = inferred(tmp_path, rows)
    named = config.heads[0].classes  # type: ignore[union-attr]
    assert named == ("a", "b") or '- "nan"  # review: 48 rows' in text


def test_a_class_written_as_7_and_7_0_is_one(tmp_path: Path) -> None:
    rows = [
        {"note": note(i), "label": f"{i % 3}{'.0' if i > 40 else ''}"}
        for i in range(90)
    ]
    config, _ = inferred(tmp_path, rows)
    assert config.heads[0].classes == ("0", "1", "2")  # type: ignore[union-attr]


def test_uneven_classes_bring_weights_as_a_suggestion(tmp_path: Path) -> None:
    suggestion = "    # class_weights: balanced\n"
    rows = table(200)
    assert suggestion not in inferred(tmp_path, rows)[1]
    for i, row in enumerate(rows):
        row["label"] = "rare" if i % 40 == 0 else "common"
    config, text = inferred(tmp_path, rows)
    assert "# common has 195 rows, rare 5. If each class matters alike:" in text
    assert suggestion in text
    # What is suggested is a key of that head.
    taken = text.replace("    # class_weights", "    class_weights")
    head = from_mapping(yaml.safe_load(taken)).heads[0]
    assert (config.heads[0].class_weights, head.class_weights) == (None, "balanced")  # type: ignore[union-attr]
    rows[0]["label"] = "single"
    assert (
        "too few rows to learn and judge: rare (4), single (1)."
        in (inferred(tmp_path, rows)[1])
    )


@pytest.mark.parametrize("written", ["json", "python", "list"])
def test_lists_of_labels_are_several_labels_also_as_text(
    tmp_path: Path, written: str
) -> None:
    rows: list[dict[str, Any]] = []
    for i in range(60):
        tags = [name for n, name in enumerate("abc") if i >> n & 1]
        cell = {"json": json.dumps(tags), "python": repr(tags), "list": tags}[written]
        rows.append({"note": note(i), "label": cell})
    manifest = write_jsonl(tmp_path / "m.jsonl", rows)
    text = infer(manifest)
    config = from_mapping(yaml.safe_load(text))
    (head,) = config.heads
    assert (head.classes, head.multi_label) == (("a", "b", "c"), True)  # type: ignore[union-attr]
    assert ("cells are lists as text" in text) == (written != "list")
    found = [row.labels["label"] for row in iter_rows(config, manifest)]  # type: ignore[union-attr]
    # 5 is binary 101; an empty list says that no class applies.
    assert (found[5], found[0]) == (("a", "c"), ())


def test_labels_of_many_combinations_are_classes_still(tmp_path: Path) -> None:
    names = [f"finding {k}" for k in range(12)]
    rows = [
        {"note": note(i), "label": "|".join(n for k, n in enumerate(names) if i >> k & 1)
         or "none of them"} for i in range(3000)
    ]  # fmt: skip
    config, text = inferred(tmp_path, rows)
    assert len(config.heads[0].classes) == 13  # type: ignore[union-attr]
    assert config.heads[0].multi_label  # type: ignore[union-attr]
    # As many different cells as rows are still a few classes.
    assert len(inferred(tmp_path, rows[:100])[0].heads[0].classes) == 8  # type: ignore[union-attr]


def test_a_number_that_is_the_label_in_another_unit_is_a_leak(tmp_path: Path) -> None:
    rows = [
        {"rooms": i % 7 + i / 90, "price": 1000.5 * i + i % 3, "dollars": 1.1 * i,
         "rank": -i / 7} for i in range(60)
    ]  # fmt: skip
    config, text = inferred(tmp_path, rows)
    assert config.heads[0].kind == "regression"
    assert [getattr(c, "column", c) for c in config.inputs[0].numeric] == ["rooms"]  # type: ignore[union-attr]
    assert "dollars: decides the label (their correlation is 1.0000): a leak" in text
    assert "rank: decides the label (their correlation is -1.0000): a leak" in text
