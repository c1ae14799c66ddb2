"""A check finds all problems at once, and counts what is there."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.check import check
from pipeline.check_command import run_check
from pipeline.run import run
from tests.pipeline.samples import CHINESE, REASONS, config, write_broken, write_jsonl
from trainer.config import ConfigError, from_mapping, to_yaml


def test_a_good_manifest_is_counted(tmp_path: Path) -> None:
    report = check(from_mapping(CHINESE), write_broken(tmp_path))
    assert report.counts.reasons == REASONS
    assert report.present == {
        "image": 40,
        "audio": 40,
        "text": 40,
        "age": 40,
        "sex": 40,
    }
    image = report.facts["image"].lines()
    assert "width 8" in image
    assert "height 6" in image
    assert any(line.startswith("formats: PNG (") for line in image)
    audio = report.facts["audio"].lines()
    assert "seconds 0.1" in audio
    assert any(line.startswith("rates (Hz): 8000 (") for line in audio)
    assert "characters 4" in report.facts["text"].lines()
    assert report.classes["label"]["测试"] == {"肺炎": 10}
    # No row is of the other class; every fraction of bad rows is allowed here.
    assert report.problems == [
        "heads[label].classes (column '标签'): no row of split '训练' has '健康'; add"
        " rows or remove the class."
    ]
    assert report.exit_code == 2


def rows(count: int = 40, **changes: Any) -> list[dict[str, Any]]:
    return [
        {"id": i, "text": "t" * (i + 1), "label": "ab"[i % 2], "n": i} | changes
        for i in range(count)
    ]


def test_a_manifest_without_a_problem_is_good(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", rows())
    report = check(config(), path)
    assert (report.problems, report.exit_code) == ([], 0)
    assert report.facts["text"].lines() == ["characters 1 to 40, mean 20.5"]
    assert report.counts.read == 40


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    path = write_jsonl(
        tmp_path / "m.jsonl",
        [*rows(10, split="train", empty=""), *rows(3, id="x", split="train")],
    )
    both = config(
        inputs=[
            {"name": "text", "modality": "text"},
            {"name": "empty", "modality": "text"},
        ],
        heads=[
            {"name": "label", "kind": "classification", "classes": ["a", "b", "c"]}
        ],
        data={"id": "id", "split": {"column": "split", "eval": "test"}},
    )  # fmt: skip
    problems = check(both, path).problems
    assert len(problems) == 4
    assert "2 of 13 rows (15.4%) cannot be used" in problems[0]
    assert "  - duplicate_id: 2 rows" in problems[0]
    assert "no usable row is in split 'test'" in problems[1]
    assert "column 'empty' is empty in every usable row" in problems[2]
    assert "no row of split 'train' has 'c'" in problems[3]


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", [{"key": 1, "texts": "t"}])
    problems = check(config(), path).problems
    assert [re.findall(r"no column '(\w+)', which (\S+)", p) for p in problems] == [
        [("text", "inputs[text]")],
        [("id", "data.id")],
        [("label", "heads[label].column")],
    ]


def test_regression_needs_numbers_in_train(tmp_path: Path) -> None:
    price = config(
        heads=[{"name": "n", "kind": "regression", "allow_missing": True}]
    )  # fmt: skip
    report = check(price, write_jsonl(tmp_path / "m.jsonl", rows()))
    assert report.problems == []
    assert sum(r.count for r in report.targets["n"].values()) == 40
    report = check(price, write_jsonl(tmp_path / "n.jsonl", rows(n=None)))
    assert report.problems == [
        "heads[n]: no row of split 'train' has a number in column 'n'."
    ]


def test_a_threshold_to_be_found_needs_selection_rows(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", rows())
    head = {"name": "label", "kind": "classification", "classes": ["a", "b"]}
    unsure = config(heads=[{**head, "abstain_below": {"coverage": 0.9}}])
    (problem,) = check(unsure, path).problems
    assert problem.startswith(
        "heads[label].abstain_below: fewer than 50 labelled rows are in the selection"
    )
    with pytest.raises(ConfigError, match="selection split to find it on"):
        run(unsure, path, str(tmp_path / "run"))
    assert check(config(heads=[{**head, "abstain_below": 0.5}]), path).problems == []


def test_scores_that_will_not_be_calibrated_are_warned_of(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", rows())
    head = {"name": "label", "kind": "classification", "classes": ["a", "b"]}
    (said,) = check(config(heads=[head]), path).warnings
    assert said.startswith("heads[label]: SCORES ARE NOT CALIBRATED")
    meant = config(heads=[{**head, "calibrate": False}])
    assert check(meant, path).warnings == []


def test_the_command_prints_and_returns_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config()), encoding="utf-8")
    good = write_jsonl(tmp_path / "m.jsonl", rows())
    assert run_check(str(path), good) == 0
    assert "good to train" in capsys.readouterr().out
    assert run_check(str(path), None) == 0
    assert "Inputs: text. Heads: label." in capsys.readouterr().out
    assert run_check(str(path), write_jsonl(tmp_path / "n.jsonl", rows(label="a"))) == 2
    path.write_text("nam: x\n", encoding="utf-8")
    assert run_check(str(path), str(tmp_path / "none.csv")) == 2
    out = " ".join(capsys.readouterr().out.split())
    assert "Did you mean 'name'?" in out
    assert "no such manifest" in out
