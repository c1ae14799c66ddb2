"""The encoders' share of the config: one dataclass for each `kind:`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from trainer.schema import fraction, option, plain, required


def _divides(heads: int, dim: int) -> Iterator[str]:
    if heads > 0 and dim % heads:
        yield f"heads: must divide the hidden size ({dim}). Received: {heads}"


def _sizes(holder: Any, *names: str) -> Iterator[str]:
    """A problem for each named number, or number in a named list, not above 0."""
    for name in names:
        value = getattr(holder, name)
        several = value if isinstance(value, tuple) else (value,)
        if not several or min(several) <= 0:
            yield f"{name}: must be above 0. Received: {plain(value)!r}"


@dataclass(frozen=True)
class ResNetEncoder:
    """KerasCV's ResNetBackbone by explicit arguments; nothing is downloaded."""

    kind: Literal["resnet"] = "resnet"
    block: Literal["basic_block", "block"] = option(
        "basic_block", "block is the bottleneck block of ResNet-50 and up."
    )
    filters: tuple[int, ...] = option(
        (64, 128), "Channels per stage; basic_block needs 64 first."
    )
    blocks: tuple[int, ...] = option((1, 1), "Blocks per stage.")
    strides: tuple[int, ...] = option((1, 2), "Stride per stage.")

    def problems(self) -> Iterator[str]:
        yield from _sizes(self, "filters", "blocks", "strides")
        if not len(self.filters) == len(self.blocks) == len(self.strides):
            yield "filters, blocks and strides must be equally long."
        if self.block == "basic_block" and self.filters and self.filters[0] != 64:
            yield f"filters: basic_block needs 64 first. Received: {self.filters[0]}"


@dataclass(frozen=True)
class EfficientNetEncoder:
    """KerasCV's EfficientNetV2Backbone, narrowed by its two coefficients."""

    kind: Literal["efficientnet_v2"] = "efficientnet_v2"
    width_coefficient: float = option(0.5, "Factor on the channels.")
    depth_coefficient: float = option(0.5, "Factor on the blocks.")

    def problems(self) -> Iterator[str]:
        yield from _sizes(self, "width_coefficient", "depth_coefficient")


@dataclass(frozen=True)
class ImagePresetEncoder:
    """A KerasCV backbone preset: a name known to KerasCV, or a local folder."""

    preset: str = required("Preset name, or a folder that save_to_preset wrote.")
    kind: Literal["preset"] = "preset"


@dataclass(frozen=True)
class SmallConvEncoder:
    """Two-dimensional convolutions for small pictures, where a backbone is too much."""

    kind: Literal["conv"] = "conv"
    filters: tuple[int, ...] = option((32, 64), "Channels per layer.")
    kernel_size: int = option(3, "Side of the kernels, pixels.")
    pool: int = option(2, "Max-pooling after each layer; 1 = none.")
    flatten: bool = option(
        False, "True keeps positions when pooling to one vector; false averages them."
    )
    dropout: float = option(0.1, "Before the projection.")

    def problems(self) -> Iterator[str]:
        yield from _sizes(self, "filters", "kernel_size", "pool")
        yield from fraction(self, "dropout")


@dataclass(frozen=True)
class MlpEncoder:
    """Dense layers over all pixels, for pictures whose content never moves."""

    kind: Literal["mlp"] = "mlp"
    hidden_dims: tuple[int, ...] = option((128,), "Widths of the layers.")
    dropout: float = option(0.2, "After each layer.")

    def problems(self) -> Iterator[str]:
        yield from _sizes(self, "hidden_dims")
        yield from fraction(self, "dropout")


@dataclass(frozen=True)
class ConvAudioEncoder:
    """Two-dimensional convolutions over the log-mel spectrogram, one token per step."""

    kind: Literal["conv"] = "conv"
    filters: tuple[int, ...] = option((16, 32, 48), "Channels per layer.")
    kernel_size: int = option(3, "Side of the kernels, frames and bands.")
    pool: int = option(2, "Max-pooling after each layer; 1 = none.")
    dropout: float = option(
        0.1, "Around the tokens; noisy speech in few rows is not learned above 0.2."
    )

    def problems(self) -> Iterator[str]:
        yield from _sizes(self, "filters", "kernel_size", "pool")
        yield from fraction(self, "dropout")


@dataclass(frozen=True)
class TransformerAudioEncoder:
    """A strided convolution over time, then transformer layers."""

    kind: Literal["transformer"] = "transformer"
    layers: int = option(2, "Transformer layers.")
    heads: int = option(4, "Attention heads; must divide hidden_dim.")
    hidden_dim: int = option(128, "Size of the tokens.")
    stride: int = option(4, "Frames per token.")
    dropout: float = option(0.1, "Inside the layers.")

    def problems(self) -> Iterator[str]:
        yield from _sizes(self, "layers", "heads", "hidden_dim", "stride")
        yield from fraction(self, "dropout")
        yield from _divides(self.heads, self.hidden_dim)


@dataclass(frozen=True)
class BertEncoder:
    """KerasNLP's BertBackbone by explicit arguments, trained from scratch."""

    kind: Literal["bert"] = "bert"
    layers: int = option(2, "Transformer layers.")
    heads: int = option(4, "Attention heads; must divide hidden_dim.")
    hidden_dim: int = option(128, "Size of the tokens.")
    intermediate_dim: int = option(256, "Size of the feed-forward layers.")
    dropout: float = option(0.1, "Inside the layers.")

    def problems(self) -> Iterator[str]:
        yield from _sizes(self, "layers", "heads", "hidden_dim", "intermediate_dim")
        yield from fraction(self, "dropout")
        yield from _divides(self.heads, self.hidden_dim)


@dataclass(frozen=True)
class TextPresetEncoder:
    """A KerasNLP BERT preset (name or local folder), with its own vocabulary."""

    preset: str = required("Preset name, or a folder that save_to_preset wrote.")
    kind: Literal["preset"] = "preset"


@dataclass(frozen=True)
class BagEncoder:
    """Averaged embeddings of tokens and token pairs (fastText, Joulin et al. 2016)."""

    kind: Literal["bag"] = "bag"
    hidden_dim: int = option(128, "Size of the embeddings.")
    ngram_buckets: int = option(
        16384, "Hash buckets for pairs of neighbouring tokens; 0 = single tokens only."
    )
    dropout: float = option(0.2, "On the averaged embedding.")

    def problems(self) -> Iterator[str]:
        yield from _sizes(self, "hidden_dim")
        yield from fraction(self, "dropout")


ImageEncoder = (
    ResNetEncoder
    | EfficientNetEncoder
    | ImagePresetEncoder
    | SmallConvEncoder
    | MlpEncoder
)
AudioEncoder = ConvAudioEncoder | TransformerAudioEncoder
TextEncoder = BertEncoder | TextPresetEncoder | BagEncoder
