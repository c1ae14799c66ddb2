"""What can be wrong between a stage's objectives and the inputs and heads of a config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trainer.head_config import ClassificationHead
from trainer.input_config import AudioInput, ImageInput, TextInput
from trainer.schema import named

if TYPE_CHECKING:
    from trainer.config import Config
    from trainer.objective_config import ObjectivesConfig

_MASKED = {
    "masked_lm": ("text", TextInput),
    "masked_image": ("image", ImageInput),
    "masked_audio": ("audio", AudioInput),
}


def matches(objectives: ObjectivesConfig, pair: Sequence[str]) -> bool:
    """Whether the objectives teach whether two inputs belong together."""
    one = objectives.matching
    if one is None:
        return False
    return one.pairs is None or set(pair) in [set(known) for known in one.pairs]


def objective_problems(
    config: Config, objectives: ObjectivesConfig, where: str
) -> Iterator[str]:
    """Objectives that ask for inputs or heads that are not there.

    Args:
        where: path of the objectives in the config.
    """
    yield from _pair_problems(config, objectives, where)
    yield from _masked_problems(config, objectives, where)
    if objectives.mixmatch is not None and config.heads:
        heads = [
            head.name
            for head in config.heads
            if isinstance(head, ClassificationHead) and not head.multi_label
        ]
        name = objectives.mixmatch.head or config.heads[0].name
        yield from named(f"{where}.mixmatch.head", name, heads, "one-class head")


def _pair_problems(
    config: Config, objectives: ObjectivesConfig, where: str
) -> Iterator[str]:
    names = [one.name for one in config.inputs]
    contrastive = objectives.contrastive
    if contrastive is not None and contrastive.views == "masked":
        contrastive = None
    for key, one in (("contrastive", contrastive), ("matching", objectives.matching)):
        if one is None:
            continue
        if len(names) < 2:
            yield f"{where}.{key}: needs at least two inputs."
        for i, pair in enumerate(one.pairs or ()):
            for name in pair:
                yield from named(f"{where}.{key}.pairs[{i}]", name, names, "input")


def _masked_problems(
    config: Config, objectives: ObjectivesConfig, where: str
) -> Iterator[str]:
    for key, (word, kind) in _MASKED.items():
        one = getattr(objectives, key)
        if one is None:
            continue
        known = [x.name for x in config.inputs if isinstance(x, kind)]
        if not known:
            yield f"{where}.{key}: there is no {word} input."
            continue
        for name in one.inputs or ():
            yield from named(f"{where}.{key}.inputs", name, known, f"{word} input")
    image = objectives.masked_image
    for x in config.inputs:
        if image is None or not isinstance(x, ImageInput):
            continue
        chosen = image.inputs is None or x.name in image.inputs
        if chosen and (x.height % image.patch or x.width % image.patch):
            yield (
                f"{where}.masked_image.patch: must divide the height and width of"
                f" {x.name!r}, {x.height} x {x.width}. Received: {image.patch}"
            )
