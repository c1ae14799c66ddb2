from pathlib import Path
from typing import Any

import pytest

from tests.trainer.samples import clinic_config
from trainer import config as c

MINIMAL: dict[str, Any] = {
    "name": "demo",
    "inputs": [{"name": "xray", "modality": "image"}],
    "heads": [{"name": "finding", "kind": "classification", "classes": ["a", "b"]}],
}


def problems(**changes: Any) -> tuple[str, ...]:
    """What is wrong with the minimal config after these changes."""
    with pytest.raises(c.ConfigError) as caught:
        c.from_mapping({**MINIMAL, **changes})
    return caught.value.problems


def inputs(*several: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "xray", "modality": "image", **one} for one in several]


def head(**changes: Any) -> list[dict[str, Any]]:
    return [{**MINIMAL["heads"][0], **changes}]


def other(kind: str, **keys: Any) -> list[dict[str, Any]]:
    return [{"name": "y", "kind": kind, **keys}]


def test_minimal_config_has_the_documented_defaults() -> None:
    config = c.from_mapping(MINIMAL)
    assert config.seed == 0
    assert config.inputs == (c.ImageInput(name="xray"),)
    assert isinstance(config.fusion, c.ConcatFusion)
    assert config.training.learning_rate == 0.001
    assert config.data.split.selection_fraction == 0.1


def test_unknown_key_names_the_nearest_and_all_known_ones() -> None:
    (text,) = problems(training={"learning_rat": 0.1})
    assert text.startswith(
        "training.learning_rat: unknown key. Did you mean 'learning_rate'? Known keys: "
        "epochs, batch_size, learning_rate, weight_decay,"
    )


def test_unknown_key_in_a_list_is_found_by_the_items_name() -> None:
    (text,) = problems(inputs=inputs({"heigth": 3}))
    assert text.startswith("inputs[xray].heigth: unknown key. Did you mean 'height'?")


def test_unknown_key_without_a_near_one_guesses_nothing() -> None:
    (text,) = problems(training={"zzzzzz": 1})
    assert "Did you mean" not in text


def test_every_problem_is_reported_at_once() -> None:
    found = problems(
        training={"epochs": "many", "batch_size": True},
        fusion={"kind": "concatt"},
        heads=head(kind="regresion"),
        inputs=[{"modality": "image"}],
        embedding_dim=1.5,
    )
    assert [text.partition(":")[0] for text in found] == [
        "inputs[0].name",
        "heads[finding].kind",
        "embedding_dim",
        "fusion.kind",
        "training.epochs",
        "training.batch_size",
    ]
    assert "Did you mean 'concat'?" in found[3]


def test_the_message_names_file_and_count(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text("name: demo\n")
    with pytest.raises(c.ConfigError) as caught:
        c.load(path)
    assert str(caught.value).startswith(f"{path}: 2 problems\n  - inputs: missing.")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"inputs": inputs({"height": 0})}, "inputs[xray].height"),
        ({"inputs": inputs({"background": 256})}, "inputs[xray].background"),
        ({"inputs": inputs({"shift": 1.0})}, "inputs[xray].shift"),
        ({"inputs": inputs({"channels": 2})}, "inputs[xray].channels"),
        ({"inputs": inputs({"fit": "cover"})}, "inputs[xray].fit"),
        (
            {"inputs": inputs({"encoder": {"kind": "resnet", "filters": [8, 8]}})},
            "inputs[xray].encoder.filters",
        ),
        (
            {"inputs": [{"name": "s", "modality": "audio", "max_hz": 9000}]},
            "inputs[s].max_hz",
        ),
        ({"inputs": [{"name": "t", "modality": "tabular"}]}, "inputs[t].numeric"),
        ({"heads": head(classes=["a", "a"])}, "heads[finding].classes"),
        ({"heads": head(classes=["a", ""])}, "heads[finding].classes"),
        ({"heads": head(class_weights={"c": 2})}, "heads[finding].class_weights.c"),
        ({"heads": head(class_weights="equal")}, "heads[finding].class_weights"),
        ({"heads": other("ordinal", classes=["a"])}, "heads[y].classes"),
        ({"heads": other("ordinal", classes=["a", ""])}, "heads[y].classes"),
        (
            {"heads": other("ordinal", classes=["a", "b"], late_fusion=True)},
            "heads[y].late_fusion",
        ),
        ({"heads": other("ranking")}, "heads[y].group"),
        ({"heads": other("ranking", group="q", top_k=[])}, "heads[y].top_k"),
        ({"heads": other("ranking", group="q", top_k=[0])}, "heads[y].top_k"),
        ({"heads": other("vqa", max_answers=0)}, "heads[y].max_answers"),
        ({"heads": other("vqa", question="xray")}, "heads[y].question"),
        ({"heads": other("retrieval", pair=["xray"])}, "heads[y].pair"),
        ({"heads": other("retrieval", pair=["xray", "note"])}, "heads[y].pair"),
        (
            {"heads": other("retrieval", pair=["a", "b"], temperature=2.0)},
            "heads[y].temperature",
        ),
        ({"fusion": {"kind": "attention", "heads": 3}}, "fusion.heads"),
        ({"fusion": {"kind": "concat", "dim": 0}}, "fusion.dim"),
        ({"fusion": {"kind": "perceiver", "heads": 3}}, "fusion.heads"),
        ({"fusion": {"kind": "bottleneck", "layers": 2}}, "fusion.fusion_layer"),
        ({"fusion": {"kind": "low_rank", "rank": 0}}, "fusion.rank"),
        ({"fusion": {"kind": "film", "conditioned": "x"}}, "fusion.conditioned"),
        ({"training": {"modality_dropout": 1}}, "training.modality_dropout"),
        ({"training": {"ema_momentum": 1.0}}, "training.ema_momentum"),
        ({"training": {"weight_decay": -1}}, "training.weight_decay"),
        (
            {"training": {"parameter_groups": [{"pattern": "("}]}},
            "training.parameter_groups[0].pattern",
        ),
        (
            {"evaluation": {"thresholds": [{"metric": "auc"}]}},
            "evaluation.thresholds[0].give minimum, maximum or max_worsening, or remove"
            " the threshold.",
        ),
        (
            {
                "evaluation": {
                    "thresholds": [{"metric": "auc", "head": "findin", "minimum": 0.5}]
                }
            },
            "evaluation.thresholds[0].head",
        ),
        ({"data": {"split": {"train": "eval"}}}, "data.split.train, eval and selection"
         " must be three different names."),
        ({"data": {"split": {"eval_fraction": 0.0}}}, "data.split.eval_fraction"),
        ({"name": "a/b"}, "name"),
        ({"inputs": []}, "inputs"),
        ({"heads": []}, "heads"),
        ({"seed": None}, "seed"),
        ({"inputs": "image"}, "inputs"),
        ({"training": 3}, "training"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_where_it_stands(
    changes: dict[str, Any], where: str
) -> None:
    found = problems(**changes)
    assert [text.partition(": ")[0] for text in found] == [where]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Xray", "names are lower-case ASCII"),
        ("片", "names are lower-case ASCII"),
        ("1st", "names are lower-case ASCII"),
        ("x" * 42, "names are lower-case ASCII"),
        ("xray\n", "names are lower-case ASCII"),
        ("xray_present", "may not end in _present"),
        ("a_embedding", "may not end in _embedding"),
        ("a_abstained", "may not end in _abstained"),
        ("finding", "the name 'finding' is taken by inputs[finding].name"),
    ],
)
def test_names_that_would_collide_are_refused(name: str, part: str) -> None:
    (text,) = problems(inputs=inputs({"name": name}))
    assert part in text


def test_a_tables_column_may_not_take_an_inputs_name() -> None:
    table = {"name": "facts", "modality": "tabular", "numeric": ["xray"]}
    (text,) = problems(inputs=[*MINIMAL["inputs"], table])
    assert text.startswith("inputs[facts].xray: the name 'xray' is taken by")


def test_a_quoted_boolean_is_not_a_boolean_and_a_bare_one_no_text() -> None:
    (text,) = problems(inputs=inputs({"flip": "true"}))
    assert text == "inputs[xray].flip: expected bool. Received: 'true'"
    (text,) = problems(heads=head(classes=[True, "no"]))
    assert "put it in quotes" in text
    assert text.startswith("heads[finding].classes[0]: ")


def test_numbers_are_read_as_written() -> None:
    config = c.from_mapping({**MINIMAL, "training": {"learning_rate": "1e-3"}})
    assert config.training.learning_rate == 0.001
    classes = c.from_mapping({**MINIMAL, "heads": head(classes=[0, 1])}).heads[0]
    assert isinstance(classes, c.ClassificationHead)
    assert classes.classes == ("0", "1")


def test_a_pattern_of_nan_or_infinity_is_refused() -> None:
    (text,) = problems(training={"learning_rate": float("nan")})
    assert text.startswith("training.learning_rate: ")


def test_yaml_and_json_give_the_same_config_back(tmp_path: Path) -> None:
    config = clinic_config(
        data=c.DataConfig(split=c.SplitConfig(column="划分", train="训练")),
        heads=(
            c.ClassificationHead("a", ("是", "no", "1"), class_weights={"no": 2.0}),
            c.RegressionHead("b", loss="huber"),
        ),
        evaluation=c.EvaluationConfig(
            thresholds=(c.Threshold("accuracy", minimum=0.5),),
            slices=(("sex",), ("sex", "city")),
        ),
    )
    path = tmp_path / "all.yaml"
    path.write_text(c.to_yaml(config), "utf-8")
    assert c.load(path) == config
    assert c.from_json(c.to_json(config)) == config
    assert "\n" not in c.to_json(config)


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n", "\xff"])
def test_a_file_that_is_no_mapping_is_a_config_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(text.encode("latin-1"))
    for overrides in ([], ["name=x"], ["training.epochs=3"]):
        with pytest.raises(c.ConfigError):
            c.load(path, overrides)


def test_no_file_is_a_config_error_that_helps(tmp_path: Path) -> None:
    with pytest.raises(c.ConfigError, match="polymodal init MANIFEST"):
        c.load(tmp_path / "none.yaml")


def test_a_text_has_room_for_a_token() -> None:
    def note(tokens: int) -> list[dict[str, Any]]:
        return [{"name": "note", "modality": "text", "max_tokens": tokens}]

    for tokens in (1, 2):
        assert problems(inputs=note(tokens)) == (
            "inputs[note].max_tokens: must be 3 at least, for [CLS], one token of the text"
            f" and [SEP]. Received: {tokens}",
        )
    c.from_mapping({**MINIMAL, "inputs": note(3)})


def test_an_input_that_reads_the_label_is_refused() -> None:
    leaking: list[tuple[dict[str, Any], str]] = [
        ({"name": "hint", "modality": "text", "column": "finding"}, "column"),
        (
            {
                "name": "facts",
                "modality": "tabular",
                "categorical": [{"name": "hint", "column": "finding"}],
            },
            "hint",
        ),
    ]
    for one, key in leaking:
        found = problems(inputs=[*MINIMAL["inputs"], one])
        assert found == (
            f"inputs[{one['name']}].{key}: reads the manifest column 'finding', which"
            " heads[finding] is to predict; an input that holds the answer leaves nothing"
            " to learn: remove it.",
        )
    # The label may have another column than its name says.
    head = {**MINIMAL["heads"][0], "column": "diagnosis"}
    beside = [*MINIMAL["inputs"], leaking[0][0]]
    c.from_mapping({**MINIMAL, "inputs": beside, "heads": [head]})
