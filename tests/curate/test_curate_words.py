"""The index of words against the same questions asked of plain sets and dictionaries."""

from __future__ import annotations

import math
import random
import re
from collections import Counter

import numpy as np
import polars as pl
import pytest

from townsquare.curate import words
from townsquare.curate.words import COMMON, WORDS_LOOKED_UP, Words

SPOKEN = re.compile(r"\d+(?:[.:,]\d+)*|[^\W\d_]{3,}")
TEXTS = (
    "Opens at 9:30, costs 4,50!",
    "über die Straße, über",
    "no at it",
    "",
    "x2 y_z café ünï",
    "９:３０ Ⅻ½ abc",
    "the end",
)


def plain_words(text: str) -> set[str]:
    return set(SPOKEN.findall(text.lower()))


def sentences(count: int) -> list[str]:
    """Sentences of words that are as unevenly common as those of a language."""
    rng = random.Random(5)
    return [" ".join(f"w{'abcdefghij'[int(rng.paretovariate(1)) % 10]}{'klmnopq'[rng.randrange(7)]}x"
                     for _ in range(rng.randint(1, 9))) for _ in range(count)]  # fmt: skip


@pytest.fixture(scope="module")
def index() -> tuple[Words, list[str], np.ndarray]:
    texts = [*sentences(3_000), *TEXTS]
    eligible = np.arange(len(texts)) % 5 != 0
    return Words(pl.Series("text", texts, dtype=pl.String), eligible), texts, eligible


def test_words_and_how_many_posts_have_them(index: tuple[Words, list[str], np.ndarray]) -> None:
    found, texts, eligible = index
    assert found.vocabulary == sorted(set().union(*map(plain_words, texts)))
    for row, text in enumerate(texts):
        assert {found.vocabulary[word] for word in found.of(row)} == plain_words(text), text
    counts = Counter(word for row, text in enumerate(texts) if eligible[row] for word in plain_words(text))
    assert found.posts_with.tolist() == [counts[word] for word in found.vocabulary]
    assert max(counts.values()) > COMMON, "some word must be too common"


@pytest.mark.parametrize("at_once", [40, 1 << 16])
def test_posts_about_rare_words(
    index: tuple[Words, list[str], np.ndarray], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "AT_ONCE", at_once)
    found, texts, eligible = index
    counts = Counter(word for row, text in enumerate(texts) if eligible[row] for word in plain_words(text))
    asked = np.arange(0, len(texts), 37)
    rare = found.rare(asked)
    near = found.about(rare, most=7)
    for row, chosen, posts in zip(asked.tolist(), rare, near, strict=True):
        known = sorted((counts[word], word) for word in plain_words(texts[row]) if 0 < counts[word] <= COMMON)
        expected = [word for _, word in known][:WORDS_LOOKED_UP]
        assert [found.vocabulary[word] for word in chosen] == expected
        worth = {word: round(math.log(1 + eligible.sum() / counts[word]) * (1 << 18)) for word in expected}
        scores = {
            other: sum(worth[word] for word in expected if word in plain_words(texts[other]))
            for other in np.flatnonzero(eligible).tolist()
        }
        best = sorted((other for other in scores if scores[other]), key=lambda other: (-scores[other], other))
        assert posts == best[:7]


def test_no_words_no_posts() -> None:
    empty = Words(pl.Series("text", [], dtype=pl.String), np.zeros(0, bool))
    assert empty.rare(np.zeros(0, np.int64)) == []
    assert empty.about([], 3) == []
    silent = Words(pl.Series("text", ["a b", ""]), np.ones(2, bool))
    assert silent.about(silent.rare(np.array([0, 1])), 3) == [[], []]
