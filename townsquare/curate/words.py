"""Which posts say which words, as arrays: what the search for grounded conversations stands on.

A word is a number, in the order of the words' spelling. Ragged arrays are two: the values, and where each row's begin
(one more than there are rows, the last being the end).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain, pairwise

import numpy as np
import polars as pl

COMMON = 300  # a word in more posts than this tells nothing apart
WORDS_LOOKED_UP = 6
WORD = r"\p{Nd}+(?:[.:,]\p{Nd}+)*|[\p{L}\p{Nl}\p{No}]{3,}"
AT_ONCE = 1 << 16  # postings that are sorted together: what a core's cache holds
WORTH_BITS, SCORE_BITS = 23, 26  # a word's worth in steps of 2^-18, and the sum of six
SPARE = 1 << 16  # posts whose words are kept as sets


class Words:
    """An inverted index of the words of the posts that may stand in a prompt (`eligible`, one boolean a text)."""

    def __init__(self, texts: pl.Series, eligible: np.ndarray) -> None:
        self.size = len(texts)
        self.vocabulary, rows, self._said = _distinct_words(texts)
        self._starts = np.searchsorted(rows, np.arange(self.size + 1))
        may = eligible[rows]
        self.posts_with = np.bincount(self._said[may], minlength=len(self.vocabulary))
        """How many eligible posts have each word."""
        rarity = np.log(1 + int(eligible.sum()) / np.maximum(self.posts_with, 1))
        self.worth: list[float] = rarity.tolist()
        self._steps = np.round(rarity * (1 << 18)).astype(np.int64)
        may &= self.posts_with[self._said] <= COMMON
        listed = self._said[may]
        self._posts = rows[may][np.argsort(listed, kind="stable")]
        self._first_post = np.searchsorted(np.sort(listed), np.arange(len(self.vocabulary) + 1))
        self.of = lru_cache(maxsize=SPARE)(self._set_of)
        """The words of a post."""

    def _set_of(self, row: int) -> frozenset[int]:
        return frozenset(self._said[self._starts[row] : self._starts[row + 1]].tolist())

    def rare(self, rows: np.ndarray) -> list[list[int]]:
        """For each post its rarer words, rarest first, as far as an eligible post has them."""
        sizes = self._starts[rows + 1] - self._starts[rows]
        words = self._said[runs(self._starts[rows], sizes)]
        owner = np.repeat(np.arange(len(rows)), sizes)
        known = (self.posts_with[words] > 0) & (self.posts_with[words] <= COMMON)
        words, owner = words[known], owner[known]
        order = np.lexsort((words, self.posts_with[words], owner))
        return [found[:WORDS_LOOKED_UP] for found in ragged(words[order], owner, len(rows))]

    def news(self, row: int, asked: int) -> frozenset[int]:
        """What a post says beyond the question: its numbers and rarer words that the question lacks."""
        return frozenset(word for word in self.of(row) - self.of(asked) if self.posts_with[word] <= COMMON)

    def weight(self, asked: int, row: int) -> float:
        """Share of the question's words, each weighed by its rarity, that a post has."""
        known = [word for word in sorted(self.of(asked)) if self.posts_with[word]]
        said = self.of(row)
        total = sum(self.worth[word] for word in known)
        return sum(self.worth[word] for word in known if word in said) / max(total, 1e-9)

    def about(self, words: list[list[int]], most: int) -> list[list[int]]:
        """For each list of words the `most` posts that share them, best first: each word counts by its rarity."""
        asked = np.repeat(np.arange(len(words)), [len(some) for some in words])
        flat = np.fromiter((word for some in words for word in some), np.int64, len(asked))
        postings = np.bincount(asked, self.posts_with[flat], minlength=len(words)).cumsum()
        ends: list[int] = []
        while (start := ends[-1] if ends else 0) < len(words):
            full = np.searchsorted(postings, (postings[start - 1] if start else 0) + AT_ONCE)
            ends.append(min(max(int(full), start + 1), start + (1 << (63 - SCORE_BITS - self._row_bits)), len(words)))

        def part(start: int, end: int) -> list[list[int]]:
            some = slice(*np.searchsorted(asked, [start, end]))
            return self._about(flat[some], asked[some] - start, end - start, most)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:  # sorting lets go of Python's lock
            return list(chain.from_iterable(threads.map(part, [0, *ends[:-1]], ends)))

    @property
    def _row_bits(self) -> int:
        return max(self.size - 1, 1).bit_length()

    def _about(self, words: np.ndarray, asked: np.ndarray, count: int, most: int) -> list[list[int]]:
        """`about` for so few questions that a question, a post and a score fit one number: two sorts do the work."""
        row_bits = self._row_bits
        sizes = self.posts_with[words]
        rows = self._posts[runs(self._first_post[words], sizes)]
        keys = (np.repeat(asked, sizes) << row_bits | rows) << WORTH_BITS | np.repeat(self._steps[words], sizes)
        keys.sort()
        pair = keys >> WORTH_BITS
        firsts = np.flatnonzero(np.diff(pair, prepend=-1))
        if not len(firsts):
            return [[] for _ in range(count)]
        scores = np.add.reduceat(keys & ((1 << WORTH_BITS) - 1), firsts)
        pair = pair[firsts]
        asked, rows = pair >> row_bits, pair & ((1 << row_bits) - 1)
        ranked = (asked << SCORE_BITS | ((1 << SCORE_BITS) - 1 - scores)) << row_bits | rows
        ranked.sort()
        asked = ranked >> (SCORE_BITS + row_bits)
        place = np.arange(len(asked)) - np.searchsorted(asked, asked)
        best = place < most
        return ragged((ranked & ((1 << row_bits) - 1))[best], asked[best], count)


def _distinct_words(texts: pl.Series) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The vocabulary in order; and each pair of a text's row and the number of a word in it, once, in order."""
    found = (
        texts.to_frame("text")
        .with_row_index("row")
        .select("row", word=pl.col("text").str.to_lowercase().str.extract_all(WORD))
        .explode("word")
        .drop_nulls()
    )
    coded = found["word"].to_arrow().dictionary_encode()
    vocabulary = pl.Series(pl.from_arrow(coded.dictionary), dtype=pl.String)
    order = vocabulary.arg_sort().to_numpy()
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    bits = max(len(order) - 1, 1).bit_length()
    keys = found["row"].to_numpy().astype(np.int64) << bits | number[np.asarray(coded.indices)]
    keys.sort()
    keys = keys[np.diff(keys, prepend=-1) != 0]
    return vocabulary.gather(order).to_list(), keys >> bits, keys & ((1 << bits) - 1)


def runs(first: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The numbers from each `first` on, as many as its size, one run after another."""
    return np.arange(sizes.sum()) + np.repeat(first - np.concatenate(([0], np.cumsum(sizes)[:-1])), sizes)


def ragged(values: np.ndarray, owner: np.ndarray, count: int) -> list[list[int]]:
    """The values of each of `count` owners; `owner` ascends."""
    flat, ends = values.tolist(), np.searchsorted(owner, np.arange(count), side="right").tolist()
    return [flat[start:end] for start, end in pairwise([0, *ends])]
