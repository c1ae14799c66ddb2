"""The fusions' share of the config: one dataclass for each `kind:`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.schema import fraction, option, positive


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
        if self.heads > 0 and self.dim % self.heads:
            yield f"heads: must divide dim ({self.dim}). Received: {self.heads}"


FusionConfig = ConcatFusion | GatedFusion | AttentionFusion
