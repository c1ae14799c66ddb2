"""Learns a WordPiece vocabulary over the train split, inside Transform.

Words are counted by Beam; the vocabulary is learned from the counts by TF Text's
learner (the one behind BERT's vocabularies), and leaves the graph as one string, so
that it needs no file that all workers can reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft


def learn_vocabulary(
    text: tf.Tensor, size: int, special: Sequence[str], lowercase: bool
) -> tf.Tensor:
    """string [batch] -> scalar string: the tokens, joined by newlines."""
    # The tokenizer's own splitting, so that every learned word can occur.
    from keras_hub.src.tokenizers.word_piece_tokenizer import pretokenize

    # `strip_accents` is True here by default, and False in the tokenizer.
    words = pretokenize(
        text, lowercase=lowercase, strip_accents=False, split=True, split_on_cjk=True
    )
    (joined,) = tft.experimental.ptransform_analyzer(
        inputs=[words.flat_values],
        ptransform=_LearnWordPiece(size, tuple(special)),
        output_dtypes=[tf.string],
        output_shapes=[[]],
    )
    return joined


class _LearnWordPiece(beam.PTransform):
    """PCollection of 1-tuples of word arrays -> one joined vocabulary."""

    def __init__(self, size: int, special: tuple[str, ...]) -> None:
        super().__init__()
        self._size, self._special = size, special

    def expand(self, batches: Any) -> Any:
        return (
            batches
            | "Words" >> beam.FlatMap(lambda columns: columns[0].tolist())
            | "Count" >> beam.combiners.Count.PerElement()
            | "Gather" >> beam.combiners.ToList()
            | "Learn" >> beam.Map(learn, self._size, self._special)
        )


def learn(
    counts: Iterable[tuple[bytes, int]], size: int, special: Sequence[str]
) -> np.ndarray:
    """Word counts -> the vocabulary as one newline-joined bytes scalar.

    Every character that occurs is a token of its own, so that no word of known
    characters is unknown; that may take more than `size` tokens.
    """
    from tensorflow_text.tools.wordpiece_vocab import (
        wordpiece_tokenizer_learner_lib as learner,
    )

    words = sorted((word.decode("utf-8", "ignore"), n) for word, n in counts if word)
    # Two upper bounds of the learner would drop words of rare characters, which is
    # most of Chinese, and cut large corpora; the vocabulary size bounds both here.
    vocabulary = (
        learner.learn(
            words,
            vocab_size=size,
            reserved_tokens=list(special),
            lower_thresh=2,
            max_unique_chars=size,
        )
        if words
        else list(special)
    )
    return np.array("\n".join(vocabulary).encode("utf-8"), dtype=object)
