"""Masked patches of pictures."""

from __future__ import annotations

from trainer.config import MaskedImageObjective
from trainer.objectives._masked import MaskedPatches


class MaskedImage(MaskedPatches[MaskedImageObjective]):
    """Pixels of hidden patches, in [0, 1]; what is hidden is grey.

    He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", with the hidden
    patches left in the picture as in SimMIM (Xie et al. 2022), so that any backbone can
    read it, and the other inputs in sight as in FLAVA (Singh et al. 2022).
    """

    kind = "image"

    def grain(self) -> int:
        return self.config.patch
