from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer.samples import NOTE, SPECIAL
from trainer.config import TextInput, replace
from trainer.modalities import Resources
from trainer.modalities.text import Text
from trainer.vocabulary import learn

WORDS = ("fever", "cough", "##s", "no", "发", "烧", ",", "f", "##e")
VOCABULARY = (*SPECIAL, *WORDS)
PAD, UNK, CLS, SEP = 0, 1, 2, 3
ID = {token: i for i, token in enumerate(VOCABULARY)}


def ids(*texts: Any, one: TextInput = NOTE) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and presence of the texts, cleaned as for Transform."""
    modality = Text(one)
    resources = Resources(vocabularies={"note": VOCABULARY})

    @tf.function
    def prepare(text: Any) -> Any:
        return modality.preprocess(modality.analyze({"note": text}), resources)

    out = prepare(tf.constant(list(texts), tf.string))
    mask = out["note_padding_mask"].numpy()
    np.testing.assert_array_equal(mask, out["note_token_ids"].numpy() != PAD)
    return out["note_token_ids"].numpy(), out["note_present"].numpy()


def row(*tokens: int) -> list[int]:
    return [CLS, *tokens, SEP] + [PAD] * (6 - len(tokens))


def test_words_are_split_into_the_longest_known_pieces() -> None:
    got, present = ids("Fever, no COUGHS")
    wanted = [ID[t] for t in ("fever", ",", "no", "cough", "##s")]
    assert got.tolist() == [row(*wanted)]
    assert present.tolist() == [True]


def test_chinese_is_split_by_character_without_spaces() -> None:
    got, _ = ids("发烧no烧")
    assert got.tolist() == [row(ID["发"], ID["烧"], ID["no"], ID["烧"])]


def test_what_is_unknown_becomes_the_unknown_token() -> None:
    got, present = ids("fever 龘 xyz no")
    assert got.tolist() == [row(ID["fever"], UNK, UNK, ID["no"])]
    assert present.tolist() == [True]


def test_long_texts_are_cut_and_still_end_with_sep() -> None:
    got, _ = ids("no " * 50)
    assert got.tolist() == [[CLS, *[ID["no"]] * 6, SEP]]


def test_characters_behind_the_bound_are_cut_before_tokenizing() -> None:
    got, _ = ids("发烧烧烧", one=replace(NOTE, max_characters=2))
    assert got.tolist() == [row(ID["发"], ID["烧"])]


def test_empty_and_blank_texts_are_absent() -> None:
    got, present = ids("", "  \n\t", "\u3000\u00a0", "no")
    assert present.tolist() == [False, False, False, True]
    assert got[:3].tolist() == [row(), row(), row()]


def test_case_is_kept_where_the_config_says_so() -> None:
    got, _ = ids("Fever no", one=replace(NOTE, lowercase=False))
    assert got.tolist() == [row(UNK, ID["no"])]


def test_bytes_that_are_no_utf8_harm_no_other_row() -> None:
    got, present = ids(b"no", b"\xff\xfe\x80 no \xe5\x8f", b"fever")
    assert got[0].tolist() == row(ID["no"])
    assert got[2].tolist() == row(ID["fever"])
    assert ID["no"] in got[1]
    assert present.tolist() == [True, True, True]


def test_an_empty_batch_gives_no_rows() -> None:
    got, present = ids()
    assert got.shape == (0, 8)
    assert present.shape == (0,)


def test_a_special_token_in_a_text_is_text_not_a_command() -> None:
    got, _ = ids("[SEP] no [MASK]")
    assert (got[0] == SEP).sum() == 1
    assert 4 not in got


TEXTS = [
    "Unaffable résumé, 发烧了! coughs",
    "",
    "a-b c_d 1.5kg",
    "fever cough" * 3,
    "ÀÉÎ feverish 😀",
]


def test_ids_are_those_of_tf_texts_bert_tokenizer() -> None:
    import tensorflow_text as text

    more = (
        *VOCABULARY, *"abcdefghijklmnopqrstuvwxyz1590-_.!", *"é了",
        *[f"##{c}" for c in "abcdefghijklmnopqrstuvwxyzé0159"],
    )  # fmt: skip
    more = tuple(dict.fromkeys(more))
    modality = Text(replace(NOTE, max_tokens=40))
    resources = Resources(vocabularies={"note": more})
    got = tf.function(lambda x: modality.preprocess({"note": x}, resources))(
        tf.constant(TEXTS)
    )["note_token_ids"]
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(
            list(more), list(range(len(more))), tf.string, tf.int64
        ),
        1,
    )
    # Lower-casing without stripping accents, as WordPieceTokenizer's defaults.
    lowered = tf.constant([t.lower() for t in TEXTS])
    bert = text.BertTokenizer(table, lower_case=False, unknown_token="[UNK]")
    wanted = bert.tokenize(lowered).merge_dims(1, 2).to_list()
    for ours, theirs in zip(got.numpy().tolist(), wanted, strict=True):
        kept = [CLS, *theirs[:38], SEP]
        assert ours == kept + [PAD] * (40 - len(kept))


def test_ids_are_those_of_keras_nlps_bert_preprocessor() -> None:
    import keras_nlp

    tokenizer = keras_nlp.tokenizers.BertTokenizer(
        vocabulary=list(VOCABULARY), lowercase=True
    )
    packer = keras_nlp.layers.StartEndPacker(8, CLS, SEP, PAD)
    wanted = packer(tokenizer(tf.constant(TEXTS)))
    np.testing.assert_array_equal(ids(*TEXTS)[0], wanted)


def learned(counts: dict[str, int], size: int = 100) -> list[str]:
    pairs = [(word.encode(), n) for word, n in counts.items()]
    return str(learn(pairs, size, SPECIAL).item().decode()).split("\n")


def test_frequent_words_become_tokens_and_every_character_stays() -> None:
    vocabulary = learned({"fever": 50, "cough": 40, "x": 1, "龘": 1, "qi": 1}, 33)
    assert tuple(vocabulary[:5]) == SPECIAL
    assert {"fever", "cough", "x", "龘", "q", "##i"} <= set(vocabulary)
    assert len(set(vocabulary)) == len(vocabulary)


def test_a_shared_ending_becomes_a_piece_and_rare_words_do_not() -> None:
    # ##cd ends four words; each word by itself is too rare for the size.
    vocabulary = learned({"abab": 1000, "cdcd": 2, "abcd": 2, "bada": 2}, 16)
    assert {"abab", "##cd"} <= set(vocabulary)
    assert not {"cdcd", "abcd", "bada"} & set(vocabulary)


def test_the_vocabulary_keeps_to_its_size() -> None:
    words = ["ab", "abc", "abcd", "bc", "bcd", "cd", "dab", "dabc", "cab", "acdb"]
    counts = {word * k: 10 * k for k in (1, 2, 3) for word in words}
    assert len(learned(counts, 30)) <= 30


def test_the_order_of_the_counts_does_not_matter() -> None:
    counts = {"fever": 9, "feverish": 7, "cough": 7, "发": 3}
    assert learned(counts) == learned(dict(reversed(counts.items())))


def test_without_any_text_only_special_tokens_are_left() -> None:
    assert learned({}) == list(SPECIAL)


@pytest.mark.parametrize("text", ["no", "发烧"])
def test_a_vocabulary_of_special_tokens_alone_still_works(text: str) -> None:
    modality = Text(NOTE)
    resources = Resources(vocabularies={"note": SPECIAL})
    out = tf.function(lambda x: modality.preprocess({"note": x}, resources))(
        tf.constant([text])
    )
    assert UNK in out["note_token_ids"].numpy()
