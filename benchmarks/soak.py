"""Does the server keep its memory, files, threads and answers over time?

    python benchmarks/soak.py --minutes 10 [--json FILE]

Good and broken calls on both fronts, calls given up, connections lost, h2load beside
them, and a new version of the model every few seconds, while the old one goes. After a
warm-up of a fifth of the time, resident memory must not grow, files and threads must
be as many at the end as after the warm-up, and no answer may be wrong. Exits with 1
where one of it fails.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np  # noqa: E402

from benchmarks.server_process import ServerProcess, free_port  # noqa: E402
from benchmarks.serving_requests import tf  # noqa: E402
from benchmarks.soak_traffic import (  # noqa: E402
    MODEL,
    Traffic,
    offset,
    version_numbers,
)

# Half of Student's t distribution with 8 degrees of freedom lies within this, for 95 %.
_T_95 = 2.306
_WINDOWS = 10
# A trend that would take the server from its size to 1 % more is none worth a word.
_NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class Trend:
    """Memory over time: a line through the medians of ten windows.

    Attributes:
        mb_per_minute: its slope; low and high bound the 95 % confidence interval.
        start_mb, end_mb: median of the first and of the last window.
        grows: whether the interval lies above zero and the growth over the whole time
            is more than 1 % of the memory.
    """

    mb_per_minute: float
    low: float
    high: float
    start_mb: float
    end_mb: float
    grows: bool


def trend(samples: Sequence[tuple[float, float]]) -> Trend:
    """The trend of (seconds, MiB) samples; at least one for each of ten windows.

    Medians of windows, because neighbouring samples are far from independent, and a
    load of a new version is a spike.
    """
    times = np.array([at for at, _ in samples])
    sizes = np.array([mb for _, mb in samples])
    parts = np.array_split(np.arange(len(times)), _WINDOWS)
    x = np.array([np.median(times[part]) for part in parts]) / 60
    y = np.array([np.median(sizes[part]) for part in parts])
    centred = x - x.mean()
    slope = float((centred * y).sum() / (centred**2).sum())
    residuals = y - y.mean() - slope * centred
    variance = float((residuals**2).sum()) / (_WINDOWS - 2)
    margin = _T_95 * math.sqrt(variance / float((centred**2).sum()))
    growth = slope * float(x[-1] - x[0])
    return Trend(
        mb_per_minute=slope,
        low=slope - margin,
        high=slope + margin,
        start_mb=float(y[0]),
        end_mb=float(y[-1]),
        grows=slope - margin > 0 and growth > _NEGLIGIBLE * float(y[0]),
    )


def save_half(path: Path, added: float) -> None:
    """Saves y = x / 2 + added as a SavedModel."""
    module = tf.Module()
    module.added = tf.Variable(added)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def half(x: Any) -> dict[str, Any]:
        return {"y": x / 2 + module.added}

    module.half = half
    tf.saved_model.save(module, str(path), signatures={"serving_default": half})


class _Versions:
    """Puts a new version in place every `every_s` seconds and takes old ones away."""

    def __init__(self, base: Path, every_s: float) -> None:
        self.base = base
        self.pushed = 0
        self._every_s = every_s
        self._numbers = version_numbers()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        for number in (0, 1):
            save_half(base / f".template{number}", offset(number))
        self._push()

    def _push(self) -> None:
        number = next(self._numbers)
        hidden = self.base / f".{number}"
        shutil.copytree(self.base / f".template{number % 2}", hidden)
        os.rename(hidden, self.base / str(number))
        self.pushed += 1
        shutil.rmtree(self.base / str(number - 2), ignore_errors=True)

    def _work(self) -> None:
        while not self._stop.wait(self._every_s):
            self._push()

    def __enter__(self) -> _Versions:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def soak(seconds: float, swap_s: float = 5.0, heavy: bool = True) -> dict[str, Any]:
    """Loads a server for `seconds`; `passed` tells whether all of it held.

    Args:
        swap_s: seconds between new versions.
        heavy: load with h2load besides, where it is there.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "versions")
        base.mkdir()
        batching = Path(folder, "batching.txt")
        batching.write_text("max_batch_size { value: 8192 }")
        versions = _Versions(base, swap_s)
        with (
            ServerProcess(
                f"--model_name={MODEL}",
                f"--model_base_path={base}",
                f"--rest_api_port={free_port()}",
                "--enable_batching",
                f"--batching_parameters_file={batching}",
            ) as server,
            versions,
        ):
            return _run(server, versions, seconds, heavy)


def _run(
    server: ServerProcess, versions: _Versions, seconds: float, heavy: bool
) -> dict[str, Any]:
    traffic = Traffic(server, heavy)
    samples: list[tuple[float, float]] = []
    began = time.monotonic()
    traffic.start()
    held: list[tuple[int, int]] = []
    for share in (0.2, 1.0):
        while (at := time.monotonic() - began) < share * seconds:
            samples.append((at, server.resident_mb()))
            time.sleep(min(1.0, seconds / 100))
            if not server.alive():
                raise RuntimeError(f"the server died:\n{server.log()[-4000:]}")
        # What is held while nothing is asked; connections of the moment are gone.
        traffic.pause()
        held.append(_settled(server))
        traffic.resume()
    traffic.stop()
    memory = trend([one for one in samples if one[0] >= 0.2 * seconds])
    status = server.terminate()
    (files, threads), (files_end, threads_end) = held
    report: dict[str, Any] = {
        "seconds": seconds,
        "memory": asdict(memory),
        "open_files": [files, files_end],
        "threads": [threads, threads_end],
        "versions_pushed": versions.pushed,
        "versions_that_answered": len(traffic.versions),
        "calls": dict(sorted(traffic.counts.items())),
        "problems": traffic.problems[:20],
        "exit_status": status,
        "tracebacks": _tracebacks(server.log()),
    }
    report["passed"] = (
        not memory.grows
        and files_end <= files
        and threads_end <= threads
        and not traffic.problems
        and status == 0
        and not report["tracebacks"]
    )
    return report


def _tracebacks(log: str) -> list[str]:
    """The first few exceptions that the server logged."""
    return [part[:2000] for part in log.split("Traceback")[1:4]]


def _settled(server: ServerProcess, patience_s: float = 15.0) -> tuple[int, int]:
    """Open files and threads, the fewest that are seen while nothing is asked."""
    end = time.monotonic() + patience_s
    files, threads = server.open_files(), server.threads()
    lowest_at = time.monotonic()
    while time.monotonic() < min(end, lowest_at + 3):
        time.sleep(0.2)
        now = server.open_files(), server.threads()
        if now[0] < files or now[1] < threads:
            lowest_at = time.monotonic()
        files, threads = min(files, now[0]), min(threads, now[1])
    return files, threads


def show(report: dict[str, Any]) -> None:
    """Prints a soak's report."""
    memory = report["memory"]
    print(
        f"memory {memory['start_mb']:.0f} -> {memory['end_mb']:.0f} MiB, "
        f"{memory['mb_per_minute']:+.2f} MiB a minute "
        f"(95 %: {memory['low']:+.2f} to {memory['high']:+.2f})"
        + (": GROWS" if memory["grows"] else "")
    )
    print(f"open files {report['open_files']}, threads {report['threads']}")
    print(
        f"versions pushed {report['versions_pushed']}, that answered "
        f"{report['versions_that_answered']}; exit status {report['exit_status']}, "
        f"tracebacks in the log {len(report['tracebacks'])}"
    )
    for what, count in report["calls"].items():
        print(f"  {count:9,} {what}")
    print(f"problems: {len(report['problems'])}")
    for problem in report["problems"]:
        print(f"  {problem}")
    for trace in report["tracebacks"]:
        print(f"  Traceback{trace}")
    print("passed" if report["passed"] else "FAILED")


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--swap-seconds", type=float, default=5.0)
    parser.add_argument("--json", type=Path, help="write the report to this file")
    arguments = parser.parse_args(words)
    report = soak(60 * arguments.minutes, arguments.swap_seconds)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
