"""Images: decoded and resized in-graph, read by a KerasCV backbone."""

from __future__ import annotations

from trainer.config import ImageInput
from trainer.decoding import decode_rows
from trainer.layers import Encoded
from trainer.modalities._pictures import augmentation, encoded_pictures, picture_decoder
from trainer.modalities.base import Modality, Resources, Tensors
from trainer.positions import PatchPositions


class Image(Modality[ImageInput]):
    """Tensor `NAME_pixels`: float32 [batch, height, width, channels] in [0, 255].

    0-255 is what KerasCV backbones with `include_rescaling` and its presets expect.
    """

    @property
    def pixels(self) -> str:
        return f"{self.name}_pixels"

    def specs(self, resources: Resources) -> dict[str, tuple[tuple[int, ...], str]]:
        return {self.pixels: (self._shape, "float32")}

    @property
    def _shape(self) -> tuple[int, int, int]:
        return (self.config.height, self.config.width, self.config.channels)

    def preprocess(self, transformed: Tensors, resources: Resources) -> Tensors:
        decode = picture_decoder(self.config)
        images, present = decode_rows(transformed[self.name], decode, self._shape)
        return {self.pixels: images * 255.0, self.present: present}

    @property
    def pictures(self) -> tuple[str, ...]:
        return (self.pixels,)

    def positions(
        self, resources: Resources, size: int | None = None
    ) -> PatchPositions:
        """Square patches of a side of `size` pixels."""
        return PatchPositions(self.pixels, self._shape, size)

    def encoder(self, tensors: Tensors, dim: int, resources: Resources) -> Encoded:
        x = tensors[self.pixels]
        for layer in augmentation(self.config):
            x = layer(x)
        return encoded_pictures(x, self.config, dim)
