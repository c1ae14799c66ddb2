"""What holds for every objective: finite on any batch, compiled, in low precision."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from trainer import config as c
from trainer.learner import Learner
from trainer.modalities import Resources
from trainer.model import build_network
from trainer.objectives import OBJECTIVES

VOCABULARY = (*samples.SPECIAL, "no", "fever", "##ish", "发", "烧", "cough")
RESOURCES = Resources(
    vocabularies={"note": VOCABULARY},
    categories={"city": 2},
    statistics={"score": (2.0, 3.0)},
    class_counts={"disease": (1.0, 1.0, 1.0)},
)
# A stage's objectives need not move every weight.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
NAMES = ("photo", "voice", "note", "facts")
OPTIONS: dict[str, Any] = {
    "supervised": c.SupervisedObjective(),
    "contrastive": c.ContrastiveObjective(dim=4),
    "masked_lm": c.MaskedLmObjective(rate=0.5, whole_word=True),
    "masked_image": c.MaskedImageObjective(),
    "masked_audio": c.MaskedAudioObjective(),
    "matching": c.MatchingObjective(),
    "mixmatch": c.MixMatchObjective(ramp_up_epochs=0),
    "pcl": c.PclObjective(clusters=(2, 3), dim=4, warmup_epochs=1),
    "distillation": None,  # needs a teacher: see `options`
}


def batch(rows: int, seed: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, rows)
    mask = (np.arange(8)[None] < lengths[:, None]).astype(np.int32)
    ids = rng.integers(5, len(VOCABULARY), (rows, 8)) * mask
    ids[:, 0] = 2  # [CLS]
    x = {
        "photo_pixels": rng.uniform(0, 255, (rows, 8, 8, 3)).astype(np.float32),
        "voice_log_mel": rng.normal(-2, 1, (rows, 23, 8)).astype(np.float32),
        "note_token_ids": ids.astype(np.int32),
        "note_padding_mask": mask,
        "facts_numeric": np.concatenate(
            [rng.normal(0, 1, (rows, 2)), np.zeros((rows, 2))], 1
        ).astype(np.float32),
        "facts_categorical": rng.integers(1, 4, (rows, 1)).astype(np.int32),
        **{f"{name}_present": np.ones(rows, bool) for name in NAMES},
    }
    y = {
        "disease": rng.integers(0, 3, rows),
        "disease_weight": (np.arange(rows) % 2).astype(np.float32),
        "score": rng.normal(0, 1, rows).astype(np.float32),
        "score_weight": np.ones(rows, np.float32),
    }
    return tensors(x), tensors(y)


def tensors(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tf.constant(value) for key, value in values.items()}


def learner(name: str, option: Any, **changes: Any) -> Learner:
    keras.utils.set_random_seed(0)
    objectives = c.ObjectivesConfig(**{"supervised": None, name: option})
    config = samples.clinic_config(objectives=objectives, **changes)
    return Learner(build_network(config, RESOURCES), config, RESOURCES)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    config = samples.clinic_config()
    teacher = str(tmp_path_factory.mktemp("teacher") / "teacher.keras")
    keras.utils.set_random_seed(7)
    build_network(config, RESOURCES).model.save(teacher)
    one = c.DistillationObjective(teacher=teacher, feature_weight=0.5)
    return {**OPTIONS, "distillation": one}


def stepper(one: Learner) -> Any:
    """A compiled training step: batch -> loss and gradients by variable path."""

    @tf.function(reduce_retracing=True)
    def run(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = one(x, training=True)
            loss = one.compute_loss(x, y, outputs)
        gradients = tape.gradient(loss, one.trainable_variables)
        named = zip(one.trainable_variables, gradients, strict=True)
        return loss, {v.path: g for v, g in named if g is not None}

    return run


def degenerate() -> dict[str, Any]:
    x, y = batch(4)
    none = tf.zeros(4)
    return {
        "usual": (x, y),
        "one row": batch(1),
        "no label": (x, {**y, "disease_weight": none, "score_weight": none}),
        "one input absent": ({**x, "photo_present": none > 0}, y),
        "nothing present": ({**x, **{f"{n}_present": none > 0 for n in NAMES}}, y),
        "no token": (
            {**x, "note_token_ids": tf.zeros([4, 8], tf.int32),
             "note_padding_mask": tf.zeros([4, 8], tf.int32)}, y,
        ),
        "silence and one colour": (
            {**x, "voice_log_mel": tf.fill([4, 23, 8], float(np.log(1e-3))),
             "photo_pixels": tf.zeros([4, 8, 8, 3])}, y,
        ),
        "the same row four times": (
            {k: tf.repeat(v[:1], 4, axis=0) for k, v in x.items()}, y,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_loss_and_gradients_are_finite_on_any_batch(
    name: str, options: dict[str, Any]
) -> None:
    one = learner(name, options[name])
    run = stepper(one)
    for kind, (x, y) in degenerate().items():
        loss, gradients = run(x, y)
        assert np.isfinite(float(loss)), kind
        for path, gradient in gradients.items():
            values = tf.convert_to_tensor(gradient)
            assert bool(tf.reduce_all(tf.math.is_finite(values))), (kind, path)
    # Its own layers learn, and do not leave with the model.
    exported = {id(v) for v in one.model.variables}
    own = [v for layer in one.objective_layers for v in layer.trainable_variables]
    assert not any(id(v) in exported for v in own)
    assert {v.path for v in own} <= set(gradients)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize(
    "change",
    [
        {"precision": "mixed_bfloat16"},
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
    ],
    ids=["bf16", "xla"],
)
def test_it_trains_in_low_precision_and_compiled(
    name: str, change: dict[str, Any], options: dict[str, Any]
) -> None:
    policy = change.get("precision", "float32")
    keras.config.set_dtype_policy(policy)
    try:
        one = learner(name, options[name])
        one.compile("adam", jit_compile=change.get("jit_compile", False))
        data = tf.data.Dataset.from_tensor_slices(batch(8)).batch(4)
        callbacks = [k for o in one.objectives.values() for k in o.callbacks(data)]
        history = one.fit(data, epochs=2, verbose=0, callbacks=callbacks).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"pcl"}))
def test_its_loss_falls_on_a_few_rows(name: str, options: dict[str, Any]) -> None:
    one = learner(name, options[name])
    one.compile(keras.optimizers.Adam(0.01))
    data = tf.data.Dataset.from_tensor_slices(batch(16)).batch(16)
    callbacks = [k for o in one.objectives.values() for k in o.callbacks(data)]
    losses = one.fit(data, epochs=40, verbose=0, callbacks=callbacks).history["loss"]
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
