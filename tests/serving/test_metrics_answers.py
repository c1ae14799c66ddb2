"""What the metrics say of answers: presence, classes, scores, numbers, abstentions."""

import logging
import timeit
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.prometheus import PrometheusMetrics

CONFIG = """\
name: clinic
heads:
- {name: finding, kind: classification, classes: [flu, cold, none], multi_label: false}
- {name: tags, kind: classification, classes: [a, b], multi_label: true, separator: ;}
- {name: score, kind: regression}
"""


def texts(*values: str) -> Any:
    return np.array([value.encode() for value in values], object)


def scores(*rows: list[float]) -> Any:
    return np.array(rows, np.float32)


def version(folder: Path, config: str) -> str:
    (folder / "assets.extra").mkdir()
    path = folder / "assets.extra" / "polymodal_config.yaml"
    path.write_text(config, encoding="utf-8")
    return str(folder)


@pytest.fixture
def metrics(tmp_path: Path) -> PrometheusMetrics:
    """With version 3 of a model `clinic` that has the config above."""
    metrics = PrometheusMetrics()
    metrics.load("clinic", 3, "OK", 1.0, version(tmp_path, CONFIG))
    return metrics


def series(metrics: PrometheusMetrics, name: str) -> dict[str, float]:
    """The labels as they are written -> value, of the samples of that name."""
    found = {}
    for line in metrics.page().decode().splitlines():
        if line.startswith(name + "{"):
            labels, number = line.removeprefix(name).rsplit(" ", 1)
            found[labels] = float(number)
    return found


def predictions(metrics: PrometheusMetrics, head: str = "finding") -> dict[str, float]:
    start = f'{{model_name="clinic",head="{head}",class="'
    found = series(metrics, "polymodal_predictions_total")
    return {
        labels.removeprefix(start).removesuffix('"}'): number
        for labels, number in found.items()
        if labels.startswith(start) and number
    }


def test_presence_is_counted_for_each_input(metrics: PrometheusMetrics) -> None:
    for _ in range(2):
        metrics.answers(
            "clinic",
            3,
            {
                "xray_present": np.array([True, False, True]),
                "note_present": np.array([False, False, False]),
            },
        )
    found = series(metrics, "polymodal_inputs_total")
    assert found == {
        '{model_name="clinic",input="xray",presence="present"}': 4,
        '{model_name="clinic",input="xray",presence="absent"}': 2,
        '{model_name="clinic",input="note",presence="present"}': 0,
        '{model_name="clinic",input="note",presence="absent"}': 6,
    }


def test_the_class_of_the_top_score_is_counted(metrics: PrometheusMetrics) -> None:
    rows = [[0.7, 0.2, 0.1], [0.1, 0.0, 0.9], [0.96, 0.04, 0.0]]
    metrics.answers("clinic", 3, {"finding_scores": scores(*rows)})
    assert predictions(metrics) == {"flu": 2, "none": 1}
    found = series(metrics, "polymodal_top_score_bucket")
    labels = '{model_name="clinic",head="finding",le="'
    assert [found[f'{labels}{bound}"}}'] for bound in ("0.6", "0.7", "0.9", "0.95", "0.99")] == [0, 1, 2, 2, 3]  # fmt: skip


def test_every_selected_class_of_several_labels_is_counted(
    metrics: PrometheusMetrics,
) -> None:
    outputs = {
        "tags_scores": scores([0.8, 0.6], [0.1, 0.7], [0.2, 0.3]),
        "tags_selected": np.array([[True, True], [False, True], [False, False]]),
        "tags": texts("a;b", "b", ""),
    }
    metrics.answers("clinic", 3, outputs)
    assert predictions(metrics, "tags") == {"a": 1, "b": 2}


def test_classes_are_counted_where_scores_were_not_asked_for(
    metrics: PrometheusMetrics,
) -> None:
    metrics.answers("clinic", 3, {"finding": texts("cold", "flu", "cold")})
    metrics.answers("clinic", 3, {"tags": texts("a;b", "", "b")})
    assert predictions(metrics) == {"cold": 2, "flu": 1}
    assert predictions(metrics, "tags") == {"a": 1, "b": 2}


def test_the_class_and_its_scores_are_not_counted_twice(
    metrics: PrometheusMetrics,
) -> None:
    outputs = {"finding": texts("flu"), "finding_scores": scores([0.7, 0.2, 0.1])}
    metrics.answers("clinic", 3, outputs)
    assert predictions(metrics) == {"flu": 1}


def test_abstentions_are_counted(metrics: PrometheusMetrics) -> None:
    outputs = {"finding_abstained": np.array([True, False, True])}
    metrics.answers("clinic", 3, outputs)
    found = series(metrics, "polymodal_abstentions_total")
    assert found == {
        '{model_name="clinic",head="finding",abstained="true"}': 2,
        '{model_name="clinic",head="finding",abstained="false"}': 1,
    }


def test_numbers_of_either_sign_are_counted(metrics: PrometheusMetrics) -> None:
    metrics.answers("clinic", 3, {"score": scores([-2.5, 4.0, 0.5, 300.0])[0]})
    labels = '{model_name="clinic",head="score"'
    found = series(metrics, "polymodal_prediction_value_bucket")
    bounds = ("-3", "-1", "0", "0.3", "1", "3", "10", "100", "300", "+Inf")
    assert [found[f'{labels},le="{bound}"}}'] for bound in bounds] == [0, 1, 1, 1, 2, 2, 3, 3, 4, 4]  # fmt: skip
    # The mean is (304.5 - 2.5) / 4.
    assert series(metrics, "polymodal_prediction_magnitude_total") == {
        f'{labels},sign="positive"}}': 304.5,
        f'{labels},sign="negative"}}': 2.5,
    }


def test_what_is_not_finite_is_counted_apart_and_spoils_nothing(
    metrics: PrometheusMetrics,
) -> None:
    nan, infinite = float("nan"), float("inf")
    outputs = {
        "score": scores([1.0, nan, -infinite])[0],
        "finding_scores": scores([nan, nan, nan], [0.7, 0.2, 0.1]),
    }
    metrics.answers("clinic", 3, outputs)
    assert series(metrics, "polymodal_predictions_not_finite_total") == {
        '{model_name="clinic",head="score"}': 2,
        '{model_name="clinic",head="finding"}': 1,
    }
    assert predictions(metrics) == {"flu": 1}
    labels = '{model_name="clinic",head="score"}'
    assert series(metrics, "polymodal_prediction_value_count") == {labels: 1}
    assert " NaN\n" not in metrics.page().decode()


def test_many_rows_count_as_one_by_one(metrics: PrometheusMetrics) -> None:
    rng = np.random.default_rng(0)
    rows = rng.dirichlet([1, 1, 1], 200).astype(np.float32)
    numbers = rng.normal(0, 50, 200).astype(np.float32)
    metrics.answers("clinic", 3, {"finding_scores": rows, "score": numbers})
    single = PrometheusMetrics()
    for row, number in zip(rows, numbers, strict=True):
        single.answers("clinic", 3, {"score": number[None]})
        single.answers("clinic", 3, {"finding_scores": row[None]})
    for name in (
        "top_score_bucket",
        "prediction_value_bucket",
        "prediction_value_count",
    ):
        whole = series(metrics, f"polymodal_{name}")
        assert whole == series(single, f"polymodal_{name}")
        assert max(whole.values()) == 200
    wanted = series(single, "polymodal_top_score_sum")
    assert series(metrics, "polymodal_top_score_sum") == pytest.approx(wanted)


def test_an_empty_batch_counts_nothing(metrics: PrometheusMetrics) -> None:
    outputs = {
        "finding": texts(),
        "finding_scores": np.zeros([0, 3], np.float32),
        "score": np.zeros([0], np.float32),
        "xray_present": np.zeros([0], bool),
    }
    metrics.answers("clinic", 3, outputs)
    assert predictions(metrics) == {}


# ---- labels are the model's own words, and few


def test_a_class_is_counted_by_position_where_the_model_has_no_config(
    tmp_path: Path,
) -> None:
    metrics = PrometheusMetrics()
    metrics.load("clinic", 3, "OK", 1.0, str(tmp_path))
    outputs = {
        "finding": texts("what the caller sent"),
        "finding_scores": scores([0.2, 0.8]),
        "finding_classes": np.array([[b"what", b"the caller sent"]], object),
    }
    metrics.answers("clinic", 3, outputs)
    assert predictions(metrics) == {"1": 1}


def test_nothing_of_a_request_becomes_a_label(metrics: PrometheusMetrics) -> None:
    secret = "a patient's name"
    metrics.answers("clinic", 3, {"finding": texts(secret, "flu")})
    metrics.answers("clinic", 3, {"note_echo": texts(secret)})
    assert predictions(metrics) == {"other": 1, "flu": 1}
    assert secret not in metrics.page().decode()


def test_of_many_classes_the_first_hundred_have_series(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(150)]
    config = f"heads:\n- {{name: finding, classes: [{', '.join(names)}]}}\n"
    metrics = PrometheusMetrics()
    metrics.load("clinic", 3, "OK", 1.0, version(tmp_path, config))
    metrics.answers("clinic", 3, {"finding_scores": np.eye(150, dtype=np.float32)})
    found = predictions(metrics)
    assert len(found) == 101
    assert (found["c0"], found["c99"], found["other"]) == (1, 1, 50)


def test_a_new_version_may_have_other_classes(
    metrics: PrometheusMetrics, tmp_path: Path
) -> None:
    (tmp_path / "4").mkdir()
    config = CONFIG.replace("[flu, cold, none]", "[new, cold]")
    metrics.load("clinic", 4, "OK", 1.0, version(tmp_path / "4", config))
    metrics.answers("clinic", 4, {"finding_scores": scores([0.9, 0.1])})
    metrics.answers("clinic", 3, {"finding_scores": scores([0.9, 0.1, 0.0])})
    assert predictions(metrics) == {"new": 1, "flu": 1}


@pytest.mark.parametrize(
    "config", ["heads: [", "heads: {}", "heads: [{kind: classification}]", "[]", "x"]
)
def test_a_config_that_cannot_be_used_is_told_and_harms_nothing(
    config: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = PrometheusMetrics()
    with caplog.at_level(logging.WARNING):
        metrics.load("clinic", 3, "OK", 1.0, version(tmp_path, config))
    if config != "heads: {}":
        assert "classes are counted by position only" in caplog.text
    metrics.answers("clinic", 3, {"finding_scores": scores([0.2, 0.8])})
    assert predictions(metrics) == {"1": 1}


def test_outputs_that_only_look_like_answers_cost_nobody_an_answer(
    metrics: PrometheusMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {
        "a_present": np.array(["x"], object),
        "b_present": np.array([[True]]),
        "c_scores": np.array([0.5], np.float32),
        "d_scores": np.zeros([1, 0], np.float32),
        "e_scores": scores([0.5, 0.5]),
        "e_selected": np.array([True, True, True]),
        "f_abstained": np.array([1.0]),
        "g": np.zeros([1, 2, 3], np.float32),
        "h": np.zeros([], np.float32),
        "i_embedding": np.zeros([1, 8], np.float32),
    }
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            metrics.answers("clinic", 3, odd)
    told = [record.getMessage() for record in caplog.records]
    # Once each, and not for every request.
    assert sorted(message.split()[1] for message in told) == ["d_scores", "e_scores"]


def test_counting_an_answer_costs_microseconds(metrics: PrometheusMetrics) -> None:
    rows = np.random.default_rng(0).dirichlet([1, 1, 1], 32).astype(np.float32)
    outputs = {
        "finding": texts(*["flu"] * 32),
        "finding_scores": rows,
        "finding_abstained": rows.max(1) < 0.5,
        "xray_present": np.ones(32, bool),
        "note_present": np.zeros(32, bool),
    }

    def answer() -> None:
        metrics.answers("clinic", 3, outputs)

    # 18 microseconds on two shared cores; the least of many, for the cores are shared.
    assert min(timeit.repeat(answer, number=100, repeat=25)) / 100 < 150e-6
