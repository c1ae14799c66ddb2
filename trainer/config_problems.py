"""What can be wrong between the parts of a config: names, references, stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainer.fusion_config import FilmFusion
from trainer.head_config import HeadConfig, RetrievalHead, VqaHead
from trainer.input_config import (
    ImagesInput,
    TabularInput,
    TextInput,
    input_answers,
    input_columns,
)
from trainer.names import NAME, ROW_KEYS, reserved_end
from trainer.objective_problems import matches, objective_problems
from trainer.schema import named, nearest

if TYPE_CHECKING:
    from trainer.config import Config
    from trainer.objective_config import ObjectivesConfig


def name_problems(config: Config) -> Iterator[str]:
    """Names that requests or answers could not use, or that are taken."""
    seen: dict[str, str] = {}
    for where, name in _all_names(config):
        if not NAME.fullmatch(name):
            yield (
                f"{where}: names are lower-case ASCII letters, digits and _,"
                " starting with a letter; give `name:` beside `column:`."
                f" Received: {name!r}"
            )
        end = reserved_end(name)
        if end is not None:
            yield f"{where}: may not end in {end}, which answers use."
        if name in ROW_KEYS and where.startswith("heads["):
            yield (
                f"{where}: {name!r} stands in every answered row beside the heads'"
                " answers; give the head another name, and `column:` beside it."
            )
        if name in seen:
            yield f"{where}: the name {name!r} is taken by {seen[name]}."
        seen[name] = where


def _all_names(config: Config) -> Iterator[tuple[str, str]]:
    for one in config.inputs:
        yield f"inputs[{one.name}].name", one.name
        if isinstance(one, TabularInput):
            for column in (*one.numeric, *one.categorical):
                name = column if isinstance(column, str) else column.name
                yield f"inputs[{one.name}].{name}", name
    for head in config.heads:
        yield f"heads[{head.name}].name", head.name


def answer_problems(config: Config) -> Iterator[str]:
    """Answers of two parts of the config that would have one name."""
    seen: dict[str, str] = {}
    for where, key in _all_answers(config):
        other = seen.setdefault(key, where)
        if other != where:
            yield (
                f"{where}: its answer {key!r} is also one of {other}; give one of the"
                " two another name."
            )


def _all_answers(config: Config) -> Iterator[tuple[str, str]]:
    for one in config.inputs:
        for key in input_answers(one):
            yield f"inputs[{one.name}]", key
    for head in config.heads:
        for key in head.answers:
            yield f"heads[{head.name}]", key


def leak_problems(config: Config) -> Iterator[str]:
    """Inputs that read what a head is to predict."""
    told = {
        head.column or head.name: head.name
        for head in config.heads
        if not isinstance(head, RetrievalHead)
    }
    for one in config.inputs:
        for where, column in input_columns(one):
            # One name for both is told by `name_problems`.
            if column in told and told[column] not in (one.name, where):
                yield (
                    f"inputs[{one.name}].{where}: reads the manifest column {column!r},"
                    f" which heads[{told[column]}] is to predict; an input that holds"
                    " the answer leaves nothing to learn: remove it."
                )


def reference_problems(config: Config) -> Iterator[str]:
    """Names of inputs and heads that stand in other parts of the config."""
    inputs = [one.name for one in config.inputs]
    heads = [head.name for head in config.heads]
    if isinstance(config.fusion, FilmFusion) and config.fusion.conditioned is not None:
        yield from named(
            "fusion.conditioned", config.fusion.conditioned, inputs, "input"
        )
    for one in config.inputs:
        if isinstance(one, ImagesInput) and config.embedding_dim % max(one.heads, 1):
            yield (
                f"inputs[{one.name}].heads: must divide embedding_dim"
                f" ({config.embedding_dim}). Received: {one.heads}"
            )
    for head in config.heads:
        where = f"heads[{head.name}]"
        if isinstance(head, RetrievalHead):
            for name in head.pair:
                yield from named(f"{where}.pair", name, inputs, "input")
        if isinstance(head, VqaHead) and head.question is not None:
            texts = [one.name for one in config.inputs if isinstance(one, TextInput)]
            yield from named(f"{where}.question", head.question, texts, "text input")
    for i, threshold in enumerate(config.evaluation.thresholds):
        if threshold.head is not None:
            where = f"evaluation.thresholds[{i}].head"
            yield from named(where, threshold.head, heads, "head")


def comparison_problems(config: Config) -> Iterator[str]:
    """Comparisons of ways to start that the last stage does not have."""
    compared = config.evaluation.compare
    if not compared:
        return
    if len(set(compared)) < len(compared):
        yield "evaluation.compare: names one way twice."
    if len(compared) < 2:
        yield "evaluation.compare: two ways at least are needed to compare."
    last = config.resolved_stages()[-1]
    if last.base is None:
        yield (
            "evaluation.compare: the last of `stages` needs `from`, or there is nothing"
            " to compare with scratch."
        )
    elif "pretrained" in compared and last.base not in {s.name for s in config.stages}:
        yield (
            "evaluation.compare: pretrained needs `from` an earlier stage; a model of"
            f" another config cannot be judged here. Received: {last.base!r}"
        )


def stage_problems(config: Config) -> Iterator[str]:
    """Stages that learn from nothing, share a name, or start from no earlier one."""
    before: list[str] = []
    for stage in config.resolved_stages():
        where = f"stages[{stage.name}]." if config.stages else ""
        chosen = dataclasses.asdict(stage.objectives)
        if all(one is None for one in chosen.values()):
            yield f"{where}objectives: at least one is needed."
        yield from objective_problems(config, stage.objectives, f"{where}objectives")
        if stage.lora is not None and stage.objectives.pcl is not None:
            yield (
                f"{where}lora: pcl keeps a second copy of the network, which low-rank"
                " matrices cannot be averaged into; leave out one of the two."
            )
        if stage.linear_probe and stage.base is None:
            yield f"{where}linear_probe: without `from` it would probe random weights."
        if stage.name in before:
            yield f"{where}name: two stages have this name."
        path = stage.base is not None and ("/" in stage.base or "." in stage.base)
        if stage.base is not None and not path and stage.base not in before:
            known = ", ".join(before) or "none"
            yield (
                f"{where}from: no earlier stage of that name, and no path."
                f"{nearest(stage.base, before)} Earlier stages: {known}."
                f" Received: {stage.base!r}"
            )
        before.append(stage.name)


def untaught_problems(config: Config) -> Iterator[str]:
    """Answers that no stage teaches.

    Of a file that is to be trained: the config inside a model tells its last stage only.
    """
    stages = config.resolved_stages()
    for head in config.heads:
        if not any(_teaches(stage.objectives, head, config) for stage in stages):
            yield (
                f"heads[{head.name}]: nothing teaches it; give a stage the objective"
                " `supervised`. Where `objectives` are named, these are all."
            )
        elif (
            isinstance(head, RetrievalHead)
            and head.match
            and not any(matches(one.objectives, head.pair) for one in stages)
        ):
            yield (
                f"heads[{head.name}].match: nothing teaches it; give a stage the"
                f" objective `matching` on the pair {list(head.pair)}."
            )


def _teaches(objectives: ObjectivesConfig, head: HeadConfig, config: Config) -> bool:
    """Whether a head may learn something from these objectives."""
    if objectives.supervised is not None or objectives.distillation is not None:
        return True
    if isinstance(head, RetrievalHead) and head.match:
        return matches(objectives, head.pair)
    mixmatch = objectives.mixmatch
    return mixmatch is not None and head.name == (mixmatch.head or config.heads[0].name)
