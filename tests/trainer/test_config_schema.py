"""The dataclasses of a config as a schema: each key says what it is, tags tell unions."""

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from tests.trainer.test_config import MINIMAL
from trainer import config as c
from trainer import encoder_config as e
from trainer.unions import TAGS, union_members


def test_unions_are_told_apart_by_their_tag() -> None:
    config = c.from_mapping(
        {
            **MINIMAL,
            "inputs": [
                {"name": "s", "modality": "audio", "encoder": {"kind": "transformer"}},
                {"name": "t", "modality": "text", "encoder": {"kind": "bert"}},
                {"name": "p", "modality": "image", "encoder": {"kind": "conv"}},
            ],
            "heads": [{"name": "y", "kind": "regression"}],
            "fusion": {"kind": "gated"},
        }
    )
    kinds = [type(one.encoder) for one in config.inputs]  # type: ignore[union-attr]
    assert kinds == [e.TransformerAudioEncoder, e.BertEncoder, e.SmallConvEncoder]
    assert type(config.fusion) is c.GatedFusion
    assert type(config.heads[0]) is c.RegressionHead


def schema_classes() -> Iterator[type]:
    """Every dataclass that a config can hold."""
    queue: list[Any] = [c.Config]
    seen: set[Any] = set()
    while queue:
        kind = queue.pop()
        if kind in seen:
            continue
        seen.add(kind)
        queue.extend(typing.get_args(kind))
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            yield kind
            queue.extend(typing.get_type_hints(kind).values())


@pytest.mark.parametrize("cls", list(schema_classes()), ids=lambda cls: cls.__name__)
def test_every_key_says_what_it_is(cls: type) -> None:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if (
            field.name in TAGS
            and typing.get_origin(hints[field.name]) is typing.Literal
        ):
            continue
        doc = field.metadata.get("doc", "")
        assert doc.endswith((".", ")")), f"{cls.__name__}.{field.name}: {doc!r}"


def test_the_walk_sees_the_whole_schema() -> None:
    names = {cls.__name__ for cls in schema_classes()}
    assert {"ParameterGroup", "BertEncoder", "TabularColumn", "SplitConfig"} <= names
    assert set(union_members(c.InputConfig) or {}) == {
        "image", "images", "audio", "text", "tabular",
    }  # fmt: skip
