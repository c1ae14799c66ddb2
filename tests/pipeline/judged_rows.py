"""Rows to judge, and a stand-in for a model whose answers are known."""

from __future__ import annotations

from typing import Any

from pipeline.rows import Row
from trainer.config import ClassificationHead, Config, TextInput


class Model:
    """Says what stands in the texts; with both, what stands in `note`."""

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answers = []
        for row in rows:
            said = row.get("note") or row["title"]
            name, score = said.split()
            other = 1 - float(score)
            scores = {"a": other, "b": other} | {name: float(score)}
            answers.append({"y": name, "y_scores": scores, "n": float(score)})
        return answers


def config(*more: Any, **head: Any) -> Config:
    return Config(
        name="c",
        inputs=(TextInput("note"), TextInput("title")),
        heads=(ClassificationHead("y", ("a", "b"), **head), *more),
    )


def rows(count: int = 40, **changes: Any) -> list[Row]:
    """The note is right on all rows but the last tenth, the title on every other."""
    made = []
    for i in range(count):
        label = "ab"[i % 2]
        other = "ba"[i % 2]
        note = f"{label if i < 0.9 * count else other} 0.8"
        title = f"{label if i % 4 < 2 else other} 0.6"
        values: dict[str, Any] = {"note": note, "title": title}
        made.append(Row(i, f"r{i}", "eval", values, {"y": (label,), "n": i / count}))
    return made
