"""The inputs' share of the config: one dataclass for each modality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.encoder_config import (
    AudioEncoder,
    BagEncoder,
    ConvAudioEncoder,
    ImageEncoder,
    ResNetEncoder,
    TextEncoder,
)
from trainer.names import present_key, unknown_key
from trainer.schema import fraction, not_negative, option, positive, required


@dataclass(frozen=True)
class ImageInput:
    """A picture as a viewer shows it: PNG, JPEG, BMP, GIF, or DICOM, WebP, TIFF, AVIF."""

    name: str = required("Name of the input in requests and answers.")
    modality: Literal["image"] = "image"
    column: str | None = option(None, "Manifest column; null = the name.")
    height: int = option(64, "Height after resizing, pixels.")
    width: int = option(64, "Width after resizing, pixels.")
    channels: Literal[1, 3] = option(
        3, "1 = grey, 3 = RGB; other pictures are converted."
    )
    fit: Literal["stretch", "pad", "crop"] = option(
        "pad",
        "How another aspect ratio is met: pad keeps the whole picture undistorted.",
    )
    background: int = option(
        255, "Grey level (0-255) behind transparent pixels and in the padding."
    )
    max_pixels: int = option(
        50000000, "Larger pictures are refused before decoding (decompression bombs)."
    )
    flip: bool = option(
        False, "Random left-right mirroring in training; wrong for digits and X-rays."
    )
    shift: float = option(
        0.0, "Random translation in training, as a fraction of height and width."
    )
    rotation: float = option(
        0.0, "Random rotation in training, as a fraction of a full turn."
    )
    encoder: ImageEncoder = option(
        ResNetEncoder(), "Backbone; KerasCV's by arguments, by preset, or a small one."
    )

    def problems(self) -> Iterator[str]:
        yield from positive(self, "height", "width", "max_pixels")
        yield from fraction(self, "shift", "rotation")
        if not 0 <= self.background <= 255:
            yield f"background: must be in 0-255. Received: {self.background!r}"


@dataclass(frozen=True)
class ImagesInput:
    """Pictures in an order: the slices of a scan, the frames of a camera."""

    name: str = required("Name of the input in requests and answers.")
    modality: Literal["images"] = "images"
    column: str | None = option(
        None,
        "Manifest column of the files: a list, in JSON too, or one text with separators;"
        " one file alone may hold several frames (DICOM, GIF, TIFF); null = the name.",
    )
    separator: str = option("|", "Between the files of a cell that is no list.")
    max_frames: int = option(
        16, "Of longer sequences so many are taken, evenly; shorter ones are padded."
    )
    height: int = option(64, "Height after resizing, pixels.")
    width: int = option(64, "Width after resizing, pixels.")
    channels: Literal[1, 3] = option(
        3, "1 = grey, 3 = RGB; other pictures are converted."
    )
    fit: Literal["stretch", "pad", "crop"] = option(
        "pad",
        "How another aspect ratio is met: pad keeps the whole picture undistorted.",
    )
    background: int = option(
        255, "Grey level (0-255) behind transparent pixels and in the padding."
    )
    max_pixels: int = option(
        50000000, "Larger pictures are refused before decoding (decompression bombs)."
    )
    flip: bool = option(
        False, "Random left-right mirroring of the whole sequence in training."
    )
    shift: float = option(
        0.0, "Random translation of the whole sequence, a fraction of height and width."
    )
    rotation: float = option(
        0.0, "Random rotation of the whole sequence, as a fraction of a full turn."
    )
    encoder: ImageEncoder = option(
        ResNetEncoder(), "Backbone of each frame; one for all frames."
    )
    layers: int = option(
        1, "Transformer layers over the frames; 0 = their mean, whatever their order."
    )
    heads: int = option(4, "Attention heads; must divide embedding_dim.")
    dropout: float = option(0.1, "Inside the transformer layers.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "max_frames", "height", "width", "max_pixels")
        yield from positive(self, "heads")
        yield from not_negative(self, "layers")
        yield from fraction(self, "shift", "rotation", "dropout")
        if not 0 <= self.background <= 255:
            yield f"background: must be in 0-255. Received: {self.background!r}"

    @property
    def frame(self) -> ImageInput:
        """How one frame is read: as a picture is."""
        return ImageInput(
            name=self.name,
            height=self.height,
            width=self.width,
            channels=self.channels,
            fit=self.fit,
            background=self.background,
            max_pixels=self.max_pixels,
            flip=self.flip,
            shift=self.shift,
            rotation=self.rotation,
            encoder=self.encoder,
        )


@dataclass(frozen=True)
class AudioInput:
    """A sound: 16-bit WAV, or whatever libsndfile reads, transcoded on the way in."""

    name: str = required("Name of the input in requests and answers.")
    modality: Literal["audio"] = "audio"
    column: str | None = option(None, "Manifest column; null = the name.")
    sample_rate_hz: int = option(
        16000, "Every recording is resampled to this rate; 16 kHz is speech's usual."
    )
    max_seconds: float = option(
        4.0, "Longer recordings keep their middle, shorter ones are padded at the end."
    )
    max_input_seconds: float = option(
        600.0, "Longer recordings are refused before decoding."
    )
    frame_ms: float = option(25.0, "STFT window, milliseconds.")
    step_ms: float = option(10.0, "STFT hop, milliseconds.")
    mel_bins: int = option(64, "Mel bands of the log-mel spectrogram.")
    min_hz: float = option(60.0, "Lower edge of the mel bands.")
    max_hz: float | None = option(
        None, "Upper edge of the mel bands; null = half of sample_rate_hz."
    )
    mask_frames: int = option(
        0, "SpecAugment: at most this many frames are masked in training; 0 = off."
    )
    mask_bins: int = option(
        0, "SpecAugment: at most this many mel bands are masked in training; 0 = off."
    )
    shift_frames: int = option(
        0, "Random shift in time in training, at most this many frames."
    )
    encoder: AudioEncoder = option(
        ConvAudioEncoder(), "What reads the log-mel spectrogram."
    )

    def problems(self) -> Iterator[str]:
        yield from positive(self, "sample_rate_hz", "max_seconds", "max_input_seconds")
        yield from positive(self, "frame_ms", "step_ms", "mel_bins")
        top = self.sample_rate_hz / 2 if self.max_hz is None else self.max_hz
        if not 0 <= self.min_hz < top <= self.sample_rate_hz / 2:
            yield (
                "max_hz: need 0 <= min_hz < max_hz <= sample_rate_hz / 2."
                f" Received: {self.min_hz} and {top}"
            )


@dataclass(frozen=True)
class TextInput:
    """Text in any script; Chinese is split by character."""

    name: str = required("Name of the input in requests and answers.")
    modality: Literal["text"] = "text"
    column: str | None = option(None, "Manifest column; null = the name.")
    max_tokens: int = option(64, "Longer texts are cut after this many tokens.")
    lowercase: bool = option(True, "Fold case before tokenizing.")
    vocabulary_size: int = option(
        8000, "About how many WordPiece tokens are learned from the train split."
    )
    max_characters: int = option(
        10000, "Longer texts are cut before tokenizing, in training and serving alike."
    )
    token_dropout: float = option(
        0.0, "Share of tokens replaced by [UNK] in training; helps small data sets."
    )
    encoder: TextEncoder = option(
        BagEncoder(), "What reads the tokens; a preset brings its own vocabulary."
    )

    def problems(self) -> Iterator[str]:
        yield from positive(self, "vocabulary_size", "max_characters")
        if self.max_tokens < 3:
            yield (
                "max_tokens: must be 3 at least, for [CLS], one token of the text and"
                f" [SEP]. Received: {self.max_tokens}"
            )
        yield from fraction(self, "token_dropout")


@dataclass(frozen=True)
class TabularColumn:
    """One column of a table, under a name that requests can use."""

    name: str = required("Key in requests (ASCII).")
    column: str | None = option(None, "Manifest column; null = the name.")


@dataclass(frozen=True)
class TabularInput:
    """Numbers and categories; each may be missing on its own."""

    name: str = required("Name of the input in answers (`NAME_present`).")
    modality: Literal["tabular"] = "tabular"
    numeric: tuple[TabularColumn | str, ...] = option(
        (), "Columns of numbers; a plain string is both name and column."
    )
    categorical: tuple[TabularColumn | str, ...] = option(
        (), "Columns of categories; a plain string is both name and column."
    )
    max_categories: int = option(
        1000, "The most frequent values kept per column; others share one bucket."
    )
    hidden_dims: tuple[int, ...] = option((64,), "Widths of the MLP's layers.")
    dropout: float = option(0.1, "After each hidden layer.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "max_categories", "hidden_dims")
        yield from fraction(self, "dropout")
        if not self.numeric and not self.categorical:
            yield "numeric: a tabular input needs at least one column."


InputConfig = ImageInput | ImagesInput | AudioInput | TextInput | TabularInput


def column_names(one: TabularInput, kind: str) -> tuple[str, ...]:
    """The names of a table's columns of a kind, `numeric` or `categorical`."""
    return tuple(c if isinstance(c, str) else c.name for c in getattr(one, kind))


def input_columns(one: InputConfig) -> tuple[tuple[str, str], ...]:
    """What an input reads: the key that names it, and the manifest's column."""
    if not isinstance(one, TabularInput):
        return (("column", one.column or one.name),)
    columns = (
        TabularColumn(c) if isinstance(c, str) else c
        for c in (*one.numeric, *one.categorical)
    )
    return tuple((c.name, c.column or c.name) for c in columns)


def input_answers(one: InputConfig) -> tuple[str, ...]:
    """What the signatures answer about an input, beside the heads' answers."""
    if not isinstance(one, TabularInput):
        return (present_key(one.name),)
    return (present_key(one.name), *map(unknown_key, column_names(one, "categorical")))
