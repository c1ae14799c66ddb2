"""What kind of input `init` makes of a column by its cells, and why it makes none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cell_forms import form_of
from pipeline.manifest import ManifestError
from tests.pipeline.first_configs import inferred, left_out, table
from trainer.features import features

DIGITS = "0123456789abcdef"


def uuid(i: int) -> str:
    return f"550e84{i:02d}-e29b-41d4-a716-4466554400{i:02d}"


@pytest.mark.parametrize(
    ("reason", "cell"),
    [
        ("points in time", lambda i: f"2023-01-{i % 28 + 1:02d} 07:{i % 60:02d}:00"),
        ("points in time", lambda i: f"2023-01-{i % 28 + 1:02d}T07:00:00.5Z"),
        ("points in time", lambda i: f"{i % 28 + 1:02d}.01.2023"),
        ("points in time", lambda i: f"1/{i % 28 + 1}/23"),
        ("points in time", lambda i: f"Jan {i % 28 + 1}, 2023"),
        ("points in time", lambda i: f"Thu, {i % 28 + 1} Jan 2023 10:00:00 GMT"),
        ("points in time", lambda i: f"2024年1月{i % 28 + 1}日"),
        ("points in time", lambda i: f"{i % 24}:{i % 60:02d}"),
        ("points in time (such as '20240101')", lambda i: 20240101 + i % 28),
        ("telephone numbers", lambda i: f"+00 138 {1000 + i} {2000 + i}"),
        ("telephone numbers", lambda i: f"+86 1381234{1000 + i}"),
        ("telephone numbers", lambda i: f"138-1234-{1000 + i}"),
        ("telephone numbers", lambda i: f"(555) 123-{1000 + i}"),
        ("e-mail addresses", lambda i: f"user{i}@example.org"),
        ("web addresses", lambda i: f"https://example.org/{i}"),
        ("web addresses", lambda i: f"s3://bucket/{i}"),
        ("UUIDs: an identifier", uuid),
        ("checksums: an identifier", lambda i: f"{i:02d}" + DIGITS * 2 + "a" * 6),
        ("network addresses", lambda i: f"10.0.0.{i}"),
        ("lists", lambda i: f'["a", {i}]'),
        ("lists", lambda i: f"['a', {i}]"),
        ("numbers with thousands separators", lambda i: f"{1 + i % 7},{100 + i}"),
        ("numbers with thousands separators", lambda i: f"{1 + i % 7} {100 + i},5"),
        ("numbers with percent signs", lambda i: f"{i}%"),
        ("numbers with currency signs", lambda i: f"${i}.50"),
        ("numbers with currency signs", lambda i: f"{i} €"),
        ("numbers with currency signs", lambda i: f"¥{i}"),
        ("numbers with currency signs", lambda i: f"{i}元"),
        ("numbers with units", lambda i: f"{i} kg"),
        ("numbers with units", lambda i: f"{i}岁"),
        ("numbers with units", lambda i: f"3{i % 10}.{i // 10}℃"),
        ("numbers with decimal commas", lambda i: f"{i},5"),
        ("numbers with signs such as < or >", lambda i: f"<{i}"),
        ("numbers with several in a cell", lambda i: f"{100 + i}/80"),
        ("numbers with several in a cell", lambda i: f"(39.{i}, -116.{i})"),
        ("numbers with several in a cell", lambda i: f"{i}x{i + 1}"),
        ("numbers with several in a cell", lambda i: " ".join([f"0.{i}"] * 50)),
        ("codes written in digits (such as '01000')", lambda i: f"0{1000 + i}"),
        ("numbers in 51 of 60 cells, text in the rest (such as 'n/a')",
         lambda i: i * 1.5 if i % 7 else "n/a"),
        ("constant: 'x' wherever it is filled", lambda i: "x" if i % 2 else ""),
        ("empty in every row", lambda i: ""),
        ("'NULL' wherever it is filled: no value", lambda i: "NULL"),
        ("one different whole number per row", lambda i: 7 * i),
    ],
)  # fmt: skip
def test_cells_that_are_no_words_leave_their_column_out(
    tmp_path: Path, reason: str, cell: Callable[[int], object]
) -> None:
    _, text = inferred(tmp_path, table(id=lambda i: f"r{i}", column=cell))
    assert left_out(text)["column"].startswith(reason)


@pytest.mark.parametrize(
    ("name", "reason", "cell"),
    [
        ("taken_at", "points in time (seconds since 1970", lambda i: 1.7e9 + 61 * i),
        ("timestamp", "points in time (milliseconds", lambda i: 1.7e12 + 61e3 * i),
        ("phone", "telephone numbers", lambda i: 5551000 + i // 2),
        ("zip_code", "codes written in digits", lambda i: 10000 + i // 2),
        ("邮编", "codes written in digits", lambda i: 100000 + i // 2),
        ("followup_months", "by its name known only", lambda i: i / 7),
        ("went_icu", "by its name known only", lambda i: "YN"[i % 3 == 0]),
        ("DischargeStatus", "by its name known only", lambda i: "YN"[i % 3 == 0]),
        ("预后", "by its name known only", lambda i: "好差"[i % 3 == 0]),
        ("predicted_score", "by its name known only", lambda i: i / 7),
        ("annotator", "by its name known only", lambda i: f"Dr {i % 3}"),
        (
            "label_kind",
            "by its name it speaks of the label",
            lambda i: "ab"[i % 3 == 0],
        ),
        ("LabelType", "by its name it speaks of the label", lambda i: "ab"[i % 3 == 0]),
        ("source_url", "tells where a row came from", lambda i: f"x{i % 3}"),
        ("ScannerModel", "tells where a row came from", lambda i: f"x{i % 3}"),
        ("来源", "tells where a row came from", lambda i: "甲乙"[i % 3 == 0]),
        ("姓名", "names of persons", lambda i: f"{'王李张'[i % 3]}{'明华'[i % 2]}"),
        ("Unnamed: 0", "row numbers, as pandas writes them", lambda i: i),
    ],
)
def test_names_leave_their_column_out(
    tmp_path: Path, name: str, reason: str, cell: Callable[[int], object]
) -> None:
    _, text = inferred(tmp_path, table(**{"id": lambda i: f"r{i}", name: cell}))
    assert f"#   {name}: {reason}" in text


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("numeric", lambda i: i * 1.5),
        ("numeric", lambda i: 1990 + i % 30),  # years
        ("numeric", lambda i: f"{i}e-3"),
        ("categorical", lambda i: ("yes", "no")[i % 3 == 0]),
        ("categorical", lambda i: "是否"[i % 3 == 0]),
        ("categorical", lambda i: ("$5", "$10", "$20")[i % 3]),
        ("categorical", lambda i: ("10-20", "20-30", "30+")[i % 3]),
        ("categorical", lambda i: f"0{i % 4}"),
        ("text", lambda i: f"the {i}th of some sentences, {i * i}"),
    ],
)
def test_measures_categories_and_words_are_inputs(
    tmp_path: Path, kind: str, cell: Callable[[int], object]
) -> None:
    rows = table(id=lambda i: f"r{i}", column=cell)
    config, text = inferred(tmp_path, rows)
    one = config.inputs[-1]
    if kind == "text":
        assert [i.name for i in config.inputs] == ["note", "column"]
    else:
        assert [getattr(c, "column", c) for c in getattr(one, kind)] == ["column"]
    assert left_out(text) == {}


def test_names_that_say_before_are_known_in_time(tmp_path: Path) -> None:
    rows = table(
        **{"id": lambda i: f"r{i}", "pre_treatment_mm": lambda i: i / 7,
           "术前天数": lambda i: i / 3},
    )  # fmt: skip
    config, text = inferred(tmp_path, rows)
    assert len(config.inputs[1].numeric) == 2  # type: ignore[union-attr]
    assert left_out(text) == {}


def test_doubtful_cells_of_an_input_are_told_beside_it(tmp_path: Path) -> None:
    rows = table(
        200,
        id=lambda i: f"r{i}",
        weight=lambda i: "?" if i == 9 else i / 3,
        smoker=lambda i: ("Yes", "yes", "no", "NA")[i % 4],
    )
    _, text = inferred(tmp_path, rows)
    assert (
        "- weight  # 0 to 66.3333; review: 1 cell is no number (such as '?'): such rows"
        " are set aside"
    ) in text
    assert "review: 'Yes', 'yes' are different categories" in text


def test_a_form_needs_nearly_all_cells_and_few_units() -> None:
    assert form_of(["12 kg", "13 kg", "word"]) == ""
    assert form_of(["", "n/a"]) == ""
    assert form_of([f"{i}{a}" for i, a in enumerate("abcdefgh")]) == ""
    assert form_of(["1,234", "567", "12%"]) == (
        "numbers with thousands separators (such as '1,234'), percent signs (such as"
        " '12%'): write them plainly, as 1234.5"
    )


def test_measures_written_with_exponents_are_no_identifiers(tmp_path: Path) -> None:
    rows = table(energy=lambda i: f"{i + 1}e30", income=lambda i: float(i * 1e17))
    found = {f.key: f.kind for f in features(inferred(tmp_path, rows)[0])}
    assert found == {"note": "text", "energy": "numeric", "income": "numeric"}


def test_classes_that_only_look_alike_are_for_a_person_to_see(tmp_path: Path) -> None:
    several = ("caf\u00e9", "cafe\u0301", "\uff21", "A", "\ufeffth\u00e9", "th\u00e9")
    rows = [{**row, "label": several[i % 6]} for i, row in enumerate(table())]
    text = inferred(tmp_path, rows)[1]
    assert text.count("# review: 10 rows; the same as ") == 6


@pytest.mark.parametrize("separator", ["、", "；", "，"])
def test_chinese_marks_part_several_labels(tmp_path: Path, separator: str) -> None:
    several = ("发热", "咳嗽", f"咳嗽{separator}发热")
    rows = [{**row, "label": several[i * 5 % 3]} for i, row in enumerate(table())]
    head = inferred(tmp_path, rows)[0].heads[0]
    assert head.classes == ("发热", "咳嗽")  # type: ignore[union-attr]
    assert head.separator == separator  # type: ignore[union-attr]


def test_paths_as_windows_writes_them_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").write_bytes(b"")
    text = inferred(tmp_path, table(photo=lambda i: "img\\a.png"))[1]
    assert left_out(text)["photo"] == (
        "looks like image files, but none could be read (missing_file, e.g. img\\a.png;"
        " write / between folders, not \\)"
    )


@pytest.mark.parametrize("begin", ["data:image/png;base64,", "iVBORw0KGgo", "/9j/"])
def test_files_as_base64_are_named_for_what_they_are(
    tmp_path: Path, begin: str
) -> None:
    rows = [
        {"image": f"{begin}{i:02d}{'Ab0+' * 40}", "label": "ab"[i % 2]}
        for i in range(60)
    ]
    with pytest.raises(ManifestError) as caught:
        inferred(tmp_path, rows)
    assert "image: files as base64 text (such as" in str(caught.value)
    assert "or its bytes into a Parquet column" in str(caught.value)


def test_where_nothing_is_left_the_columns_with_another_role_are_named(
    tmp_path: Path,
) -> None:
    rows = [{"code": f"K-{i:03d}", "label": "ab"[i % 2]} for i in range(60)]
    with pytest.raises(ManifestError, match="'label' from: code: taken as the id"):
        inferred(tmp_path, rows)
    with pytest.raises(ManifestError, match="'label' from: there is no other"):
        inferred(tmp_path, [{"label": "ab"[i % 2]} for i in range(60)])


@pytest.mark.parametrize("name", ["患者姓名", "姓名", "patient_name", "Surname"])
def test_names_of_persons_are_no_texts(tmp_path: Path, name: str) -> None:
    text = inferred(tmp_path, table(**{name: lambda i: f"张小{i % 50} of {i}"}))[1]
    assert left_out(text)[name].startswith("names of persons")
