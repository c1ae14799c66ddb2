"""The soak run, in short, and whether its verdict sees what it should."""

import numpy as np
import pytest

from benchmarks.soak import soak, trend


def samples(
    seconds: int, mb_per_minute: float, noise: float, spikes: float = 0.0
) -> list[tuple[float, float]]:
    """One a second around 400 MiB, now and then a spike upwards."""
    random = np.random.default_rng(0)
    found = []
    for at in range(seconds):
        size = 400 + mb_per_minute * at / 60 + random.normal(0, noise)
        found.append((float(at), size + spikes * (random.random() < 0.1)))
    return found


@pytest.mark.parametrize(
    ("growth", "noise", "spikes", "grows"),
    [
        (0.0, 0.0, 0.0, False),
        (0.0, 3.0, 0.0, False),
        (0.0, 1.0, 40.0, False),  # loads of new versions come and go
        (0.2, 0.5, 0.0, False),  # 2 MiB in ten minutes: not 1 % of it
        (2.0, 1.0, 0.0, True),
        (2.0, 1.0, 40.0, True),
        (-2.0, 1.0, 0.0, False),
    ],
)
def test_the_verdict_on_memory(
    growth: float, noise: float, spikes: float, grows: bool
) -> None:
    found = trend(samples(600, growth, noise, spikes))
    assert found.grows is grows
    assert found.low <= found.mb_per_minute <= found.high
    assert found.mb_per_minute == pytest.approx(growth, abs=0.5)


def test_a_line_without_noise_is_found_exactly() -> None:
    found = trend([(float(at), 100 + at / 60 * 3) for at in range(100)])
    # Windows of ten samples: medians 4.5, 14.5, ... seconds; 3 MiB a minute.
    assert found.mb_per_minute == pytest.approx(3.0)
    assert found.start_mb == pytest.approx(100 + 4.5 / 60 * 3)
    assert found.end_mb == pytest.approx(100 + 94.5 / 60 * 3)
    assert found.high - found.low == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.e2e
def test_half_a_minute_of_everything() -> None:
    """No answer is wrong, nothing is left open, versions come and go.

    Half a minute is too short to judge memory by; `benchmarks/soak.py` does.
    """
    report = soak(25, swap_s=2.0, heavy=False)
    assert report["problems"] == []
    assert report["exit_status"] == 0
    assert report["tracebacks"] == []
    files, files_end = report["open_files"]
    threads, threads_end = report["threads"]
    assert files_end <= files
    assert threads_end <= threads + 1
    assert report["versions_pushed"] >= 8
    # Not quite all: the newest may still load when the traffic stops.
    assert report["versions_that_answered"] >= report["versions_pushed"] - 3
    assert report["memory"]["end_mb"] < report["memory"]["start_mb"] + 25
    for kind in ("gRPC, good", "REST, good", "gRPC, cancelled", "connection lost"):
        assert report["calls"][kind] > 20, kind
    assert report["calls"]["gRPC, broken: INVALID_ARGUMENT"] > 20
