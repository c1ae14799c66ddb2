"""Ways to train the last stage: which there are, and what is said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.comparison import compare, variants
from pipeline.rows import Row
from trainer.config import (
    ClassificationHead,
    Config,
    ConfigError,
    EvaluationConfig,
    LoraConfig,
    StageConfig,
    TextInput,
    UnfreezeConfig,
    from_mapping,
    to_yaml,
)

WAYS = ("scratch", "pretrained", "linear_probe", "lora", "full")


def config(compared: Any = WAYS, **last: Any) -> Config:
    return Config(
        name="c",
        inputs=(TextInput("note"),),
        heads=(ClassificationHead("y", ("a", "b")),),
        stages=(StageConfig("pretrain"), StageConfig("finetune", "pretrain", **last)),
        evaluation=EvaluationConfig(compare=compared),
    )


def test_each_way_trains_the_last_stage_differently() -> None:
    got = variants(config(freeze=("bert",), layer_decay=0.8))
    assert list(got) == ["scratch", "linear_probe", "lora", "full"]
    assert (got["scratch"].base, got["scratch"].freeze) == (None, ())
    assert got["scratch"].layer_decay == 1.0
    assert (got["linear_probe"].base, got["linear_probe"].linear_probe) == (
        "pretrain",
        True,
    )
    assert not list(got["linear_probe"].problems())
    assert got["lora"].lora == LoraConfig()
    assert (got["full"].base, got["full"].lora) == ("pretrain", None)
    assert (got["full"].freeze, got["full"].layer_decay) == ((), 0.8)
    # A stage that has settings of its own for a way lends them to it.
    adapted = config(lora=LoraConfig(rank=2), unfreeze=UnfreezeConfig(("x",)))
    assert variants(adapted)["lora"].lora == LoraConfig(rank=2)
    assert variants(adapted)["full"].unfreeze is None


def test_what_the_last_stage_is_itself_is_not_trained_twice() -> None:
    one = config()
    assert variants(one)["full"] == one.stages[-1]
    adapted = config(lora=LoraConfig(rank=2))
    assert variants(adapted)["lora"] == adapted.stages[-1]
    assert variants(config(("lora", "scratch"))).keys() == {"lora", "scratch"}


def said(**changes: Any) -> str:
    import yaml

    mapping = yaml.safe_load(to_yaml(config()))
    mapping.update(changes)
    with pytest.raises(ConfigError) as error:
        from_mapping(mapping)
    return "\n".join(error.value.problems)


def test_what_cannot_be_compared() -> None:
    compare_ = {"compare": ["scratch", "full"]}
    assert "needs `from`" in said(stages=[], evaluation=compare_)
    stages = [{"name": "one", "from": "models/1"}]
    evaluation = {"compare": ["pretrained", "full"]}
    assert "pretrained needs `from` an earlier stage" in said(
        stages=stages, evaluation=evaluation
    )
    assert "two ways at least" in said(evaluation={"compare": ["full"]})
    assert "twice" in said(evaluation={"compare": ["full", "full"]})
    assert "compare[0]: expected one of 'scratch'" in said(
        evaluation={"compare": ["scrap", "full"]}
    )


class Model:
    """Right on the rows whose number is below `right`."""

    def __init__(self, right: int) -> None:
        self.right = right

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answers = []
        for row in rows:
            number, label = row["note"].split()
            sure = 0.9 if int(number) < self.right else 0.1
            scores = {"a": 1 - sure, "b": 1 - sure} | {label: sure}
            answers.append({"y_scores": scores})
        return answers


def rows(count: int = 200) -> list[Row]:
    labels = ["ab"[i % 2] for i in range(count)]
    return [
        Row(i, f"r{i}", "eval", {"note": f"{i} {label}"}, {"y": (label,)})
        for i, label in enumerate(labels)
    ]


def test_models_are_compared_with_the_first_on_the_same_rows() -> None:
    models = {"scratch": Model(120), "full": Model(160), "lora": Model(121)}
    got = compare(config(), models, rows())
    assert (got["head"], got["metric"], got["examples"]) == ("y", "accuracy", 200)
    assert got["reference"] == "scratch"
    first, full, lora = (got["variants"][n] for n in ("scratch", "full", "lora"))
    assert (first["metric"]["value"], first["difference"], first["says"]) == (
        0.6, None, "",
    )  # fmt: skip
    # sqrt(0.6 * 0.4 / 200); the difference is one of 0.2 +- sqrt(0.2 * 0.8 / 200).
    assert first["metric"]["se"] == pytest.approx(0.0346, abs=0.002)
    assert full["difference"]["value"] == pytest.approx(0.2)
    assert full["difference"]["low"] == pytest.approx(0.145, abs=0.011)
    assert full["difference"]["high"] == pytest.approx(0.255, abs=0.011)
    assert full["says"].startswith("full is better than scratch by 0.2000 in accuracy")
    assert full["says"].endswith(": distinguishable from noise")
    assert lora["says"].endswith(": not distinguishable from noise")


def test_the_resamples_are_seeded_and_two_thousand() -> None:
    models = {"scratch": Model(3), "full": Model(9)}
    one, again = (compare(config(), models, rows(30)) for _ in range(2))
    assert one == again
    low = one["variants"]["scratch"]["metric"]["low"]
    drawn = np.random.default_rng(0)
    wanted = [
        np.mean(drawn.integers(0, 30, 30) < 3)  # draws of the three right rows
        for _ in range(2000)
    ]
    assert low == pytest.approx(np.percentile(wanted, 2.5))
