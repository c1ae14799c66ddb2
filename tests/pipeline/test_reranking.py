"""Re-ranking by hand: a model whose answers are a table."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from pipeline import reranking
from pipeline.judging import judge
from pipeline.reranking import reranked
from pipeline.rows import Row
from trainer.config import Config, from_mapping

# Row i's picture lies at angle i on a circle, its text a little further on.
PICTURES = {"p0": [1.0, 0.0], "p1": [0.8, 0.6], "p2": [0.0, 1.0], "broken": [0.0, 0.0]}
TEXTS = {"t0": [0.6, 0.8], "t1": [0.28, 0.96], "t2": [-0.6, 0.8], "": [0.0, 0.0]}
# Cosines:     t0    t1     t2
#   p0        0.6   0.28  -0.6     own first
#   p1        0.96  0.8    0.0     own second
#   p2        0.8   0.96   0.8     own second or third: equals count against it
MATCH = {
    ("p0", "t0"): 0.9, ("p0", "t1"): 0.2, ("p0", "t2"): 0.99,
    ("p1", "t0"): 0.3, ("p1", "t1"): 0.7, ("p1", "t2"): 0.1,
    ("p2", "t0"): 0.5, ("p2", "t1"): 0.6, ("p2", "t2"): 0.5,
}  # fmt: skip


def row(values: dict[str, Any], labels: dict[str, Any], number: int = 0) -> Row:
    return Row(number, str(number), "eval", values, labels)


class Table:
    """Answers by the table; remembers the pairs that it was asked."""

    def __init__(self, match: dict[tuple[str, str], float] = MATCH) -> None:
        self.match = match
        self.asked: list[tuple[str, str]] = []

    def predict(self, rows: Any) -> list[dict[str, Any]]:
        out = []
        for row in rows:
            pair = row.get("photo", "broken"), row.get("note", "")
            self.asked.append(pair)
            out.append(
                {
                    "m_embedding_photo": PICTURES[pair[0]],
                    "m_embedding_note": TEXTS[pair[1]],
                    "m_match": self.match.get(pair, 0.0),
                    "y": 0.0,
                }
            )
        return out


def config(*more: Any, match: str | None = "vectors") -> Config:
    head = {"name": "m", "kind": "retrieval", "pair": ["photo", "note"], "match": match}
    return from_mapping(
        {
            "name": "two",
            "inputs": [
                {"name": "photo", "modality": "image"},
                {"name": "note", "modality": "text"},
            ],
            "heads": [head, *more],
        }
    )


def rows(*pairs: tuple[str, str]) -> list[Row]:
    return [row({"photo": p, "note": t}, {}, i) for i, (p, t) in enumerate(pairs)]


WHOLE = rows(("p0", "t0"), ("p1", "t1"), ("p2", "t2"))


def test_all_are_put_in_order_by_the_match() -> None:
    found = reranked(config(), Table(), WHOLE)
    # photo_to_note: p0's own 0.9 < 0.99: second; p1 first; p2's own 0.5 <= 0.5, 0.6: third.
    # note_to_photo: t0 0.9 first; t1 0.7 first; t2 0.5 < 0.99: second.
    assert found["recall_at_1_photo_to_note_reranked"] == pytest.approx(1 / 3)
    assert found["recall_at_1_note_to_photo_reranked"] == pytest.approx(2 / 3)
    assert found["recall_at_1_reranked"] == pytest.approx(1 / 2)
    assert found["recall_at_5_reranked"] == found["recall_at_10_reranked"] == 1.0


def test_only_the_nearest_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranking, "NEAREST", 2)
    model = Table()
    found = reranked(config(), model, WHOLE)
    pairs = model.asked[3:]
    # The two nearest of each picture, of equals the first: t0 and t1 of all three. Of
    # each text: p1 and p2 of t0, p2 and p1 of t1, p2 and p1 of t2. Each pair once.
    assert pairs == [
        ("p0", "t0"), ("p0", "t1"), ("p1", "t0"), ("p1", "t1"), ("p1", "t2"),
        ("p2", "t0"), ("p2", "t1"), ("p2", "t2"),
    ]  # fmt: skip
    # p0 is not asked about t2 any more, and is first.
    assert found["recall_at_1_photo_to_note_reranked"] == pytest.approx(2 / 3)


def test_where_all_queries_are_known_both_sides_choose() -> None:
    """t0 matches everything: it goes to the one for which it is the best of both ways."""
    table = {
        ("p0", "t0"): 0.8,
        ("p0", "t1"): 0.5,
        ("p1", "t0"): 0.8,
        ("p1", "t1"): 0.75,
    }
    found = reranked(config(), Table(table), WHOLE[:2])
    # Alone p1 takes t0, and t0 cannot tell p0 from p1.
    assert found["recall_at_1_photo_to_note_reranked"] == 0.5
    assert found["recall_at_1_note_to_photo_reranked"] == 0.5
    # Odds 4 and 1, 4 and 3. p1 and t0: 4/7 * 4/8 = 0.29; p1 and t1: 3/7 * 3/4 = 0.32;
    # p0 and t0: 4/5 * 4/8 = 0.4.
    assert found["recall_at_1_photo_to_note_mutual"] == 1.0
    assert found["recall_at_1_note_to_photo_mutual"] == 1.0
    assert found["recall_at_1_mutual"] == found["recall_at_10_mutual"] == 1.0


def test_a_pair_that_was_not_judged_is_no_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reranking, "NEAREST", 1)
    # p0 is nearest to t0, p1 to t0, p2 to t1; t0 to p1, t1 to p2, t2 to p2: of the own
    # pairs only p0's is among its nearest, and p2 is among those of t2.
    sure = dict.fromkeys(MATCH, 1.0)
    found = reranked(config(), Table(sure), WHOLE)
    assert found["recall_at_1_photo_to_note_mutual"] == pytest.approx(1 / 3)
    assert found["recall_at_1_note_to_photo_mutual"] == pytest.approx(1 / 3)


def test_rows_that_lack_a_side_take_no_part() -> None:
    lacking = [*WHOLE, *rows(("broken", "t1"), ("p1", ""))]
    lacking.append(row({"photo": "p1"}, {}, 9))
    assert reranked(config(), Table(), lacking) == reranked(config(), Table(), WHOLE)
    assert reranked(config(), Table(), lacking[3:]) == {}
    assert reranked(config(), Table(), []) == {}


def test_it_is_judged_where_the_head_says_match() -> None:
    found = judge(config(), Table(), WHOLE)
    assert found["metrics"]["recall_at_1_reranked"] == pytest.approx(1 / 2)
    # By likeness alone p0 finds its text and t2 its picture.
    assert found["metrics"]["recall_at_1"] == pytest.approx(1 / 3)
    assert (
        "recall_at_1_reranked"
        not in judge(config(match=None), Table(), WHOLE)["metrics"]
    )
    number = {"name": "y", "kind": "regression", "allow_missing": True}
    several = judge(config(number), Table(), WHOLE)["metrics"]
    assert several["m/recall_at_1_reranked"] == pytest.approx(1 / 2)


class Space:
    """Embeddings by name, and a match that depends on the pair in no simple way."""

    def __init__(self, count: int) -> None:
        random = np.random.default_rng(7)
        first = random.normal(size=(count, 6))
        second = first + random.normal(size=(count, 6))
        self.photo, self.note = (
            np.round(x / np.linalg.norm(x, axis=1, keepdims=True), 3)
            for x in (first, second)
        )

    @staticmethod
    def match(i: Any, j: Any) -> Any:
        return (np.sin(12.9898 * i + 78.233 * j) + 1) / 2

    def predict(self, rows: Any) -> list[dict[str, Any]]:
        out = []
        for row in rows:
            i, j = int(row["photo"]), int(row["note"])
            answers = {"m_embedding_photo": self.photo[i]}
            answers["m_embedding_note"] = self.note[j]
            out.append(answers | {"m_match": float(self.match(i, j))})
        return out


def dense(space: Space, mutual: bool) -> list[float]:
    """Recalls at 1, both ways, of matrices of all pairs."""
    near = space.photo @ space.note.T
    count = len(near)
    places = np.arange(count)
    chosen = np.zeros(near.shape, bool)
    nearest = []
    for way in (near, near.T):
        nearest.append(np.argsort(-way, axis=1, kind="stable")[:, :16])
    chosen[places[:, None], nearest[0]] = True
    chosen[nearest[1], places[:, None]] = True
    scores = space.match(places[:, None], places[None])
    if mutual:
        odds = np.where(chosen, scores / (1 - scores), 0.0)
        scores = odds * odds / odds.sum(1, keepdims=True) / odds.sum(0, keepdims=True)
    found = []
    for way, order, score in (
        (near, nearest[0], scores),
        (near.T, nearest[1], scores.T),
    ):
        first = 0
        for i in range(count):
            among = i in order[i]
            rank = (
                np.sum(score[i, order[i]] >= score[i, i])
                if among
                else np.sum(way[i] >= way[i, i])
            )
            first += rank <= 1
        found.append(first / count)
    return found


@pytest.mark.parametrize("kind", ["reranked", "mutual"])
def test_it_is_what_all_pairs_at_once_would_give(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reranking, "_CELLS", 500)
    monkeypatch.setattr(reranking, "_ASKED", 100)
    space = Space(120)
    found = reranked(config(), space, rows(*((str(i), str(i)) for i in range(120))))
    wanted = dense(space, kind == "mutual")
    assert 0 < wanted[0] < 1
    assert [
        found[f"recall_at_1_photo_to_note_{kind}"],
        found[f"recall_at_1_note_to_photo_{kind}"],
    ] == pytest.approx(wanted)


def test_what_is_held_does_not_grow_with_all_pairs() -> None:
    """3,000 rows: a matrix of all pairs has 9,000,000 cells, 72 MB."""
    space = Space(3000)
    given = rows(*((str(i), str(i)) for i in range(3000)))
    tracemalloc.start()
    try:
        reranked(config(), space, given)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 60e6
