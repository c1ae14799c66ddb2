"""Manifests of every format stream the same rows, and say what is wrong with them."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from pipeline.manifest import BadRow, Manifest, ManifestError, needed_columns, rows
from tests.pipeline.samples import CHINESE, write_csv, write_jsonl
from trainer.config import from_mapping

ROWS = [
    {"编号": "一", "text": 'says "hi",\nthen goes'},
    {"编号": "二", "text": ""},
    {"编号": "三", "text": "naïve"},
]


def write_parquet(path: Path, cells: list[dict[str, object]], group: int = 2) -> str:
    table = pyarrow.Table.from_pylist(cells)
    pyarrow.parquet.write_table(table, path, row_group_size=group)
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    write = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}[suffix]
    path = write(tmp_path / f"m.{suffix}", ROWS)  # type: ignore[operator]
    assert list(rows(path)) == list(enumerate(ROWS, start=1))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_reading_can_begin_at_every_row(tmp_path: Path, suffix: str) -> None:
    cells = [{"id": f"é{i}", "text": "two\nlines" * (i % 3)} for i in range(700)]
    write = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}[suffix]
    path = write(tmp_path / f"m.{suffix}", cells)  # type: ignore[operator]
    manifest = Manifest(path)
    records = list(manifest.records())
    assert [r.cells for r in records] == cells
    for at in (0, 1, 2, 256, 257, 511, 699):
        begun = list(manifest.records(records[at].start))
        assert begun == records[at:]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_names(
    tmp_path: Path,
) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes("\ufeff编号,text\r\n一,hi\r\n\r\n二,ho\r\n".encode())
    assert list(rows(str(path))) == [
        (1, {"编号": "一", "text": "hi"}),
        (2, {"编号": "二", "text": "ho"}),
    ]
    path = tmp_path / "excel.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\n')
    assert list(rows(str(path))) == [(1, {"id": 1})]


def test_a_malformed_line_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": \n[2]\n\n{"id": "\xff"}\n{"id": 3}\n')
    found = list(rows(str(path)))
    assert [n for n, _ in found] == [1, 2, 3, 4, 5]
    assert [getattr(cells, "reason", cells) for _, cells in found] == [
        {"id": 1}, "malformed_json", "malformed_json", "not_utf8", {"id": 3},
    ]  # fmt: skip


def test_a_csv_row_with_missing_cells_or_other_bytes_is_one_bad_row(
    tmp_path: Path,
) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"id,text\n1,a\n2\n3,a,b\n4,\xff\n5,a\n")
    found = [cells for _, cells in rows(str(path))]
    assert found[0] == {"id": "1", "text": "a"}
    assert found[1] == BadRow(
        "malformed_csv",
        "expected 2 cells as in the header (is a quote or a comma missing?)."
        " Received: 1",
    )
    assert [getattr(c, "reason", "") for c in found] == [
        "", "malformed_csv", "malformed_csv", "not_utf8", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.xlsx", b"x", r"ends in .csv, .tsv, .jsonl, .ndjson, .parquet.*'.xlsx'"),
        ("manifest", b"x", "'no extension'"),
        ("m.csv", None, "no such manifest"),
        ("m.csv", b"", "first line must name the columns"),
        ("m.csv", b"\n1,2\n", "first line must name the columns"),
        ("m.csv", b"id,id\n", "Twice: id"),
        ("m.csv", b"id;text\n", "seems to use semicolons"),
        ("m.csv", b"id\ttext\n1\ta\n", r"seems to use tabs; let its name end in .tsv"),
        ("m.tsv", b"id,text\n1,a\n", r"seems to use commas; let its name end in .csv"),
        ("m.csv", b"id|text\n1|a\n", "seems to use vertical bars"),
        (
            "m.csv",
            b"id,text,\n1,a,\n",
            r"Column 3 of 3 \(behind 'text'\) has none.*end no",
        ),
        (
            "m.csv",
            b"id,,text\n1,b,a\n",
            r"Column 2 of 3 \(behind 'id'\) has none; name it",
        ),
        ("m.csv", b"sep=,\nid,text\n1,a\n", r"line 1 is a note to Excel \('sep=,?'\)"),
        ("m.csv", b"sep=;\nid;text\n1;a\n", r"line 1 is a note to Excel \('sep=;'\)"),
        (
            "m.csv",
            b"# of 2024\nid,text\n1,a\n",
            r"seems to be a comment \('# of 2024'\)",
        ),
        ("m.csv", b"# of a, b\nid,text,y\n", r"seems to be a comment \('# of a,b'\)"),
        ("m.csv", "id,text\n".encode("utf-16"), "save it as UTF-8"),
        ("m.parquet", b"no parquet", "not a Parquet file"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_why(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest(str(path))
    assert str(caught.value).startswith(str(path))


def test_a_missing_column_names_the_nearest_and_the_known(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "m.csv", [{"pictures": "x", "标签": "y"}])
    problems = Manifest(path).lacking(
        [("inputs[image]", "picture"), ("heads[label].column", "标签")]
    )
    assert problems == [
        f"{path}: no column 'picture', which inputs[image] names."
        " Did you mean 'pictures'? Columns: pictures, 标签"
    ]


def test_needed_columns_are_all_that_the_config_names() -> None:
    config = from_mapping(CHINESE)
    assert needed_columns(config, labels=False) == [
        ("inputs[image]", "图片"),
        ("inputs[audio]", "声音"),
        ("inputs[text]", "文本"),
        ("inputs[table]", "年龄"),
        ("inputs[table]", "性别"),
        ("data.id", "编号"),
    ]
    assert needed_columns(config)[6:] == [
        ("heads[label].column", "标签"),
        ("evaluation.slices", "性别"),
        ("data.split.column", "划分"),
    ]


def test_media_inside_parquet_are_bytes(tmp_path: Path) -> None:
    cells: list[dict[str, object]] = [
        {"image": {"bytes": b"x", "path": None}},
        {"image": {"bytes": None, "path": "one.png"}},
        {"image": None},
    ]
    path = write_parquet(tmp_path / "m.parquet", cells)
    found = [cells["image"] for _, cells in rows(path) if isinstance(cells, dict)]
    assert found == [b"x", "one.png", None]


def test_a_url_is_read_through_gfile(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "m.csv", ROWS)
    assert [cells for _, cells in rows(f"file://{path}")] == ROWS
    path = write_parquet(tmp_path / "m.parquet", ROWS)  # type: ignore[arg-type]
    assert [cells for _, cells in rows(f"file://{path}")] == ROWS


def test_the_row_numbers_that_pandas_writes_are_read_past(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(",text,y\n0,a,1\n1,b,2\n2,c\n", encoding="utf-8")
    manifest = Manifest(str(path))
    assert manifest.columns == ("text", "y")
    assert [record.cells for record in manifest.records()] == [
        {"text": "a", "y": "1"},
        {"text": "b", "y": "2"},
        BadRow(
            "malformed_csv",
            "expected 3 cells as in the header (is a quote or a comma missing?)."
            " Received: 2",
        ),
    ]


def test_a_blank_before_a_quote_is_named_as_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text('id, text, y\n1, "red, blue", 2\n#,note\n', encoding="utf-8")
    quoted, comment = [cells.message for _, cells in rows(str(path))]  # type: ignore[union-attr]
    assert quoted == (
        "expected 3 cells as in the header (a blank before a quote? A quoted cell"
        " begins right behind the comma). Received: 4"
    )
    assert "(a comment? There are none in a manifest)" in comment
    # A column may be called #.
    path.write_text("#,text\n1,a\n", encoding="utf-8")
    assert Manifest(str(path)).columns == ("#", "text")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("<!DOCTYPE html>\n<html><title>Not found</title></html>\n", "is a web page"),
        ("\n<HTML><body>Sign in</body></HTML>\n", "is a web page"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_what_came_in_place_of_a_file_is_named(
    tmp_path: Path, suffix: str, content: str, said: str
) -> None:
    path = tmp_path / f"m.{suffix}"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ManifestError, match=said):
        Manifest(str(path))


def test_of_a_broken_json_line_the_character_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"b"; 2}\n', encoding="utf-8")
    assert [cells.message for _, cells in list(rows(str(path)))[1:]] == [  # type: ignore[union-attr]
        "expected one JSON object per line: Expecting value at character 7.",
        "expected one JSON object per line: Expecting ':' delimiter at character 5.",
    ]


def test_quotes_that_are_not_csvs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("'text','y'\n'a','b'\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="stand in single quotes \\('text','y'\\)"):
        Manifest(str(path))
    path.write_text("text,y\n\u201cred, blue\u201d,1\n", encoding="utf-8")
    ((_, cells),) = rows(str(path))
    assert isinstance(cells, BadRow)
    assert "(typographic quotes? Only straight ones" in cells.message


def test_a_manifest_in_gbk_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("编号,影像\n1,片.png\n", encoding="gbk")
    with pytest.raises(ManifestError, match="iconv -f GB18030 -t UTF-8 OLD > NEW"):
        Manifest(str(path))
    path.write_bytes(path.read_bytes().decode("gb18030").encode())
    assert Manifest(str(path)).columns == ("编号", "影像")
