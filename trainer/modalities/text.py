"""Text: WordPiece in-graph, with a learned vocabulary or a preset's."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from trainer.config import TextInput
from trainer.encoder_config import BagEncoder, BertEncoder, TextPresetEncoder
from trainer.layers import Encoded, MaskedMean, name_backbone
from trainer.modalities.base import Modality, Resources, Tensors
from trainer.positions import TokenPositions

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Text(Modality[TextInput]):
    """Tensors `NAME_token_ids` and `NAME_padding_mask`: int32 [batch, max_tokens].

    [CLS] tokens [SEP], then [PAD]; the mask is 1 on what is not padding.
    """

    @property
    def token_ids(self) -> str:
        return f"{self.name}_token_ids"

    @property
    def padding_mask(self) -> str:
        return f"{self.name}_padding_mask"

    def analyze(self, values: Tensors) -> Tensors:
        # One cut and clean-up for the learned vocabulary and for every token later.
        text = tf.strings.regex_replace(values[self.name], r"[\s\pZ]+", " ")
        text = tf.strings.strip(text)
        text = tf.strings.substr(text, 0, self.config.max_characters, unit="UTF8_CHAR")
        return {self.name: text}

    def constants(self, values: Tensors) -> Tensors:
        if isinstance(self.config.encoder, TextPresetEncoder):
            return {}
        from trainer.vocabulary import learn_vocabulary

        one = self.config
        text = self.analyze(values)[self.name]
        return {
            self.name: learn_vocabulary(
                text, one.vocabulary_size, SPECIAL_TOKENS, one.lowercase
            )
        }

    def specs(self, resources: Resources) -> dict[str, tuple[tuple[int, ...], str]]:
        shape = ((self.config.max_tokens,), "int32")
        return {self.token_ids: shape, self.padding_mask: shape}

    @cached_property
    def _preset_tokenizer(self) -> Any:
        import keras_nlp

        assert isinstance(self.config.encoder, TextPresetEncoder)
        preset = self.config.encoder.preset
        tokenizer = _from_preset(keras_nlp.tokenizers.Tokenizer, preset)
        # Others keep lookup tables, which TF Serving cannot restore from a closure.
        if not isinstance(tokenizer, keras_nlp.tokenizers.WordPieceTokenizer):
            raise ValueError(
                f"text preset {preset!r}: only WordPiece presets (BERT, DistilBERT,"
                " ELECTRA) can be served. Received: a preset with"
                f" {type(tokenizer).__name__}"
            )
        return tokenizer

    def vocabulary(self, resources: Resources) -> tuple[str, ...]:
        """The tokens in the order of their ids."""
        if isinstance(self.config.encoder, TextPresetEncoder):
            return tuple(self._preset_tokenizer.get_vocabulary())
        return tuple(resources.vocabularies[self.name])

    def _tokenizer(self, resources: Resources) -> Any:
        if isinstance(self.config.encoder, TextPresetEncoder):
            return self._preset_tokenizer
        import keras_nlp

        return keras_nlp.tokenizers.WordPieceTokenizer(
            vocabulary=list(self.vocabulary(resources)),
            lowercase=self.config.lowercase,
            split_on_cjk=True,
            dtype="int32",
        )

    def preprocess(self, transformed: Tensors, resources: Resources) -> Tensors:
        text = transformed[self.name]
        tokens = self._tokenizer(resources)(text)
        vocabulary = self.vocabulary(resources)
        start, end = vocabulary.index("[CLS]"), vocabulary.index("[SEP]")
        pad = vocabulary.index("[PAD]")
        tokens = tokens[:, : self.config.max_tokens - 2]
        ends = tf.ones([tf.shape(text)[0], 1], tf.int32)
        packed = tf.concat([start * ends, tokens, end * ends], axis=1)
        shape = [None, self.config.max_tokens]
        ids = tf.cast(packed.to_tensor(pad, shape=shape), tf.int32)
        mask = tf.sequence_mask(packed.row_lengths(), self.config.max_tokens, tf.int32)
        return {
            self.token_ids: tf.ensure_shape(ids, shape),
            self.padding_mask: tf.ensure_shape(mask, shape),
            self.present: tf.not_equal(text, ""),
        }

    def positions(
        self, resources: Resources, size: int | None = None
    ) -> TokenPositions:
        return TokenPositions(
            self.token_ids,
            self.padding_mask,
            self.config.max_tokens,
            self.vocabulary(resources),
            SPECIAL_TOKENS,
        )

    def encoder(self, tensors: Tensors, dim: int, resources: Resources) -> Encoded:
        one, name = self.config, self.layers
        ids, mask = tensors[self.token_ids], tensors[self.padding_mask]
        vocabulary = self.vocabulary(resources)
        if one.token_dropout:
            ids = TokenDropout(
                one.token_dropout,
                vocabulary.index("[UNK]"),
                tuple(vocabulary.index(t) for t in ("[PAD]", "[CLS]", "[SEP]")),
                name=f"{name}.token_dropout",
            )(ids)
        if isinstance(one.encoder, BagEncoder):
            sequence, pooled = self._bag(ids, mask, one.encoder, len(vocabulary))
        else:
            backbone = name_backbone(
                self._backbone(len(vocabulary)), f"{name}.backbone"
            )
            inputs = {"token_ids": ids, "padding_mask": mask}
            if "segment_ids" in backbone.input:
                inputs["segment_ids"] = ops.zeros_like(ids)
            outputs = backbone(inputs)
            sequence = outputs["sequence_output"]
            pooled = MaskedMean(name=f"{name}.mean")(sequence, ops.cast(mask, "bool"))
        tokens = keras.layers.Dense(dim, name=f"{name}.tokens")(sequence)
        pooled = keras.layers.Dense(dim, name=f"{name}.pooled")(pooled)
        return Encoded(tokens, ops.cast(mask, "bool"), pooled)

    def _bag(
        self, ids: Any, mask: Any, encoder: BagEncoder, size: int
    ) -> tuple[Any, Any]:
        name = self.layers
        sequence = keras.layers.Embedding(
            size, encoder.hidden_dim, name=f"{name}.embedding"
        )(ids)
        if encoder.ngram_buckets:
            pairs = TokenPairs(encoder.ngram_buckets, name=f"{name}.pairs")(ids)
            sequence = sequence + keras.layers.Embedding(
                encoder.ngram_buckets, encoder.hidden_dim, name=f"{name}.pair_embedding"
            )(pairs)
        pooled = MaskedMean(name=f"{name}.mean")(sequence, ops.cast(mask, "bool"))
        pooled = keras.layers.Dropout(encoder.dropout, name=f"{name}.dropout")(pooled)
        return sequence, pooled

    def _backbone(self, size: int) -> Any:
        import keras_nlp

        encoder = self.config.encoder
        if isinstance(encoder, BertEncoder):
            return keras_nlp.models.BertBackbone(
                vocabulary_size=size,
                num_layers=encoder.layers,
                num_heads=encoder.heads,
                hidden_dim=encoder.hidden_dim,
                intermediate_dim=encoder.intermediate_dim,
                dropout=encoder.dropout,
                max_sequence_length=self.config.max_tokens,
            )
        assert isinstance(encoder, TextPresetEncoder)
        backbone = _from_preset(keras_nlp.models.Backbone, encoder.preset)
        longest = getattr(backbone, "max_sequence_length", None)
        if longest is not None and self.config.max_tokens > longest:
            raise ValueError(
                f"{self.name}.max_tokens: the preset reads at most {longest} tokens."
                f" Received: {self.config.max_tokens}"
            )
        return backbone


def _from_preset(cls: Any, preset: str) -> Any:
    try:
        return cls.from_preset(preset)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"text preset {preset!r} is neither a KerasNLP preset that can be"
            f" downloaded here nor a local folder that save_to_preset wrote: {error}"
        ) from error


@keras.saving.register_keras_serializable("polymodal")
class TokenPairs(keras.layers.Layer):
    """Hashes each token with its successor into `buckets`; int32 [batch, sequence]."""

    def __init__(self, buckets: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.buckets = buckets

    def call(self, ids: Any) -> Any:
        following = ops.concatenate([ids[:, 1:], ops.zeros_like(ids[:, :1])], axis=1)
        # Multiplicative hashing (Knuth); int32 wraps around, which is fine.
        mixed = ids * 1000003 + following * 7919 + 31
        return ops.mod(mixed, self.buckets)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "buckets": self.buckets}


@keras.saving.register_keras_serializable("polymodal")
class TokenDropout(keras.layers.Layer):
    """Replaces a share of the tokens by [UNK] in training; never special tokens."""

    def __init__(
        self, rate: float, unknown: int, special: tuple[int, ...], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rate, self.unknown, self.special = rate, unknown, tuple(special)
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, ids: Any, training: bool = False) -> Any:
        if not training:
            return ids
        draw = keras.random.uniform(ops.shape(ids), seed=self.seed_generator)
        drop = draw < self.rate
        for token in self.special:
            drop = ops.logical_and(drop, ops.not_equal(ids, token))
        return ops.where(drop, self.unknown, ids)

    def get_config(self) -> dict[str, Any]:
        own = {"rate": self.rate, "unknown": self.unknown, "special": self.special}
        return {**super().get_config(), **own}
