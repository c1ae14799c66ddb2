"""What holds for every objective: finite on any batch, compiled, in low precision."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.objective_cases import (
    NAMES,
    RESOURCES,
    SMALL,
    batch,
    learner,
    of_inputs,
)
from trainer import config as c
from trainer.learner import Learner
from trainer.model import build_network
from trainer.objectives import OBJECTIVES

# A stage's objectives need not move every weight.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
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
INPUTS: dict[str, Any] = {
    "masked_image": (samples.PHOTO, samples.NOTE),
    "masked_audio": (samples.VOICE, samples.NOTE),
}
FLAT: dict[str, Any] = {
    "photo_pixels": tf.zeros([4, 8, 8, 3]),
    "voice_log_mel": tf.fill([4, 23, 8], float(np.log(1e-3))),
    "note_token_ids": tf.zeros([4, 8], tf.int32),
    "note_padding_mask": tf.zeros([4, 8], tf.int32),
    "facts_numeric": tf.constant([[0.0, 0.0, 1.0, 1.0]] * 4),
    "facts_categorical": tf.zeros([4, 1], tf.int32),
}


def changes(name: str) -> dict[str, Any]:
    """A config with two inputs for each objective: those it needs."""
    changed = {**SMALL, "inputs": INPUTS.get(name, SMALL["inputs"])}
    if name == "supervised":
        # With the head that keeps a running mean.
        pair = tuple(one.name for one in changed["inputs"])
        found = c.RetrievalHead("found", pair=pair, dim=4, match="fused")
        changed["heads"] = (*changed["heads"], found)
    return changed


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    teacher = str(tmp_path_factory.mktemp("teacher") / "teacher.keras")
    keras.utils.set_random_seed(7)
    build_network(samples.clinic_config(**SMALL), RESOURCES).model.save(teacher)
    one = c.DistillationObjective(teacher=teacher, feature_weight=0.5)
    return {**OPTIONS, "distillation": one}


def degenerate() -> dict[str, Any]:
    x, y = batch(4)
    none = tf.zeros(4)
    return {
        "usual": (x, y),
        "one row": batch(1),
        "no label": (x, {**y, "weight:disease": none}),
        **{
            f"no {name}": ({**x, f"{name}_present": none > 0}, y) for name in NAMES
        },
        "nothing present": ({**x, **{f"{n}_present": none > 0 for n in NAMES}}, y),
        "no token, silence, one colour, an empty table": ({**x, **FLAT}, y),
        "the same row four times": (
            {k: tf.repeat(v[:1], 4, axis=0) for k, v in x.items()}, y,
        ),
    }  # fmt: skip


def any_rows(values: Any) -> Any:
    return tf.nest.map_structure(
        lambda v: tf.TensorSpec([None, *v.shape[1:]], v.dtype), values
    )


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_loss_and_gradients_are_finite_on_any_batch(
    name: str, options: dict[str, Any]
) -> None:
    one = learner(name, options[name], **changes(name))
    x, y = batch(4)
    x = of_inputs(x, one.network.config)

    @tf.function(input_signature=(any_rows(x), any_rows(y)))
    def run(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = one(x, training=True)
            loss = one.compute_loss(x, y, outputs)
        gradients = tape.gradient(loss, one.trainable_variables)
        named = zip(one.trainable_variables, gradients, strict=True)
        return loss, {v.path: g for v, g in named if g is not None}

    for kind, (x, y) in degenerate().items():
        loss, gradients = run(of_inputs(x, one.network.config), y)
        assert np.isfinite(float(loss)), kind
        for path, gradient in gradients.items():
            values = tf.convert_to_tensor(gradient)
            assert bool(tf.reduce_all(tf.math.is_finite(values))), (kind, path)
    # Its own layers learn, and do not leave with the model.
    exported = {id(v) for v in one.model.variables}
    own = [v for layer in one.objective_layers for v in layer.trainable_variables]
    assert not any(id(v) in exported for v in own)
    assert {v.path for v in own} <= set(gradients)


def fitted(one: Learner, epochs: int, **settings: Any) -> list[float]:
    """The losses of so many epochs on sixteen rows."""
    x, y = batch(16)
    x = of_inputs(x, one.network.config)
    one.compile(keras.optimizers.Adam(0.01), **settings)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    callbacks = [k for o in one.objectives.values() for k in o.callbacks(data)]
    history = one.fit(
        data, epochs=epochs, verbose=0, callbacks=callbacks, shuffle=False
    )
    losses: list[float] = history.history["loss"]
    assert np.isfinite(losses).all()
    return losses


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_its_loss_falls_on_a_few_rows_in_low_precision(
    name: str, options: dict[str, Any]
) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        losses = fitted(learner(name, options[name], **changes(name)), 40)
    finally:
        keras.config.set_dtype_policy("float32")
    # The prototypes of `pcl` come in with the second epoch.
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[1:6])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_it_compiles_under_xla(name: str, options: dict[str, Any]) -> None:
    fitted(learner(name, options[name], **changes(name)), 2, jit_compile=True)


# ---- two devices

MIRRORED = """
import importlib.util, json, os, sys, types
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, sys.argv[1])
# Not the `tests` that some installed package left beside itself.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [os.path.join(sys.argv[1], "tests")]
spec = importlib.util.spec_from_file_location("t", sys.argv[2])
t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
out = {name: [t.stepped(name, devices) for devices in (1, 2)]
       for name in sys.argv[4:]}
json.dump(out, open(sys.argv[3], "w"))
"""


@functools.cache
def strategy(devices: int) -> tf.distribute.Strategy:
    """One for all objectives: two of them take each other's sums."""
    if devices > 1:
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return tf.distribute.get_strategy()


def stepped(name: str, devices: int) -> list[list[float]]:
    """Losses of two steps on the whole batch of eight rows, and the weights after it."""
    x, y = batch(8)
    y["weight:disease"] = tf.ones(8)
    option = OPTIONS[name]
    if name == "pcl":
        option = c.replace(option, warmup_epochs=9)
    with strategy(devices).scope():
        one = learner(name, option, **changes(name))
        one.compile(keras.optimizers.SGD(0.01))
    x = of_inputs(x, one.network.config)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    callbacks = [k for o in one.objectives.values() for k in o.callbacks(data)]
    history = one.fit(
        data, epochs=2, verbose=0, callbacks=callbacks, shuffle=False
    ).history
    flat = [np.asarray(v).ravel() for v in one.weights if "seed" not in v.path]
    return [history["loss"], np.concatenate(flat).astype(float).tolist()]


def mirrored(folder: Path, *names: str) -> dict[str, Any]:
    """Objective -> what one device and two learn."""
    root, out = Path(__file__).resolve().parents[2], folder / "out.json"
    command = [sys.executable, "-c", MIRRORED, str(root), __file__, str(out), *names]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.slow
def test_two_devices_contrast_with_the_whole_batch(tmp_path: Path) -> None:
    """Losses, scale and all weights are those of one device that holds all rows.

    PCL's rows are contrasted with the slow encoder's of the whole batch likewise.
    """
    for found in mirrored(tmp_path, "contrastive", "pcl").values():
        (alone, weights), (both, theirs) = found
        np.testing.assert_allclose(both, alone, rtol=1e-4)
        np.testing.assert_allclose(theirs, weights, rtol=1e-4, atol=1e-5)
        assert alone[0] != alone[1]


@pytest.mark.slow
def test_every_objective_learns_on_two_devices(tmp_path: Path) -> None:
    names = sorted(set(OBJECTIVES) - {"contrastive", "pcl", "distillation"})
    for found in mirrored(tmp_path, *names).values():
        for losses, weights in found:
            assert np.isfinite(losses).all()
            assert np.isfinite(weights).all()
