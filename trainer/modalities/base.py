"""What a modality is: one class per file, made from one input's config."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from trainer.config import InputConfig
from trainer.features import Feature, input_features, present_key
from trainer.layer_names import input_layers
from trainer.layers import Encoded
from trainer.positions import Positions

C = TypeVar("C", bound=InputConfig)
Tensors = dict[str, Any]

UNKNOWN = "unknown:"
"""Among the names of a table's rows: a category that is in no vocabulary."""


@dataclass(frozen=True)
class Resources:
    """What the full pass over the train split found; constants of the model.

    Attributes:
        vocabularies: text input -> its WordPiece vocabulary.
        categories: categorical feature -> number of values in its vocabulary.
        statistics: regression head -> (mean, standard deviation) of its label.
        class_counts: classification head -> rows per class.
        answers: VQA head -> the answers that it can give, the most frequent first.
        category_names: categorical feature -> the values of its vocabulary, in order.
    """

    vocabularies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)
    statistics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    class_counts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    category_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Modality(ABC, Generic[C]):
    """How one input is stored, analyzed, preprocessed and encoded.

    `analyze` runs inside Transform only; `preprocess` is traced both by the training
    data set and by the serving graph, so it may use TF core and TF Text ops only and
    no randomness; `encoder` makes Keras layers.
    """

    def __init__(self, config: C) -> None:
        self.config = config
        self.name = config.name

    @property
    def features(self) -> tuple[Feature, ...]:
        """What is stored for this input."""
        return input_features(self.config)

    @property
    def present(self) -> str:
        """Key of this input's presence mask."""
        return present_key(self.name)

    @property
    def layers(self) -> str:
        """What the names of this input's layers begin with, before a dot."""
        return input_layers(self.name)

    def analyze(self, values: Tensors) -> Tensors:
        """Stored values -> transformed features, with full-pass statistics.

        Args:
            values: feature key -> dense [batch]; "" or NaN where absent.
        """
        return {f.key: values[f.key] for f in self.features}

    def constants(self, values: Tensors) -> Tensors:
        """Scalar results of a full pass that training and serving need; name -> tensor."""
        return {}

    @abstractmethod
    def specs(self, resources: Resources) -> dict[str, tuple[tuple[int, ...], str]]:
        """Preprocessed tensors: key -> (shape without batch, dtype)."""

    @abstractmethod
    def preprocess(self, transformed: Tensors, resources: Resources) -> Tensors:
        """Transformed features -> the tensors of `specs` and the presence mask."""

    @property
    def pictures(self) -> tuple[str, ...]:
        """Keys of the preprocessed tensors that hold pixels in [0, 255]."""
        return ()

    def answers(self, tensors: Tensors) -> Tensors:
        """What the signatures answer about this input: bool [batch] each, by name.

        Args:
            tensors: of `specs`, and the presence mask.
        """
        return {self.present: tensors[self.present]}

    @property
    def categories(self) -> tuple[str, ...]:
        """The features of this input whose values Transform makes a vocabulary of."""
        return tuple(f.key for f in self.features if f.kind == "categorical")

    def axes(
        self, layer: str, weight: str, resources: Resources
    ) -> Mapping[int, tuple[str, ...]]:
        """What the places along a weight's axes stand for, where they have names.

        Args:
            layer: its name behind that of the input.
            weight: its path in the layer.
        """
        return {}

    def positions(
        self, resources: Resources, size: int | None = None
    ) -> Positions | None:
        """Where this input can be hidden in part; None = only as a whole.

        Args:
            size: of a position, in the modality's own unit; None = as it suits.
        """
        return None

    @abstractmethod
    def encoder(self, tensors: Tensors, dim: int, resources: Resources) -> Encoded:
        """Keras tensors of `specs` -> tokens [batch, sequence, dim], pooled [batch, dim]."""
