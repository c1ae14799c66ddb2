"""What is predicted: one dataclass for each `kind:` of head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from trainer.abstention_config import FoundThreshold
from trainer.names import Answering
from trainer.schema import fraction, nearest, not_negative, option, positive, required

LabelKind = Literal["classes", "number", "texts", "group", "none"]
"""What a label is: names out of a list, a finite number, any texts, the name of a group
of rows; none where the inputs themselves are what is learned."""


def _head_problems(head: HeadConfig) -> Iterator[str]:
    yield from not_negative(head, "weight", "auxiliary_weight")
    if head.late_fusion and not head.auxiliary_weight:
        yield "late_fusion: needs auxiliary_weight above 0, or what it adds is noise."


def _class_problems(head: ClassificationHead | OrdinalHead) -> Iterator[str]:
    if len(set(head.classes)) != len(head.classes) or len(head.classes) < 2:
        yield "classes: need at least two different classes."
    if "" in head.classes:
        yield "classes: an empty string is a missing label, never a class."


@dataclass(frozen=True)
class ClassificationHead(Answering):
    """One class of several, or any number of them (multi_label)."""

    label: ClassVar[LabelKind] = "classes"
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
    calibrate: bool = option(
        True,
        "Divide the logits by temperatures found on the selection split, so that scores"
        " are right as often as they say; the answered class stays the same.",
    )
    abstain_below: float | FoundThreshold | None = option(
        None,
        "Top score, 0 to 1, below which `NAME_abstained` is answered true beside the"
        " class: better left to a person; or what to find it for, for each set of"
        " inputs; null answers no such output.",
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

    @property
    def answers(self) -> tuple[str, ...]:
        ends = ["", "_scores", "_classes", *["_selected"] * self.multi_label]
        ends += ["_abstained"] * (self.abstain_below is not None)
        return tuple(self.name + end for end in ends)

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "label_smoothing")
        if isinstance(self.abstain_below, float):
            yield from fraction(self, "abstain_below", below_one=False)
        yield from _head_problems(self)
        yield from _class_problems(self)
        for one in self.classes:
            if self.multi_label and self.separator and self.separator in one:
                yield f"separator: is part of the class {one!r}; choose another."
        if isinstance(self.class_weights, Mapping):
            for extra in sorted(set(self.class_weights) - set(self.classes)):
                yield (
                    f"class_weights.{extra}: not a class.{nearest(extra, self.classes)}"
                )


@dataclass(frozen=True)
class RegressionHead(Answering):
    """One number per row; learned in units of its standard deviation."""

    label: ClassVar[LabelKind] = "number"
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


@dataclass(frozen=True)
class OrdinalHead(Answering):
    """One class of several that have an order, such as the grades of a disease."""

    label: ClassVar[LabelKind] = "classes"
    ends: ClassVar[tuple[str, ...]] = ("", "_scores", "_classes")
    name: str = required("Name of the head in answers and metrics.")
    classes: tuple[str, ...] = required(
        "The classes from the lowest to the highest; a row with another is set aside."
    )
    kind: Literal["ordinal"] = "ordinal"
    column: str | None = option(None, "Manifest column; null = the name.")
    allow_missing: bool = option(
        False, "True keeps rows without a label; they teach only other objectives."
    )
    method: Literal["coral", "corn"] = option(
        "coral",
        "coral: one direction and a threshold between each two classes, which few rows"
        " can teach; corn: a classifier for each threshold.",
    )
    calibrate: bool = option(
        True,
        "Divide the logits by temperatures found on the selection split, so that scores"
        " are right as often as they say.",
    )
    weight: float = option(1.0, "Weight of this head among the heads.")
    auxiliary_weight: float = option(
        0.0, "Weight of the loss of one extra head per input; not answered."
    )
    late_fusion: bool = option(
        False, "True adds the extra heads' logits of the present inputs to the fused."
    )

    def problems(self) -> Iterator[str]:
        yield from _head_problems(self)
        yield from _class_problems(self)


@dataclass(frozen=True)
class RankingHead(Answering):
    """A score by which the rows of a group are put in order: recommendation, search."""

    label: ClassVar[LabelKind] = "number"
    name: str = required("Name of the head in answers and metrics.")
    group: str = required(
        "Manifest column whose equal values make one list (query, user, session)."
    )
    kind: Literal["ranking"] = "ranking"
    column: str | None = option(
        None, "Manifest column of the relevance, a number from 0 up; null = the name."
    )
    allow_missing: bool = option(
        False, "True keeps rows without a relevance; they teach only other objectives."
    )
    loss: Literal["listnet", "ranknet", "hinge"] = option(
        "listnet",
        "listnet: a softmax over the whole list; ranknet, hinge: pairs of it.",
    )
    gain: Literal["exponential", "linear"] = option(
        "exponential",
        "What a relevance r is worth in NDCG: 2^r - 1, for grades such as 0 to 4, or r"
        " itself, for counts and prices.",
    )
    top_k: tuple[int, ...] = option((10,), "NDCG is judged on so many first places.")
    relevant_from: float | None = option(
        None,
        "Least relevance of a row that answers the query, above 0, such as 4 of 5 stars:"
        " what MRR looks for; null = no MRR.",
    )
    weight: float = option(1.0, "Weight of this head among the heads.")
    auxiliary_weight: float = option(
        0.0, "Weight of the loss of one extra linear head per input; not answered."
    )
    late_fusion: bool = option(
        False, "True adds the extra heads' scores to the fused one."
    )

    def problems(self) -> Iterator[str]:
        yield from _head_problems(self)
        yield from positive(self, "top_k", "relevant_from")
        if not self.top_k or len(set(self.top_k)) != len(self.top_k):
            yield "top_k: need at least one number, each once."


@dataclass(frozen=True)
class VqaHead(Answering):
    """An answer to a question, out of the most frequent answers of the train split."""

    label: ClassVar[LabelKind] = "texts"
    ends: ClassVar[tuple[str, ...]] = ("", "_scores", "_classes")
    name: str = required("Name of the head in answers and metrics.")
    kind: Literal["vqa"] = "vqa"
    column: str | None = option(
        None, "Manifest column of the answers; null = the name."
    )
    question: str | None = option(
        None,
        "Text input that asks: its embedding gates the fused one; null = the fused one"
        " is read alone.",
    )
    max_answers: int = option(
        1000, "The most frequent answers that can be given; others count as unknown."
    )
    annotators: int = option(
        10, "At most so many answers of a row are read, of one annotator each."
    )
    separator: str = option("|", "Between the answers of a row; a list needs none.")
    lowercase: bool = option(True, "Yes and yes are one answer.")
    allow_missing: bool = option(
        False, "True keeps rows without an answer; they teach only other objectives."
    )
    loss: Literal["softmax", "sigmoid"] = option(
        "softmax",
        "softmax: one answer is right; sigmoid: each on its own, for thousands of"
        " answers and many annotators (Teney et al. 2018).",
    )
    top_k: int = option(5, "So many best answers are returned with their scores.")
    weight: float = option(1.0, "Weight of this head among the heads.")
    auxiliary_weight: float = option(
        0.0, "Weight of the loss of one extra linear head per input; not answered."
    )
    late_fusion: bool = option(
        False, "True adds the extra heads' logits of the present inputs to the fused."
    )

    def problems(self) -> Iterator[str]:
        yield from _head_problems(self)
        yield from positive(self, "max_answers", "annotators", "top_k")


@dataclass(frozen=True)
class RetrievalHead(Answering):
    """Embeddings by which two inputs of a row find each other; needs no label."""

    label: ClassVar[LabelKind] = "none"
    auxiliary_weight: ClassVar[float] = 0.0
    late_fusion: ClassVar[bool] = False
    name: str = required("Name of the head in answers and metrics.")
    pair: tuple[str, ...] = required("The two inputs, such as a picture and its text.")
    kind: Literal["retrieval"] = "retrieval"
    dim: int = option(128, "Size of the embeddings.")
    temperature: float = option(
        0.07, "Where the learned temperature starts (CLIP's 0.07); it ends at 0.01."
    )
    match: Literal["vectors", "fused"] | None = option(
        None,
        "Adds the answer `NAME_match`: how likely the two inputs of a row belong"
        " together, learned by the objective `matching`. Evaluation puts the nearest"
        " pairs in order by it once more. vectors = read off the two embeddings, less"
        " what all of their kind have in common; fused = off the fused embedding too,"
        " for sets much larger than a thousand pairs; null = no such answer.",
    )
    weight: float = option(1.0, "Weight of this head among the heads.")

    @property
    def answers(self) -> tuple[str, ...]:
        vectors = tuple(f"{self.name}_embedding_{name}" for name in self.pair)
        return (*vectors, f"{self.name}_match") if self.match else vectors

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight")
        yield from positive(self, "dim")
        if len(self.pair) != 2 or self.pair[0] == self.pair[1]:
            yield f"pair: need two different inputs. Received: {list(self.pair)}"
        if not 0.01 <= self.temperature <= 1:
            yield f"temperature: must be in [0.01, 1]. Received: {self.temperature!r}"


HeadConfig = (
    ClassificationHead
    | RegressionHead
    | OrdinalHead
    | RankingHead
    | VqaHead
    | RetrievalHead
)
