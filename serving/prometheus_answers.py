"""Counts what a model answers: presence of inputs, classes, scores, abstentions.

Labels are names that the model's author gave: inputs, heads and classes out of the
config that travels in the SavedModel. Nothing of a request becomes one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import yaml

from serving import files
from serving.prometheus_families import Family

if TYPE_CHECKING:  # TensorFlow is not needed to count
    from serving.tensors import Array

_log = logging.getLogger(__name__)

CONFIG = os.path.join("assets.extra", "polymodal_config.yaml")
MAX_CLASSES = 100
"""Classes of a head that have series of their own; those after them are `other`."""
OTHER = "other"
_MAX_CONFIG_BYTES = 16 * 2**20
_SUFFIXES = ("_present", "_scores", "_classes", "_selected", "_abstained", "_embedding")

Outputs = Mapping[str, "Array"]


@dataclass(frozen=True)
class Head:
    """A classification head.

    Attributes:
        labels: the label of each class, in the order of the scores.
        separator: between the classes of one answer, if there can be several.
    """

    labels: tuple[str, ...]
    separator: str | None = None

    @classmethod
    def of(cls, classes: list[str], separator: str | None = None) -> Head:
        """Of its classes' names."""
        kept = classes[:MAX_CLASSES]
        return cls((*kept, *[OTHER] * (len(classes) - len(kept))), separator)


def read_heads(path: str) -> dict[str, Head]:
    """Head name -> its classes, from the config in a SavedModel; {} without one."""
    file = os.path.join(path, CONFIG)
    try:
        config = yaml.safe_load(files.read(file, _MAX_CONFIG_BYTES))
        return {
            head["name"]: Head.of(
                [str(name) for name in head["classes"]],
                head.get("separator", "|") if head.get("multi_label") else None,
            )
            for head in config["heads"]
            if head.get("kind", "classification") == "classification"
        }
    except FileNotFoundError:
        return {}
    except (
        OSError,
        yaml.YAMLError,
        LookupError,
        TypeError,
    ) as error:
        _log.warning("%s: classes are counted by position only: %s", file, error)
        return {}


class AnswerCounts:
    """The metrics of answers, over one `Family` each by the metric's name."""

    def __init__(self, families: Mapping[str, Family]) -> None:
        self._inputs = families["polymodal_inputs_total"]
        self._predictions = families["polymodal_predictions_total"]
        self._top_score = families["polymodal_top_score"]
        self._abstentions = families["polymodal_abstentions_total"]
        self._values = families["polymodal_prediction_value"]
        self._magnitudes = families["polymodal_prediction_magnitude_total"]
        self._not_finite = families["polymodal_predictions_not_finite_total"]
        self._heads: dict[tuple[str, int], Mapping[str, Head]] = {}
        # (model, version, output) -> what counts it. Outputs are the signatures' own,
        # so there are few.
        self._counters: dict[
            tuple[str, int, str], Callable[[Array, Outputs], None] | None
        ] = {}

    def loaded(self, model: str, version: int, heads: Mapping[str, Head]) -> None:
        """A version with these heads is about to answer."""
        self.ended(model, version)
        self._heads[model, version] = heads

    def ended(self, model: str, version: int) -> None:
        """A version answers no more."""
        self._heads.pop((model, version), None)
        for key in [k for k in list(self._counters) if k[:2] == (model, version)]:
            self._counters.pop(key, None)

    def count(self, model: str, version: int, outputs: Outputs) -> None:
        """Counts the answers to one request."""
        for name, array in outputs.items():
            key = model, version, name
            try:
                counter = self._counters[key]
            except KeyError:
                counter = self._counters[key] = self._counter(key, array)
            if counter is None:
                continue
            try:
                counter(array, outputs)
            except (ValueError, TypeError, IndexError) as error:
                # Outputs that only look like ours must not cost anybody an answer.
                _log.warning("output %s of %s is not counted: %s", name, model, error)
                self._counters[key] = None

    def _counter(
        self, key: tuple[str, int, str], array: Array
    ) -> Callable[[Array, Outputs], None] | None:
        model, version, name = key
        kind, rank = array.dtype.kind, array.ndim
        if name.endswith("_present"):
            one = name.removesuffix("_present")
            return self._presence(model, one) if (kind, rank) == ("b", 1) else None
        if name.endswith("_abstained"):
            head = name.removesuffix("_abstained")
            return self._abstained(model, head) if (kind, rank) == ("b", 1) else None
        heads = self._heads.get((model, version), {})
        if name.endswith("_scores"):
            head = name.removesuffix("_scores")
            if (kind, rank) != ("f", 2):
                return None
            labels = heads[head].labels if head in heads else _positions(array)
            return self._scores(model, head, labels)
        if name.endswith(_SUFFIXES):
            return None
        if kind == "O" and rank == 1 and name in heads:
            return self._names(model, name, heads[name])
        if kind == "f" and rank == 1:
            return self._numbers(model, name)
        return None

    def _presence(self, model: str, name: str) -> Callable[[Array, Outputs], None]:
        present = self._inputs(model, name, "present")
        absent = self._inputs(model, name, "absent")

        def count(array: Array, _: Outputs) -> None:
            there = int(np.count_nonzero(array))
            if there:
                present.inc(there)
            if there < len(array):
                absent.inc(len(array) - there)

        return count

    def _abstained(self, model: str, head: str) -> Callable[[Array, Outputs], None]:
        abstained = self._abstentions(model, head, "true")
        answered = self._abstentions(model, head, "false")

        def count(array: Array, _: Outputs) -> None:
            unsure = int(np.count_nonzero(array))
            abstained.inc(unsure)
            answered.inc(len(array) - unsure)

        return count

    def _scores(
        self, model: str, head: str, labels: tuple[str, ...]
    ) -> Callable[[Array, Outputs], None]:
        top_score = self._top_score(model, head)
        not_finite = self._not_finite(model, head)
        classes = [self._predictions(model, head, label) for label in labels]
        selected = f"{head}_selected"

        def count(array: Array, outputs: Outputs) -> None:
            top = array.max(axis=1)
            finite = np.isfinite(top)
            if not finite.all():
                not_finite.inc(int(np.count_nonzero(~finite)))
                top, array = top[finite], array[finite]
            top_score.observe_many(top)
            if selected in outputs:
                chosen = np.count_nonzero(outputs[selected], axis=0)
            else:
                chosen = np.bincount(array.argmax(axis=1))
            for place in np.flatnonzero(chosen).tolist():
                classes[place].inc(int(chosen[place]))

        return count

    def _names(
        self, model: str, name: str, head: Head
    ) -> Callable[[Array, Outputs], None]:
        """Where only the class was asked for, and so no scores are at hand."""
        scores = f"{name}_scores"
        known = {
            label.encode(): self._predictions(model, name, label)
            for label in head.labels
        }
        separator = head.separator and head.separator.encode()

        def count(array: Array, outputs: Outputs) -> None:
            if scores in outputs:
                return
            for answer in array.tolist():
                for one in answer.split(separator) if separator else (answer,):
                    if one:  # of several labels, none
                        (known.get(one) or self._predictions(model, name, OTHER)).inc()

        return count

    def _numbers(self, model: str, head: str) -> Callable[[Array, Outputs], None]:
        values = self._values(model, head)
        above = self._magnitudes(model, head, "positive")
        below = self._magnitudes(model, head, "negative")
        not_finite = self._not_finite(model, head)

        def count(array: Array, _: Outputs) -> None:
            finite = array[np.isfinite(array)].astype(np.float64)
            if len(finite) < len(array):
                not_finite.inc(len(array) - len(finite))
            values.observe_many(finite)
            total, magnitude = float(finite.sum()), float(np.abs(finite).sum())
            above.inc((magnitude + total) / 2)
            below.inc((magnitude - total) / 2)

        return count


def _positions(array: Array) -> tuple[str, ...]:
    return Head.of([str(place) for place in range(array.shape[1])]).labels
