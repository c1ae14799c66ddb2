"""Whether the presets that a config names are there, before anything is read or trained."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from trainer.backbones import image_presets
from trainer.config import Config
from trainer.encoder_config import ImagePresetEncoder, TextPresetEncoder
from trainer.schema import nearest

# What is fetched from elsewhere: whether it is there shows when it is fetched.
_SCHEMES = ("kaggle://", "hf://", "modelscope://")


def preset_problems(config: Config) -> Iterator[str]:
    """One sentence for each preset that is neither known by name nor a folder."""
    for one in config.inputs:
        encoder = getattr(one, "encoder", None)
        where = f"inputs[{one.name}].encoder.preset"
        if isinstance(encoder, ImagePresetEncoder):
            files = ("config.json", "model.weights.h5")
            yield from _problem(where, encoder.preset, "KerasCV", files)
        elif isinstance(encoder, TextPresetEncoder):
            files = ("config.json", "tokenizer.json")
            yield from _problem(where, encoder.preset, "KerasHub", files)


def _problem(
    where: str, preset: str, library: str, files: Collection[str]
) -> Iterator[str]:
    if preset.startswith(_SCHEMES):
        return
    if os.path.isdir(preset):
        lacking = [f for f in files if not os.path.isfile(os.path.join(preset, f))]
        if lacking:
            yield (
                f"{where}: the folder {preset!r} holds no {' and no '.join(lacking)};"
                " name one that save_to_preset wrote."
            )
        return
    known = image_presets() if library == "KerasCV" else _text_presets()
    if preset not in known:
        what = "a WordPiece preset" if library == "KerasHub" else "a backbone preset"
        yield (
            f"{where}: {preset!r} is neither {what} of {library} nor a folder here."
            f"{nearest(preset, sorted(known))}"
        )


def _text_presets() -> Collection[str]:
    """Others than WordPiece's cannot be served: see `modalities.text`."""
    import keras_nlp

    return set(keras_nlp.tokenizers.WordPieceTokenizer.presets)
