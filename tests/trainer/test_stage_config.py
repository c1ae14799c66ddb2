"""The `stages:` of a config: what they inherit, and what is wrong with them."""

from typing import Any

import pytest
import yaml

from trainer import config as c

BASE: dict[str, Any] = {
    "name": "demo",
    "inputs": [{"name": "note", "modality": "text"}],
    "heads": [{"name": "finding", "kind": "classification", "classes": ["a", "b"]}],
    "training": {"epochs": 7, "batch_size": 16},
}


def config(*stages: dict[str, Any], **changes: Any) -> c.Config:
    return c.from_mapping({**BASE, "stages": list(stages), **changes})


def problems(*stages: dict[str, Any], **changes: Any) -> tuple[str, ...]:
    with pytest.raises(c.ConfigError) as caught:
        config(*stages, **changes)
    return caught.value.problems


def test_a_config_without_stages_has_one() -> None:
    one = c.from_mapping(BASE)
    (stage,) = one.resolved_stages()
    assert (stage.name, stage.base) == ("train", None)
    assert stage.training is one.training
    assert stage.objectives is one.objectives


def test_a_stage_changes_some_keys_of_the_training() -> None:
    one = config(
        {"name": "first", "training": {"epochs": 3}},
        {"name": "second", "from": "first"},
    )
    first, second = one.resolved_stages()
    assert (first.training.epochs, first.training.batch_size) == (3, 16)
    assert (second.training.epochs, second.base) == (7, "first")
    assert first.objectives.supervised is not None


def test_it_reads_back_what_it_writes() -> None:
    one = config(
        {"name": "first", "training": {"epochs": 3}},
        {"name": "second", "from": "first", "lora": {"rank": 4}, "layer_decay": 0.8},
    )
    text = c.to_yaml(one)
    assert yaml.safe_load(text)["stages"][1]["from"] == "first"
    assert c.from_mapping(yaml.safe_load(text)) == one
    assert c.from_json(c.to_json(one)) == one


@pytest.mark.parametrize(
    ("stages", "wanted"),
    [
        (
            [{"name": "a"}, {"name": "b", "from": "c"}],
            "stages[b].from: no earlier stage of that name, and no path. Did you mean",
        ),
        ([{"name": "a", "from": "a"}], "stages[a].from: no earlier stage"),
        ([{"name": "a"}, {"name": "a"}], "stages[a].name: two stages have this name."),
        ([{"name": "Pre Train"}], "stages[Pre Train].name: lower-case letters"),
        (
            [{"name": "a", "objectives": {"supervised": None}}],
            "stages[a].objectives: at least one is needed.",
        ),
        (
            [{"name": "a", "linear_probe": True}],
            "stages[a].linear_probe: without `from` it would probe random weights.",
        ),
        (
            [{"name": "a"}, {"name": "b", "from": "a", "linear_probe": True,
                             "freeze": ["note"]}],
            "stages[b].linear_probe: freezes all but the heads",
        ),
        ([{"name": "a", "freeze": ["("]}], "stages[a].freeze[0]: not a regular"),
        ([{"name": "a", "lora": {"rank": 0}}], "stages[a].lora.rank: must be above 0"),
        ([{"name": "a", "layer_decay": 1.5}], "stages[a].layer_decay: must be in [0, 1]"),
        (
            [{"name": "a", "unfreeze": {"groups": []}}],
            "stages[a].unfreeze.groups: at least one is needed.",
        ),
        ([{"name": "a", "form": "b"}], "stages[a].form: unknown key. Did you mean 'from'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(stages: list[dict[str, Any]], wanted: str) -> None:
    if "Did you mean 'from'" not in wanted:
        wanted = wanted.split(" Did you mean")[0]
    found = problems(*stages)
    assert any(text.startswith(wanted) for text in found), found
