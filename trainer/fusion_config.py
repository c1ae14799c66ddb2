"""The fusions' share of the config: one dataclass for each `kind:`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.schema import fraction, not_negative, option, positive


def _divides(
    one: AttentionFusion | BottleneckFusion | PerceiverFusion,
) -> Iterator[str]:
    if one.heads > 0 and one.dim % one.heads:
        yield f"heads: must divide dim ({one.dim}). Received: {one.heads}"


@dataclass(frozen=True)
class ConcatFusion:
    """F = Concat(z_1, ..., z_n), Z = MLP(F): the reference."""

    kind: Literal["concat"] = "concat"
    dim: int = option(128, "Size of the fused embedding.")
    hidden_dims: tuple[int, ...] = option((128,), "Hidden layers of the MLP.")
    dropout: float = option(0.1, "After each hidden layer.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "dim", "hidden_dims")
        yield from fraction(self, "dropout")


@dataclass(frozen=True)
class GatedFusion:
    """A softmax gate over the inputs that are there (gated multimodal unit)."""

    kind: Literal["gated"] = "gated"
    dim: int = option(128, "Size of the fused embedding.")
    dropout: float = option(0.1, "On the fused embedding.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "dim")
        yield from fraction(self, "dropout")


@dataclass(frozen=True)
class AttentionFusion:
    """Self-attention over all inputs' tokens and a fusion token."""

    kind: Literal["attention"] = "attention"
    dim: int = option(128, "Size of the tokens and of the fused embedding.")
    layers: int = option(2, "Transformer layers.")
    heads: int = option(4, "Attention heads; must divide dim.")
    dropout: float = option(0.1, "Inside the transformer layers.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "dim", "layers", "heads")
        yield from fraction(self, "dropout")
        yield from _divides(self)


@dataclass(frozen=True)
class LowRankFusion:
    """The inputs' outer product times a weight tensor of low rank (LMF)."""

    kind: Literal["low_rank"] = "low_rank"
    dim: int = option(128, "Size of the fused embedding.")
    rank: int = option(
        4, "Terms of the sum; the paper found small ranks as good as large ones."
    )
    dropout: float = option(0.1, "On the fused embedding.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "dim", "rank")
        yield from fraction(self, "dropout")


@dataclass(frozen=True)
class FilmFusion:
    """Inputs scale and shift one another's features (FiLM)."""

    kind: Literal["film"] = "film"
    dim: int = option(128, "Size of the modulated features and the fused embedding.")
    conditioned: str | None = option(
        None,
        "Input that all others modulate, such as the picture that a question is about;"
        " null = every input is modulated by every other.",
    )
    dropout: float = option(0.1, "On the modulated features.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "dim")
        yield from fraction(self, "dropout")


@dataclass(frozen=True)
class BottleneckFusion:
    """A transformer per input; they exchange through a few shared tokens (MBT)."""

    kind: Literal["bottleneck"] = "bottleneck"
    dim: int = option(128, "Size of the tokens and of the fused embedding.")
    bottlenecks: int = option(
        4,
        "Shared tokens; four, as in the paper: few make a stream choose what it tells.",
    )
    layers: int = option(3, "Transformer layers of each input.")
    fusion_layer: int = option(
        1, "The first layer that exchanges, from 0; the ones before see one input."
    )
    heads: int = option(4, "Attention heads; must divide dim.")
    dropout: float = option(0.1, "Inside the transformer layers.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "dim", "bottlenecks", "layers", "heads")
        yield from not_negative(self, "fusion_layer")
        yield from fraction(self, "dropout")
        yield from _divides(self)
        if self.fusion_layer > self.layers - 2:
            yield (
                "fusion_layer: two layers at least must exchange, one to write into the"
                f" shared tokens and one to read them; with {self.layers} layers at most"
                f" {self.layers - 2}. Received: {self.fusion_layer}"
            )


@dataclass(frozen=True)
class PerceiverFusion:
    """Learned latents attend to all inputs' tokens, then to one another (Perceiver)."""

    kind: Literal["perceiver"] = "perceiver"
    dim: int = option(128, "Size of the tokens, the latents and the fused embedding.")
    latents: int = option(
        16, "Learned vectors that read the inputs; far fewer than there are tokens."
    )
    blocks: int = option(2, "Times that the latents read the inputs.")
    layers: int = option(1, "Self-attention layers after each reading.")
    heads: int = option(4, "Attention heads; must divide dim.")
    dropout: float = option(0.1, "Inside the layers.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "dim", "latents", "blocks", "heads")
        yield from not_negative(self, "layers")
        yield from fraction(self, "dropout")
        yield from _divides(self)


FusionConfig = (
    ConcatFusion
    | GatedFusion
    | AttentionFusion
    | LowRankFusion
    | FilmFusion
    | BottleneckFusion
    | PerceiverFusion
)
