"""`predict`: columns of inputs may be lacking, and a split can be asked for."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.manifest import ManifestError
from pipeline.predicted_rows import predicted_rows
from pipeline.rows import Row, iter_rows
from tests.pipeline.samples import config, write_csv, write_jsonl
from trainer.config import Config

INPUTS = [
    {"name": "note", "modality": "text"},
    {"name": "more", "modality": "text"},
    {"name": "measures", "modality": "tabular", "numeric": ["age", "weight"]},
]


def three(**changes: Any) -> Config:
    return config(inputs=INPUTS, **changes)


def ids(made: Config, manifest: str, split: str | None = None) -> list[str]:
    return [row.id for row in predicted_rows(made, manifest, split)[0]]


def test_columns_that_are_lacking_are_missing_inputs_and_told(tmp_path: Path) -> None:
    for write, name in ((write_csv, "m.csv"), (write_jsonl, "m.jsonl")):
        cells = [{"id": f"r{i}", "note": "eight", "age": i} for i in range(3)]
        manifest = write(tmp_path / name, cells)
        rows, notes = predicted_rows(three(), manifest)
        found = list(rows)
        assert [row.id for row in found] == ["r0", "r1", "r2"]
        assert [row.values for row in found if isinstance(row, Row)] == [
            {"note": "eight", "age": float(i)} for i in range(3)
        ]
        assert notes == [
            f"{manifest}: no column 'more', 'weight': missing in every row (inputs more,"
            " measures)."
        ]


def test_without_an_id_rows_are_numbered(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "m.csv", [{"note": "a"}, {"note": "b"}])
    rows, notes = predicted_rows(three(), manifest)
    assert [row.id for row in rows] == ["1", "2"]
    assert (
        "no column 'id', which data.id names: the id of an answer is its row's"
        in (notes[1])
    )


def test_without_any_input_every_column_is_named(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "m.csv", [{"id": 1, "nota": "a"}])
    with pytest.raises(ManifestError) as caught:
        predicted_rows(three(), manifest)
    message = str(caught.value)
    assert "no column 'note', which inputs[note] names. Did you mean 'nota'?" in message
    assert "no column 'weight'" in message


@pytest.mark.parametrize("split", ["train", "eval", "selection"])
def test_a_split_by_hash_is_the_trainings_own(tmp_path: Path, split: str) -> None:
    cells = [
        {"id": f"r{i}", "note": "a", "more": "b", "age": 1, "weight": 2,
         "label": "ab"[i % 2]} for i in range(80)
    ]  # fmt: skip
    manifest = write_csv(tmp_path / "m.csv", cells)
    wanted = [row.id for row in iter_rows(three(), manifest, split)]
    assert 0 < len(wanted) < 80
    assert ids(three(), manifest, split) == wanted
    # Where labels are bad, the inputs can be predicted all the same.
    for row in cells:
        row["label"] = row["label"] if row["id"] != wanted[0] else "no class"
    manifest = write_csv(tmp_path / "m.csv", cells)
    assert all(isinstance(r, Row) for r in predicted_rows(three(), manifest, split)[0])


def test_a_named_split_needs_no_label(tmp_path: Path) -> None:
    made = three(data={"id": "id", "split": {"column": "part", "eval": "test"}})
    cells = [
        {"id": f"r{i}", "note": "a", "part": ("train", "test", "")[i % 3]}
        for i in range(9)
    ]
    manifest = write_csv(tmp_path / "m.csv", cells)
    found = list(predicted_rows(made, manifest, "test")[0])
    assert [row.id for row in found if isinstance(row, Row)] == ["r1", "r4", "r7"]
    # No split is lost silently: rows whose split cannot be told come with the reason.
    bad = [(row.id, row.reason) for row in found if not isinstance(row, Row)]
    assert bad == [("r2", "empty_split"), ("r5", "empty_split"), ("r8", "empty_split")]
    with pytest.raises(ManifestError, match="no row is in split 'eval'. Splits: train"):
        predicted_rows(made, manifest, "eval")


def test_a_split_that_cannot_be_told_says_what_is_lacking(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "m.csv", [{"id": "r", "note": "a"}])
    with pytest.raises(ManifestError, match=r"no column 'label'.*\n--split needs them"):
        predicted_rows(three(), manifest, "eval")
    made = three(data={"id": "id", "split": {"column": "part"}})
    with pytest.raises(
        ManifestError, match="no column 'part', which data.split.column"
    ):
        predicted_rows(made, manifest, "eval")


class Model:
    """Answers with what it was asked."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{"asked": sorted(row)} for row in rows]


def test_the_command_takes_a_split_and_notes_what_is_lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = three(data={"id": "id", "split": {"column": "part"}})
    monkeypatch.setattr("serving.client.LocalModel", Model)
    monkeypatch.setattr("pipeline.apply.newest_version", str)
    monkeypatch.setattr("pipeline.apply.model_config", lambda _: made)
    cells = [
        {"id": i, "note": "a", "age": "x" if i == 3 else 1,
         "part": ("train", "eval")[i % 2]} for i in range(6)
    ]  # fmt: skip
    manifest = write_csv(tmp_path / "m.csv", cells)
    output = tmp_path / "o.jsonl"
    words = ["predict", "--data", manifest, "--output", str(output), "--split", "eval"]
    done = CliRunner().invoke(main, [*words, "--model", "m"])
    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    assert "no column 'more', 'weight': missing in every row" in told
    assert "3 rows, 1 unreadable" in told
    lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == ["1", "3", "5"]
    assert lines[0] == {"id": "1", "asked": ["age", "note"]}
    assert lines[1]["error"]["reason"] == "not_a_number"
    done = CliRunner().invoke(main, [*words, "--target", "grpc://localhost:1/m"])
    assert done.exit_code == 2
    assert "--split: give --config too" in done.output


@pytest.mark.parametrize("content", ["", "\n\n", "none\n[1]\n"])
def test_json_lines_without_a_row_are_named_as_such(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "m.jsonl").write_text(content)
    with pytest.raises(ManifestError, match="it holds no row that can be read"):
        predicted_rows(three(), str(tmp_path / "m.jsonl"))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--token-file", "expected one bearer token in ASCII"),
        ("--ca-cert", "not a PEM"),
    ],
)
def test_a_file_that_is_no_token_or_certificate_is_said_before_a_server_is_asked(
    tmp_path: Path, option: str, said: str
) -> None:
    (tmp_path / "m.csv").write_text("note\na\n")
    (tmp_path / "secret").write_bytes(bytes(range(128, 160)))
    done = CliRunner().invoke(
        main,
        ["predict", "--target", "grpc://localhost:1/m", "--data", str(tmp_path / "m.csv"),
         "--output", str(tmp_path / "o.jsonl"), option, str(tmp_path / "secret")],
    )  # fmt: skip
    assert done.exit_code == 2
    assert said in done.output
