"""Names that users choose and names of ours never meet, or the config is refused."""

from collections import Counter
from typing import Any

import keras
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer import config as c
from trainer.answers import answer
from trainer.features import (
    EMBEDDING,
    embedding_key,
    features,
    labels_of,
    weight_answer,
)
from trainer.heads import heads
from trainer.input_config import input_answers
from trainer.layer_names import former_path
from trainer.modalities import Resources, modalities
from trainer.model import build_network
from trainer.names import RESERVED, reserved_end
from trainer.preprocessing import joined, preprocess, stored_spec
from trainer.schema import plain

PARTS = (
    "a", "b", "note", "patient", "fusion", "inputs", "heads", "embedding", "shown",
    "fused", "pooled", "weight", "birth", "present", "scores", "classes", "unknown",
    "match", "token", "ids", "pixels", "numeric", "categorical", "from", "to", "logits",
    "missing", "mask", "tokens", "dense", "0", "join", "out", "norm", "modality",
    "dropout", "group", "constant", "slice", "gate", "id", "error", "model", "version",
)  # fmt: skip
"""What names of ours are, or were, made of."""

NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("_".join)
FUSIONS = (
    c.ConcatFusion(dim=4, hidden_dims=(4,)),
    c.GatedFusion(dim=4),
    c.FilmFusion(dim=4),
    c.LowRankFusion(dim=4, rank=2),
    c.AttentionFusion(dim=4, layers=1, heads=2),
    c.BottleneckFusion(dim=4, bottlenecks=2, layers=2, fusion_layer=0, heads=2),
    c.PerceiverFusion(dim=4, latents=2, blocks=1, heads=2),
)


def mapping(names: list[str], fusion: Any) -> dict[str, Any]:
    """Three inputs, of which a table, and five heads, named in that order."""
    picture, text, table, number, category, other, *labels = names
    return {
        "name": "named",
        "embedding_dim": 4,
        "fusion": plain(fusion),
        "inputs": [
            {"name": picture, "modality": "image", "height": 4, "width": 4,
             "column": "c0", "encoder": {"kind": "mlp", "hidden_dims": [4]}},
            {"name": text, "modality": "text", "max_tokens": 4, "column": "c1",
             "encoder": {"kind": "bag", "hidden_dim": 4, "ngram_buckets": 0}},
            {"name": table, "modality": "tabular", "hidden_dims": [4],
             "numeric": [{"name": number, "column": "c2"}],
             "categorical": [{"name": category, "column": "c3"},
                             {"name": other, "column": "c4"}]},
        ],
        "heads": [
            {"name": labels[0], "kind": "classification", "classes": ["x", "y"],
             "auxiliary_weight": 0.5, "abstain_below": 0.6, "column": "c5"},
            {"name": labels[1], "kind": "regression", "column": "c6"},
            {"name": labels[2], "kind": "ordinal", "classes": ["l", "m", "h"],
             "column": "c7"},
            {"name": labels[3], "kind": "ranking", "group": "q", "column": "c8"},
            {"name": labels[4], "kind": "retrieval", "pair": [picture, text],
             "match": "vectors"},
        ],
    }  # fmt: skip


def resources_of(config: c.Config) -> Resources:
    """As if Transform had seen two categories of each column and four words."""
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fever", "no")
    inputs = {one.modality: one.name for one in config.inputs}
    return Resources(
        vocabularies={inputs["text"]: words},
        categories={f.key: 2 for f in features(config) if f.kind == "categorical"},
        statistics={
            h.name: (0.0, 1.0) for h in config.heads if isinstance(h, c.RegressionHead)
        },
        class_counts={
            h.name: (1.0,) * len(h.classes)
            for h in config.heads
            if isinstance(h, c.ClassificationHead)
        },
    )


def once(*parts: Any) -> set[str]:
    """The union of groups of keys, none of which holds another's."""
    counts = Counter(key for part in parts for key in part)
    assert max(counts.values()) == 1, [k for k, n in counts.items() if n > 1]
    return set(counts)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(NAMES, min_size=11, max_size=11, unique=True), st.sampled_from(FUSIONS))
def test_names_never_meet_or_the_config_is_refused(
    names: list[str], fusion: Any
) -> None:
    try:
        config = c.from_mapping(mapping(names, fusion))
    except c.ConfigError as error:
        # In a sentence that says which name, and why not.
        for text in error.problems:
            assert any(name in text for name in names), text
            assert (
                "is taken by" in text
                or "may not end in" in text
                or "is also one of" in text
                or "stands in every answered row" in text
                or "names are lower-case ASCII" in text
            ), text
        return
    keras.backend.clear_session()
    resources = resources_of(config)
    # What is stored of a row, and what Transform makes of it.
    stored = once([f.key for f in features(config)], [x.key for x in labels_of(config)])
    assert set(stored_spec(config)) == stored
    once(
        *([f.key for f in one.features] for one in modalities(config)),
        *(head.label_keys for head in heads(config)),
    )
    # What the model reads.
    transformed = {
        f.key: {
            "image": tf.constant([""]),
            "text": tf.constant(["fever no"]),
            "numeric": tf.constant([0.5]),
            "categorical": tf.constant([1], tf.int64),
        }[f.kind]
        for f in features(config)
    }
    # Tokenizers give lists outside of a graph.
    tensors = tf.function(lambda x: preprocess(config, x, resources))(transformed)
    assert set(tensors) == once(
        *([*one.specs(resources), one.present] for one in modalities(config))
    )
    # Layers, and what they give.
    network = build_network(config, resources)
    assert set(network.model.input) == set(tensors)
    once([layer.name for layer in network.trunk.layers])
    once([v.path for v in network.model.variables if "seed" not in v.path])
    outputs = network.model(tensors)
    assert len(outputs) == 5 + 1 + 3 + 3  # heads, fused, inputs, the auxiliary ones
    assert len(network.trunk.output) == 2 + 3 * 3
    assert once(network.trunk.output) & {head.name for head in config.heads} == set()
    # What is answered, as the config says it beforehand.
    answers = answer(config, outputs, tensors, resources, {})
    told = [key for head in config.heads for key in head.answers]
    about = [key for one in config.inputs for key in input_answers(one)]
    assert set(answers) == once(told, about)
    names_of_inputs = [one.name for one in config.inputs]
    once([EMBEDDING], map(embedding_key, names_of_inputs), about)
    weights = [weight_answer(config, head.name) for head in config.heads]
    once(stored, weights)


def test_answers_that_would_share_a_name_are_refused_with_both() -> None:
    one = mapping(["a", "b", "t", "n", "d", "f", "d_unknown", *"hijk"], FUSIONS[0])
    with pytest.raises(c.ConfigError) as caught:
        c.from_mapping(one)
    assert caught.value.problems == (
        "heads[d_unknown]: its answer 'd_unknown' is also one of inputs[t]; give one of"
        " the two another name.",
    )
    one = mapping(["a", "b", *"tndf", "g", "k_embedding_a", *"ij", "k"], FUSIONS[0])
    with pytest.raises(c.ConfigError, match=r"'k_embedding_a' is also one of heads\["):
        c.from_mapping(one)


def test_reserved_ends_are_those_of_the_answers() -> None:
    head = c.ClassificationHead("h", ("x", "y"), multi_label=True, abstain_below=0.5)
    found = {reserved_end(key) for key in head.answers} - {None}
    found |= {
        reserved_end(key)
        for key in c.RetrievalHead("r", ("a", "b"), match="fused").answers
    }
    found |= {reserved_end(embedding_key("a")), reserved_end("a_present")}
    assert found - {None} == set(RESERVED)
    assert reserved_end("color_match") == "_match"
    assert reserved_end("matches") is None


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("inputs.note.tokens/kernel", "note_tokens/kernel"),
        ("inputs.facts.city.embedding/embeddings", "facts_city_embedding/embeddings"),
        ("inputs.note.backbone/block_0/up/kernel", "note_backbone/block_0/up/kernel"),
        ("fusion.dense_0/bias", "fusion_dense_0/bias"),
        ("fusion.note.hidden/kernel", "fusion_note/kernel"),
        ("fusion.note.features/kernel", "fusion_note/kernel"),
        ("fusion.a.to.b/kernel", "fusion_a_to_b/kernel"),
        ("heads.grade.logits/bias", "grade_logits/bias"),
        ("heads.grade.from.note/bias", "grade_from_note/bias"),
    ],
)
def test_variables_of_models_exported_before_are_found(now: str, then: str) -> None:
    assert former_path(now) == then


@pytest.mark.parametrize("name", ["id", "error", "model_version"])
def test_a_head_is_not_called_as_what_stands_beside_the_answers(name: str) -> None:
    one = mapping([*"abtndf", name, *"hijk"], FUSIONS[0])
    with pytest.raises(c.ConfigError) as caught:
        c.from_mapping(one)
    (found,) = caught.value.problems
    assert found.startswith(
        f"heads[{name}].name: {name!r} stands in every answered row"
    )
    # An input's name is in no answer alone.
    c.from_mapping(mapping([name, *"btndf", "g", *"hijk"], FUSIONS[0]))


def test_a_model_of_others_may_have_any_names() -> None:
    head = c.ClassificationHead("unused", ("a", "b"))
    config = c.as_served("remote", [c.TextInput("Some Text")], head)
    assert config.inputs[0].name == "Some Text"
    assert config.training == c.TrainingConfig()


def test_two_parts_that_give_one_key_are_a_mistake_of_theirs() -> None:
    assert joined([{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="two inputs or heads give b, c."):
        joined([{"a": 1, "b": 2, "c": 3}, {"c": 4, "b": 5}])
