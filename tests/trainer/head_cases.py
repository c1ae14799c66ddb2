"""One config with every kind of head, twelve rows of labels for them, one Transform."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.trainer import samples
from tests.trainer.conftest import Clinic, run_transform
from trainer import config as c
from trainer.export import to_example

CASES: dict[str, c.HeadConfig] = {
    "classification": c.ClassificationHead("kind", ("a", "b"), allow_missing=True),
    "several": c.ClassificationHead(
        "several", ("a", "b", "c"), multi_label=True, allow_missing=True
    ),
    "regression": c.RegressionHead("number", allow_missing=True),
    "ordinal": c.OrdinalHead("grade", ("low", "mid", "high"), allow_missing=True),
    "ranking": c.RankingHead(
        "rank", group="query", top_k=(2,), relevant_from=1.0, allow_missing=True
    ),
    "vqa": c.VqaHead(
        "answer", question="note", max_answers=2, annotators=4, top_k=2,
        allow_missing=True,
    ),
    "retrieval": c.RetrievalHead("match", pair=("note", "facts"), dim=3),
}  # fmt: skip
# Row 5 has no label at all, row 6 no text, row 7 no table.
GIVEN: dict[str, list[Any]] = {
    "kind": ["a", "b"] * 6,
    "several": [("a",), ("a", "c"), ("__none__",), ("b", "c")] * 3,
    "number": [float(i) for i in range(12)],
    "grade": ["low", "mid", "high"] * 4,
    "rank": [0.0, 1.0, 2.0] * 4,
    "answer": [("yes", "yes", "no"), ("no",), ("two", "yes")] * 4,
}
GROUPS = [f"q{i // 3}" for i in range(12)]


def config(**changes: Any) -> c.Config:
    return samples.clinic_config(
        **{
            "name": "heads",
            "inputs": (samples.NOTE, samples.FACTS),
            "heads": tuple(CASES.values()),
            **changes,
        }
    )


def rows() -> list[dict[str, Any]]:
    """Twelve rows as a tf.Example stores them: a value, or several, by feature key."""
    out: list[dict[str, Any]] = []
    for i in range(12):
        row: dict[str, Any] = {}
        if i != 6:
            row["note"] = [b"fever and cough", "发烧".encode(), b"no fever"][i % 3]
        if i != 7:
            row |= {"age": 20.0 + i, "height": 150.0 + i * i, "city": b"Rome"}
        for name, values in GIVEN.items():
            if i != 5:
                value = values[i]
                texts = value if isinstance(value, tuple) else (value,)
                row[name] = (
                    value
                    if isinstance(value, float)
                    else tuple(text.encode() for text in texts)
                )
        row["group:rank"] = GROUPS[i].encode()
        out.append(row)
    return out


def example(row: dict[str, Any]) -> bytes:
    """As `to_example`, with several values under a key."""
    plain = {k: v for k, v in row.items() if not isinstance(v, tuple)}
    found = tf.train.Example.FromString(to_example(plain))
    for key, value in row.items():
        if isinstance(value, tuple):
            found.features.feature[key].bytes_list.value.extend(value)
    serialized: bytes = found.SerializeToString()
    return serialized


def transformed(folder: Path) -> Clinic:
    """The rows through Transform, as the clinic's are."""
    from trainer.preprocessing import stored_spec
    from trainer.resources import load_resources

    one, given = config(), rows()
    output = run_transform(one, given, folder)
    layer = output.transform_features_layer()
    stored = tf.io.parse_example([example(r) for r in given], stored_spec(one))
    found = {k: np.asarray(v) for k, v in layer(stored).items()}
    return Clinic(one, given, found, load_resources(one, output), layer)
