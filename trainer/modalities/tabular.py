"""Tables: standardized numbers and looked-up categories, each possibly missing."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf
from keras import ops

from trainer.config import TabularInput
from trainer.features import unknown_key
from trainer.layers import AllTrue, Encoded, mlp
from trainer.modalities.base import UNKNOWN, Modality, Resources, Tensors
from trainer.positions import ColumnPositions

_UNKNOWN = 1
"""Index of a category that is not in the vocabulary."""

_BOUND = 10.0
"""Standard deviations at which numbers are clipped: a typing error stays a typing
error and does not become the loudest number of the batch."""


# In this order, of text without spaces around it: Python's and pandas' words for no
# value, 7.0 for 7, True and TRUE for true. A manifest's cells are read likewise
# (`pipeline.cell_text.text_of`), so that what a client writes meets what was learned.
_SPELLINGS = (
    (r"^(nan|NaN|<NA>|NaT)$", ""),
    (r"^([+-]?[0-9]+)\.0+$", r"\1"),
    (r"^-0$", "0"),
    (r"^(True|TRUE)$", "true"),
    (r"^(False|FALSE)$", "false"),
)


def one_spelling(text: tf.Tensor) -> tf.Tensor:
    """Categories as text, each in one spelling; empty where there is no value."""
    text = tf.strings.strip(text)
    for pattern, rewrite in _SPELLINGS:
        text = tf.strings.regex_replace(text, pattern, rewrite)
    return text


class Tabular(Modality[TabularInput]):
    """Tensors `NAME_numeric` float32 [batch, 2n] and `NAME_categorical` int32 [batch, m].

    Numeric: n standardized values (0 where missing), then n flags, 1.0 = missing.
    Categorical: 0 = missing, 1 = not in the vocabulary, from 2 by falling frequency.
    """

    @property
    def numeric(self) -> str:
        return f"{self.name}_numeric"

    @property
    def categorical(self) -> str:
        return f"{self.name}_categorical"

    def _keys(self, kind: str) -> list[str]:
        return [f.key for f in self.features if f.kind == kind]

    def analyze(self, values: Tensors) -> Tensors:
        import tensorflow_transform as tft

        out: Tensors = {}
        for key in self._keys("numeric"):
            value = values[key]
            known = tf.math.is_finite(value)
            given = tf.boolean_mask(value, known)
            mean, variance = tft.mean(given), tft.var(given)
            scale = tf.sqrt(tf.where(variance > 0, variance, 1.0))
            standardized = tf.clip_by_value((value - mean) / scale, -_BOUND, _BOUND)
            # A column without any value has no mean; NaN means missing further on.
            usable = known & tf.math.is_finite(standardized)
            out[key] = tf.where(usable, standardized, float("nan"))
        for key in self._keys("categorical"):
            value = one_spelling(values[key])
            index = tft.compute_and_apply_vocabulary(
                value,
                top_k=self.config.max_categories,
                num_oov_buckets=0,
                default_value=-1,
                vocab_filename=key,
            )
            zero = tf.zeros_like(index)
            out[key] = tf.where(tf.equal(value, ""), zero, index + 2)
        return out

    def specs(self, resources: Resources) -> dict[str, tuple[tuple[int, ...], str]]:
        out: dict[str, tuple[tuple[int, ...], str]] = {}
        numeric, categorical = self._keys("numeric"), self._keys("categorical")
        if numeric:
            out[self.numeric] = ((2 * len(numeric),), "float32")
        if categorical:
            out[self.categorical] = ((len(categorical),), "int32")
        return out

    def preprocess(self, transformed: Tensors, resources: Resources) -> Tensors:
        out: Tensors = {}
        present = tf.constant(False)
        numeric, categorical = self._keys("numeric"), self._keys("categorical")
        if numeric:
            values = tf.stack([transformed[k] for k in numeric], axis=1)
            missing = tf.math.is_nan(values)
            filled = tf.where(missing, 0.0, values)
            out[self.numeric] = tf.concat(
                [filled, tf.cast(missing, tf.float32)], axis=1
            )
            present = present | tf.reduce_any(~missing, axis=1)
        if categorical:
            ids = tf.stack([transformed[k] for k in categorical], axis=1)
            out[self.categorical] = tf.cast(ids, tf.int32)
            present = present | tf.reduce_any(ids > 0, axis=1)
        return {**out, self.present: present}

    def answers(self, tensors: Tensors) -> Tensors:
        """Beside the presence, `COLUMN_unknown`: a category that is in no vocabulary."""
        unknown = {
            unknown_key(key): tf.equal(tensors[self.categorical][:, i], _UNKNOWN)
            for i, key in enumerate(self._keys("categorical"))
        }
        return {**super().answers(tensors), **unknown}

    def axes(
        self, layer: str, weight: str, resources: Resources
    ) -> Mapping[int, tuple[str, ...]]:
        key = layer.removesuffix(".embedding")
        if key != layer and key in resources.category_names:
            return {0: ("", UNKNOWN, *resources.category_names[key])}
        first = "dense_0" if self.config.hidden_dims else "pooled"
        if layer != first or weight != "kernel":
            return {}
        numeric, categorical = self._keys("numeric"), self._keys("categorical")
        if not all(key in resources.categories for key in categorical):
            return {}
        return {
            0: (
                *numeric,
                *(f"missing:{key}" for key in numeric),
                *(
                    f"{key}:{i}"
                    for key in categorical
                    for i in range(_width(resources.categories[key]))
                ),
            )
        }

    def positions(
        self, resources: Resources, size: int | None = None
    ) -> ColumnPositions:
        one = self.config
        return ColumnPositions(
            self.numeric, self.categorical, len(one.numeric), len(one.categorical)
        )

    def encoder(self, tensors: Tensors, dim: int, resources: Resources) -> Encoded:
        one, name = self.config, self.layers
        parts = [tensors[self.numeric]] if self.numeric in tensors else []
        for i, key in enumerate(self._keys("categorical")):
            size, width = (
                resources.categories[key] + 2,
                _width(resources.categories[key]),
            )
            parts.append(
                keras.layers.Embedding(size, width, name=f"{name}.{key}.embedding")(
                    tensors[self.categorical][:, i]
                )
            )
        x = (
            keras.layers.Concatenate(name=f"{name}.join")(parts)
            if len(parts) > 1
            else parts[0]
        )
        x = mlp(x, one.hidden_dims, one.dropout, name)
        pooled = keras.layers.Dense(dim, name=f"{name}.pooled")(x)
        tokens = ops.expand_dims(pooled, 1)
        return Encoded(tokens, AllTrue(name=f"{name}.mask")(tokens), pooled)


def _width(categories: int) -> int:
    """Size of the embedding of a column with so many categories in its vocabulary."""
    return min(32, 2 + (categories + 2) // 2)
