"""The benchmark of learning: its manifests, its variants, its tables."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import pipeline.run
from benchmarks import learning
from benchmarks.learning_data import absolute, blanked, dev, read, write
from benchmarks.learning_shows import SHOWS, Show

ROWS = [
    {"split": "val" if i % 10 == 9 else "train", "id": str(i), "label": "ab"[i % 2],
     "recording": f"r{i // 2}", "image": f"pictures.zip!{i}.png"}
    for i in range(400)
]  # fmt: skip


def test_few_labels_are_left_balanced_and_drawn_by_the_seed() -> None:
    found = blanked(ROWS, "label", [0, 1], count=20)
    for seed in (0, 1):
        key = f"label_20_{seed}"
        train = [row for row in found if row["split"] == "train"]
        assert Counter(row[key] for row in train) == {"a": 10, "b": 10, "": 340}
        for row in found:
            assert row[key] in ("", row["label"])
            assert row["split"] == "train" or row[key] == row["label"]
    kept = [[row["id"] for row in found if row[f"label_20_{s}"]] for s in (0, 1)]
    assert kept[0] != kept[1]
    assert blanked(ROWS, "label", [0, 1], count=20) == found
    assert "label_20_0" not in ROWS[0]


def test_settings_are_chosen_on_groups_of_train() -> None:
    found = dev(ROWS, lambda row: row["recording"])
    assert len(found) == 360
    splits: dict[str, set[str]] = {}
    for row in found:
        splits.setdefault(row["recording"], set()).add(row["split"])
    assert all(len(one) == 1 for one in splits.values())
    # A hash of 200 names: 0.15 within four standard errors.
    share = sum(one == {"val"} for one in splits.values()) / len(splits)
    assert share == pytest.approx(0.15, abs=0.1)
    judged = {row["id"] for row in ROWS if row["split"] == "val"}
    assert not judged & {row["id"] for row in found}


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_manifests_are_written_with_absolute_media(name: str, tmp_path: Path) -> None:
    rows = absolute(ROWS[:2], tmp_path, ["image"])
    path = write(rows, tmp_path / "deep" / name)
    assert read(Path(path)) == rows
    assert rows[1]["image"] == f"{tmp_path}/pictures.zip!1.png"


@pytest.mark.parametrize("name", sorted(SHOWS))
def test_every_variant_is_a_config_of_its_own(name: str) -> None:
    one, other = (SHOWS[name].variants(seed) for seed in (0, 2))
    assert list(one) == list(other)
    assert len(set(map(repr, one.values()))) == len(one)
    assert {config.seed for config in one.values()} == {0}
    assert {config.seed for config in other.values()} == {2}
    for config in one.values():
        # What pipelines and models carry reads back.
        assert learning.to_json(config)
        assert all(stage.training.epochs > 0 for stage in config.resolved_stages())
    if name == "few_labels":
        columns = {getattr(one.heads[0], "column", "") for one in other.values()}
        assert columns == {"label_100_2"}


NOTHING: Any = {"plain": None, "better": None}
SHOW = Show(
    "Two",
    lambda *_: "",
    lambda seed: NOTHING,
    {"accuracy": "accuracy", "image": "image:accuracy"},
    "Says.",
)


def done(**values: float) -> Any:
    return {
        f"{key[:-1]}, seed {key[-1]}": {
            "metrics": {"accuracy": value},
            "metrics_by_inputs": {"image": {"accuracy": value / 2}},
            "seconds": 90,
        }
        for key, value in values.items()
    }


def test_a_table_of_means_deviations_and_gains_by_seed() -> None:
    found = done(plain0=0.5, plain1=0.6, plain2=0.7, better0=0.6, better2=0.9)
    lines = learning.table(SHOW, found, [0, 1, 2])
    assert lines == [
        "| variant | accuracy | image | accuracy of each seed | gain | minutes |",
        "|---|---|---|---|---|---|",
        "| plain | 0.600 ± 0.100 | 0.300 ± 0.050 | 0.500 0.600 0.700 |  | 1.5 |",
        # Gains 0.1 and 0.2 of the seeds that both have.
        "| better | 0.750 ± 0.212 | 0.375 ± 0.106 | 0.600 0.900 | 0.150 ± 0.071 | 1.5 |",
    ]
    assert len(learning.table(SHOW, done(better1=0.4), [0, 1, 2])) == 3


def test_a_section_takes_its_place_on_the_page() -> None:
    page = learning.put("# Results\n", "two", "<!-- two -->\nold\n<!-- end of two -->")
    page += "\nwritten by hand\n"
    part = learning.section("two", SHOW, done(plain0=0.5), [0])
    page = learning.put(page, "two", part)
    assert page.startswith("# Results\n\n<!-- two -->\n## Two\n")
    assert "old" not in page
    assert "| plain | 0.500 | 0.250 | 0.500 |  | 1.5 |\n<!-- end of two -->" in page
    assert page.endswith("\nwritten by hand\n")


def test_what_is_done_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run(config: Any, manifest: str, output: str, console: Any) -> Any:
        asked.append(f"{config.heads[0].column} {output}")
        return {"metrics": {"accuracy": 0.5}, "metrics_by_inputs": {}}

    monkeypatch.setattr(pipeline.run, "run", run)
    show, manifest = SHOWS["few_labels"], tmp_path / "rows.csv"
    manifest.write_text("a\n", encoding="utf-8")

    def measure() -> int:
        before = len(asked)
        learning.measure(
            show, str(manifest), tmp_path, [0, 1], "masked", Console(quiet=True)
        )
        return len(asked) - before

    # Four variants have "masked" in their name.
    assert measure() == 8
    assert asked[0] == f"label_100_0 {tmp_path}/seed0"
    assert measure() == 0
    found = learning.load_done(tmp_path / "results.json")
    assert len(found) == 8
    manifest.write_text("b\n", encoding="utf-8")
    assert measure() == 8
