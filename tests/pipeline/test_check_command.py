"""What `polymodal check` prints, in which order, and writes as JSON."""

import json
from pathlib import Path

from click.testing import CliRunner

from pipeline.check import Report
from pipeline.check_table import render
from pipeline.cli import main
from tests.pipeline.checked import NOTES, asked, rows, written
from tests.pipeline.samples import png, write_csv, write_jsonl


def printed(report: Report) -> str:
    from rich.console import Console

    console = Console(width=200, record=True, force_terminal=False)
    with console.capture() as capture:
        render(report, console)
    return capture.get()


def test_problems_come_first_and_the_verdict_last() -> None:
    report = Report(
        problems=["first", "second"], warnings=["beware"], notes=["by the way"]
    )
    assert printed(report).splitlines() == [
        "problem first",
        "problem second",
        "warning beware",
        "note by the way",
        "2 problems to correct before training",
    ]


def test_at_most_three_warnings_of_a_kind_are_printed_with_a_count() -> None:
    leaks = [f"leak {i}" for i in range(7)]
    others = [f"other {i}" for i in range(5)]
    report = Report(
        warnings=[*leaks, *others, "copies"],
        kinds={**dict.fromkeys(leaks, "leaks"), "copies": "duplicates"},
    )
    assert printed(report).splitlines() == [
        "warning leak 0",
        "warning leak 1",
        "warning leak 2",
        "warning and 4 more of leaks (data.integrity.leaks): all of them with --json"
        " FILE",
        *(f"warning {text}" for text in others),
        "warning copies",
        "a good config; 13 warnings",
    ]


def test_a_single_thing_is_called_one() -> None:
    assert Report(problems=["p"]).verdict == "1 problem to correct before training"
    report = Report(warnings=["w"], notes=["n", "m"])
    assert report.verdict == "a good config; 1 warning and 2 notes"


def test_the_report_is_data_too(tmp_path: Path) -> None:
    config = written(tmp_path)
    manifest = write_jsonl(tmp_path / "m.jsonl", [*rows(), {"id": 60, "text": "x"}])
    file = tmp_path / "report.json"
    status, output = asked(config, "--data", manifest, "--json", str(file))
    assert status == 0, output
    assert output.splitlines()[-1].startswith("good to train")
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["good"] is True
    assert found["verdict"].startswith("good to train")
    assert (found["config"], found["manifest"]) == (config, manifest)
    assert found["rows"]["read"] == 61
    assert found["rows"]["usable"] == 60
    assert found["rows"]["reasons"] == {"empty_label": 1}
    assert sum(found["rows"]["splits"].values()) == 60
    assert found["inputs"]["text"] == {
        "kind": "text", "column": "text", "present": 60, "missing": 0,
        "values": ["characters 7 to 10, mean 8.667"],
    }  # fmt: skip
    classes = found["heads"]["label"]["classes"]
    assert sum(sum(split.values()) for split in classes.values()) == 60
    (note,) = (one for one in found["notes"] if "set aside" in one["text"])
    assert note["kind"] is None


def test_json_to_the_standard_output_stands_alone(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "m.csv", rows(label="a"))
    done = CliRunner().invoke(
        main, ["check", written(tmp_path), "--data", manifest, "--json", "-"]
    )
    assert done.exit_code == 2
    found = json.loads(done.stdout)
    assert found["good"] is False
    (problem,) = (one for one in found["problems"] if "heads[label]" in one)
    assert "has 'b'" in problem


def test_a_json_file_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path,
) -> None:
    manifest = write_csv(tmp_path / "m.csv", rows())
    status, output = asked(
        written(tmp_path), "--data", manifest, "--json", "/sys/f.json"
    )
    assert status == 2
    assert "cannot write" in output
    assert "rows read" not in output


def test_keys_are_overridden_as_for_a_run(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "m.csv", rows(column="c"))
    config = written(tmp_path)
    arguments = (config, "--data", manifest)
    assert asked(*arguments)[0] == 0
    status, output = asked(*arguments, "--set", "inputs.text.column=txt")
    assert status == 2
    assert "no column 'txt'" in " ".join(output.split())
    status, output = asked(*arguments, "--set", "data.idd=x")
    assert status == 2
    assert "data.idd: unknown key" in " ".join(output.split())


def test_a_manifest_in_the_configs_place_is_one_sentence(tmp_path: Path) -> None:
    manifest = write_csv(tmp_path / "m.csv", rows(3000))
    status, output = asked(manifest)
    assert status == 2
    assert "this is a manifest, not a config" in " ".join(output.split())
    assert len(output) < 1000
    # What is no mapping is cut short as well.
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(f"word {i}" for i in range(5000)), encoding="utf-8")
    status, output = asked(str(path))
    assert status == 2
    assert "expected a mapping" in " ".join(output.split())
    assert len(output) < 1000
    path.write_text("name: " + "x" * 3 + "\ninputs: " + "y" * 9000, encoding="utf-8")
    status, output = asked(str(path))
    assert status == 2
    assert len(output) < 1000


def test_what_a_run_would_refuse_is_a_problem_of_the_check(tmp_path: Path) -> None:
    config = written(
        tmp_path,
        inputs=[
            {"name": "text", "modality": "text"},
            {"name": "other", "modality": "text"},
        ],
        heads=[
            {
                "name": "find",
                "kind": "retrieval",
                "pair": ["text", "other"],
                "match": "fused",
            }
        ],
    )
    status, output = asked(config)
    assert status == 2
    assert "heads[find].match: nothing teaches it" in " ".join(output.split())


def test_classes_that_differ_in_case_alone_are_a_note(tmp_path: Path) -> None:
    head = {
        "name": "label",
        "kind": "classification",
        "classes": ["Cat", "cat", "-1", "1"],
    }
    cells = [
        {"id": i, "text": NOTES[i % 6], "label": head["classes"][i % 4]} for i in range(80)
    ]  # fmt: skip
    config = written(tmp_path, heads=[head])
    told = asked(config, "--data", write_csv(tmp_path / "m.csv", cells))[1]
    alike = "'Cat' and 'cat' look alike (case, blanks or forms of a character)"
    assert alike in " ".join(told.split())
    assert "'-1'" not in told


def test_every_complaint_names_the_column(tmp_path: Path) -> None:
    config = written(
        tmp_path,
        inputs=[
            {"name": "text", "modality": "text", "column": "病历"},
            {"name": "more", "modality": "text", "column": "备注"},
        ],
        heads=[
            {"name": "label", "kind": "classification", "column": "诊断",
             "classes": ["a", "b", "c"]}
        ],
    )  # fmt: skip
    cells = [
        {"id": i, "病历": NOTES[i % 6], "备注": "always", "诊断": "ab"[i % 2]}
        for i in range(80)
    ]
    told = asked(config, "--data", write_csv(tmp_path / "m.csv", cells))[1]
    told = " ".join(told.split())
    assert (
        "heads[label].classes (column '诊断'): no row of split 'train' has 'c'" in told
    )
    assert "more (column '备注'): the same in every row that has it." in told
    assert "text (column '病历'): decides 'label'" in told


def test_where_no_row_is_usable_nothing_that_follows_is_told(tmp_path: Path) -> None:
    config = written(
        tmp_path,
        inputs=[{"name": "photo", "modality": "image", "height": 8, "width": 8}],
    )
    cells = [{"id": i, "photo": f"{i}.png", "label": "ab"[i % 2]} for i in range(40)]
    status, output = asked(config, "--data", write_csv(tmp_path / "m.csv", cells))
    assert status == 2
    lines = [
        line for line in output.splitlines() if line.startswith(("problem", "note"))
    ]
    assert len(lines) == 1
    # One line however long: it can be searched for.
    assert lines[0].endswith(
        "40 of 40 rows (100.0%) cannot be used; data.max_quarantine_fraction allows 5.0%."
    )
    assert output.splitlines()[-1] == "1 problem to correct before training"


def test_of_rows_that_are_set_aside_no_value_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(8, 8))
    inputs = [
        {"name": "photo", "modality": "image", "height": 8, "width": 8},
        {"name": "table", "modality": "tabular", "numeric": ["age", "size"]},
    ]
    cells = [
        {"id": i, "photo": "a.png", "age": i, "size": 1, "label": "ab"[i % 2]}
        for i in range(60)
    ]
    cells[59] |= {"age": 1000, "size": "large"}
    path = tmp_path / "report.json"
    manifest = write_csv(tmp_path / "m.csv", cells)
    config = written(tmp_path, inputs=inputs)
    asked(config, "--data", manifest, "--json", str(path))
    report = json.loads(path.read_text())
    assert report["rows"]["reasons"] == {"not_a_number": 1}
    assert report["inputs"]["photo"]["present"] == 59
    assert "formats: PNG (59)" in report["inputs"]["photo"]["values"]
    assert report["inputs"]["age"]["values"] == ["value 0 to 58, mean 29"]
    # All that are usable were looked at.
    assert not [one for one in report["notes"] if "looked at" in one["text"]]
