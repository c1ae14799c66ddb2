"""What is predicted: one dataclass for each `kind:` of head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from trainer.schema import fraction, nearest, not_negative, option, required


def _head_problems(head: HeadConfig) -> Iterator[str]:
    yield from not_negative(head, "weight", "auxiliary_weight")
    if head.late_fusion and not head.auxiliary_weight:
        yield "late_fusion: needs auxiliary_weight above 0, or what it adds is noise."


@dataclass(frozen=True)
class ClassificationHead:
    """One class of several, or any number of them (multi_label)."""

    name: str = required("Name of the head in answers and metrics.")
    classes: tuple[str, ...] = required("The classes; a row with another is set aside.")
    kind: Literal["classification"] = "classification"
    column: str | None = option(None, "Manifest column; null = the name.")
    multi_label: bool = option(False, "True: any number of classes per row.")
    separator: str = option("|", "Between the labels of a multi-label row.")
    allow_missing: bool = option(
        False, "True keeps rows without a label; they teach only other objectives."
    )
    class_weights: Literal["balanced"] | dict[str, float] | None = option(
        None, "Weight of each class in the loss; balanced = inverse frequency."
    )
    label_smoothing: float = option(0.0, "Share of the label's mass spread evenly.")
    abstain_below: float | None = option(
        None,
        "Top score, 0 to 1, below which `NAME_abstained` is answered true beside the"
        " class: better left to a person; null answers no such output.",
    )
    weight: float = option(1.0, "Weight of this head among the heads.")
    auxiliary_weight: float = option(
        0.0,
        "Weight of the loss of one extra linear head per input, on that input alone:"
        " keeps a strong input from stopping a weak one's learning; not answered.",
    )
    late_fusion: bool = option(
        False,
        "True adds the extra heads' logits of the present inputs to the fused ones:"
        " the product of the inputs' opinions, corrected by what they say together.",
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "label_smoothing")
        yield from fraction(self, "abstain_below", below_one=False)
        yield from _head_problems(self)
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            yield "classes: need at least two different classes."
        for one in self.classes:
            if self.multi_label and self.separator and self.separator in one:
                yield f"separator: is part of the class {one!r}; choose another."
        if "" in self.classes:
            yield "classes: an empty string is a missing label, never a class."
        if isinstance(self.class_weights, Mapping):
            for extra in sorted(set(self.class_weights) - set(self.classes)):
                yield (
                    f"class_weights.{extra}: not a class.{nearest(extra, self.classes)}"
                )


@dataclass(frozen=True)
class RegressionHead:
    """One number per row; learned in units of its standard deviation."""

    name: str = required("Name of the head in answers and metrics.")
    kind: Literal["regression"] = "regression"
    column: str | None = option(None, "Manifest column; null = the name.")
    allow_missing: bool = option(
        False, "True keeps rows without a label; they teach only other objectives."
    )
    loss: Literal["mse", "huber"] = option(
        "mse", "huber is less moved by outlying targets."
    )
    weight: float = option(1.0, "Weight of this head among the heads.")
    auxiliary_weight: float = option(
        0.0, "Weight of the loss of one extra linear head per input; not answered."
    )
    late_fusion: bool = option(
        False, "True adds the extra heads' predictions to the fused one."
    )

    def problems(self) -> Iterator[str]:
        yield from _head_problems(self)


HeadConfig = ClassificationHead | RegressionHead
