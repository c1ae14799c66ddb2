"""The objectives' share of the config: what a stage learns from, in any weighted mix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.schema import fraction, not_negative, option, positive, required

_LEAST_TEMPERATURE = 0.01
"""CLIP's bound: one over it, 100, is as large as the learned scale may become."""


def _pair_problems(pairs: tuple[tuple[str, ...], ...] | None) -> Iterator[str]:
    if pairs is not None and not pairs:
        yield "pairs: name at least one; null = every pair of inputs."
    for i, pair in enumerate(pairs or ()):
        if len(pair) != 2 or pair[0] == pair[1]:
            yield f"pairs[{i}]: needs two different inputs. Received: {list(pair)}"


def _input_problems(inputs: tuple[str, ...] | None) -> Iterator[str]:
    if inputs is not None and not inputs:
        yield "inputs: name at least one; null = all of the kind."


@dataclass(frozen=True)
class SupervisedObjective:
    """Every head's loss on the rows that carry its label."""

    weight: float = option(1.0, "Weight among the objectives.")

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight")


@dataclass(frozen=True)
class ContrastiveObjective:
    """Pairs of inputs of one row agree more than those of different rows.

    CLIP's symmetric InfoNCE (Radford et al. 2021) or SigLIP's pairwise sigmoid (Zhai et
    al. 2023) over pairs of inputs; or two masked views of every row.
    """

    weight: float = option(1.0, "Weight among the objectives.")
    pairs: tuple[tuple[str, ...], ...] | None = option(
        None, "Pairs of inputs, `[[image, note]]`; null = every pair of inputs."
    )
    loss: Literal["softmax", "sigmoid"] = option(
        "softmax", "softmax = InfoNCE; sigmoid = each pair on its own, SigLIP."
    )
    views: Literal["inputs", "masked"] = option(
        "inputs",
        "masked = a positive and a negative view of each row in place of two inputs.",
    )
    masked_positions: int = option(
        4, "Positions of each input that a masked view loses (views: masked)."
    )
    dim: int = option(128, "Size of the space in which embeddings are compared.")
    temperature: float = option(
        0.07,
        "Where the learned temperature of softmax starts (CLIP's 0.07); it ends at 0.01."
        " Sigmoid starts at SigLIP's 0.1; with masked views it stays as it is.",
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight")
        yield from positive(self, "dim", "masked_positions")
        if not _LEAST_TEMPERATURE <= self.temperature <= 1:
            yield f"temperature: must be in [0.01, 1]. Received: {self.temperature!r}"
        yield from _pair_problems(self.pairs)
        if self.views == "masked" and self.loss == "sigmoid":
            yield "loss: sigmoid is for views: inputs."
        if self.views == "masked" and self.pairs is not None:
            yield "pairs: are for views: inputs; a masked view is of a whole row."


@dataclass(frozen=True)
class MaskedLmObjective:
    """Hidden tokens are told from the rest of the text and the other inputs.

    BERT's masked language model (Devlin et al. 2019).
    """

    weight: float = option(1.0, "Weight among the objectives.")
    inputs: tuple[str, ...] | None = option(None, "Text inputs; null = all of them.")
    rate: float = option(0.15, "Share of the tokens to be predicted.")
    whole_word: bool = option(
        False, "True: all pieces of a word are hidden together, or none."
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight")
        yield from fraction(self, "rate")
        yield from positive(self, "rate")
        yield from _input_problems(self.inputs)


@dataclass(frozen=True)
class MaskedImageObjective:
    """Hidden patches of a picture are told from the rest and the other inputs.

    Masked autoencoding (He et al. 2022), across inputs as in FLAVA (Singh et al. 2022).
    """

    weight: float = option(1.0, "Weight among the objectives.")
    inputs: tuple[str, ...] | None = option(None, "Image inputs; null = all of them.")
    rate: float = option(0.6, "Share of the patches that are hidden.")
    patch: int = option(4, "Side of a patch, pixels; divides height and width.")
    normalize: bool = option(
        True, "Patches are compared after each has mean 0 and deviation 1."
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight")
        yield from fraction(self, "rate")
        yield from positive(self, "rate", "patch")
        yield from _input_problems(self.inputs)


@dataclass(frozen=True)
class MaskedAudioObjective:
    """Hidden stretches of a log-mel spectrogram are told from the rest."""

    weight: float = option(1.0, "Weight among the objectives.")
    inputs: tuple[str, ...] | None = option(None, "Audio inputs; null = all of them.")
    rate: float = option(0.5, "Share of the stretches that are hidden.")
    frames: int = option(4, "Frames of a stretch.")
    normalize: bool = option(
        True, "Stretches are compared after each has mean 0 and deviation 1."
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight")
        yield from fraction(self, "rate")
        yield from positive(self, "rate", "frames")
        yield from _input_problems(self.inputs)


@dataclass(frozen=True)
class MatchingObjective:
    """Whether two inputs are of one row, against the hardest of the batch.

    Image-text matching with negatives drawn by similarity (ALBEF, Li et al. 2021): by
    `contrastive` of the same stage, or the pair's retrieval head.
    """

    weight: float = option(1.0, "Weight among the objectives.")
    pairs: tuple[tuple[str, ...], ...] | None = option(
        None, "Pairs of inputs; null = every pair of inputs."
    )
    temperature: float = option(
        0.1, "Of the similarities by which negatives are drawn; lower = harder."
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight")
        yield from positive(self, "temperature")
        yield from _pair_problems(self.pairs)


@dataclass(frozen=True)
class MixMatchObjective:
    """Labelled and unlabelled rows mixed, with guessed labels (Berthelot et al. 2019).

    Over the fused embedding; a row without the head's label is unlabelled. In the place
    of `supervised` for that head.
    """

    weight: float = option(1.0, "Weight among the objectives.")
    head: str | None = option(
        None, "Head with one class per row; null = the first head."
    )
    augmentations: int = option(
        2, "Views of each row; their predictions are averaged to a guess."
    )
    anchor: bool = option(
        False,
        "True: a row is guessed from itself, not from its augmented views (ReMixMatch,"
        " Berthelot et al. 2020): where those are much harder to tell.",
    )
    temperature: float = option(0.5, "Of the sharpened guess; 1 = not sharpened.")
    alpha: float = option(0.75, "Of MixUp's Beta(alpha, alpha).")
    unlabelled_weight: float = option(
        10.0, "Weight of the unlabelled rows' loss, after the ramp."
    )
    ramp_up_epochs: int = option(
        10, "Epochs over which that weight rises from 0: early guesses are poor."
    )
    labelled_share: float = option(
        0.5,
        "Share of each batch that are labelled rows, drawn again and again beside an"
        " epoch of all rows; half of it in the paper. 0 = rows as they come.",
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight", "unlabelled_weight", "ramp_up_epochs")
        yield from fraction(self, "labelled_share")
        yield from positive(self, "augmentations", "temperature", "alpha")


@dataclass(frozen=True)
class PclObjective:
    """Rows agree with the prototype of their cluster (PCL, Li et al. 2021)."""

    weight: float = option(1.0, "Weight among the objectives.")
    clusters: tuple[int, ...] = option(
        (25, 50, 100), "Numbers of clusters, one clustering for each."
    )
    momentum: float = option(
        0.99, "Of the slow encoder; 0.999 needs tens of thousands of steps."
    )
    temperature: float = option(0.1, "Of the rows' own contrast, and mean of phi.")
    smoothing: float = option(10.0, "alpha of phi: keeps small clusters from collapse.")
    warmup_epochs: int = option(
        2, "Epochs of the rows' own contrast before the first clustering."
    )
    dim: int = option(128, "Size of the space in which embeddings are compared.")

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight", "warmup_epochs")
        yield from fraction(self, "momentum")
        yield from positive(self, "temperature", "smoothing", "dim", "clusters")
        if not self.clusters:
            yield "clusters: at least one number is needed."


@dataclass(frozen=True)
class DistillationObjective:
    """A finished model's answers are learned (Hinton et al. 2015)."""

    teacher: str = required(
        "Folder of an exported model, or a .keras file, with the same inputs and heads."
    )
    weight: float = option(1.0, "Weight among the objectives.")
    temperature: float = option(2.0, "Softens the teacher's and the student's scores.")
    feature_weight: float = option(
        0.0, "Weight of the cosine distance to the teacher's fused embedding; 0 = off."
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight", "feature_weight")
        yield from positive(self, "temperature")


@dataclass(frozen=True)
class ObjectivesConfig:
    """What the model learns from: any weighted mix of what is named, and nothing else."""

    supervised: SupervisedObjective | None = option(None, "The heads' losses.")
    contrastive: ContrastiveObjective | None = option(
        None, "Inputs of one row agree, or two views of it."
    )
    masked_lm: MaskedLmObjective | None = option(None, "Hidden tokens are predicted.")
    masked_image: MaskedImageObjective | None = option(
        None, "Hidden patches of pictures are predicted."
    )
    masked_audio: MaskedAudioObjective | None = option(
        None, "Hidden stretches of sounds are predicted."
    )
    matching: MatchingObjective | None = option(
        None, "Whether two inputs belong together is predicted."
    )
    mixmatch: MixMatchObjective | None = option(
        None, "Unlabelled rows take part by guessed labels."
    )
    pcl: PclObjective | None = option(None, "Rows agree with their cluster.")
    distillation: DistillationObjective | None = option(
        None, "Another model's answers are learned."
    )


def labels_alone() -> ObjectivesConfig:
    """What is learned from where no objectives are named."""
    return ObjectivesConfig(supervised=SupervisedObjective())
