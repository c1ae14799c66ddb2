"""Presets in local folders, as KerasCV and KerasNLP write them."""

from pathlib import Path
from typing import Any

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from trainer.backbones import keras_cv
from trainer.config import (
    ClassificationHead,
    ConcatFusion,
    Config,
    ImageInput,
    TextInput,
    from_mapping,
    replace,
)
from trainer.encoder_config import ImagePresetEncoder, TextPresetEncoder
from trainer.export import export, to_example
from trainer.gate import check
from trainer.modalities import Resources
from trainer.modalities.text import Text
from trainer.model import build_model
from trainer.preprocessing import densify

VOCABULARY = [*samples.SPECIAL, "fever", "cough", "##s", "发", "烧"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    folder = str(tmp_path_factory.mktemp("presets") / "bert")
    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=len(VOCABULARY), num_layers=1, num_heads=2, hidden_dim=4,
        intermediate_dim=4, max_sequence_length=8,
    )  # fmt: skip
    tokenizer = keras_nlp.models.BertTokenizer(vocabulary=VOCABULARY, lowercase=True)
    backbone.save_to_preset(folder)
    tokenizer.save_to_preset(folder)
    return folder, backbone


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    folder = str(tmp_path_factory.mktemp("presets") / "resnet")
    backbone = keras_cv().models.ResNetBackbone(
        stackwise_filters=[64], stackwise_blocks=[1], stackwise_strides=[1],
        include_rescaling=True, input_shape=(32, 32, 3), block_type="basic_block",
    )  # fmt: skip
    from keras_cv.src.utils import preset_utils

    preset_utils.save_to_preset(backbone, folder)
    return folder, backbone


@pytest.fixture(scope="module")
def config(bert: tuple[str, Any], resnet: tuple[str, Any]) -> Config:
    """Two pictures and two texts, each pair from the same preset."""
    image = {"modality": "image", "height": 32, "width": 32}
    text = {"modality": "text", "max_tokens": 8}
    pictures = {"kind": "preset", "preset": resnet[0]}
    texts = {"kind": "preset", "preset": bert[0]}
    return from_mapping(
        {
            "name": "presets",
            "inputs": [
                {"name": "left", **image, "encoder": pictures},
                {"name": "right", **image, "encoder": pictures},
                {"name": "title", **text, "encoder": texts},
                {"name": "body", **text, "encoder": texts},
            ],
            "heads": [{"name": "y", "kind": "classification", "classes": ["a", "b"]}],
            "embedding_dim": 4,
        }
    )


@pytest.fixture(scope="module")
def model(config: Config) -> keras.Model:
    return build_model(config, Resources())


@pytest.mark.parametrize(("name", "kind"), [("left", "resnet"), ("right", "resnet"),
                                            ("title", "bert"), ("body", "bert")])  # fmt: skip
def test_the_presets_weights_are_in_the_model(
    model: keras.Model, name: str, kind: str, request: pytest.FixtureRequest
) -> None:
    backbone = request.getfixturevalue(kind)[1]
    loaded = model.get_layer(f"inputs.{name}.backbone").get_weights()
    assert len(loaded) == len(backbone.get_weights()) > 10
    for got, wanted in zip(loaded, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_the_presets_own_vocabulary_is_used(config: Config) -> None:
    modality = Text(config.input("title"))  # type: ignore[arg-type]
    assert modality.vocabulary(Resources()) == tuple(VOCABULARY)
    out = tf.function(lambda x: modality.preprocess({"title": x}, Resources()))(
        tf.constant(["Fever coughs 发烧"])
    )
    assert out["title_token_ids"].numpy().tolist() == [[2, 5, 6, 7, 8, 9, 3, 0]]


def test_two_of_the_same_preset_pass_the_load_gate(
    config: Config, model: keras.Model, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 0.5, w.shape) for w in model.get_weights()])

    def transform(stored: dict[str, Any]) -> dict[str, Any]:
        dense = densify(config, stored)
        count = tf.shape(dense["title"])[0]
        dense.setdefault("y", tf.zeros([count], tf.int64))
        return {**dense, "weight:y": tf.ones([count])}

    row = {
        "left": samples.encoded(samples.smooth_picture(32, 40)),
        "right": samples.encoded(samples.picture(20, 20)),
        "title": b"fever",
        "body": "发烧 coughs".encode(),
    }
    folder = str(tmp_path / "1")
    export(config, model, Resources(), transform, folder)
    check(folder, config, model, Resources(), transform, [to_example(row)])
    for name in ("title", "body"):
        words = (tmp_path / "1" / "assets" / f"{name}_vocabulary.txt").read_text(
            "utf-8"
        )
        assert words.splitlines() == VOCABULARY


def one_input(one: Any) -> Config:
    return Config(
        name="one",
        inputs=(one,),
        heads=(ClassificationHead("y", ("a", "b")),),
        fusion=ConcatFusion(dim=4),
    )


def test_an_unknown_image_preset_is_named(tmp_path: Path) -> None:
    for preset in (str(tmp_path / "none"), "resnet_of_nobody"):
        one = ImageInput("p", encoder=ImagePresetEncoder(preset))
        with pytest.raises(ValueError, match=f"image preset '{preset}' is neither"):
            build_model(one_input(one), Resources())


def test_an_unknown_text_preset_is_named(tmp_path: Path) -> None:
    for preset in (str(tmp_path / "none"), "bert_of_nobody"):
        one = TextInput("t", encoder=TextPresetEncoder(preset))
        with pytest.raises(ValueError, match=f"text preset '{preset}' is neither"):
            build_model(one_input(one), Resources())


def test_a_preset_without_wordpiece_is_refused(tmp_path: Path) -> None:
    folder = str(tmp_path / "gpt2")
    keras_nlp.models.GPT2Backbone(
        vocabulary_size=4, num_layers=1, num_heads=1, hidden_dim=2,
        intermediate_dim=2, max_sequence_length=64,
    ).save_to_preset(folder)  # fmt: skip
    tokenizer = keras_nlp.models.GPT2Tokenizer(
        vocabulary={"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}, merges=["a b"]
    )
    tokenizer.save_to_preset(folder)
    one = TextInput("t", encoder=TextPresetEncoder(folder))
    with pytest.raises(ValueError, match=r"only WordPiece presets.*GPT2Tokenizer"):
        build_model(one_input(one), Resources())


def test_a_preset_for_shorter_texts_is_refused(bert: tuple[str, Any]) -> None:
    one = TextInput("t", max_tokens=9, encoder=TextPresetEncoder(bert[0]))
    with pytest.raises(ValueError, match=r"t\.max_tokens: .*at most 8 tokens"):
        build_model(one_input(one), Resources())
    assert build_model(one_input(replace(one, max_tokens=8)), Resources())
