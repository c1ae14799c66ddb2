from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from trainer.config import TrainingConfig, replace
from trainer.modalities import Resources
from trainer.model import build_model

RESOURCES = Resources(
    vocabularies={"note": (*samples.SPECIAL, "no", "fever")},
    categories={"city": 2},
    statistics={"score": (0.0, 1.0)},
    class_counts={"disease": (1.0, 1.0, 1.0)},
)
NAMES = ("photo", "voice", "note", "facts")


def built(**changes: Any) -> keras.Model:
    training = TrainingConfig(batch_norm_momentum=0.75)
    heads = (replace(samples.DISEASE, **changes), samples.SCORE)
    config = samples.clinic_config(heads=heads, training=training)
    model = build_model(config, RESOURCES)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 0.6, w.shape) for w in model.get_weights()])
    return model


def batch(model: keras.Model, present: list[bool]) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    out: dict[str, Any] = {}
    for key, value in model.input.items():
        shape = (2, *value.shape[1:])
        high = 3 if value.dtype == "int32" else 1
        out[key] = tf.cast(rng.uniform(0, high, shape), value.dtype)
    for name, there in zip(NAMES, present, strict=True):
        out[f"{name}_present"] = tf.constant([there] * 2)
    return out


def numbers(outputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return {k: np.asarray(v, np.float64) for k, v in outputs.items()}


def test_a_head_is_a_linear_layer_on_the_fused_embedding() -> None:
    model = built()
    out = numbers(model(batch(model, [True] * 4)))
    assert set(out) == {
        "disease", "score", "fused:", *(f"pooled:{n}" for n in NAMES)
    }  # fmt: skip
    kernel, bias = model.get_layer("heads.disease.logits").get_weights()
    np.testing.assert_allclose(out["disease"], out["fused:"] @ kernel + bias, rtol=1e-5)
    assert all(v.dtype == "float32" for v in model.output.values())


@pytest.mark.parametrize("late_fusion", [False, True])
@pytest.mark.parametrize("present", [[True] * 4, [True, False, False, True]])
def test_auxiliary_heads_see_one_input_and_join_in_late_fusion(
    late_fusion: bool, present: list[bool]
) -> None:
    model = built(auxiliary_weight=0.5, late_fusion=late_fusion)
    out = numbers(model(batch(model, present)))
    kernel, bias = model.get_layer("heads.disease.logits").get_weights()
    wanted = out["fused:"] @ kernel + bias
    for name, there in zip(NAMES, present, strict=True):
        kernel, bias = model.get_layer(f"heads.disease.from.{name}").get_weights()
        alone = out[f"pooled:{name}"] @ kernel + bias
        np.testing.assert_allclose(out[f"disease:from:{name}"], alone, rtol=1e-4)
        if late_fusion and there:
            wanted = wanted + alone
    np.testing.assert_allclose(out["disease"], wanted, rtol=1e-4)


def test_batch_norm_takes_the_configs_momentum_everywhere() -> None:
    found = {
        layer.name: layer.momentum
        for layer in built()._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    assert len(found) >= 3
    assert set(found.values()) == {0.75}
