"""What is learned from, how, and what a model must show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.schema import fraction, not_negative, option, positive, required


@dataclass(frozen=True)
class ParameterGroup:
    """Variables whose path matches, with their own pace."""

    pattern: str = required("Regular expression searched in the variables' paths.")
    learning_rate_multiplier: float = option(1.0, "Factor on the learning rate.")
    frozen: bool = option(
        False,
        "True: the matching weights do not learn; batch normalization all of whose"
        " weights match keeps its statistics too.",
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "learning_rate_multiplier")
        try:
            re.compile(self.pattern)
        except re.error as error:
            yield f"pattern: not a regular expression ({error})."


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights are found."""

    epochs: int = option(20, "Passes over the train split, at most.")
    batch_size: int = option(64, "Examples per step over all replicas.")
    learning_rate: float = option(1e-3, "AdamW's peak learning rate.")
    weight_decay: float = option(1e-4, "AdamW's decoupled weight decay.")
    warmup_fraction: float = option(
        0.1, "Share of all steps over which the learning rate rises from 0."
    )
    final_learning_rate_fraction: float = option(
        0.01, "Where the cosine decay ends, as a share of the peak."
    )
    clip_norm: float | None = option(
        1.0, "Bound on the global norm of the gradients, summed over all replicas."
    )
    ema_momentum: float | None = option(
        None,
        "Keep and use an exponential average of the weights and of what batch"
        " normalization counted; null = off.",
    )
    soup: int = option(
        1,
        "How many of the best epochs may be averaged, each only if `monitor` gets better"
        " by it (greedy soup, Wortsman et al. 2022); 1 = the best one alone.",
    )
    parameter_groups: tuple[ParameterGroup, ...] = option(
        (), "Own learning rates and freezing; the last match wins."
    )
    modality_dropout: float = option(
        0.2,
        "Chance that a present input is hidden from a training example: what makes"
        " any input optional when serving; one always stays.",
    )
    batch_norm_momentum: float = option(
        0.9,
        "Of batch normalization's running statistics; Keras' 0.99 needs thousands of"
        " steps to settle, which small data sets do not have.",
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option(
        "float32",
        "Of training: mixed_bfloat16 for recent GPUs; mixed_float16 is slow on CPUs."
        " The exported model computes in float32.",
    )
    jit_compile: bool = option(
        False, "XLA: slower to start, faster on GPUs; off suits a CPU."
    )
    monitor: str | None = option(
        None,
        "What early stopping, the best epoch and the soup look at on the selection"
        " split: a metric of the first head, such as balanced_accuracy, or HEAD/METRIC,"
        " any that thresholds know; null = the loss. A stage that teaches no head looks"
        " at its loss.",
    )
    early_stopping_patience: int | None = option(
        10,
        "Epochs without a better value of `monitor` before stopping; null = never. Under a"
        " cosine decay the best epochs come late: patience must bridge the noise.",
    )
    shuffle_buffer: int = option(
        4096, "Examples held for shuffling; with a ranking head, its groups."
    )
    cache: bool = option(
        True, "Keep preprocessed examples in memory: right for up to some 100,000."
    )

    def problems(self) -> Iterator[str]:
        yield from positive(
            self, "epochs", "batch_size", "learning_rate", "clip_norm", "soup",
            "shuffle_buffer", "early_stopping_patience",
        )  # fmt: skip
        yield from fraction(
            self, "warmup_fraction", "modality_dropout", "batch_norm_momentum"
        )
        yield from fraction(self, "final_learning_rate_fraction", below_one=False)
        yield from fraction(self, "ema_momentum")
        yield from not_negative(self, "weight_decay")


@dataclass(frozen=True)
class Threshold:
    """A condition for the blessing."""

    metric: str = required(
        "accuracy, log_loss, balanced_accuracy, macro_recall, macro_f1 or auc"
        " (classification); mae or rmse (regression); accuracy, mae,"
        " quadratic_weighted_kappa, log_loss, balanced_accuracy, macro_recall or"
        " macro_f1 (ordinal); precision_of_CLASS, recall_of_CLASS or f1_of_CLASS of one"
        " class (both); ndcg_at_K, or mrr with `relevant_from` (ranking);"
        " vqa_accuracy; recall_at_1, recall_at_5, recall_at_10 or median_rank, each also"
        " with _A_to_B behind it (retrieval)."
    )
    head: str | None = option(None, "Head; null = the first one.")
    minimum: float | None = option(None, "The metric must be at least this.")
    maximum: float | None = option(None, "The metric must be at most this.")
    max_worsening: float | None = option(
        None, "At most this much worse than the last blessed model; null = no limit."
    )
    beyond_noise: bool = option(
        False,
        "True: max_worsening refuses only what can also be told from noise, by a paired"
        " bootstrap of the rows. Two equally good models differ by more than 0.01 on"
        " 300 rows in one case of four.",
    )
    every_slice: bool = option(
        False, "True: on each of evaluation.slices too, not only on all rows together."
    )

    def problems(self) -> Iterator[str]:
        if self.minimum is None and self.maximum is None and self.max_worsening is None:
            yield "give minimum, maximum or max_worsening, or remove the threshold."
        if self.beyond_noise and self.max_worsening is None:
            yield "beyond_noise: says how max_worsening is taken; give that too."


@dataclass(frozen=True)
class EvaluationConfig:
    """What a model must show before it is pushed."""

    thresholds: tuple[Threshold, ...] = option(
        (),
        "Conditions for the blessing; empty = the first head's first metric (accuracy,"
        " mae, NDCG, VQA accuracy, recall) may not be worse than the last blessed"
        " model's by more than 0.01 and by more than noise (`beyond_noise`).",
    )
    slices: tuple[tuple[str, ...], ...] = option(
        (), "Manifest columns, alone or crossed, whose values are judged apart."
    )
    compare: tuple[
        Literal["scratch", "pretrained", "linear_probe", "lora", "full"], ...
    ] = option(
        (),
        "Ways to train the last stage that are trained besides and compared on the same"
        " rows, each with the first: scratch, without `from`; pretrained, what it"
        " starts from; linear_probe; lora, with the stage's or the default settings;"
        " full, all weights. Each but pretrained costs a training.",
    )
    allow_worse_than_constant: bool = option(
        False,
        "True: bless a model of which a head is worse than the best constant answer (the"
        " most frequent class, the median; of retrieval chance) by more than noise.",
    )
