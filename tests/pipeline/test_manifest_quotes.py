"""A quote that is never closed costs its own line at most, never those behind it."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest import BadRow, Manifest, rows
from pipeline.scan import scan
from tests.pipeline.samples import config


def cells_of(path: Path, text: str) -> list[Any]:
    path.write_text(text, encoding="utf-8", newline="")
    return [cells for _, cells in rows(str(path))]


def test_sentences_that_begin_with_a_lone_quote_are_rows(tmp_path: Path) -> None:
    for separator, name in (("\t", "m.tsv"), (",", "m.csv")):
        lines = [
            separator.join([str(i), '"' * (i % 10 == 3) + f"red cat {i}", "a"])
            for i in range(60)
        ]
        text = "\n".join([separator.join(["id", "text", "label"]), *lines])
        found = cells_of(tmp_path / name, text)
        assert len(found) == 60
        assert [c["id"] for c in found] == [str(i) for i in range(60)]
        assert found[3]["text"] == '"red cat 3'
        assert found[13]["text"] == '"red cat 13'
        assert found[14] == {"id": "14", "text": "red cat 14", "label": "a"}


@pytest.mark.parametrize("lines", [3, 40])
def test_a_quote_that_another_row_closes_swallows_nothing(
    tmp_path: Path, lines: int
) -> None:
    """The cell would be valid CSV: it ends at a quote before a separator, far below."""
    body = [f"{i}\tt{i}\ta" for i in range(lines)]
    body[0], body[-1] = '0\t"t0\ta', f'{lines - 1}\tt{lines - 1}"\ta'
    found = cells_of(tmp_path / "m.tsv", "\n".join(["id\ttext\tlabel", *body, ""]))
    assert [c["id"] for c in found] == [str(i) for i in range(lines)]
    assert found[0]["text"] == '"t0'
    assert found[-1]["text"] == f't{lines - 1}"'
    commas = [line.replace("\t", ",") for line in ["id\ttext\tlabel", *body, ""]]
    found = cells_of(tmp_path / "m.csv", "\n".join(commas))
    assert [c["id"] for c in found] == [str(i) for i in range(lines)]


def test_a_cell_may_have_several_lines(tmp_path: Path) -> None:
    text = (
        'id,text,label\n1,"one\ntwo, ""three""\n\nfour",a\n'
        '2,"Street 1, Town\nState, Land",b\n3,x,a\n'
    )
    found = cells_of(tmp_path / "m.csv", text)
    assert [c["text"] for c in found] == [
        'one\ntwo, "three"\n\nfour', "Street 1, Town\nState, Land", "x",
    ]  # fmt: skip


def test_a_cell_that_may_have_swallowed_a_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    body = [f"{i},t,{'ab'[i % 2]}" for i in range(3, 40)]
    cells_of(
        path,
        "\n".join(['id,text,label\n1,"Street 1, Town\nState, Land",b', *body, ""]),
    )
    (warning,) = scan(config(), str(path)).warnings()
    assert warning.startswith(
        "1 rows may have swallowed the lines behind them: row 1 (2 lines that look like"
        " rows of their own)."
    )
    cells_of(path, "\n".join(["id,text,label", *body, ""]))
    assert list(scan(config(), str(path)).warnings()) == []


def test_quotes_inside_a_line_are_read_as_before(tmp_path: Path) -> None:
    text = (
        "id,text,label\n"
        '1,"a ""b"" c",x\n'
        '2,5" pipe,x\n'
        '3,"He said" yes,x\n'
        '4,"a, b" c,x\n'
        '5,"a, b,x\n'
        "6,fine,x\n"
        '7,"at the end,x'
    )
    found = cells_of(tmp_path / "m.csv", text)
    assert [c if isinstance(c, BadRow) else c["text"] for c in found] == [
        'a "b" c',
        '5" pipe',
        '"He said" yes',
        "a, b c",
        BadRow(
            "malformed_csv",
            "quotes that do not fit: one is never closed, or stands inside a quoted cell"
            " without being written twice.",
        ),
        "fine",
        '"at the end',
    ]


def test_reading_begins_again_at_every_row_of_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    lines = [f'{i}\t{chr(34) * (i % 7 == 2)}t {i}"\ta' for i in range(60)]
    path.write_text("\n".join(["id\ttext\tlabel", *lines, '61\t"x', ""]))
    manifest = Manifest(str(path))
    records = list(manifest.records())
    assert len(records) == 61
    for i, record in enumerate(records):
        assert list(manifest.records(record.start)) == records[i:]


def test_commas_at_the_end_of_lines_are_no_cells(tmp_path: Path) -> None:
    found = cells_of(tmp_path / "m.csv", "id,text\n1,a,,\n2,b\n3,c,,d\n")
    assert found[:2] == [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]
    assert isinstance(found[2], BadRow)


def test_a_line_without_end_is_one_bad_row(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("pipeline.manifest_lines.MAX_CHARACTERS", 40)
    for name, first, row in (
        ("m.csv", "id,text\n", "{},a\n"),
        ("m.jsonl", "", '{{"id": {}}}\n'),
    ):
        lines = [row.format(1), row.format("9" * 200), row.format(3)]
        found = cells_of(tmp_path / name, first + "".join(lines))
        assert [isinstance(c, BadRow) for c in found] == [False, True, False]
        assert found[1].reason == "too_long_row"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", b"\x1f\x8bxxx", "packed by gzip; unpack it first"),
        ("m.csv", b"PK\x03\x04xx", "a zip archive or an Excel sheet"),
        ("m.csv", b"PAR1xxxx", "is a Parquet file; let its name end in .parquet"),
        ("m.jsonl", '{"id": 1}'.encode("utf-16"), "UTF-16 text; save it as UTF-8"),
        ("m.csv", b"id,text\r1,a\r2,b\r", "carriage return alone"),
        ("m.csv.gz", b"x", "'.gz'; unpack it first"),
        ("m.json", b"[]", "'.json'; write one JSON object per line"),
        ("m.xlsx", b"x", "'.xlsx'; save the sheet as CSV"),
        ("m.jsonl", b'[{"id": 1}, {"id": 2}]', "one JSON array; write one JSON object"),
        ("m.jsonl", b'\xef\xbb\xbf\n[\n {"id": 1}\n]', "one JSON array"),
        ("m.jsonl", b'{\n "id": 1\n}\n', "objects over several lines"),
    ],
)
def test_a_file_of_another_kind_says_what_it_is(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    from pipeline.manifest import ManifestError

    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        Manifest(str(tmp_path / name))


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    from pipeline.manifest import ManifestError

    (tmp_path / "data.csv").mkdir()
    with pytest.raises(ManifestError, match="a folder; a manifest is one file"):
        Manifest(str(tmp_path / "data.csv"))


def test_odd_json_is_one_row_each(tmp_path: Path) -> None:
    text = "\n".join(
        [
            '{"id": 1, "id": 2}',
            '{"id": NaN, "n": Infinity}',
            '{"id": ' + "[" * 5000 + "]" * 5000 + "}",
            '{"id": ' + "9" * 5000 + "}",
            '{" id ": 5}',
        ]
    )
    found = cells_of(tmp_path / "m.jsonl", text)
    assert found[0] == BadRow(
        "malformed_json", "expected one JSON object per line: key 'id' stands twice."
    )
    assert found[1]["n"] == float("inf")
    assert found[2] == BadRow("malformed_json", "nested too deeply to be read.")
    assert found[3].reason == "malformed_json"
    assert found[4] == {"id": 5}
