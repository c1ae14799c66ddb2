"""A first config from a manifest: roles, classes, and why columns are left out."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.check import check
from pipeline.init_config import infer, write
from pipeline.manifest import ManifestError
from tests.pipeline.samples import png, wav, write_csv, write_jsonl
from trainer.config import Config, from_mapping, load
from trainer.input_config import input_columns

SHARED = Path(__file__).parents[3] / "shared" / "data"


def inferred(manifest: str) -> tuple[Config, str]:
    text = infer(manifest)
    return from_mapping(yaml.safe_load(text)), text


def left_out(text: str) -> dict[str, str]:
    lines = text.partition("# Left out:\n")[2].splitlines()
    return dict(line.removeprefix("#   ").split(": ", 1) for line in lines)


def hospital(folder: Path) -> str:
    with zipfile.ZipFile(folder / "scans.zip", "w") as archive:
        for i in range(60):
            archive.writestr(f"{i}.png", png(200, 100))
    (folder / "cough.wav").write_bytes(wav(0.6, 22050))
    words = ["发热", "咳嗽", "胸痛", "乏力", "气短", "头晕", "恶心"]
    rows = [
        {
            "编号": f"r{i}",
            "划分": "训练" if i % 5 else "测试",
            "患者": f"p{i // 5 * 5 + (0 if i % 5 else 1)}-{i % 5 == 0}",
            "胸片": f"scans.zip!{i}.png",
            "录音": "cough.wav" if i % 2 else "",
            "病历": f"{words[i % 7]}{i}天，{words[i % 5]}，伴{words[i % 3]}。无其他不适",
            "年龄": 20.5 + i,
            "性别": "男女"[i % 2],
            "标签": ["健康", "肺炎", "结核"][i % 3],
            "代码": ["H", "P", "T"][i % 3],
            "医院": "本院",
            "license": "CC BY",
            "路径": f"raw/{i}.png",
        }
        for i in range(60)
    ]
    return write_csv(folder / "manifest.csv", rows)


def test_every_column_gets_a_role_or_a_reason(tmp_path: Path) -> None:
    config, text = inferred(hospital(tmp_path))
    assert config.data.id == "编号"
    assert config.data.split.column == "划分"
    assert (config.data.split.train, config.data.split.eval) == ("训练", "测试")
    assert config.data.split.group_by == "患者"
    image, audio, note, table = config.inputs
    assert (image.modality, image.column) == ("image", "胸片")  # type: ignore[union-attr]
    # 200 x 100 pixels, scaled so that the longer side is 128.
    assert (image.width, image.height, image.channels) == (128, 64, 1)  # type: ignore[union-attr]
    assert (audio.sample_rate_hz, audio.max_seconds) == (16000, 1.0)  # type: ignore[union-attr]
    assert (note.modality, note.column) == ("text", "病历")  # type: ignore[union-attr]
    assert [c.column for c in table.numeric] == ["年龄"]  # type: ignore[union-attr]
    assert [c.column for c in table.categorical] == ["性别"]  # type: ignore[union-attr]
    (head,) = config.heads
    assert (head.kind, head.column) == ("classification", "标签")  # type: ignore[union-attr]
    assert head.classes == ("健康", "结核", "肺炎")  # type: ignore[union-attr]
    why = left_out(text)
    assert set(why) == {"代码", "医院", "license", "路径"}
    assert why["代码"].endswith("a leak")
    assert why["医院"].startswith("constant")
    assert why["license"].startswith("constant")
    assert "none could be read (missing_file" in why["路径"]
    # What this machine calls its folders is nobody's business.
    assert str(tmp_path) not in text


def test_the_inferred_config_passes_the_check(tmp_path: Path) -> None:
    manifest = hospital(tmp_path)
    report = check(inferred(manifest)[0], manifest)
    assert report.problems == []
    assert report.counts.written == 60


def test_numbers_of_many_values_are_regression(tmp_path: Path) -> None:
    rows = [{"size": i % 9 + i / 100, "target": i * 1.5} for i in range(80)]
    config, _ = inferred(write_csv(tmp_path / "houses.csv", rows))
    assert config.name == "houses"
    assert config.heads[0].kind == "regression"
    assert config.data.id is None
    assert config.data.split.column is None


def test_several_labels_a_row_by_separator_or_list(tmp_path: Path) -> None:
    for as_list in (False, True):
        rows: list[dict[str, Any]] = []
        for i in range(60):
            labels = [name for n, name in enumerate("abc") if i >> n & 1] or ["d"]
            joined = labels if as_list else ";".join(labels)
            text = f"some words of row {i}, {i * 7 % 11}"
            rows.append({"text": text, "labels": joined})
        config, _ = inferred(write_jsonl(tmp_path / "m.jsonl", rows))
        (head,) = config.heads
        assert head.classes == ("a", "b", "c", "d")  # type: ignore[union-attr]
        assert head.multi_label  # type: ignore[union-attr]
        assert head.separator == ("|" if as_list else ";")  # type: ignore[union-attr]
        assert check(config, str(tmp_path / "m.jsonl")).problems == []


def test_grades_may_be_ordinal(tmp_path: Path) -> None:
    def written(values: str) -> str:
        rows = [{"note": f"words {i} {i * 7 % 11}", "label": values[i % len(values)]}
                for i in range(60)]  # fmt: skip
        return inferred(write_csv(tmp_path / "m.csv", rows))[1]

    assert "kind: ordinal" in written("01234")
    assert "kind: ordinal" not in written("01")
    assert "kind: ordinal" not in written("abc")


def test_files_without_an_extension_are_known_by_their_content(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"IM{i:04d}").write_bytes(wav() if i < 10 else png())
    rows = [
        {"recording": f"IM{i % 10:04d}", "scan": f"IM{i % 10 + 10:04d}", "y": i % 2}
        for i in range(40)
    ]
    config, _ = inferred(write_csv(tmp_path / "m.csv", rows))
    assert [(i.name, i.modality) for i in config.inputs] == [
        ("recording", "audio"),
        ("scan", "image"),
    ]
    assert config.heads[0].classes == ("0", "1")  # type: ignore[union-attr]


def test_nothing_to_predict_is_an_error(tmp_path: Path) -> None:
    rows = [{"id": i, "text": f"words of row {i}"} for i in range(30)]
    with pytest.raises(
        ManifestError, match="no column looks like something to predict"
    ):
        infer(write_csv(tmp_path / "m.csv", rows))
    rows = [{"id": i, "label": i % 2} for i in range(30)]
    with pytest.raises(
        ManifestError, match="no column is left to predict 'label' from"
    ):
        infer(write_csv(tmp_path / "m.csv", rows))


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    manifest = hospital(tmp_path)
    output = tmp_path / "configs" / "model.yaml"
    write(manifest, str(output))
    assert load(output).heads[0].name == "label"
    with pytest.raises(ManifestError, match="exists already"):
        write(manifest, str(output))
    write(manifest, str(output), force=True)


EXPECTED = {
    "avmnist/manifest.csv": ("label", ["image", "audio", "table"], 10, "val"),
    "cxr_notes/manifest.csv": (
        "label", ["image", "notes", "notes_masked", "table"], 3, "val",
    ),
    "emoji_multilingual/manifest.jsonl": (
        "group", ["image", "label_en", "tags_en", "label_zh", "tags_zh", "table"], 9,
        "val",
    ),
    "zh_medical_qa/manifest.jsonl": ("label", ["title", "ask", "answer"], 8, "val"),
}  # fmt: skip


# The data sets lie beside the repository and are not part of it: without that folder
# there is nothing to look at; with it, a data set that is missing fails.
@pytest.mark.parametrize("name", sorted(EXPECTED) if SHARED.parent.is_dir() else [])
def test_real_manifests(name: str) -> None:
    config, _ = inferred(str(SHARED / name))
    head, inputs, classes, judge = EXPECTED[name]
    assert config.heads[0].name == head
    assert [one.name for one in config.inputs] == inputs
    assert len(config.heads[0].classes) == classes  # type: ignore[union-attr]
    assert config.data.id == "id"
    assert config.data.split.eval == judge


def test_columns_called_as_answers_get_other_names(tmp_path: Path) -> None:
    long = "a_long_name_of_a_column_color_match"
    rows = [
        {
            "size": 1.5 * i,
            "color": ["red", "blue", "green"][i % 3],
            "color_match": ["yes", "no"][i // 7 % 2],
            "color_unknown": ["a", "b", "c"][i // 5 % 3],
            long: ["u", "v"][i // 9 % 2],
            "label": ["x", "y"][i % 2],
        }
        for i in range(60)
    ]
    config, _ = inferred(write_csv(tmp_path / "manifest.csv", rows))
    columns = {
        column: name for one in config.inputs for name, column in input_columns(one)
    }
    assert columns["color_match"] == "color_match_value"
    assert columns["color_unknown"] == "color_unknown_2"
    assert columns[long] == "a_long_name_of_a_column_color_ma_value"
