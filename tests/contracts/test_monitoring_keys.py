"""Every key of `monitoring:` decides on an alarm; named in test_config_keys.COVERED."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.monitor import Monitor
from pipeline.monitor_statistics import Check
from tests.pipeline.monitored import Watching, logs_of, rows, save_watched, write_logs
from trainer.config import ConfigError, MonitoringConfig, from_mapping, replace

Judged = Callable[..., dict[tuple[str, str], Check]]

# Key -> kind and feature that it judges, and what was done to the rows.
SHIFTS: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "missing_rate": (("missing", "picture"), {"missing": lambda share: 0.5}),
    "numeric": (("numeric", "age"), {"age": lambda age: age + 20}),
    "categorical": (("categorical", "city"), {"city": lambda city: "Bern"}),
    "label": (("label", "light"), {"picture": lambda pixels: pixels * 0.5}),
    "score": (("score", "light"), {"picture": lambda pixels: pixels * 0.1 + 115}),
    "embedding": (
        ("embedding", "picture_embedding"),
        {"picture": lambda pixels: pixels * 0.5},
    ),
}


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Watching:
    return save_watched(tmp_path_factory.mktemp("watched"))


@pytest.fixture
def judged(watching: Watching, tmp_path: Path) -> Judged:
    def run(
        count: int, monitoring: MonitoringConfig, **changes: Any
    ) -> dict[tuple[str, str], Check]:
        write_logs(tmp_path / "logs", logs_of(watching, rows(count, 3, **changes)))
        config = replace(watching.config, monitoring=monitoring)
        monitor = Monitor(str(tmp_path / "logs"), str(watching.model), config=config)
        return {(c.kind, c.feature): c for c in monitor.run().checks}

    return run


@pytest.mark.parametrize("key", SHIFTS)
def test_a_threshold_lets_its_kind_alone_pass(judged: Judged, key: str) -> None:
    what, changes = SHIFTS[key]
    default = judged(300, MonitoringConfig(), **changes)[what]
    assert default.verdict == "drift"
    assert default.value is not None
    assert default.threshold is not None
    assert default.value > default.threshold >= getattr(MonitoringConfig(), key)
    raised = judged(300, replace(MonitoringConfig(), **{key: 1.0}), **changes)
    assert raised[what].verdict == "silent"
    assert raised[what].threshold == 1.0
    assert raised[what].value == default.value
    assert {kind for (kind, _), c in raised.items() if c.threshold == 1.0} == {what[0]}


def test_min_rows(judged: Judged) -> None:
    what, changes = SHIFTS["missing_rate"]
    few = judged(60, MonitoringConfig(), **changes)
    assert {check.verdict for check in few.values()} == {"too few rows", "not logged"}
    check = judged(60, MonitoringConfig(min_rows=60), **changes)[what]
    assert (check.verdict, check.rows) == ("drift", 60)


def test_false_alarm_rate(judged: Judged) -> None:
    """What chance may explain is less where more false alarms are put up with."""
    noise = [
        judged(200, MonitoringConfig(false_alarm_rate=rate))["numeric", "age"].noise
        or 0
        for rate in (0.5, 0.01, 0.0001)
    ]
    assert noise == sorted(noise)
    assert len(set(noise)) == 3


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"label": 1.5}, "monitoring.label: must be in [0, 1]. Received: 1.5"),
        ({"min_rows": 0}, "monitoring.min_rows: must be above 0. Received: 0"),
        (
            {"false_alarm_rate": 1.0},
            "monitoring.false_alarm_rate: must be in [0, 1). Received: 1.0",
        ),
        ({"false_alarm_rate": 0}, "monitoring.false_alarm_rate: must be above 0."),
        ({"mising_rate": 0.1}, "monitoring.mising_rate: unknown key. Did you mean"),
    ],
)
def test_impossible_thresholds_are_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(
            {
                "name": "m",
                "inputs": [{"name": "text", "modality": "text"}],
                "heads": [
                    {"name": "y", "kind": "classification", "classes": ["a", "b"]}
                ],
                "monitoring": given,
            }
        )
    (found,) = caught.value.problems
    assert found.startswith(problem)
