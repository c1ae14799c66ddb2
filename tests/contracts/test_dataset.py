"""What the batches of training and judging are, whatever the settings."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import (
    ClassificationHead,
    Config,
    MixMatchObjective,
    ObjectivesConfig,
    RankingHead,
    RegressionHead,
    TabularInput,
    TrainingConfig,
    replace,
)
from trainer.dataset import (
    LabelError,
    count_labelled,
    count_records,
    first_records,
    make_dataset,
    steps_per_epoch,
)
from trainer.export import to_example
from trainer.modalities import Resources
from trainer.preprocessing import densify

ROWS = 10


def config(seed: int = 0, **training: Any) -> Config:
    """One number in, the same number out: its value is the row's place."""
    settings = {"batch_size": 4, "shuffle_buffer": 64, "cache": True, **training}
    return Config(
        name="numbers",
        inputs=(TabularInput("table", numeric=("at",)),),
        heads=(RegressionHead("score"),),
        seed=seed,
        training=TrainingConfig(**settings),
    )


def write(path: Path, places: Sequence[int]) -> str:
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for at in places:
            writer.write(to_example({"at": float(at), "score": float(at)}))
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two files, named in another order than they are given in."""
    second = write(tmp_path / "data-00001.gz", range(6, ROWS))
    return [second, write(tmp_path / "data-00000.gz", range(6))]


def dataset(files: list[str], one: Config, *, training: bool) -> tf.data.Dataset:
    # tf.data mixes the process' seed into its own.
    keras.utils.set_random_seed(one.seed)

    def transform(stored: dict[str, Any]) -> dict[str, Any]:
        values = densify(one, stored)
        return {**values, "weight:score": tf.ones_like(values["score"])}

    return make_dataset(files, one, transform, Resources(), training=training)


def places(
    data: tf.data.Dataset, labels: Sequence[str] = ("score",)
) -> list[list[int]]:
    """The rows of each batch of one epoch; x and y are of the same rows."""
    out = []
    for x, y in data:
        assert set(x) == {"table_numeric", "table_present"}
        assert set(y) == {*labels, *(f"weight:{name}" for name in labels)}
        np.testing.assert_array_equal(x["table_numeric"][:, 0], y["score"])
        out.append(y["score"].numpy().astype(int).tolist())
    return out


def rows(data: tf.data.Dataset) -> list[int]:
    return [at for batch in places(data) for at in batch]


IN_ORDER = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
CACHE = pytest.mark.parametrize("cache", [True, False])


@CACHE
def test_judging_takes_the_rows_in_the_files_order(
    files: list[str], cache: bool
) -> None:
    data = dataset(files, config(cache=cache), training=False)
    for _ in range(2):
        assert places(data) == IN_ORDER


@CACHE
@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1, [1] * 10), (3, [3, 3, 3, 1]), (10, [10]), (64, [10])]
)
def test_every_row_is_in_one_batch_of_the_asked_size(
    files: list[str], cache: bool, batch_size: int, sizes: list[int]
) -> None:
    one = config(batch_size=batch_size, cache=cache)
    for training in (False, True):
        batches = places(dataset(files, one, training=training))
        assert [len(batch) for batch in batches] == sizes
        assert sorted(at for batch in batches for at in batch) == list(range(ROWS))


@CACHE
def test_a_shuffle_buffer_of_one_keeps_the_order(files: list[str], cache: bool) -> None:
    one = config(cache=cache, shuffle_buffer=1)
    assert places(dataset(files, one, training=True)) == IN_ORDER


@CACHE
def test_the_shuffle_buffer_bounds_how_far_a_row_comes_forward(
    files: list[str], cache: bool
) -> None:
    def forward(size: int) -> int:
        found = 0
        for seed in range(5):
            one = config(seed, cache=cache, shuffle_buffer=size)
            order = rows(dataset(files, one, training=True))
            assert sorted(order) == list(range(ROWS))
            found = max(found, *(at - i for i, at in enumerate(order)))
        return found

    # A buffer of n holds the next n rows: a row comes at most n - 1 places early.
    assert forward(2) == 1
    assert 2 < forward(64) <= 9


@CACHE
def test_the_seed_fixes_the_order_and_each_epoch_has_its_own(
    files: list[str], cache: bool
) -> None:
    first = dataset(files, config(cache=cache), training=True)
    epochs = [rows(first), rows(first)]
    assert epochs[0] != epochs[1]
    again = dataset(files, config(cache=cache), training=True)
    assert [rows(again), rows(again)] == epochs
    other = dataset(files, config(1, cache=cache), training=True)
    assert rows(other) != epochs[0]


@pytest.mark.parametrize("training", [False, True])
def test_cached_batches_are_the_uncached_ones(files: list[str], training: bool) -> None:
    cached, fresh = (
        dataset(files, config(cache=cache, shuffle_buffer=1), training=training)
        for cache in (True, False)
    )
    for _ in range(2):
        for one, other in zip(cached, fresh, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_only_a_cached_epoch_needs_no_files(files: list[str]) -> None:
    cached, fresh = (
        dataset(files, config(cache=cache), training=False) for cache in (True, False)
    )
    for data in (cached, fresh):
        assert places(data) == IN_ORDER
    for path in files:
        os.remove(path)
    assert places(cached) == IN_ORDER
    with pytest.raises(tf.errors.NotFoundError):
        places(fresh)


def test_records_are_counted_and_the_first_ones_given(files: list[str]) -> None:
    assert count_records(files) == 10
    assert count_records([]) == 0
    got = tf.io.parse_example(
        first_records(files, 2), {"at": tf.io.FixedLenFeature([], tf.float32)}
    )
    assert got["at"].numpy().tolist() == [0.0, 1.0]
    assert len(first_records(files, 99)) == 10


# ---- groups of a ranking head

QUERIES = "abacbdabcde"


@pytest.fixture
def lists(tmp_path: Path) -> list[str]:
    """Eleven rows of five groups, mixed."""
    path = str(tmp_path / "lists.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for at, name in enumerate(QUERIES):
            row = {"at": float(at), "score": 1.0, "group:score": name.encode()}
            writer.write(to_example(row))
    return [path]


def groups(files: list[str], epochs: int = 1, **training: Any) -> list[list[str]]:
    """The group of each row, by batch."""
    one = replace(config(**training), heads=(RankingHead("score", group="query"),))
    keras.utils.set_random_seed(one.seed)

    def transform(stored: dict[str, Any]) -> dict[str, Any]:
        values = densify(one, stored)
        key = tf.strings.to_hash_bucket_fast(values["group:score"], 2**62)
        weight = tf.ones_like(values["score"])
        return {**values, "weight:score": weight, "group:score": key}

    data = make_dataset(files, one, transform, Resources(), training=True)
    return [
        ["".join(QUERIES[int(at)] for at in x["table_numeric"][:, 0].numpy())]
        for _ in range(epochs)
        for x, _ in data
    ]


@CACHE
def test_rows_of_a_group_meet_in_training(lists: list[str], cache: bool) -> None:
    ((epoch,),) = groups(lists, cache=cache, batch_size=11)
    assert sorted(epoch) == sorted(QUERIES)
    runs = [name for i, name in enumerate(epoch) if i == 0 or epoch[i - 1] != name]
    assert len(runs) == 5
    first, second = groups(lists, epochs=2, cache=cache, batch_size=11)
    assert first != second


@CACHE
def test_of_a_group_larger_than_a_batch_a_batch_has_a_part(
    lists: list[str], cache: bool
) -> None:
    batches = groups(lists, cache=cache, batch_size=2)
    assert sorted("".join(b for (b,) in batches)) == sorted(QUERIES)
    assert any(batch in ("aa", "bb") for (batch,) in batches)


def test_without_a_cache_groups_meet_within_the_shuffle_buffer(
    lists: list[str],
) -> None:
    found = set()
    for _ in range(5):
        ((epoch,),) = groups(lists, cache=False, batch_size=11, shuffle_buffer=4)
        assert sorted(epoch) == sorted(QUERIES)
        found |= {run for run in ("aa", "bb") if run in epoch}
    # Of the windows abac, bdab and cde, the first holds a twice, the second b.
    assert found == {"aa", "bb"}


# ---- rows with a label


def labelled(files: list[str], known: Sequence[int], one: Config) -> dict[str, Any]:
    """The dataset where only these places carry a label, and their number."""

    def transform(stored: dict[str, Any]) -> dict[str, Any]:
        values = densify(one, stored)
        there = tf.reduce_any(values["score"][:, None] == [*map(float, known), -1.0], 1)
        return {**values, "weight:score": tf.cast(there, tf.float32)}

    return {
        "data": make_dataset(
            files, one, transform, Resources(), training=False, labelled_only=True
        ),
        "count": lambda: count_labelled(files, one, transform),
    }


@CACHE
def test_only_rows_with_a_label_where_that_is_asked(
    files: list[str], cache: bool
) -> None:
    found = labelled(files, [1, 4, 5, 6, 9], config(cache=cache))
    for _ in range(2):
        assert places(found["data"]) == [[1, 4, 5, 6], [9]]
    assert found["count"]() == 5


# ---- labelled rows beside the others


def mixmatch(one: Config, share: float) -> Config:
    head = ClassificationHead("kind", ("few", "many"), allow_missing=True)
    objective = MixMatchObjective(head="kind", labelled_share=share)
    objectives = ObjectivesConfig(mixmatch=objective)
    return replace(one, heads=(*one.heads, head), objectives=objectives)


def mixed_batches(
    files: list[str], share: float, *, training: bool = True, cache: bool = True
) -> list[list[int]]:
    """Places of the rows of each batch where only 3 and 7 carry a label."""
    one = mixmatch(config(cache=cache), share)

    def transform(stored: dict[str, Any]) -> dict[str, Any]:
        values = densify(one, stored)
        known = tf.reduce_any(values["score"][:, None] == [3.0, 7.0], 1)
        known = tf.cast(known, tf.float32)
        kind = tf.zeros_like(known, tf.int64)
        return {
            **values, "kind": kind, "weight:kind": known, "weight:score": known,
        }  # fmt: skip

    keras.utils.set_random_seed(0)
    data = make_dataset(
        files, one, transform, Resources(), training=training, examples=ROWS
    )
    found = places(data, ("score", "kind"))
    assert len(found) == int(data.cardinality())
    if training:  # the schedule's length
        assert len(found) == steps_per_epoch(one, ROWS)
    return found


@CACHE
def test_mixmatch_finds_labelled_rows_in_every_batch(
    files: list[str], cache: bool
) -> None:
    batches = mixed_batches(files, 0.25, cache=cache)
    # Three rows of an epoch of all ten, and one of the labelled two.
    assert [len(batch) for batch in batches] == [4, 4, 4, 2]
    assert sorted(row for batch in batches for row in batch[:-1]) == [*range(ROWS)]
    assert {batch[-1] for batch in batches} <= {3, 7}


def test_a_batch_always_has_rows_of_both_kinds(files: list[str]) -> None:
    assert [len(b) for b in mixed_batches(files, 0.99)] == [4] * 10
    assert [len(b) for b in mixed_batches(files, 0.01)] == [4, 4, 4, 2]
    assert steps_per_epoch(mixmatch(config(batch_size=1), 0.5), ROWS) == ROWS


def test_rows_come_as_they_are_without_a_share_and_when_judged(
    files: list[str],
) -> None:
    assert [len(b) for b in mixed_batches(files, 0.0)] == [4, 4, 2]
    assert mixed_batches(files, 0.5, training=False) == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9],
    ]  # fmt: skip


def test_no_row_with_a_label(files: list[str]) -> None:
    with pytest.raises(
        LabelError, match="no row of the split carries a label of score"
    ):
        labelled(files, [], config())["count"]()
