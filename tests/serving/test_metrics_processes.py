"""Several worker processes keep their values in one folder and show one page."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.prometheus import DIRECTORY, process_ended

WORKER = """
import os, sys
from serving.prometheus import PrometheusMetrics

metrics = PrometheusMetrics()
metrics.configured(["clinic"])
for line in sys.stdin:
    exec(line)
    print(os.getpid(), flush=True)
"""
ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """A process with `PrometheusMetrics` that does what it is told."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={DIRECTORY: str(folder), "PYTHONPATH": str(ROOT)},
            text=True,
        )

    def do(self, code: str) -> int:
        """Runs a line there; the process' id."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(code, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def page(self, folder: Path) -> dict[str, float]:
        path = folder / "page.txt"
        self.do(f"open({str(path)!r}, 'wb').write(metrics.page())")
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = [x.rsplit(" ", 1) for x in lines if not x.startswith("#")]
        return {series: float(number) for series, number in pairs}

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    both = [Worker(tmp_path), Worker(tmp_path)]
    yield both
    for worker in both:
        worker.end()


COUNT = ':tensorflow:serving:request_count{model_name="clinic",status="OK"}'
LATENCY = ":tensorflow:serving:request_latency"
LABELS = 'API="Predict",entrypoint="GRPC",model_name="clinic"'
AVAILABLE = 'polymodal_version_state{model_name="clinic",state="AVAILABLE",version="3"}'
LOADING = AVAILABLE.replace("AVAILABLE", "LOADING")
MISSING = 'polymodal_model_unavailable{model_name="clinic"}'
IN_FLIGHT = "polymodal_requests_in_flight"


def test_the_page_of_either_worker_is_the_sum(
    workers: list[Worker], tmp_path: Path
) -> None:
    one, two = workers
    one.do("metrics.request('clinic', 'Predict', 'GRPC', 'OK', 0.00001)")
    one.do("metrics.in_flight(1)")
    two.do("metrics.request('clinic', 'Predict', 'GRPC', 'OK', 0.00003)")
    two.do("metrics.request('clinic', 'Predict', 'GRPC', 'OK', 0.00003)")
    two.do("metrics.in_flight(1)")
    one.do("metrics.state('clinic', 3, 'AVAILABLE')")
    two.do("metrics.state('clinic', 3, 'LOADING')")
    for worker in workers:
        page = worker.page(tmp_path)
        assert page[COUNT] == 3
        assert page[f'{LATENCY}_bucket{{{LABELS},le="10"}}'] == 1
        assert page[f'{LATENCY}_bucket{{{LABELS},le="32.4"}}'] == 3
        assert page[f"{LATENCY}_count{{{LABELS}}}"] == 3
        assert page[f"{LATENCY}_sum{{{LABELS}}}"] == pytest.approx(70)
        assert page[IN_FLIGHT] == 2
        assert page[AVAILABLE] == page[LOADING] == 1
        assert page[MISSING] == 1  # the second has none yet
    pid = two.do("metrics.state('clinic', 3, 'AVAILABLE')")
    page = one.page(tmp_path)
    assert page[AVAILABLE] == 2
    assert page[MISSING] == 0
    assert LOADING not in page

    two.end()
    process_ended(pid, str(tmp_path))
    page = one.page(tmp_path)
    # What it counted stays counted; what it was is over.
    assert page[COUNT] == 3
    assert page[IN_FLIGHT] == 1
    assert page[AVAILABLE] == 1
