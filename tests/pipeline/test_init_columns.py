"""Which columns `init` takes for the id, the group, the split and the label."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.init_config import infer
from pipeline.manifest import ManifestError
from tests.pipeline.first_configs import inferred, left_out, note, table
from tests.pipeline.samples import png, write_csv, write_jsonl
from trainer.config import from_mapping


@pytest.mark.parametrize(
    "name",
    ["PatientID", "patient_id", "patientid", "Patient No", "userId", "lesion_id",
     "SubjectID", "患者编号", "病人ID", "说话人", "drive", "study"],
)  # fmt: skip
def test_groups_are_known_in_any_spelling(tmp_path: Path, name: str) -> None:
    config, text = inferred(tmp_path, table(**{name: lambda i: f"p{i // 4}"}))
    assert config.data.split.group_by == name
    assert "# its rows never part" in text
    assert [one.name for one in config.inputs] == ["note"]


def test_ids_that_come_again_are_groups_and_the_surest_one_is_taken(
    tmp_path: Path,
) -> None:
    rows = table(
        image_id=lambda i: f"ISIC_{i:04d}",
        batch_id=lambda i: i // 3,
        lesion_id=lambda i: f"HAM_{i // 2}",
        PatientID=lambda i: 100 + i // 4,
    )
    config, text = inferred(tmp_path, rows)
    assert config.data.id == "image_id"
    assert config.data.split.group_by == "PatientID"
    reason = (
        "tells rows that belong together apart from others; 'PatientID' groups them"
    )
    assert left_out(text) == {"batch_id": reason, "lesion_id": reason}
    config, text = inferred(tmp_path, table(thing_id=lambda i: i // 3))
    assert config.data.split.group_by == "thing_id"
    assert "an id that comes again, 3.0 times each" in text


def test_codes_that_come_again_are_a_group_by_a_guess(tmp_path: Path) -> None:
    config, text = inferred(tmp_path, table(90, probe=lambda i: f"K-{i // 3:03d}"))
    assert config.data.split.group_by == "probe"
    assert "a guess, codes that come 3.0 times each" in text
    # Few codes are categories, as stages of an illness are.
    config, _ = inferred(tmp_path, table(90, probe=lambda i: f"T{i % 4}"))
    assert config.data.split.group_by is None


def test_places_group_where_there_are_many_and_are_never_inputs(tmp_path: Path) -> None:
    config, text = inferred(tmp_path, table(医院=lambda i: f"第{i // 2}医院"))
    assert config.data.split.group_by == "医院"
    config, text = inferred(tmp_path, table(医院=lambda i: "甲乙丙"[i % 3]))
    assert config.data.split.group_by is None
    assert left_out(text)["医院"].startswith("tells where a row came from")


def test_an_id_that_comes_twice_is_named_with_its_value(tmp_path: Path) -> None:
    config, text = inferred(tmp_path, table(100, id=lambda i: i or 7))
    assert config.data.id is None
    assert left_out(text)["id"] == (
        "an id by its name, but '7' comes twice: 1 rows repeat an earlier one. It tells"
        " no rows apart"
    )


@pytest.mark.parametrize(
    ("column", "values", "names"),
    [
        ("split", ("Training", "Validation", "Test"), ("Training", "Test", "Validation")),
        ("Usage", ("Training", "PublicTest", "PrivateTest"),
         ("Training", "PrivateTest", "PublicTest")),
        ("phase", ("tr", "dev"), ("tr", "dev", "selection")),
        ("whatever", ("train", "test"), ("train", "test", "selection")),
        ("划分", ("训练集", "测试集"), ("训练集", "测试集", "selection")),
        ("is_train", ("1", "0"), ("1", "0", "selection")),
        ("IsValid", ("no", "yes"), ("no", "yes", "selection")),
        ("test", ("false", "true"), ("false", "true", "selection")),
    ],
)  # fmt: skip
def test_split_columns_are_known_in_the_usual_conventions(
    tmp_path: Path, column: str, values: tuple[str, ...], names: tuple[str, ...]
) -> None:
    rows = table(**{column: lambda i: values[i // 7 % len(values)]})
    config, _ = inferred(tmp_path, rows)
    split = config.data.split
    assert (split.column, split.train, split.eval, split.selection) == (column, *names)


def test_folds_are_no_input_and_the_reason_says_what_to_do(tmp_path: Path) -> None:
    for name in ("fold", "strat_fold", "KFold", "折"):
        config, text = inferred(tmp_path, table(**{name: lambda i: i % 5 + 1}))
        assert config.data.split.column is None
        assert [one.name for one in config.inputs] == ["note"]
        why = left_out(text)[name]
        assert why.startswith("5 folds of a cross-validation, no input.")
        assert f"data.split.group_by: {name}" in why
    _, text = inferred(tmp_path, table(set=lambda i: i % 3 + 1))
    assert (
        "which of its values (1, 2, 3) teaches cannot be told" in left_out(text)["set"]
    )


def test_values_of_a_split_that_take_part_in_nothing_are_told(tmp_path: Path) -> None:
    values = ("train", "train", "test", "extra")
    config, text = inferred(tmp_path, table(split=lambda i: values[i // 3 % 4]))
    assert (config.data.split.train, config.data.split.eval) == ("train", "test")
    assert "# Review: 15 rows of 'extra' take part in nothing." in text
    # No split is made of a column that also holds other things.
    rows = table(vehicle=lambda i: ("train", "bus", "ship", "test")[i % 4])
    assert inferred(tmp_path, rows)[0].data.split.column is None


def test_label_id_and_group_can_be_given(tmp_path: Path) -> None:
    rows = table(
        code=lambda i: f"{i}x", ward=lambda i: i // 5, mood=lambda i: "xyz"[i % 3]
    )
    config, text = inferred(tmp_path, rows, label="mood", id="code", group="ward")
    assert config.heads[0].column == "mood" or config.heads[0].name == "mood"  # type: ignore[union-attr]
    assert (config.data.id, config.data.split.group_by) == ("code", "ward")
    # The other answer is no input.
    assert left_out(text)["label"].startswith("by its name an answer too")
    path = write_csv(tmp_path / "m.csv", rows)
    output = tmp_path / "c.yaml"
    arguments = ["init", path, "-o", str(output), "--label", "mood", "--id", "code"]
    done = CliRunner().invoke(main, [*arguments, "--group", "ward"])
    assert done.exit_code == 0, done.output
    assert output.read_text(encoding="utf-8") == text
    done = CliRunner().invoke(main, [*arguments, "--force", "--group", "wart"])
    assert done.exit_code == 2
    assert not isinstance(done.exception, ManifestError)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label": "lable"}, r"--label: no column 'lable'. Did you mean 'label'\?"),
        ({"id": "nothing"}, "--id: no column 'nothing'"),
        ({"group": "nothing"}, "--group: no column 'nothing'"),
        ({"id": "half"}, "--id: column 'half' is empty in 30 rows"),
        ({"id": "label"}, "--id: column 'label' holds 'b' twice; 58 rows repeat"),
        ({"label": "note"}, "--label: column 'note' cannot be predicted: a different"),
        ({"label": "half", "group": "half"}, "must name different columns"),
    ],
)
def test_a_given_column_that_cannot_be_used_is_named(
    tmp_path: Path, given: dict[str, str], message: str
) -> None:
    rows = [
        row | {"note": f"{note(i)} {i}"}
        for i, row in enumerate(table(half=lambda i: "" if i % 2 else i // 8))
    ]
    with pytest.raises(ManifestError, match=message):
        inferred(tmp_path, rows, **given)


def test_rows_that_cannot_be_read_are_told_and_hide_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    line = '{i}, "red, blue", cat\n'
    path.write_text(
        "id, note, label\n" + "".join(line.format(i=i) for i in range(20)),
        encoding="utf-8",
    )
    with pytest.raises(ManifestError, match=r"row 1: expected 3 cells.*blank before a"):
        infer(str(path))
    path.write_text("id,note,label\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="the manifest has no rows"):
        infer(str(path))
    good = "".join(f"{i},{note(i)},{'ab'[i % 2]}\n" for i in range(60))
    path.write_text("id,note,label\n" + good + "60,b\n", encoding="utf-8")
    assert "# 1 rows could not be read; row 61: expected 3 cells" in infer(str(path))


@pytest.mark.parametrize(
    "line", ["0,red cat,a", "img/0.png,a", "5.1,3.5,1.4,0.2,a", "2024-01-02,a"]
)
def test_a_first_line_that_is_a_row_is_told(tmp_path: Path, line: str) -> None:
    cells = line.split(",")
    rows = [",".join([f"{i}{c}" if c[0].isdigit() else c for c in cells[:-1]]
                     + ["ab"[i % 2]]) for i in range(40)]  # fmt: skip
    path = tmp_path / "m.csv"
    path.write_text("\n".join([line, *rows]) + "\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="the first line seems to be a row rather"):
        infer(str(path))


def test_columns_called_by_numbers_are_columns(tmp_path: Path) -> None:
    rows = [{**{str(k): (i * k) % 11 / 3 for k in range(1, 10)}, "label": "ab"[i % 2]}
            for i in range(60)]  # fmt: skip
    config, _ = inferred(tmp_path, rows)
    assert len(config.inputs[0].numeric) == 9  # type: ignore[union-attr]


def test_a_picture_whose_column_is_called_as_an_id_is_a_picture(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.png").write_bytes(png())
    rows = [{"image_id": f"{i}.png", "label": "ab"[i % 2]} for i in range(40)]
    text = infer(write_jsonl(tmp_path / "m.jsonl", rows))
    config = from_mapping(yaml.safe_load(text))
    assert [(one.name, one.modality) for one in config.inputs] == [
        ("image_id", "image")
    ]
    assert config.data.id is None
