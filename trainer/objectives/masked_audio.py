"""Masked stretches of sounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from trainer.config import AudioInput, MaskedAudioObjective
from trainer.modalities.audio import FLOOR
from trainer.modalities.base import Tensors
from trainer.objectives.masked import MaskedPatches
from trainer.objectives.positions import AudioPositions


class MaskedAudio(MaskedPatches[MaskedAudioObjective]):
    """Log-mel values of hidden stretches; padding behind a sound is never hidden."""

    def chosen_inputs(self) -> list[Any]:
        wanted = self.config.inputs
        return [
            one
            for one in self.whole.inputs
            if isinstance(one, AudioInput) and (wanted is None or one.name in wanted)
        ]

    def positions_of(self, one: AudioInput) -> AudioPositions:
        return AudioPositions(one, self.config.frames)

    def targets(self, one: AudioInput, x: Tensors) -> Any:
        where = self.positions_of(one)
        log_mel = x[where.log_mel]
        short = where.count * where.frames - log_mel.shape[1]
        padded = ops.pad(
            log_mel, [[0, 0], [0, short], [0, 0]], constant_values=float(np.log(FLOOR))
        )
        return ops.reshape(padded, (-1, where.count, where.frames * one.mel_bins))
