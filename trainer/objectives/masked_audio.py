"""Masked stretches of sounds."""

from __future__ import annotations

from trainer.config import MaskedAudioObjective
from trainer.objectives._masked import MaskedPatches


class MaskedAudio(MaskedPatches[MaskedAudioObjective]):
    """Log-mel values of hidden stretches; the padding behind a sound is never hidden.

    What is hidden is silent (Huang et al. 2022, "Masked Autoencoders that Listen").
    """

    kind = "audio"

    def grain(self) -> int:
        return self.config.frames
