"""What a model is, read from one YAML file into frozen dataclasses.

This is the only reader of the YAML. Every key has a default with its reason, or is
required; `docs/config.md` is generated from the `doc` of each field.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from trainer.encoder_config import (
    AudioEncoder,
    BagEncoder,
    ConvAudioEncoder,
    ImageEncoder,
    ResNetEncoder,
    TextEncoder,
)
from trainer.schema import (
    fraction,
    nearest,
    not_negative,
    option,
    plain,
    positive,
    read,
    required,
)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_RESERVED = ("_present", "_scores", "_classes", "_selected", "_embedding")


class ConfigError(ValueError):
    """A config that cannot be used; `problems` lists all that is wrong with it."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {p}" for p in problems)
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        super().__init__(f"{source}: {count}\n{lines}")


@dataclass(frozen=True)
class SplitConfig:
    """Which rows teach, which choose, which judge."""

    column: str | None = option(
        None, "Manifest column that names each row's split; null = split by hash."
    )
    train: str = option("train", "Name of the split that the weights learn from.")
    eval: str = option(
        "eval", "Name of the split that judges; it takes part in no choice."
    )
    selection: str = option(
        "selection",
        "Name of the split that early stopping and the best checkpoint look at.",
    )
    selection_fraction: float = option(
        0.1,
        "Share of the train split cut off as the selection split, where the split"
        " column names none; 0 = no selection, the last epoch is kept.",
    )
    eval_fraction: float = option(
        0.2, "Share of all rows that judges, where rows are split by hash."
    )
    group_by: str | None = option(
        None,
        "Column (patient, speaker) whose rows never part; null = each row by its id.",
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "selection_fraction", "eval_fraction")
        if len({self.train, self.eval, self.selection}) < 3:
            yield "train, eval and selection must be three different names."
        if self.column is None and self.eval_fraction == 0:
            yield "eval_fraction: must be above 0 where no split column is given."


@dataclass(frozen=True)
class DataConfig:
    """How the manifest is read."""

    id: str | None = option(
        None, "Column that identifies a row; null = the row's number in the manifest."
    )
    split: SplitConfig = option(SplitConfig(), "Which rows teach, choose and judge.")
    max_quarantine_fraction: float = option(
        0.05,
        "The run stops when more than this share of the rows cannot be read: past it"
        " the cause is rarely the rows themselves.",
    )
    max_file_bytes: int = option(
        268435456, "Larger media files are quarantined unread (256 MiB)."
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "max_quarantine_fraction", below_one=False)
        yield from positive(self, "max_file_bytes")


@dataclass(frozen=True)
class ImageInput:
    """A picture: PNG, JPEG, BMP, GIF (first frame), or DICOM transcoded on the way in."""

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
class AudioInput:
    """A sound: WAV, or FLAC, MP3, OGG transcoded on the way in."""

    name: str = required("Name of the input in requests and answers.")
    modality: Literal["audio"] = "audio"
    column: str | None = option(None, "Manifest column; null = the name.")
    sample_rate_hz: int = option(
        16000, "Every recording is resampled to this rate; 16 kHz is speech's usual."
    )
    max_seconds: float = option(
        4.0, "Longer recordings are cut in the middle, shorter ones padded."
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
        8000, "Size of the WordPiece vocabulary learned from the train split."
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
        yield from positive(self, "max_tokens", "vocabulary_size", "max_characters")
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


InputConfig = ImageInput | AudioInput | TextInput | TabularInput


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


@dataclass(frozen=True)
class ClassificationHead:
    """One class of several, or any number of them (multi_label)."""

    name: str = required("Name of the head in answers and metrics.")
    classes: tuple[str, ...] = required("The classes; a row with another is set aside.")
    kind: Literal["classification"] = "classification"
    column: str | None = option(None, "Manifest column; null = the name.")
    multi_label: bool = option(False, "True: any number of classes per row.")
    separator: str = option("|", "Between the labels of a multi-label row.")
    allow_missing: bool = option(
        False, "True keeps rows without a label; they teach only other objectives."
    )
    class_weights: Literal["balanced"] | dict[str, float] | None = option(
        None, "Weight of each class in the loss; balanced = inverse frequency."
    )
    label_smoothing: float = option(0.0, "Share of the label's mass spread evenly.")
    weight: float = option(1.0, "Weight of this head among the heads.")
    auxiliary_weight: float = option(
        0.0,
        "Weight of the loss of one extra linear head per input, on that input alone:"
        " keeps a strong input from stopping a weak one's learning; not exported.",
    )

    def problems(self) -> Iterator[str]:
        yield from fraction(self, "label_smoothing")
        yield from not_negative(self, "weight", "auxiliary_weight")
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            yield "classes: need at least two different classes."
        if "" in self.classes:
            yield "classes: an empty string is a missing label, never a class."
        if isinstance(self.class_weights, Mapping):
            for extra in sorted(set(self.class_weights) - set(self.classes)):
                yield (
                    f"class_weights.{extra}: not a class.{nearest(extra, self.classes)}"
                )


@dataclass(frozen=True)
class RegressionHead:
    """One number per row; learned in units of its standard deviation."""

    name: str = required("Name of the head in answers and metrics.")
    kind: Literal["regression"] = "regression"
    column: str | None = option(None, "Manifest column; null = the name.")
    allow_missing: bool = option(
        False, "True keeps rows without a label; they teach only other objectives."
    )
    loss: Literal["mse", "huber"] = option(
        "mse", "huber is less moved by outlying targets."
    )
    weight: float = option(1.0, "Weight of this head among the heads.")
    auxiliary_weight: float = option(
        0.0, "Weight of the loss of one extra linear head per input; not exported."
    )

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight", "auxiliary_weight")


HeadConfig = ClassificationHead | RegressionHead


@dataclass(frozen=True)
class SupervisedObjective:
    """Every head's loss on the rows that carry its label."""

    weight: float = option(1.0, "Weight among the objectives.")

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "weight")


@dataclass(frozen=True)
class ObjectivesConfig:
    """What the model learns from: any weighted mix; null = not used."""

    supervised: SupervisedObjective | None = option(
        SupervisedObjective(), "The heads' losses."
    )


@dataclass(frozen=True)
class ParameterGroup:
    """Variables whose path matches, with their own pace."""

    pattern: str = required("Regular expression searched in the variables' paths.")
    learning_rate_multiplier: float = option(1.0, "Factor on the learning rate.")
    frozen: bool = option(False, "True: the matching layers do not learn.")

    def problems(self) -> Iterator[str]:
        yield from not_negative(self, "learning_rate_multiplier")
        try:
            re.compile(self.pattern)
        except re.error as error:
            yield f"pattern: not a regular expression ({error})."


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights are found."""

    epochs: int = option(20, "Passes over the train split, at most.")
    batch_size: int = option(64, "Examples per step over all replicas.")
    learning_rate: float = option(1e-3, "AdamW's peak learning rate.")
    weight_decay: float = option(1e-4, "AdamW's decoupled weight decay.")
    warmup_fraction: float = option(
        0.1, "Share of all steps over which the learning rate rises from 0."
    )
    final_learning_rate_fraction: float = option(
        0.01, "Where the cosine decay ends, as a share of the peak."
    )
    clip_norm: float | None = option(1.0, "Bound on the gradients' global norm.")
    ema_momentum: float | None = option(
        None, "Keep and use an exponential average of the weights; null = off."
    )
    parameter_groups: tuple[ParameterGroup, ...] = option(
        (), "Own learning rates and freezing; the last match wins."
    )
    modality_dropout: float = option(
        0.2,
        "Chance that a present input is hidden from a training example: what makes"
        " any input optional when serving; one always stays.",
    )
    batch_norm_momentum: float = option(
        0.9,
        "Of batch normalization's running statistics; Keras' 0.99 needs thousands of"
        " steps to settle, which small data sets do not have.",
    )
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = option(
        "float32", "mixed_bfloat16 for recent GPUs; mixed_float16 is slow on CPUs."
    )
    jit_compile: bool = option(
        False, "XLA: slower to start, faster on GPUs; off suits a CPU."
    )
    early_stopping_patience: int | None = option(
        5, "Epochs without a better selection loss before stopping; null = never."
    )
    shuffle_buffer: int = option(4096, "Examples held for shuffling.")
    cache: bool = option(
        True, "Keep preprocessed examples in memory: right for up to some 100,000."
    )

    def problems(self) -> Iterator[str]:
        yield from positive(
            self, "epochs", "batch_size", "learning_rate", "clip_norm",
            "shuffle_buffer", "early_stopping_patience",
        )  # fmt: skip
        yield from fraction(
            self, "warmup_fraction", "modality_dropout", "batch_norm_momentum"
        )
        yield from fraction(self, "final_learning_rate_fraction", below_one=False)
        yield from fraction(self, "ema_momentum")
        yield from not_negative(self, "weight_decay")


@dataclass(frozen=True)
class Threshold:
    """A condition for the blessing."""

    metric: str = required("Metric name, as in summary.json (accuracy, auc, mae...).")
    head: str | None = option(None, "Head; null = the first one.")
    minimum: float | None = option(None, "The metric must be at least this.")
    maximum: float | None = option(None, "The metric must be at most this.")
    max_worsening: float | None = option(
        None, "At most this much worse than the last blessed model; null = no limit."
    )
    every_slice: bool = option(
        False, "True: on each of evaluation.slices too, not only on all rows together."
    )

    def problems(self) -> Iterator[str]:
        if self.minimum is None and self.maximum is None and self.max_worsening is None:
            yield "give minimum, maximum or max_worsening, or remove the threshold."


@dataclass(frozen=True)
class EvaluationConfig:
    """What a model must show before it is pushed."""

    thresholds: tuple[Threshold, ...] = option(
        (),
        "Conditions for the blessing; empty = the first head's accuracy (or mae) may"
        " not be worse than the last blessed model's by more than 0.01.",
    )
    slices: tuple[tuple[str, ...], ...] = option(
        (), "Manifest columns, alone or crossed, whose values are judged apart."
    )
    batch_size: int = option(64, "Examples per evaluation step.")

    def problems(self) -> Iterator[str]:
        yield from positive(self, "batch_size")


@dataclass(frozen=True)
class Config:
    """One model, from its inputs to what it must show."""

    name: str = required("The model's name: directory and name when served.")
    inputs: tuple[InputConfig, ...] = required("The inputs, in any order.")
    heads: tuple[HeadConfig, ...] = required("What is predicted.")
    seed: int = option(0, "Fixes initial weights, shuffling and augmentation.")
    data: DataConfig = option(DataConfig(), "How the manifest is read.")
    embedding_dim: int = option(128, "Size of each input's pooled embedding.")
    fusion: FusionConfig = option(ConcatFusion(), "How the inputs are joined.")
    objectives: ObjectivesConfig = option(ObjectivesConfig(), "What is learned from.")
    training: TrainingConfig = option(TrainingConfig(), "How the weights are found.")
    evaluation: EvaluationConfig = option(
        EvaluationConfig(), "What a model must show before it is pushed."
    )

    def input(self, name: str) -> InputConfig:
        """The input of that name; KeyError otherwise."""
        return {i.name: i for i in self.inputs}[name]

    def head(self, name: str | None) -> HeadConfig:
        """The head of that name, the first one for None; KeyError otherwise."""
        return self.heads[0] if name is None else {h.name: h for h in self.heads}[name]

    def problems(self) -> Iterator[str]:
        yield from positive(self, "embedding_dim")
        if not self.inputs:
            yield "inputs: at least one is needed."
        if not self.heads:
            yield "heads: at least one is needed."
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", self.name):
            yield f"name: letters, digits, _ . - only. Received: {self.name!r}"
        yield from self._name_problems()
        for i, threshold in enumerate(self.evaluation.thresholds):
            names = [h.name for h in self.heads]
            if threshold.head is not None and threshold.head not in names:
                yield (
                    f"evaluation.thresholds[{i}].head: no such head."
                    f"{nearest(threshold.head, names)} Heads: {', '.join(names)}"
                )

    def _name_problems(self) -> Iterator[str]:
        seen: dict[str, str] = {}
        for where, name in _all_names(self):
            if not _NAME.fullmatch(name):
                yield (
                    f"{where}: names are lower-case ASCII letters, digits and _,"
                    " starting with a letter; give `name:` beside `column:`."
                    f" Received: {name!r}"
                )
            for suffix in _RESERVED:
                if name.endswith(suffix):
                    yield f"{where}: may not end in {suffix}, which answers use."
            if name in seen:
                yield f"{where}: the name {name!r} is taken by {seen[name]}."
            seen[name] = where


def _all_names(config: Config) -> Iterator[tuple[str, str]]:
    for one in config.inputs:
        yield f"inputs[{one.name}].name", one.name
        if isinstance(one, TabularInput):
            for column in (*one.numeric, *one.categorical):
                name = column if isinstance(column, str) else column.name
                yield f"inputs[{one.name}].{name}", name
    for head in config.heads:
        yield f"heads[{head.name}].name", head.name


def from_mapping(mapping: Any, source: str = "config") -> Config:
    """A Config from plain mappings and lists; ConfigError lists every problem."""
    problems: list[str] = []
    if not isinstance(mapping, Mapping):
        raise ConfigError(source, [f"expected a mapping. Received: {mapping!r}"])
    config = read(Config, mapping, "", problems)
    if problems:
        raise ConfigError(source, [p.lstrip(".") for p in problems])
    return typed(config)


def typed(config: Any) -> Config:
    """Narrows what `read` made to Config."""
    assert isinstance(config, Config)
    return config


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a YAML file; `overrides` are `key.path=value`, lists by index or name."""
    path = Path(path)
    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            str(path), ["no such file; `polymodal init MANIFEST` writes one."]
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"not valid YAML in UTF-8: {error}"]) from None
    if not isinstance(mapping, Mapping):
        raise ConfigError(str(path), [f"expected a mapping. Received: {mapping!r}"])
    for override in overrides:
        _apply(mapping, override)
    return from_mapping(mapping, str(path))


def _apply(mapping: Any, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError("--set", [f"expected key.path=value. Received: {override!r}"])
    *parents, last = key.strip().split(".")
    node = mapping
    for part in parents:
        node = _step(node, part, key)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("--set", [f"{key}: not a YAML value: {error}"]) from None
    if isinstance(node, list):
        node[_position(node, last, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise ConfigError("--set", [f"{key}: {parents[-1]!r} is not a mapping."])


def _step(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, part, key)]
    if isinstance(node, dict):
        if node.get(part) is None:
            node[part] = {}
        return node[part]
    raise ConfigError("--set", [f"{key}: nothing lies under {part!r}."])


def _position(items: list[Any], part: str, key: str) -> int:
    names = [str(i.get("name", n)) for n, i in enumerate(items) if isinstance(i, dict)]
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(items):
        return int(part)
    raise ConfigError(
        "--set", [f"{key}: no {part!r} here.{nearest(part, names)} Known: {names}"]
    )


def to_yaml(config: Config) -> str:
    """The config with every default filled in; `load` reads it back equal."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=88)


def to_json(config: Config) -> str:
    """One line, stable: what goes into pipeline parameters and fingerprints."""
    return json.dumps(plain(config), ensure_ascii=False, sort_keys=True)


def from_json(text: str) -> Config:
    """The inverse of `to_json`."""
    return from_mapping(json.loads(text))


replace = dataclasses.replace
