"""Which requests are run together, and when."""

import asyncio
import time
from typing import Any

import numpy as np

from tests.serving.engine_bench import BAD, Bench, code, options, play


def test_what_waits_becomes_one_batch() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        first = bench.ask(1)
        await bench.running()
        others = [bench.ask(2), bench.ask(3, 4), bench.ask(5)]
        await bench.running()
        bench.model.gate.set()
        assert await first == [2]
        assert await asyncio.gather(*others) == [[4], [6, 8], [10]]

    bench = play(scene, options())
    assert bench.model.runs == [[1], [2, 3, 4, 5]]
    assert bench.heard.batches == [(1, 0, 1), (4, 0, 3)]
    assert bench.heard.waits == [1, 1, 2, 1]
    assert bench.heard.told == [[2], [4, 6, 8, 10]]


def test_what_arrives_in_the_same_moment_comes_along() -> None:
    async def scene(bench: Bench) -> None:
        answers = []
        for at in range(5):
            answers.append(bench.ask(at))
            await asyncio.sleep(0)  # a turn of the loop for each, as gRPC takes them
        assert await asyncio.gather(*answers) == [[2 * at] for at in range(5)]

    assert play(scene, options()).model.runs == [[0, 1, 2, 3, 4]]


def test_batches_end_at_their_largest_size() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        answers = [bench.ask(0)]
        await bench.running()
        answers += [bench.ask(at) for at in range(1, 7)]
        bench.model.gate.set()
        assert await asyncio.gather(*answers) == [[2 * at] for at in range(7)]

    bench = play(scene, options(max_batch_size=4))
    assert bench.model.runs == [[0], [1, 2, 3, 4], [5, 6]]


def test_without_batching_each_runs_alone() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        answers = [bench.ask(at) for at in range(3)]
        await bench.running(2)
        assert len(bench.model.runs) == 2  # two threads
        bench.model.gate.set()
        assert await asyncio.gather(*answers) == [[0], [2], [4]]

    bench = play(scene, None, threads=2)
    assert sorted(bench.model.runs) == [[0], [1], [2]]
    assert bench.heard.batches == []


def test_a_size_that_is_not_allowed_is_padded() -> None:
    async def scene(bench: Bench) -> None:
        assert await bench.ask(1, 2, 3) == [2, 4, 6]

    bench = play(scene, options(allowed_batch_sizes=(2, 8)))
    assert bench.model.runs == [[1, 2, 3, 1, 1, 1, 1, 1]]
    assert bench.heard.batches == [(3, 5, 1)]
    assert bench.heard.told == [[2, 4, 6]]  # padding is nobody's answer


def test_a_timeout_lets_batches_fill() -> None:
    async def scene(bench: Bench) -> None:
        answers = [bench.ask(1)]
        await asyncio.sleep(0.05)
        assert bench.model.runs == []
        answers += [bench.ask(2, 3, 4)]
        assert await asyncio.gather(*answers) == [[2], [4, 6, 8]]

    # Ten seconds are longer than the test: a full batch does not wait for them.
    bench = play(scene, options(max_batch_size=4, batch_timeout_micros=10_000_000))
    assert bench.model.runs == [[1, 2, 3, 4]]


def test_a_batch_that_does_not_fill_goes_after_its_timeout() -> None:
    async def scene(bench: Bench) -> None:
        began = time.monotonic()
        first = bench.ask(1)
        await asyncio.sleep(0.1)
        assert await asyncio.gather(first, bench.ask(2)) == [[2], [4]]
        assert time.monotonic() - began >= 0.2

    bench = play(scene, options(batch_timeout_micros=200_000))
    assert bench.model.runs == [[1, 2]]


def test_a_smaller_batch_does_not_begin_beside_a_larger_one() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        answers = [bench.ask(1), bench.ask(2)]
        await bench.running()
        answers += [bench.ask(3)]
        await bench.running()
        assert bench.model.runs == [[1, 2]]  # one request waits beside two
        answers += [bench.ask(4)]
        await bench.running(2)
        assert bench.model.runs == [[1, 2], [3, 4]]
        bench.model.gate.set()
        await asyncio.gather(*answers)

    play(scene, options(num_batch_threads=2))


def test_signatures_have_queues_of_their_own() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        answers = [bench.ask(1)]
        await bench.running()
        answers += [bench.ask(2), bench.ask(3, api="Classify"), bench.ask(4)]
        bench.model.gate.set()
        assert await asyncio.gather(*answers) == [[2], [4], [6], [8]]

    bench = play(scene, options())
    assert bench.model.runs == [[1], [2, 4], [3]]
    assert bench.heard.told == [[2], [4, 8]]  # only of Predict


def test_shapes_that_do_not_fit_are_run_apart_or_padded() -> None:
    async def scene(bench: Bench) -> None:
        bench.model.gate.clear()
        first = bench.ask(0)
        await bench.running()
        shapes = [np.ones((1, 2)), np.ones((1, 3)), np.ones((2, 2))]
        asked = [
            asyncio.ensure_future(bench.engine.run(bench.model, "s", {"x": x}))
            for x in shapes
        ]
        bench.model.gate.set()
        found = [answer["y"].shape for answer in await asyncio.gather(*asked)]
        sizes.append(found)
        await first

    sizes: list[Any] = []
    bench = play(scene, options())
    assert [len(run) for run in bench.model.runs] == [1, 6, 3]
    assert sizes.pop() == [(1, 2), (1, 3), (2, 2)]
    # TF Serving gives padded outputs as they are.
    bench = play(scene, options(pad_variable_length_inputs=True))
    assert [len(run) for run in bench.model.runs] == [1, 12]
    assert sizes.pop() == [(1, 3), (1, 3), (2, 3)]


def test_a_large_request_is_split() -> None:
    async def scene(bench: Bench) -> None:
        assert await bench.ask(*range(10)) == [2 * at for at in range(10)]
        assert await code(bench.ask(*range(101))) == "INVALID_ARGUMENT"

    given = options(
        max_batch_size=100,
        enable_large_batch_splitting=True,
        max_execution_batch_size=4,
    )
    bench = play(scene, given)
    assert bench.model.runs == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_piece_that_fails_fails_its_request() -> None:
    async def scene(bench: Bench) -> None:
        assert await code(bench.ask(1, 2, BAD, 4, 5)) == "INVALID_ARGUMENT"
        assert await bench.ask(1, 2, 3) == [2, 4, 6]

    given = options(enable_large_batch_splitting=True, max_execution_batch_size=2)
    play(scene, given)
