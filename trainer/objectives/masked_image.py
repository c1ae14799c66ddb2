"""Masked patches of pictures."""

from __future__ import annotations

from typing import Any

from keras import ops

from trainer.config import ImageInput, MaskedImageObjective
from trainer.modalities.base import Tensors
from trainer.objectives.masked import MaskedPatches
from trainer.objectives.positions import ImagePositions


class MaskedImage(MaskedPatches[MaskedImageObjective]):
    """Pixels of hidden patches, in [0, 1] (He et al. 2022; Singh et al. 2022)."""

    def chosen_inputs(self) -> list[Any]:
        wanted = self.config.inputs
        return [
            one
            for one in self.whole.inputs
            if isinstance(one, ImageInput) and (wanted is None or one.name in wanted)
        ]

    def positions_of(self, one: ImageInput) -> ImagePositions:
        patch = self.config.patch
        return ImagePositions(one, one.height // patch, one.width // patch)

    def targets(self, one: ImageInput, x: Tensors) -> Any:
        patch = self.config.patch
        rows, columns = one.height // patch, one.width // patch
        pixels = x[self.positions_of(one).pixels] / 255.0
        cut = ops.reshape(pixels, (-1, rows, patch, columns, patch, one.channels))
        cut = ops.transpose(cut, (0, 1, 3, 2, 4, 5))
        return ops.reshape(cut, (-1, rows * columns, patch * patch * one.channels))
