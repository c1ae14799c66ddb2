"""What a config may ask of its objectives, and what it is told otherwise."""

import dataclasses
from typing import Any

import pytest

from trainer.config import (
    Config,
    ConfigError,
    MixMatchObjective,
    ObjectivesConfig,
    from_mapping,
)
from trainer.config_problems import untaught_problems

BASE: dict[str, Any] = {
    "name": "clinic",
    "inputs": [
        {"name": "photo", "modality": "image", "height": 24, "width": 16},
        {"name": "voice", "modality": "audio"},
        {"name": "note", "modality": "text"},
    ],
    "heads": [
        {"name": "score", "kind": "regression"},
        {"name": "disease", "kind": "classification", "classes": ["a", "b"]},
        {
            "name": "tags", "kind": "classification", "classes": ["a", "b"],
            "multi_label": True,
        },
    ],
}  # fmt: skip


def read(objectives: Any, **changes: Any) -> Config:
    return from_mapping({**BASE, "objectives": objectives, **changes})


def problem(objectives: Any, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(objectives, **changes)
    return str(caught.value)


@pytest.mark.parametrize("key", ["contrastive", "matching"])
@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (
            [["photo", "nota"]],
            "objectives.KEY.pairs[0]: no such input. Did you mean 'note'?"
            " Inputs: photo, voice, note",
        ),
        (
            [["photo", "note"], ["note"]],
            "objectives.KEY.pairs[1]: needs two different inputs. Received: ['note']",
        ),
        (
            [["note", "note"]],
            "objectives.KEY.pairs[0]: needs two different inputs."
            " Received: ['note', 'note']",
        ),
        ([], "objectives.KEY.pairs: name at least one; null = every pair of inputs."),
    ],
)
def test_pairs(key: str, pairs: Any, told: str) -> None:
    assert told.replace("KEY", key) in problem({key: {"pairs": pairs}})
    found = getattr(read({key: {"pairs": [["note", "photo"]]}}).objectives, key)
    assert found.pairs == (("note", "photo"),)


@pytest.mark.parametrize("key", ["contrastive", "matching"])
def test_one_input_has_no_pair(key: str) -> None:
    alone = {"inputs": BASE["inputs"][2:]}
    assert f"objectives.{key}: needs at least two inputs." in problem(
        {key: {}}, **alone
    )
    read({"contrastive": {"views": "masked"}}, **alone)


def test_masked_views_are_of_a_whole_row() -> None:
    told = problem({"contrastive": {"views": "masked", "loss": "sigmoid"}})
    assert "objectives.contrastive.loss: sigmoid is for views: inputs." in told
    told = problem({"contrastive": {"views": "masked", "pairs": [["photo", "note"]]}})
    assert "objectives.contrastive.pairs: are for views: inputs" in told


@pytest.mark.parametrize(
    ("key", "word", "known", "other"),
    [
        ("masked_lm", "text", "note", "photo"),
        ("masked_image", "image", "photo", "voice"),
        ("masked_audio", "audio", "voice", "note"),
    ],
)
def test_masked_inputs_are_of_the_kind(
    key: str, word: str, known: str, other: str
) -> None:
    found = read({key: {"inputs": [known]}}).objectives
    assert getattr(found, key).inputs == (known,)
    told = problem({key: {"inputs": [other]}})
    assert f"objectives.{key}.inputs: no such {word} input." in told
    assert f"{word.capitalize()} inputs: {known}" in told
    assert f"objectives.{key}.inputs: name at least one" in problem(
        {key: {"inputs": []}}
    )
    rest = [one for one in BASE["inputs"] if one["name"] != known]
    told = problem({key: {}}, inputs=rest)
    assert f"objectives.{key}: there is no {word} input." in told


def test_patches_divide_the_pictures_that_are_masked() -> None:
    read({"masked_image": {"patch": 8}})
    told = problem({"masked_image": {"patch": 5}})
    assert (
        "objectives.masked_image.patch: must divide the height and width of 'photo',"
        " 24 x 16. Received: 5" in told
    )
    odd = {"name": "odd", "modality": "image", "height": 10, "width": 10}
    inputs = [*BASE["inputs"], odd]
    assert "of 'odd', 10 x 10" in problem({"masked_image": {"patch": 8}}, inputs=inputs)
    read({"masked_image": {"patch": 8, "inputs": ["photo"]}}, inputs=inputs)


def test_mixmatch_needs_a_head_with_one_class_per_row() -> None:
    read({"mixmatch": {"head": "disease"}})
    for head in (None, "tags", "nothing"):  # the first one is a number
        told = problem({"mixmatch": {"head": head}})
        assert "objectives.mixmatch.head: no such one-class head." in told
        assert "One-class heads: disease" in told
    assert "heads: at least one is needed." in problem({"mixmatch": {}}, heads=[])


@pytest.mark.parametrize(
    ("key", "values", "told"),
    [
        ("contrastive", {"temperature": 0.001}, "temperature: must be in [0.01, 1]."),
        ("contrastive", {"weight": -1}, "weight: must not be below 0."),
        ("contrastive", {"dim": 0}, "dim: must be above 0."),
        ("contrastive", {"masked_positions": 0}, "masked_positions: must be above 0."),
        ("masked_lm", {"rate": 1.0}, "rate: must be in [0, 1)."),
        ("masked_lm", {"rate": 0}, "rate: must be above 0."),
        ("masked_image", {"patch": 0}, "patch: must be above 0."),
        ("masked_audio", {"frames": 0}, "frames: must be above 0."),
        ("matching", {"temperature": 0}, "temperature: must be above 0."),
        ("mixmatch", {"augmentations": 0}, "augmentations: must be above 0."),
        ("mixmatch", {"alpha": 0}, "alpha: must be above 0."),
        (
            "mixmatch",
            {"unlabelled_weight": -1},
            "unlabelled_weight: must not be below 0",
        ),
        ("mixmatch", {"ramp_up_epochs": -1}, "ramp_up_epochs: must not be below 0."),
        ("pcl", {"momentum": 1.0}, "momentum: must be in [0, 1)."),
        ("pcl", {"clusters": []}, "clusters: at least one number is needed."),
        ("pcl", {"clusters": [4, 0]}, "clusters: must be above 0. Received: 0"),
        ("pcl", {"warmup_epochs": -1}, "warmup_epochs: must not be below 0."),
        (
            "distillation",
            {"teacher": "t", "feature_weight": -1},
            "feature_weight: must",
        ),
        ("distillation", {}, "teacher: missing."),
    ],
)
def test_bounds(key: str, values: Any, told: str) -> None:
    heads = BASE["heads"][1:]
    assert f"objectives.{key}.{told}" in problem({key: values}, heads=heads)


def test_a_second_copy_of_the_network_has_no_low_rank_matrices() -> None:
    stages: list[dict[str, Any]] = [
        {"name": "one", "objectives": {"supervised": {}}},
        {"name": "two", "from": "one", "lora": {}, "objectives": {"pcl": {}}},
    ]
    assert "stages[two].lora: pcl keeps a second copy" in problem({}, stages=stages)
    stages[1]["objectives"] = {"supervised": {}}
    read({}, stages=stages)


def test_a_match_that_no_stage_teaches() -> None:
    head = {"name": "m", "kind": "retrieval", "pair": ["photo", "note"]}
    head["match"] = "vectors"

    def untaught(*stages: Any) -> list[str]:
        named = [{"name": f"s{i}", "objectives": one} for i, one in enumerate(stages)]
        return list(untaught_problems(read({}, heads=[head], stages=named)))

    (told,) = untaught(
        {"supervised": {}}, {"matching": {"pairs": [["photo", "voice"]]}}
    )
    assert told == (
        "heads[m].match: nothing teaches it; give a stage the objective `matching` on"
        " the pair ['photo', 'note']."
    )
    assert untaught({"matching": {}}, {"supervised": {}}) == []
    assert untaught({"matching": {"pairs": [["note", "photo"]]}}) == []


def test_objectives_that_are_named_are_all_wherever_they_stand() -> None:
    base = {**BASE, "heads": BASE["heads"][1:2]}

    def named(config: Config) -> list[set[str]]:
        return [
            {
                field.name
                for field in dataclasses.fields(stage.objectives)
                if getattr(stage.objectives, field.name) is not None
            }
            for stage in config.resolved_stages()
        ]

    # In a file without stages, for all stages of one, in a stage, and in Python.
    mixed: dict[str, Any] = {"mixmatch": {}}
    assert named(from_mapping({**base, "objectives": mixed})) == [{"mixmatch"}]
    stages: list[dict[str, Any]] = [{"name": "a"}, {"name": "b", "objectives": mixed}]
    whole = {**base, "objectives": mixed, "stages": stages}
    assert named(from_mapping(whole)) == [{"mixmatch"}, {"mixmatch"}]
    assert named(from_mapping({**base, "stages": stages})) == [
        {"supervised"}, {"mixmatch"},
    ]  # fmt: skip
    made = dataclasses.replace(
        from_mapping(base), objectives=ObjectivesConfig(mixmatch=MixMatchObjective())
    )
    assert named(made) == [{"mixmatch"}]
    assert named(from_mapping(base)) == [{"supervised"}]


def test_a_head_that_nothing_teaches() -> None:
    def untaught(objectives: Any) -> list[str]:
        return list(untaught_problems(read(objectives)))

    assert untaught({"supervised": {}, "contrastive": {}}) == []
    assert untaught({"distillation": {"teacher": "a/b"}}) == []
    alone = untaught({"contrastive": {}})
    assert [text.partition(":")[0] for text in alone] == [
        "heads[score]", "heads[disease]", "heads[tags]",
    ]  # fmt: skip
    assert alone[0] == (
        "heads[score]: nothing teaches it; give a stage the objective `supervised`. Where"
        " `objectives` are named, these are all."
    )
    mixed = untaught({"mixmatch": {"head": "disease"}})
    assert [text.partition(":")[0] for text in mixed] == ["heads[score]", "heads[tags]"]
