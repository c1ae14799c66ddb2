"""Manifests with something wrong, and with nothing wrong, through `check`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.check import Report, check
from pipeline.integrity.findings import IntegrityError, checked, find
from pipeline.integrity.media_hashes import Twins
from pipeline.integrity.rows import Collector, look
from pipeline.manifest import ManifestError
from pipeline.scan import scan
from pipeline.views import ingestion_view, training_view
from tests.pipeline.samples import write_jsonl
from trainer.config import Config, ConfigError, from_mapping, load

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
ROWS = 600


def config(**data: Any) -> Config:
    return from_mapping(
        {
            "name": "sample",
            "inputs": [
                {"name": "photo", "modality": "image"},
                {"name": "note", "modality": "text"},
                {"name": "facts", "modality": "tabular", "numeric": ["age"]},
            ],
            "heads": [
                {
                    "name": "label",
                    "kind": "classification",
                    "classes": ["a", "b"],
                    "calibrate": False,
                }
            ],
            "data": {"id": "id", "split": {"column": "split"}, **data},
        }
    )


def photo(label: str, random: np.random.Generator) -> bytes:
    """Noise that is brighter above for a, below for b."""
    pixels = random.normal(110, 40, (16, 16))
    pixels[: 8 if label == "a" else 16, :][-8:] += 30
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


WORDS = {"a": ("cough", "cold", "damp"), "b": ("fever", "heat", "thirst")}


def rows(folder: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Three inputs that each tell a bit of the label; nothing else does."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(ROWS):
        label = "ab"[i % 2]
        (folder / f"{i}.png").write_bytes(photo(label, random))
        mine, other = WORDS[label], WORDS["ab"[(i + 1) % 2]]
        chosen = random.choice([*mine, *mine, *other], random.integers(2, 7))
        made.append(
            {
                "id": f"r{i}",
                "split": "train" if i < 520 else "eval",
                "label": label,
                "photo": f"{i}.png",
                "note": " ".join(chosen),
                "age": round(random.normal(50 + 8 * (label == "a"), 10), 1),
                "site": f"s{random.integers(5)}",
                "ward": f"w{i % 7}",
            }
        )
    return made


def report(folder: Path, made: list[dict[str, Any]], **data: Any) -> Report:
    return check(config(**data), write_jsonl(folder / "m.jsonl", made))


def test_good_data_raises_no_warning(tmp_path: Path) -> None:
    got = report(tmp_path, rows(tmp_path))
    assert (got.warnings, got.problems) == ([], [])
    belong = [n for n in got.notes if "they belong together" in n]
    assert any(n.startswith("pairs of photo and head label") for n in belong)


def test_the_same_picture_in_two_splits_is_found(tmp_path: Path) -> None:
    made = rows(tmp_path)
    made[550]["photo"] = made[7]["photo"]
    with Image.open(tmp_path / made[9]["photo"]) as picture:
        picture.save(tmp_path / "copy.jpg", quality=95)
    made[552]["photo"] = "copy.jpg"
    (warning,) = report(tmp_path, made).warnings
    assert warning.startswith(
        "photo: in split 'eval', 1 file is also in 'train' and 1 looks like a picture"
        " of 'train' (rows 'r550' and 'r7')"
    )
    problem = report(tmp_path, made, integrity={"duplicates": "error"}).problems
    assert problem == [warning]


def test_a_group_in_two_splits_is_an_error_unless_told_otherwise(
    tmp_path: Path,
) -> None:
    made = rows(tmp_path)
    for i, row in enumerate(made):
        row["patient"] = "p0" if i in (3, 560) else f"p{i}"

    def grouped(level: str) -> Config:
        split = {"column": "split", "group_by": "patient"}
        return config(split=split, integrity={"groups": level})

    path = write_jsonl(tmp_path / "m.jsonl", made)
    with pytest.raises(ManifestError, match="'p0' is in train and eval"):
        scan(grouped("error"), path)
    (warning,) = check(grouped("warn"), path).warnings
    assert "groups of column 'patient' lie in two splits" in warning
    assert check(grouped("off"), path).warnings == []


def test_the_source_of_the_rows_is_a_confounder(tmp_path: Path) -> None:
    made = rows(tmp_path)
    random = np.random.default_rng(3)
    for row in made:
        # 85 % of a site's rows have the site's label.
        own = random.random() < 0.85
        row["site"] = "north" if own == (row["label"] == "a") else "south"
    got = report(tmp_path, made, integrity={"confounders": "error"})
    (problem,) = got.problems
    assert "columns that are no inputs tell 'label'" in problem
    assert "site 0.8" in problem
    assert "ward" not in problem


def test_the_label_in_other_words_is_only_noted(tmp_path: Path) -> None:
    made = [row | {"name": WORDS[row["label"]][0]} for row in rows(tmp_path)]
    got = report(tmp_path, made)
    assert got.warnings == []
    assert any("column 'name' decides 'label'" in note for note in got.notes)
    # What says where a row comes from is never taken for the label's name.
    made = [row | {"source": WORDS[row["label"]][0]} for row in rows(tmp_path)]
    (warning,) = report(tmp_path, made).warnings
    assert "source 1.00" in warning


def test_a_length_that_tells_more_than_the_words_is_a_leak(tmp_path: Path) -> None:
    made = rows(tmp_path)
    random = np.random.default_rng(3)
    for row in made:
        words = random.choice([*WORDS["a"], *WORDS["b"]], random.integers(2, 7))
        row["note"] = " ".join(words)
        if row["label"] == "a":
            row["note"] += " and so on and so forth"
    got = report(tmp_path, made, integrity={"leaks": "error"})
    (problem,) = got.problems
    assert problem.startswith("note: characters: this alone tells 'label' (area under")


def test_being_there_or_not_can_be_a_leak(tmp_path: Path) -> None:
    made = rows(tmp_path)
    random = np.random.default_rng(3)
    for row in made:
        if row["label"] == "b" and random.random() < 0.6:
            row["age"] = None
    warnings = report(tmp_path, made).warnings
    assert [w.split(": this")[0] for w in warnings] == ["age: there or not"]


def test_inputs_that_give_the_label_away(tmp_path: Path) -> None:
    made = rows(tmp_path)
    for row in made:
        row["age"] = 30.0 if row["label"] == "a" else 60.0
    (warning,) = report(tmp_path, made).warnings
    assert warning.startswith("age: tells 'label' all by itself")
    for row in made:
        row["age"] = 5
    (warning,) = report(tmp_path, made, integrity={"pairs": "off"}).warnings
    assert warning == "age: the same in every row that has it."


def test_shuffled_pictures_match_nothing(tmp_path: Path) -> None:
    made = rows(tmp_path)
    order = np.random.default_rng(5).permutation(ROWS)
    files = [row["photo"] for row in made]
    for row, place in zip(made, order, strict=True):
        row["photo"] = files[place]
    got = report(tmp_path, made, integrity={"duplicates": "off"})
    (warning,) = got.warnings
    assert warning.startswith(
        "photo: a probe cannot match it with note or facts or head"
    )
    assert "held-out rows. Are its rows shuffled" in warning
    (other,) = report(
        tmp_path, made, integrity={"duplicates": "off", "pairs": "error"}
    ).problems
    assert other == warning
    few = [row for row in made if int(row["id"][1:]) % 4 < 2]
    got = report(tmp_path, few)
    assert got.warnings == []
    assert any("cannot tell, too few rows" in note for note in got.notes)


def test_what_is_off_is_not_looked_for(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", rows(tmp_path))
    one = config()
    scanned = scan(one, path)
    seen = look(one, path, scanned)
    assert seen.twins == []
    seen.twins = [Twins("photo", "eval", "train", 1, ("r550", "r7"))]
    seen.cells["name"] = [WORDS[str(x[0])][0] for x in seen.labels["label"]]
    seen.values["age"] = [5.0] * ROWS
    kinds = {f.kind for f in find(one, seen, scanned)}
    assert kinds == {"duplicates", "leaks", "confounders", "pairs"}
    for kind in sorted(kinds):
        without = config(integrity={kind: "off"})
        assert {f.kind for f in find(without, seen, scanned)} == kinds - {kind}


def test_a_run_stops_at_an_error_and_looks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rows(tmp_path)
    made[550]["photo"] = made[7]["photo"]
    path = write_jsonl(tmp_path / "m.jsonl", made)
    one = config()
    first = checked(one, path, scan(one, path), tmp_path / "reports")
    assert [f.kind for f in first if f.level == "warn"] == ["duplicates"]
    monkeypatch.setattr("pipeline.integrity.findings.look", None)
    assert checked(one, path, scan(one, path), tmp_path / "reports") == first
    monkeypatch.undo()
    strict = config(integrity={"duplicates": "error"})
    with pytest.raises(IntegrityError, match=r"\(data.integrity.duplicates\)"):
        checked(strict, path, scan(strict, path), tmp_path / "reports")
    # Another level reads no media again and trains nothing again.
    (stage,) = one.resolved_stages()
    assert ingestion_view(one) == ingestion_view(strict)
    assert training_view(one, stage) == training_view(strict, stage)


def test_of_large_manifests_a_share_is_looked_at(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", rows(tmp_path))
    one = config()
    scanned = scan(one, path)
    some = Collector(one, scanned, max_rows=120)
    wanted = [f"r{i}" for i in range(ROWS) if some.wants(f"r{i}")]
    assert 90 < len(wanted) < 150
    assert Collector(one, scanned, max_rows=120).wants(wanted[0])
    seen = look(one, path, scanned)
    assert len(seen) == len(seen.groups) == len(seen.cells["ward"]) == ROWS
    seen.rows = 10 * ROWS
    assert find(one, seen, scanned)[-1].text == "600 of 6,000 rows were looked at"


def test_off_is_off_although_yaml_reads_false(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(mapping := _mapping()), encoding="utf-8")
    assert load(path, ["data.integrity.pairs=off"]).data.integrity.pairs == "off"
    mapping["data"]["integrity"] = {"pairs": True}
    with pytest.raises(ConfigError, match="expected one of 'error', 'warn', 'off'"):
        from_mapping(mapping)


def _mapping() -> dict[str, Any]:
    return {
        "name": "sample",
        "inputs": [{"name": "note", "modality": "text"}],
        "heads": [{"name": "y", "kind": "classification", "classes": ["a", "b"]}],
        "data": {},
    }


CASES = {
    "configs/avmnist.yaml": ("avmnist/manifest.csv", ()),
    "configs/chest_xray.yaml": (
        "cxr_notes/manifest.csv",
        ("note: characters", "note: there or not", "source_host 0.7"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(CASES) if SHARED.is_dir() else [])
def test_shared_data(file: str) -> None:
    manifest, wanted = CASES[file]
    got = check(load(ROOT / file), str(SHARED / manifest))
    # What the data's integrity is about: scores without calibration are warned of too.
    text = "\n".join(one for one in got.warnings if one in got.kinds)
    assert bool(text) == bool(wanted)
    assert [one for one in wanted if one not in text] == []
