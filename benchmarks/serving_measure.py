"""The phases of benchmarks/serving.py: one model, its server, and its limit beside it.

Both processes live through all rounds and take turns: while one is measured the other
sleeps. A machine that slows down slows both, so that ratios hold where figures do not.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from benchmarks.server_process import ServerProcess
from benchmarks.serving_checked import CheckedClients
from benchmarks.serving_limit import Limit, LimitPhase
from benchmarks.serving_load import (
    PREDICT,
    LoadError,
    LoadResult,
    closed_loop,
    open_loop,
)
from benchmarks.serving_requests import RowAnswers

BATCHES = (1, 2, 4, 8, 16, 32)
# A sweep on a busy machine picks by luck among near equals: so many of the best are
# measured in every round, and the round's limit is the best of them.
_CANDIDATES = 3
_SAMPLE_S = 0.05


@dataclass(frozen=True)
class ServerPhase:
    """A closed loop on a server: examples/s and CPU where the load was full."""

    examples_per_s: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    client_cpu_ms: float
    client: str


@dataclass
class Measured:
    """All phases of one model, one of each kind a round.

    Attributes:
        limit: the best of the direct calls in batches.
        loaded: the server under the closed loop.
        plain: the plain server under the same; empty where it was left out.
        direct: direct calls of one example.
        alone: the server with one client.
    """

    limit: list[LimitPhase] = field(default_factory=list)
    loaded: list[ServerPhase] = field(default_factory=list)
    plain: list[ServerPhase] = field(default_factory=list)
    direct: list[LimitPhase] = field(default_factory=list)
    alone: list[ServerPhase] = field(default_factory=list)


def ratios(
    above: Sequence[Any], below: Sequence[Any], of: Callable[[Any], float]
) -> list[float]:
    """A figure of one kind of phase over that of another, round by round."""
    return [of(a) / of(b) for a, b in zip(above, below, strict=True)]


def median(phases: Sequence[Any], of: Callable[[Any], float]) -> float:
    """Median of a figure over phases."""
    return statistics.median(map(of, phases))


class Target:
    """A running server and one row's request to load it with."""

    def __init__(self, server: ServerProcess, messages: list[bytes]) -> None:
        self.server = server
        self.messages = messages
        self.answer_bytes = len(self.ask(0))

    def ask(self, row: int) -> bytes:
        """One call."""
        with grpc.insecure_channel(self.server.address) as channel:
            answer: bytes = channel.unary_unary(PREDICT)(self.messages[row])
        return answer

    def closed(self, clients: int, calls: int) -> LoadResult:
        """See `serving_load.closed_loop`."""
        return closed_loop(
            self.server.address, self.messages[0], self.answer_bytes, clients, calls
        )

    def open(self, rate: float, seconds: float) -> LoadResult:
        """See `serving_load.open_loop`."""
        return open_loop(
            self.server.address, self.messages[0], self.answer_bytes, rate, seconds
        )

    def warm_up(self, clients: int) -> float:
        """Loads it a little; the calls per second that it answered."""
        self.closed(clients, 4 * clients)
        load = self.closed(clients, 20 * clients)
        wall = (load.started + load.seconds).max() - load.started.min()
        return float(len(load.seconds) / wall)

    def phase(self, clients: int, calls: int) -> ServerPhase:
        """A closed loop, judged on its middle eight tenths."""
        samples: list[tuple[float, float]] = []
        over = threading.Event()

        def sample() -> None:
            while not over.is_set():
                samples.append((time.time(), self.server.cpu_seconds()))
                over.wait(_SAMPLE_S)

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            load = self.closed(clients, calls)
        finally:
            over.set()
            sampler.join()
        first, last = load.started.min(), load.started.max()
        tenth = (last - first) / 10
        within = [s for s in samples if first + tenth <= s[0] <= last - tenth]
        (begin, cpu), (end, cpu_end) = within[0], within[-1]
        count = load.finished_between(begin, end)
        return ServerPhase(
            examples_per_s=count / (end - begin),
            cpu_ms=1000 * (cpu_end - cpu) / count,
            p50_ms=load.percentile_ms(50),
            p99_ms=load.percentile_ms(99),
            client_cpu_ms=1000 * load.client_cpu_s / calls,
            client=load.client,
        )


def sweep(
    limit: Limit, threads: Sequence[int], seconds: float
) -> list[tuple[int, int, LimitPhase]]:
    """Direct calls at every (batch, threads), twice in turn; the better of the two."""
    passes = [
        {(b, t): limit.run(b, t, seconds) for b in BATCHES for t in threads}
        for _ in range(2)
    ]
    return [
        (*key, max((one[key] for one in passes), key=lambda p: p.examples_per_s))
        for key in passes[0]
    ]


def candidates(swept: list[tuple[int, int, LimitPhase]]) -> list[tuple[int, int]]:
    """The (batch, threads) that may be the best."""
    ordered = sorted(swept, key=lambda one: -one[2].examples_per_s)
    return [(batch, threads) for batch, threads, _ in ordered[:_CANDIDATES]]


def rounds(
    limit: Limit,
    tried: Sequence[tuple[int, int]],
    target: Target,
    plain: Target | None,
    clients: int,
    count: int,
    seconds: float,
    say: Callable[[str], None],
) -> Measured:
    """Each kind of phase once a round, `count` rounds.

    Args:
        tried: (batch, threads) of the direct calls, the best of which is the limit.
        plain: the server for the scale, if any.
        seconds: of each phase; those with one client take a third.
    """
    out = Measured()
    short = max(1.0, seconds / 3)
    rate, rate_alone = target.warm_up(clients), target.warm_up(1)
    plain_rate = plain.warm_up(clients) if plain else 0.0
    for number in range(count):
        direct = [limit.run(b, t, seconds / len(tried)) for b, t in tried]
        out.limit.append(max(direct, key=lambda phase: phase.examples_per_s))
        out.loaded.append(target.phase(clients, max(clients, int(rate * seconds))))
        if plain:
            calls = max(clients, int(plain_rate * seconds))
            out.plain.append(plain.phase(clients, calls))
        out.direct.append(limit.run(1, 1, short))
        out.alone.append(target.phase(1, max(20, int(rate_alone * short))))
        rate = out.loaded[-1].examples_per_s
        say(
            f"round {number + 1}: limit {out.limit[-1].examples_per_s:.0f}/s at "
            f"{out.limit[-1].cpu_ms:.3f} ms CPU, server "
            f"{out.loaded[-1].examples_per_s:.0f}/s at {out.loaded[-1].cpu_ms:.3f} ms; "
            f"one call {out.direct[-1].p50_ms:.2f} ms, one client "
            f"{out.alone[-1].p50_ms:.2f} ms"
        )
    return out


def checked(
    target: Target, answers: RowAnswers, clients: int, calls: int
) -> dict[str, Any]:
    """The same load while eight more clients compare the answers to their own rows."""
    checkers = CheckedClients(
        target.server.address, target.messages, answers.is_right, 8
    )
    with checkers:
        target.closed(clients, calls)
    return {
        "checked": checkers.checked,
        "wrong": len(checkers.wrong),
        "failed": checkers.failed[:3],
    }


def open_loops(target: Target, rate: float, seconds: float) -> list[dict[str, Any]]:
    """Poisson arrivals at fractions of `rate`, the closed loop's throughput.

    Where the server refused some, for its queue was full, `overloaded` is true and
    there are no percentiles: a refusal is no fast answer.
    """
    found: list[dict[str, Any]] = []
    for fraction in (0.5, 0.7, 0.9):
        try:
            load = target.open(fraction * rate, seconds)
        except LoadError:
            found.append({"of_closed_loop": fraction, "overloaded": True})
            continue
        span = load.started.max() - load.started.min()
        found.append(
            {
                "of_closed_loop": fraction,
                "overloaded": False,
                "calls_per_s": len(load.seconds) / float(span),
                **{f"p{p:g}_ms": load.percentile_ms(p) for p in (50, 90, 99, 99.9)},
            }
        )
    return found
