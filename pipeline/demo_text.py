"""Written mentions of a digit, in English or Chinese: misspelt, and often ambiguous."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ENGLISH = (
    *("zero", "one", "two", "three", "four"),
    *("five", "six", "seven", "eight", "nine"),
)
CHINESE = tuple("零一二三四五六七八九")

# `{a}` is the digit that is meant, `{b}` another one.
_PLAIN_EN = (
    "it says {a}",
    "the number is {a}",
    "I read {a} here",
    "{a}, as far as I can tell",
    "put down {a} please",
    "room {a}",
)
_PLAIN_ZH = (
    "这是{a}",
    "数字是{a}",
    "我看是{a}",
    "请记下{a}",
    "写的是{a}吧",
    "{a}号",
)
# Two digits and a weak cue: which comes first, or which one is doubted.
_DOUBTFUL_EN = (
    "{a} or {b}",
    "either {a} or {b}",
    "{a}, perhaps {b}",
    "looks like {a}, could be {b}",
    "{a} rather than {b}",
    "she wrote {a} and then {b}",
)
_DOUBTFUL_ZH = (
    "{a}或{b}",
    "不是{a}就是{b}",
    "像{a}，也像{b}",
    "{a}，也许{b}",
    "是{a}而不是{b}",
    "先写{a}后写{b}",
)
_DOUBTFUL_FRACTION = 0.7
_REVERSED_FRACTION = 0.35
_CHINESE_FRACTION = 0.4
_FIGURE_FRACTION = 0.15
_TYPO_FRACTION = 0.4
# What a hurried input method offers for the same sound.
_SAME_SOUND = {
    "零": "另令",
    "一": "衣以",
    "二": "儿而",
    "三": "山伞",
    "四": "是似",
    "五": "午无",
    "六": "留溜",
    "七": "期妻",
    "八": "吧巴",
    "九": "久酒",
}


def mention(rng: np.random.Generator, label: int) -> str:
    """A sentence that mentions the digit `label` (0 to 9), perhaps beside another."""
    chinese = rng.random() < _CHINESE_FRACTION
    doubtful = rng.random() < _DOUBTFUL_FRACTION
    if chinese:
        templates = _DOUBTFUL_ZH if doubtful else _PLAIN_ZH
    else:
        templates = _DOUBTFUL_EN if doubtful else _PLAIN_EN
    other = (label + int(rng.integers(1, 10))) % 10
    first, second = label, other
    if doubtful and rng.random() < _REVERSED_FRACTION:
        first, second = other, label
    return _choice(rng, templates).format(
        a=_word(rng, first, chinese), b=_word(rng, second, chinese)
    )


def _word(rng: np.random.Generator, digit: int, chinese: bool) -> str:
    if rng.random() < _FIGURE_FRACTION:
        return str(digit)
    misspelt = rng.random() < _TYPO_FRACTION
    if chinese:
        word = CHINESE[digit]
        return _choice(rng, _SAME_SOUND[word]) if misspelt else word
    return _misspell(rng, ENGLISH[digit]) if misspelt else ENGLISH[digit]


def _misspell(rng: np.random.Generator, word: str) -> str:
    """Swaps two letters, drops one, doubles one or hits a wrong key."""
    at = int(rng.integers(0, len(word) - 1))
    kind = int(rng.integers(0, 4))
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    key = chr(ord("a") + int(rng.integers(0, 26)))
    return word[:at] + key + word[at + 1 :]


def _choice(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(0, len(options)))]
