"""Training on several devices, on the tiny table of test_train."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from trainer.train import make_strategy


def test_one_device_needs_no_mirrors() -> None:
    strategy = make_strategy(["CPU:0"])
    assert not isinstance(strategy, tf.distribute.MirroredStrategy)


MIRRORED = """
import sys, json
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, sys.argv[1])
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("t", "tests/trainer/test_train.py")
t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)
group = t.c.ParameterGroup("fusion", learning_rate_multiplier=0.25)
folder = pathlib.Path(sys.argv[2])
data = tf.data.Dataset.from_tensor_slices(t.rows()).batch(8)
out = []
for changes in json.loads(sys.argv[3]):
    config = t.table_config(parameter_groups=(group,), weight_decay=0.5, **changes)
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        trained = t.train(
            config, t.RESOURCES, data, None, train_examples=t.ROWS, devices=devices,
            work_dir=str(folder / "w"), log_dir=str(folder / "l"), say=print)
        out.append([*t.weights(trained).tolist(), *trained.history["loss"]])
json.dump(out, open(folder / "out.json", "w"))
"""


# Without a bound, and with one that every step's gradients exceed: it is one on the sum
# over the devices, not on what each of them brings.
MIRRORED_TRAINING = (
    {"clip_norm": None, "epochs": 2},
    {"clip_norm": 0.05, "epochs": 2, "ema_momentum": 0.9},
)


def test_two_mirrored_devices_learn_what_one_does(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    changes = json.dumps(MIRRORED_TRAINING)
    command = [
        sys.executable, "-c", MIRRORED, str(root), str(tmp_path), changes
    ]  # fmt: skip
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=root
    )
    assert done.returncode == 0, done.stderr[-3000:]
    runs = json.loads((tmp_path / "out.json").read_text())
    for alone, mirrored in zip(runs[::2], runs[1::2], strict=True):
        np.testing.assert_allclose(mirrored, alone, atol=1e-3)
    # The bound, and the average, were felt.
    assert np.abs(np.subtract(runs[0], runs[2])).max() > 0.01
