"""TFMA metrics that compare two answers to the same rows, and leave noise aside.

What a threshold of TFMA compares is two figures; on a few hundred rows those of two
equal models differ. These metrics are the gain in a head's metric, or 0 where it cannot
be told from noise by the paired bootstrap: over the constant answer, and over the last
blessed model. A slice's own rows tell of that slice.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Literal

import tensorflow_model_analysis as tfma

from pipeline.constant import against_constant, paired
from pipeline.whole_split import Gather, Rows
from trainer.features import GROUP_KEY

Other = Literal["constant", "baseline"]


_BETWEEN = "_gain_over_"


def gain_name(metric: str, other: Other) -> str:
    """What TFMA calls the gain in a metric."""
    return f"{metric}{_BETWEEN}{other}"


def gain_of(name: str) -> tuple[str, str]:
    """The metric of a `gain_name` and the other side; of other names "" as that."""
    metric, _, other = name.partition(_BETWEEN)
    return metric, other


class GainBeyondNoise(tfma.metrics.Metric):
    """By how much a model is better than something else; 0 where chance may be why.

    Above 0 is better, whichever way the metric points.

    Args:
        head: the head's config, from `whole_split.head_json`.
        metric: one of the head's `row_metrics`.
        other: what the model is compared with: the best constant answer, or the model
            that TFMA takes as the baseline; without one the gain is 0.
        seed: of the bootstrap.
        name: of `gain_name`.
        code: version of the code that computes it, for the pipeline's cache alone.
    """

    def __init__(
        self,
        head: str,
        metric: str,
        other: Other,
        seed: int,
        name: str,
        code: str = "",
    ) -> None:
        del code
        super().__init__(
            _computations, head=head, metric=metric, other=other, seed=seed, name=name
        )


def _computations(
    head: str,
    metric: str,
    other: Other,
    seed: int,
    name: str,
    eval_config: Any = None,
    model_names: Iterable[str] | None = None,
    output_names: Iterable[str] | None = None,
    example_weighted: bool = False,
) -> list[Any]:
    specs = eval_config.model_specs if eval_config is not None else ()
    baseline = next((spec.name for spec in specs if spec.is_baseline), None)
    computations = []
    for model in model_names or [""]:
        for output in output_names or [""]:
            key = tfma.metrics.MetricKey(
                name,
                model_name=model,
                output_name=output,
                example_weighted=example_weighted,
            )
            # Of the baseline itself nothing is asked; TFMA wants a figure of it.
            against = baseline if other == "baseline" and model != baseline else None
            gathered = _Gain(head, metric, seed, model, key, other, against)
            features = [*gathered.labels, GROUP_KEY]
            computations.append(
                tfma.metrics.MetricComputation(
                    keys=[key],
                    preprocessors=[
                        tfma.metrics.FeaturePreprocessor(feature_keys=features)
                    ],
                    combiner=gathered,
                )
            )
    return computations


class _Gain(Gather):
    def __init__(
        self,
        head: str,
        metric: str,
        seed: int,
        model: str,
        key: Any,
        other: Other,
        baseline: str | None,
    ) -> None:
        super().__init__(head, [model] if baseline is None else [model, baseline])
        self._metric, self._seed, self._key, self._other = metric, seed, key, other

    def extract_output(self, rows: Rows) -> dict[Any, float]:
        return {self._key: self._gain(rows) if rows else 0.0}

    def _gain(self, rows: Rows) -> float:
        model, *others = self._models
        labels = [label for label, _, _ in rows]
        groups = _groups(rows)
        answers = self.answers(rows, model)
        if self._other == "constant":
            found = against_constant(
                self._head, self._metric, labels, answers, groups, self._seed
            )
            return found.gain.beyond_noise if found is not None else 0.0
        if not others:
            return 0.0
        mine, last = (
            self._head.row_scores(labels, given, self._metric)
            for given in (answers, self.answers(rows, others[0]))
        )
        _, _, gain = paired(self._head, self._metric, mine, last, groups, self._seed)
        return gain.beyond_noise if gain.units else 0.0


def _groups(rows: Rows) -> Sequence[Hashable]:
    """What the bootstrap draws together: a row without a group stands for itself."""
    return [i if group is None else group for i, (_, group, _) in enumerate(rows)]
