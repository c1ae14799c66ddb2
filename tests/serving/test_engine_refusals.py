"""Requests that fail, come too late, are taken back or find no room."""

import asyncio
import time
from typing import Any

import grpc
import pytest

from serving.status import ServingError
from tests.serving.engine_bench import BAD, Bench, code, options, play, until


def test_a_full_queue_refuses_at_once() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        answers = [bench.ask(1)]
        await bench.running()
        answers += [bench.ask(2, 3), bench.ask(4, 5)]
        await bench.running()
        assert await code(bench.ask(6)) == "UNAVAILABLE"  # though the gate is closed
        bench.model.gate.set()
        assert await asyncio.gather(*answers) == [[2], [4, 6], [8, 10]]
        assert await bench.ask(7) == [14]

    bench = play(scene, options(max_batch_size=2, max_enqueued_batches=2))
    assert bench.heard.full == 1


@pytest.mark.parametrize("bad", [{0}, {3}, {2, 5}, {0, 1, 2, 3, 4, 5, 6}])
def test_a_bad_request_fails_alone(bad: set[int]) -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        first = bench.ask(100)
        await bench.running()
        answers = [bench.ask(BAD if at in bad else at, at) for at in range(7)]
        bench.model.gate.set()
        await first
        for at, answer in enumerate(answers):
            if at in bad:
                assert await code(answer) == "INVALID_ARGUMENT"
            else:
                assert await answer == [2 * at, 2 * at]

    bench = play(scene, options(max_batch_size=14))
    assert len(bench.model.runs[1]) == 14  # they were together


@pytest.mark.parametrize("given", [options(max_batch_size=1), None])
def test_what_was_cancelled_or_is_too_late_is_never_begun(given: Any) -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        first = bench.ask(1)
        await bench.running()
        gone, late, kept = (
            bench.ask(2),
            bench.ask(3, deadline=time.monotonic() + 0.05),
            bench.ask(4, deadline=time.monotonic() + 1000),
        )
        await bench.running()
        gone.cancel()
        await asyncio.sleep(0.06)
        bench.model.gate.set()
        assert await first == [2]
        assert await kept == [8]
        assert await code(late) == "DEADLINE_EXCEEDED"
        with pytest.raises(asyncio.CancelledError):
            await gone

    bench = play(scene, given)
    assert bench.model.runs == [[1], [4]]


def test_what_was_cancelled_makes_room_in_the_queue() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        first = bench.ask(1)
        await bench.running()
        gone, waits = bench.ask(2), bench.ask(3)
        await bench.running()
        assert await code(bench.ask(4)) == "UNAVAILABLE"
        gone.cancel()
        await asyncio.wait([gone])
        fits = bench.ask(5)
        await bench.running()
        bench.model.gate.set()
        assert await asyncio.gather(first, waits, fits) == [[2], [6], [10]]

    play(scene, options(max_batch_size=1, max_enqueued_batches=2))


def test_a_batch_is_stopped_when_all_its_callers_have_gone() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        one, two = bench.ask(1), bench.ask(2)
        await bench.running()
        assert bench.model.runs == [[1, 2]]
        one.cancel()
        await asyncio.wait([one])
        await asyncio.sleep(0.05)
        assert bench.model.stopped == 0  # somebody still waits for it
        two.cancel()
        await until(lambda: bench.model.stopped == 1)

    play(scene, options())


def test_a_short_run_ends_by_itself_and_nothing_more_is_begun() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        one = bench.ask(1)
        await bench.running()
        one.cancel()
        await asyncio.wait([one])
        bench.model.gate.set()
        await asyncio.sleep(0.2)
        assert bench.model.stopped == 0
        assert await bench.ask(2) == [4]

    bench = play(scene, options())
    assert bench.model.runs == [[1], [2]]


def test_an_error_of_ours_tells_no_values(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(bench: Bench) -> None:
        def execute(signature: str, inputs: Any, cancellation: Any) -> Any:
            raise ValueError(f"secret {inputs}")

        bench.model.execute = execute
        with pytest.raises(ServingError) as caught:
            await bench.ask(4711)
        assert caught.value.code == grpc.StatusCode.INTERNAL
        assert caught.value.message == "ValueError"

    play(scene, options())
    assert "ValueError" in caplog.text
    assert "in execute" in caplog.text  # where it happened
    assert "4711" not in caplog.text
