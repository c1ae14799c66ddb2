"""`polymodal run`, and what it leaves, against the first finished run of the suite.

The tests run in the file's order: later ones run the same project again.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.demo import serving
from tests.pipeline.conftest import Finished, command, environment, polymodal

COMPONENTS = {
    "ManifestExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator",
    "Transform", "Trainer", "Evaluator", "Pusher",
}  # fmt: skip


def test_summary_says_what_happened(finished: Finished) -> None:
    summary = finished.summary
    assert summary["blessed"] is True
    assert summary["examples"] == {"read": 300, "written": 300, "quarantined": 0}
    assert set(summary["seconds"]) >= COMPONENTS
    assert len(summary["metrics_by_inputs"]) == 15  # 2**4 - 1
    everything = summary["metrics_by_inputs"]["audio+image+measures+mention"]
    assert everything == {"examples": 75, **summary["metrics"]}
    assert summary["metrics"]["accuracy"] > 0.15


def test_summary_says_what_inputs_and_scores_are_worth(finished: Finished) -> None:
    summary = finished.summary
    assert {one["level"] for one in summary["integrity"]} <= {"note"}
    (value,) = summary["value"]
    assert set(value["shapley"]) == {"audio", "image", "measures", "mention"}
    everything = value["subsets"]["audio+image+measures+mention"]["value"]
    shared_out = sum(one["value"] for one in value["shapley"].values())
    constant = value["constant_answer"]["value"]
    assert shared_out == pytest.approx(everything - constant)
    (calibration,) = summary["calibration"]
    assert len(calibration["by_inputs"]) == 15
    # A quarter of the train rows choose: enough for a temperature.
    assert calibration["selection_rows"] >= 50
    assert calibration["warnings"] == []
    assert summary["comparison"] is None
    page = Path(summary["report"]).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "Value of the inputs" in page


def test_readme_shows_every_key_of_the_summary(finished: Finished) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```json\n(.*?)```", readme, re.DOTALL)
    assert set(json.loads(shown)) == set(finished.summary)


def test_model_is_pushed_as_a_version(finished: Finished) -> None:
    pushed = Path(finished.summary["model"])
    assert pushed.parent == finished.project.output / "serving" / "demo"
    assert pushed.name.isdigit()
    assert (pushed / "saved_model.pb").is_file()
    assert (pushed / "assets" / "mention_vocabulary.txt").is_file()
    assert (pushed / "assets.extra" / "polymodal_config.yaml").is_file()
    assert (pushed / "assets.extra" / "tf_serving_warmup_requests").is_file()


def test_tensorboard_files_are_written(finished: Finished) -> None:
    found = list((finished.project.output / "logs").rglob("events.out.tfevents.*"))
    assert {path.parent.name for path in found} >= {"train", "validation"}
    assert any(path.parent.name.startswith("judged-") for path in found)


def test_run_shows_progress(finished: Finished) -> None:
    for name in COMPONENTS:
        assert name in finished.printed
    assert "epoch 4/4" in finished.printed
    assert "load gate" in finished.printed


def test_tfma_and_summary_agree(finished: Finished) -> None:
    """TFMA reads serving_default through Beam; the summary serving_raw, by scikit-learn."""
    code = (
        "import sys, json, tensorflow_model_analysis as tfma\n"
        "result = tfma.load_eval_result(sys.argv[1])\n"
        "metrics = dict(result.slicing_metrics)[()]['']['']\n"
        "print(json.dumps({k: v['doubleValue'] for k, v in metrics.items()}))\n"
    )
    done = subprocess.run(
        [command()[0], "-W", "ignore", "-c", code, finished.summary["evaluation"]],
        capture_output=True,
        text=True,
        check=True,
    )
    tfma = json.loads(done.stdout.strip().splitlines()[-1])
    metrics = finished.summary["metrics"]
    assert tfma["example_count"] == 75
    assert tfma["accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-6)
    assert tfma["log_loss"] == pytest.approx(metrics["log_loss"], abs=1e-4)


def test_offline_predictions_equal_those_over_grpc(
    finished: Finished, tmp_path: Path
) -> None:
    """Every row of the manifest: in process, and through the model server."""
    pushed = Path(finished.summary["model"])
    data = finished.project.manifest
    offline, online = tmp_path / "offline.jsonl", tmp_path / "online.jsonl"
    polymodal(
        "predict", "--model", str(pushed), "--data", data, "--output", str(offline)
    )
    config = str(pushed / "assets.extra" / "polymodal_config.yaml")
    from rich.console import Console

    with serving(str(pushed.parent), "demo", Console()) as target:
        polymodal(
            "predict", "--target", target, "--data", data, "--output", str(online),
            "--config", config,
        )  # fmt: skip
    left = [json.loads(line) for line in offline.read_text().splitlines()]
    right = [json.loads(line) for line in online.read_text().splitlines()]
    assert len(left) == len(right) == 300
    for a, b in zip(left, right, strict=True):
        scores_a, scores_b = a.pop("label_scores"), b.pop("label_scores")
        assert a == b
        assert list(scores_a) == list(scores_b) == [str(n) for n in range(10)]
        np.testing.assert_allclose(
            list(scores_a.values()), list(scores_b.values()), rtol=0, atol=1e-6
        )


def test_evaluate_agrees_with_the_run(finished: Finished, tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    polymodal(
        "evaluate", "--model", finished.summary["model"],
        "--data", finished.project.manifest, "--split", "eval",
        "--json", str(report_file),
    )  # fmt: skip
    report = json.loads(report_file.read_text())
    assert report["examples"] == 75
    assert report["quarantined"] == 0
    expected = finished.summary["metrics_by_inputs"]
    assert report["metrics_by_inputs"].keys() == expected.keys()
    for subset, metrics in expected.items():
        assert report["metrics_by_inputs"][subset] == pytest.approx(metrics, abs=1e-6)


def test_unknown_split_is_named(finished: Finished) -> None:
    printed = polymodal(
        "evaluate", "--model", finished.summary["model"],
        "--data", finished.project.manifest, "--split", "evil", status=2,
    )  # fmt: skip
    assert "no row is in split 'evil'" in printed


def test_unchanged_run_is_served_from_the_cache(finished: Finished) -> None:
    """Thresholds of the drift monitor are no change; the baseline is found again."""
    statistics = Path(finished.summary["baseline"])
    before = statistics.stat()
    finished.project.run("monitoring.label=0.3")
    summary = finished.project.summary()
    assert summary["baseline"] == finished.summary["baseline"]
    assert statistics.stat().st_mtime_ns == before.st_mtime_ns
    reading = json.loads(statistics.with_name("baseline.json").read_text())
    assert reading["config"]["monitoring"]["label"] == 0.3
    assert set(summary["cached"]) >= COMPONENTS
    assert summary["model"] == finished.summary["model"]
    assert summary["metrics"] == finished.summary["metrics"]
    assert len(finished.project.versions()) == 1


def test_failing_threshold_is_not_pushed(finished: Finished) -> None:
    finished.project.run("evaluation.thresholds.0.minimum=0.999")
    summary = finished.project.summary()
    assert "Trainer" in summary["cached"]
    assert summary["blessed"] is False
    accuracy = summary["metrics"]["accuracy"]
    assert summary["failures"] == [
        f"accuracy is {accuracy:.4f}; wanted: at least 0.999"
    ]
    assert summary["model"] is None
    assert len(finished.project.versions()) == 1


@pytest.mark.slow
def test_killed_training_resumes_and_a_worse_model_is_not_pushed(
    finished: Finished,
) -> None:
    """A learning rate near zero makes the worse model; kill -9 comes on the way."""
    worse = ("training.learning_rate=1e-7", "evaluation.thresholds.0.minimum=0.0")
    with subprocess.Popen(
        command(*finished.project.words(*worse)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch 3/4" in line:
                process.send_signal(signal.SIGKILL)
                break
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    printed = finished.project.run(*worse)
    assert "resuming after epoch" in printed
    assert "epoch 1/4" not in printed
    summary = finished.project.summary()
    assert set(summary["cached"]) >= {"ManifestExampleGen", "Transform"}
    assert summary["metrics"]["accuracy"] < finished.summary["metrics"]["accuracy"]
    assert summary["blessed"] is False
    (failure,) = summary["failures"]
    assert re.fullmatch(
        r"accuracy is worse by 0\.\d{4} than that of the last blessed model, more than"
        r" chance explains; wanted: worse by at most 0\.02",
        failure,
    )
    assert summary["model"] is None
    assert len(finished.project.versions()) == 1
