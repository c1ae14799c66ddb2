"""One bad row is set aside alone; where none is usable, the reasons are told."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.quarantine import QuarantineError
from pipeline.rows import Quarantined, Row, iter_rows, read_row
from pipeline.scan import scan
from tests.pipeline.samples import config, png, write_csv, write_jsonl
from trainer.config import Config, to_yaml

PICTURE = {"name": "image", "modality": "image", "height": 8, "width": 8}
SEQUENCE = {"name": "image", "modality": "images", "height": 8, "width": 8}


def pictures(**changes: Any) -> Config:
    return config(inputs=[PICTURE], **changes)


def checked(folder: Path, one: Config, manifest: str) -> Any:
    (folder / "config.yaml").write_text(to_yaml(one), encoding="utf-8")
    arguments = ["check", str(folder / "config.yaml"), "--data", manifest]
    return CliRunner().invoke(main, arguments)


def test_a_manifest_whose_files_all_lie_elsewhere(tmp_path: Path) -> None:
    rows = [
        {"id": i, "image": f"nowhere/{i}.png", "label": "ab"[i % 2]} for i in range(40)
    ]
    path = write_csv(tmp_path / "m.csv", rows)
    result = checked(tmp_path, pictures(), path)
    assert result.exit_code == 2, result.exception
    text = " ".join(result.output.split())
    assert "40 of 40 rows (100.0%) cannot be used" in text
    assert "missing_file: 40 rows" in text


def test_a_run_ends_before_anything_is_started_where_no_row_is_usable(
    tmp_path: Path,
) -> None:
    from pipeline.integrity.rows import look

    rows = [{"id": i, "image": "x.txt", "label": "ab"[i % 2]} for i in range(40)]
    (tmp_path / "x.txt").write_text("no picture")
    path = write_csv(tmp_path / "m.csv", rows)
    with pytest.raises(QuarantineError, match="40 of 40 rows.*\n.*unsupported_format"):
        look(pictures(), path, scan(pictures(), path))
    result = CliRunner().invoke(
        main,
        ["run", str(_written(tmp_path, pictures())), "--data", path, "--output",
         str(tmp_path / "out")],
    )  # fmt: skip
    assert result.exit_code == 2, result.exception
    assert "unsupported_format: 40 rows" in result.output + result.stderr


def _written(folder: Path, one: Config) -> Path:
    (folder / "config.yaml").write_text(to_yaml(one), encoding="utf-8")
    return folder / "config.yaml"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "id,text,label\n", "the manifest has no rows"),
        ("m.jsonl", "\n", "the manifest has no rows"),
        ("m.csv", "id,text,label\n1\n2\n", "none of its 2 rows can be read; row 1"),
        ("m.jsonl", "{\n}\n", "objects over several lines"),
        ("m.jsonl", "1\n2\n", "none of its 2 rows can be read; row 1: malformed_json"),
    ],
)
def test_a_manifest_without_a_row_says_so(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    result = checked(tmp_path, config(), str(tmp_path / name))
    assert result.exit_code == 2, result.exception
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize("one", [PICTURE, SEQUENCE])
@pytest.mark.parametrize(
    "path",
    [
        "\0.png", "a\0b", "\ud800.png", "x" * 5000, "..", "a.zip!\0", "file://\0",
        "http://[", "s3://", "://", "[" * 3000, ["a.png", {"b": 1}], {"a": 1}, b"\0",
    ],
)  # fmt: skip
def test_a_path_that_names_nothing_is_one_bad_row(
    one: dict[str, Any], path: Any, tmp_path: Path
) -> None:
    (tmp_path / "good.png").write_bytes(png())
    row = {"id": "1", "image": path, "label": "a"}
    found = read_row(1, row, config(inputs=[one]), str(tmp_path))
    assert isinstance(found, Quarantined)
    assert found.reason
    found.to_json().encode()
    # The scan and the rows around it do not mind.
    if not isinstance(path, bytes):
        rows = [{"id": str(i), "image": "good.png", "label": "a"} for i in (2, 3)]
        manifest = write_jsonl(
            tmp_path / "m.jsonl", [rows[0], row | {"image": _json(path)}, rows[1]]
        )
        kinds = [type(r) for r in iter_rows(config(inputs=[one]), manifest)]
        assert kinds[0] is kinds[2] is Row


def _json(path: Any) -> Any:
    # Half a surrogate pair is written as JSON's escape, which write_jsonl does not do.
    return path.replace("\ud800", "?") if isinstance(path, str) else path


def test_names_of_half_a_surrogate_pair_are_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lines = [
        '{"id": "\\ud800", "text": "t", "label": "a", "split": "train", "who": "x"}',
        '{"id": "2", "text": "t", "label": "a", "split": "\\ud800", "who": "x"}',
        '{"id": "3", "text": "t", "label": "a", "split": "train", "who": "\\ud800"}',
        '{"id": "4", "text": "t", "label": "a", "split": "train", "who": "x"}',
    ]
    path.write_text("\n".join(lines))
    data = {"id": "id", "split": {"column": "split", "group_by": "who"}}
    found = list(iter_rows(config(data=data), str(path)))
    assert [getattr(row, "reason", "") for row in found] == [
        "not_utf8", "not_utf8", "not_utf8", "",
    ]  # fmt: skip
    for row in found[:3]:
        assert isinstance(row, Quarantined)
        row.to_json().encode()
        str(row).encode()


def test_whatever_a_decoder_raises_is_the_row_s_own_fault(monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> bytes:
        raise KeyError("header")

    monkeypatch.setattr("pipeline.rows.servable_image", fail)
    found = read_row(4, {"id": 1, "image": b"x", "label": "a"}, pictures(), "")
    assert found == Quarantined(
        4, "1", "unreadable_row", "image", "cannot be read (KeyError: 'header')."
    )


def test_split_names_that_differ_in_case_are_one_split(tmp_path: Path) -> None:
    rows = [
        {"id": i, "text": "t", "label": "a",
         "split": ("Train", "train", " TEST ", "Dev")[i % 4]}
        for i in range(80)
    ]  # fmt: skip
    path = write_csv(tmp_path / "m.csv", rows)
    split = {"column": "split", "eval": "test", "selection_fraction": 0}
    found = scan(config(data={"id": "id", "split": split}), path)
    assert found.splits == {"train": 40, "test": 20, "Dev": 20}
    (warning,) = found.warnings()
    assert warning == (
        "split 'Dev' of column 'split': its 20 rows take part in nothing; data.split"
        " names 'train', 'selection' and 'test'."
    )
