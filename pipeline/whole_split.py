"""A TFMA metric for what needs all rows of a split at once: ranks, lists, retrieval.

It gathers every row's labels and answers and gives them to the head's own `metrics`, so
that thresholds, slices and the comparison with the last blessed model look at the same
figures as the summary. Media are not gathered; a split's answers fit into memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

from pipeline.stored import stored_labels
from trainer.config import Config, HeadConfig, from_mapping
from trainer.features import GROUP_KEY, head_labels
from trainer.heads import HEADS
from trainer.schema import plain

Rows = list[tuple[Any, Any, dict[str, dict[str, np.ndarray]]]]


def head_json(head: HeadConfig) -> str:
    """The head's config as TFMA's own config carries it."""
    return json.dumps(plain(head), ensure_ascii=False, sort_keys=True)


class WholeSplit(tfma.metrics.Metric):
    """One of a head's metrics, over all rows of a slice.

    Args:
        head: the head's config, from `head_json`.
        name: the metric, one of the head's `named_directions`; also its name in TFMA.
        names: all metrics of that head that are gathered, this one among them.
        code: version of the code that computes it, for the pipeline's cache alone.
    """

    def __init__(self, head: str, name: str, names: list[str], code: str = "") -> None:
        del code
        super().__init__(_computations, head=head, name=name, names=names)


def _computations(
    head: str,
    name: str,
    names: list[str],
    eval_config: Any = None,
    model_names: Iterable[str] | None = None,
    output_names: Iterable[str] | None = None,
    example_weighted: bool = False,
) -> list[Any]:
    computations = []
    for model in model_names or [""]:
        for output in output_names or [""]:
            # All metrics of a head: TFMA runs equal computations once.
            keys = {
                metric: tfma.metrics.MetricKey(
                    metric,
                    model_name=model,
                    output_name=output,
                    example_weighted=example_weighted,
                )
                for metric in names
            }
            gathered = _Metrics(head, model, keys)
            # Without a label there is no feature to look at; an empty list means all.
            inputs = (
                [tfma.metrics.FeaturePreprocessor(feature_keys=gathered.labels)]
                if gathered.labels
                else None
            )
            computations.append(
                tfma.metrics.MetricComputation(
                    keys=list(keys.values()), preprocessors=inputs, combiner=gathered
                )
            )
    return computations


def _config(head: str) -> Config:
    """A config of that head alone, with whatever inputs it names."""
    mapping = json.loads(head)
    names = [*mapping.get("pair", ()), mapping.get("question") or "polymodal_unused"]
    inputs = [{"name": name, "modality": "text"} for name in names]
    return from_mapping({"name": "judged", "inputs": inputs, "heads": [mapping]})


def _head(head: str) -> Any:
    (one,) = _config(head).heads
    return HEADS[one.kind](one)


class Gather(beam.CombineFn):
    """Rows of (judged label, group, judged answers of each model); a figure at the end.

    Args:
        head: the head's config, from `head_json`.
        models: TFMA's names of the models that are asked.
    """

    def __init__(self, head: str, models: Sequence[str]) -> None:
        self._json, self._models = head, tuple(models)
        self.labels = [label.key for label in head_labels(_config(head).heads[0])]

    def setup(self) -> None:
        self._config, self._head = _config(self._json), _head(self._json)

    def create_accumulator(self) -> Rows:
        return []

    def add_input(self, rows: Rows, row: Any) -> Rows:
        stored = {
            key: np.ravel(values).tolist()
            for key, values in (row.get_features() or {}).items()
            if values is not None
        }
        given = {key: stored[key] for key in self.labels if key in stored}
        label = self._head.judged_label(stored_labels(self._config, given))
        if label is not None:
            answers = {}
            for model in self._models:
                predictions = row.get_predictions(model)
                if not isinstance(predictions, Mapping):
                    # TFMA takes the name from a model's only answer.
                    predictions = dict.fromkeys(self._head.judged, predictions)
                answers[model] = {
                    k: np.asarray(predictions[k]) for k in self._head.judged
                }
            group = next(iter(stored.get(GROUP_KEY, ())), None)
            rows.append((label, group, answers))
        return rows

    def merge_accumulators(self, several: Iterable[Rows]) -> Rows:
        return [row for rows in several for row in rows]

    def answers(self, rows: Rows, model: str) -> dict[str, np.ndarray]:
        """What a model answered to the rows, as `Head.metrics` takes it."""
        return {
            key: _stacked(
                [answers[model][key] for _, _, answers in rows], key == self._head.name
            )
            for key in self._head.judged
        }


class _Metrics(Gather):
    """The head's metrics of one model."""

    def __init__(self, head: str, model: str, keys: Mapping[str, Any]) -> None:
        super().__init__(head, [model])
        self._keys = dict(keys)

    def extract_output(self, rows: Rows) -> dict[Any, float]:
        found = {}
        if rows:
            labels = [label for label, _, _ in rows]
            answers = self.answers(rows, self._models[0])
            found = self._head.named_metrics(labels, answers)
        return {key: found.get(m, float("nan")) for m, key in self._keys.items()}


def _stacked(values: list[np.ndarray], single: bool) -> np.ndarray:
    """Rows as `metrics` takes them: texts as str, and a head's own answer without the
    list of one that TFMA makes of it."""
    stacked = np.stack([np.ravel(value) for value in values])
    if stacked.dtype.kind in "OS":
        texts = [text.decode("utf-8") for text in stacked.ravel().tolist()]
        stacked = np.array(texts, object).reshape(stacked.shape)
    return stacked[:, 0] if single else stacked
