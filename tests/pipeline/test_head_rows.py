"""Labels of every kind of head: read, stored, read back, checked."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from pipeline.check import Report, check
from pipeline.rows import Quarantined, Row, read_row, to_example
from pipeline.stored import rows_of_examples
from pipeline.views import ingestion_view, transform_view
from tests.pipeline.samples import config, write_jsonl
from trainer.config import Config, from_json

ORDINAL = {"name": "grade", "kind": "ordinal", "classes": ["low", "high"]}
RANKING = {"name": "rank", "kind": "ranking", "group": "query"}
VQA = {"name": "answer", "kind": "vqa"}
RETRIEVAL = {"name": "match", "kind": "retrieval", "pair": ["text", "other"]}
TWO = [{"name": name, "modality": "text"} for name in ("text", "other")]


def of(*heads: dict[str, Any], **changes: Any) -> Config:
    return config(inputs=TWO, heads=list(heads), **changes)


def read(head: dict[str, Any], **cells: Any) -> Row | Quarantined:
    return read_row(1, {"id": "1", "text": "t", **cells}, of(head), "")


def labels(head: dict[str, Any], **cells: Any) -> Any:
    found = read(head, **cells)
    assert isinstance(found, Row), found
    return found.labels


def reason(head: dict[str, Any], **cells: Any) -> tuple[str, str]:
    found = read(head, **cells)
    assert isinstance(found, Quarantined), found
    return found.reason, found.column


def test_an_ordinal_label_is_one_class() -> None:
    assert labels(ORDINAL, grade="high") == {"grade": ("high",)}
    assert labels({**ORDINAL, "column": "级别"}, 级别="low") == {"grade": ("low",)}
    assert reason(ORDINAL, grade="mid") == ("unknown_label", "grade")
    assert reason(ORDINAL, grade=["low", "high"]) == ("several_labels", "grade")
    assert reason(ORDINAL, grade="") == ("empty_label", "grade")
    assert labels({**ORDINAL, "allow_missing": True}, grade="") == {}


def test_a_relevance_comes_with_its_group() -> None:
    assert labels(RANKING, rank="2", query=17) == {
        "rank": 2.0,
        "group:rank": ("17",),
    }
    clicks = {**RANKING, "column": "clicks", "group": "会话"}
    assert labels(clicks, clicks=0, 会话="甲") == {"rank": 0.0, "group:rank": ("甲",)}
    assert reason(RANKING, rank="1", query=" ") == ("empty_group", "query")
    assert reason(RANKING, rank="-1", query="q") == ("negative_relevance", "rank")
    assert reason(RANKING, rank="", query="q") == ("empty_label", "rank")
    missing = labels({**RANKING, "allow_missing": True}, rank="", query="q")
    assert missing == {"group:rank": ("q",)}


def test_answers_are_those_of_each_annotator() -> None:
    assert labels(VQA, answer="Yes|yes| no  way ") == {
        "answer": ("yes", "yes", "no way")
    }
    assert labels(VQA, answer=["Two", "", 2.0]) == {"answer": ("two", "2")}
    kept = {**VQA, "lowercase": False, "separator": ";", "column": "说"}
    assert labels(kept, 说="Yes;a|b") == {"answer": ("Yes", "a|b")}
    assert labels({**VQA, "annotators": 2}, answer="a|b|c") == {"answer": ("a", "b")}
    assert reason(VQA, answer=" | ") == ("empty_label", "answer")
    assert labels({**VQA, "allow_missing": True}, answer="") == {}


def test_pairs_need_no_label() -> None:
    assert labels(RETRIEVAL) == {}


ROW = {"grade": "high", "rank": 3, "query": "q", "answer": "Yes|no", "other": "o"}


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    one = of(ORDINAL, RANKING, VQA, RETRIEVAL)
    found = read_row(1, {"id": "1", "text": "t", **ROW}, one, "")
    assert isinstance(found, Row)
    folder = tmp_path / "Split-eval"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
        writer.write(to_example(found))
    (again,) = rows_of_examples(one, str(tmp_path), "eval")
    assert again.labels == found.labels
    assert again.labels == {
        "grade": ("high",),
        "rank": 3.0,
        "group:rank": ("q",),
        "answer": ("yes", "no"),
    }


def test_slices_come_back_with_the_rows(tmp_path: Path) -> None:
    one = of(ORDINAL, evaluation={"slices": [["医院"], ["医院", "sex"]]})
    given = ({"医院": "甲", "sex": "f"}, {"sex": "m"})
    (tmp_path / "Split-eval").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / "Split-eval/data.gz"), "GZIP") as writer:
        for columns in given:
            row = read_row(1, {"id": "1", "text": "t", **ROW, **columns}, one, "")
            assert isinstance(row, Row)
            writer.write(to_example(row))
    found = [row.slices for row in rows_of_examples(one, str(tmp_path), "eval")]
    assert found == list(given)


@pytest.mark.parametrize(
    ("head", "change", "read_again", "analyzed_again"),
    [
        (ORDINAL, {"method": "corn"}, False, False),
        (ORDINAL, {"classes": ["a", "b"]}, True, True),
        (RANKING, {"loss": "hinge", "gain": "linear", "top_k": [3]}, False, False),
        (RANKING, {"group": "other"}, True, True),
        (VQA, {"loss": "sigmoid", "top_k": 2, "question": "text"}, False, False),
        (VQA, {"lowercase": False}, True, True),
        (VQA, {"max_answers": 7}, False, True),
        (RETRIEVAL, {"dim": 3, "temperature": 0.5, "weight": 2.0}, False, False),
    ],
)
def test_only_what_reads_a_key_runs_again(
    head: dict[str, Any], change: Any, read_again: bool, analyzed_again: bool
) -> None:
    before, after = of(head), of({**head, **change})
    assert (ingestion_view(before) != ingestion_view(after)) == read_again
    assert (transform_view(before) != transform_view(after)) == analyzed_again
    for view in (ingestion_view, transform_view):
        assert from_json(view(after)).heads[0].name == head["name"]


def rows(count: int = 40, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": i, "text": "t", "other": "o", "grade": ["low", "high"][i % 2],
            "rank": i % 3, "query": f"q{i // 4}", "answer": ["yes|yes", "no"][i % 2],
            "set": "test" if i >= 32 else "train", **changes,
        }
        for i in range(count)
    ]  # fmt: skip


SPLIT = {
    "id": "id",
    "split": {"column": "set", "eval": "test", "selection_fraction": 0},
}


def checked(tmp_path: Path, found: list[dict[str, Any]], *heads: Any) -> Report:
    path = write_jsonl(tmp_path / "m.jsonl", found)
    return check(of(*heads, data=SPLIT), path)


def of_heads(notes: list[str]) -> list[str]:
    """The notes on heads; the integrity checks have theirs."""
    return [note for note in notes if note.startswith("heads[")]


def test_a_check_says_what_the_heads_have(tmp_path: Path) -> None:
    report = checked(tmp_path, rows(), ORDINAL, RANKING, VQA, RETRIEVAL)
    assert report.problems == []
    assert report.classes["grade"]["train"] == {"low": 16, "high": 16}
    assert report.lines == [
        "rank, train: 32 rows, 0 to 2, mean 0.9688",
        "rank, test: 8 rows, 0 to 2, mean 1",
        "rank, train: 8 groups of 4 rows",
        "rank, test: 2 groups of 4 rows",
        "answer, train: 2 answers: yes (32), no (16)",
        "answer, test: 2 answers: yes (8), no (4)",
        "match, train: 32 rows with both text and other",
        "match, test: 8 rows with both text and other",
    ]


def test_a_check_says_what_the_heads_lack(tmp_path: Path) -> None:
    heads = (
        {**ORDINAL, "classes": ["low", "mid", "high"]},
        {**RANKING, "group": "id"},
        {**VQA, "allow_missing": True},
        RETRIEVAL,
    )
    report = checked(tmp_path, rows(answer="", other=""), *heads)
    assert report.problems == [
        "inputs[other]: column 'other' is empty in every usable row; remove it from the"
        " config or fill it.",
        "heads[grade].classes: no row of split 'train' has 'mid'; add rows or remove the"
        " class.",
        "heads[rank].group: no two rows of split 'train' share a value of column 'id':"
        " nothing could be compared.",
        "heads[answer]: no row of split 'train' has an answer in column 'answer'.",
        "heads[match].pair: fewer than two rows of split 'train' have both text and"
        " other.",
    ]
    assert of_heads(report.notes) == [
        "heads[grade]: split 'test' judges without a row of 'mid'.",
        "heads[rank]: split 'test' judges nothing: its groups are single rows.",
        "heads[match]: split 'test' judges nothing: no row has both inputs.",
    ]


def test_a_check_counts_answers_that_cannot_be_given(tmp_path: Path) -> None:
    found = [*rows(32), *({**row, "answer": "never|yes"} for row in rows()[32:])]
    report = checked(tmp_path, found, {**VQA, "max_answers": 1})
    assert of_heads(report.notes) == [
        "heads[answer]: 50.0% of the answers in split 'test' are not among the 1 that"
        " can be given."
    ]


def test_missing_columns_are_named_by_their_setting(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", [{"id": 1, "text": "t", "other": "o"}])
    problems = check(of(RANKING, VQA), path).problems
    assert ["heads[rank].column" in p for p in problems] == [True, False, False]
    assert ["heads[rank].group" in p for p in problems] == [False, True, False]
    assert ["heads[answer].column" in p for p in problems] == [False, False, True]
