"""Grounded conversations: a question with numbered posts at hand, and an answer that names the post it rests on.

Three kinds, told apart by the score `grounded`: 1, a question that someone asked and the reply it got; 2, a
question from elsewhere and a statement about the same names; 3, a question that none of the posts answers.
The wrong posts share rare words with the question, so that a model must read and not only match.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from townsquare.curate.config import CurateConfig
from townsquare.curate.conversations import Threads, row_of
from townsquare.curate.splits import draw
from townsquare.model.chat import GROUNDED_POSTS, NOTHING_FOUND, grounded_prompt

POST_CHARACTERS = 200
QUESTION_CHARACTERS = 160
ALL_CHARACTERS = 900  # prompt and answer: about a row of 256 tokens
COMMON = 300  # a word in more posts than this tells nothing apart
WORDS_LOOKED_UP = 6
SAME_CONTENT = 0.6  # share of the answer's words from which another post may answer as well
ALIKE = 0.7  # share of a question's weight that a statement must have where no reply vouches for it
UNANSWERED_SHARE = 0.3

_WORD = re.compile(r"\d+(?:[.:,]\d+)*|[^\W\d_]{3,}")
_NAME = re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][^\W_]{2,}")
_ASKS_FOR = re.compile(
    r"\b(?:who|whose|what|when|where|which|how|why|wer|was|wann|wo|welche[rsn]?|wie|warum|qui|que|quand|où|quel(?:le)?s?|"
    r"comment|combien|quién|qué|cuándo|dónde|cuál|cómo|cuánto|chi|cosa|quando|dove|quale|come|quanto|quem|onde|qual|"
    r"wie|wat|wanneer|waar|welke?|hoe)\b",
    re.I,
)


def asks(text: str) -> bool:
    """Whether a post asks for something that a post could tell: who, what, when, where, how much."""
    return len(text) <= QUESTION_CHARACTERS and "?" in text and _ASKS_FOR.search(text) is not None


class Words:
    """An inverted index of the rarer words of the posts that may stand in a prompt."""

    def __init__(self, texts: Sequence[str], eligible: Iterable[int]) -> None:
        self.of = [frozenset(_WORD.findall(text.lower())) for text in texts]
        self.eligible = list(eligible)
        self.rows: dict[str, list[int]] = defaultdict(list)
        for row in self.eligible:
            for word in sorted(self.of[row]):
                self.rows[word].append(row)

    def rare(self, row: int) -> list[str]:
        """The rarer words of a post, rarest first, as far as another post has them."""
        known = [(len(self.rows[word]), word) for word in self.of[row] if word in self.rows]
        return [word for count, word in sorted(known) if count <= COMMON][:WORDS_LOOKED_UP]

    def news(self, row: int, asked: int) -> frozenset[str]:
        """What a post says beyond the question: its numbers and rarer words that the question lacks."""
        beyond = self.of[row] - self.of[asked]
        return frozenset(word for word in beyond if len(self.rows.get(word, ())) <= COMMON)

    def weight(self, asked: int, row: int) -> float:
        """Share of the question's words, each weighed by its rarity, that a post has."""
        worth = {word: self._worth(word) for word in sorted(self.of[asked]) if word in self.rows}
        return sum(worth[word] for word in sorted(self.of[row] & worth.keys())) / max(sum(worth.values()), 1e-9)

    def _worth(self, word: str) -> float:
        return math.log(1 + len(self.eligible) / len(self.rows[word]))

    def about(self, words: Sequence[str]) -> list[int]:
        """Posts that share the words, best first: each word counts by its rarity."""
        scores: dict[int, float] = defaultdict(float)
        for word in words:
            worth = self._worth(word)
            for row in self.rows[word]:
                scores[row] += worth
        return sorted(scores, key=lambda row: (-scores[row], row))


class Grounder:
    """Makes grounded conversations; `taken` marks the posts that are learned."""

    def __init__(self, threads: Threads, taken: np.ndarray, config: CurateConfig) -> None:
        self.threads, self.taken, self.config = threads, taken, config
        texts = threads.texts
        fit = [row for row in range(len(texts)) if threads.learnable[row] and len(texts[row]) <= POST_CHARACTERS]
        self.fit = frozenset(fit)
        self.words = Words(texts, fit)
        self.questions = [row for row, text in enumerate(texts) if asks(text)]
        self.names = {row: {name.lower() for name in _NAME.findall(texts[row])} for row in self.questions}
        self.replies: dict[int, list[int]] = defaultdict(list)
        for row, above in enumerate(threads.trees.parent.tolist()):
            if above in self.names and threads.answers(row):
                self.replies[above].append(row)
        self.pool: dict[str, list[int]] = defaultdict(list)  # by split
        for row in fit:
            self.pool[threads.splits[row]].append(row)

    def _draw(self, *parts: object) -> float:
        return draw(self.config.seed, *parts)

    def _drawn(self, kind: str, row: int, share: float = 1.0) -> bool:
        return self._draw(kind, self.threads.uids[row]) < share * self.config.grounded_share

    def _states(self, row: int) -> bool:
        return row in self.fit and not self.taken[row] and "?" not in self.threads.texts[row]

    def answered(self) -> list[dict[str, Any]]:
        """Questions and the replies they got, as far as a reply says what it is about."""
        made = []
        for asked in self.questions:
            rare = frozenset(self.words.rare(asked))
            for row in self.replies[asked]:
                if self._states(row) and rare & self.words.of[row] and self._drawn("answered", row):
                    made.append(self._told(asked, row, self.words.news(row, asked), kind=1.0))
        return [row for row in made if row]

    def stated(self) -> list[dict[str, Any]]:
        """Questions, and statements from other threads that share a name and what a reply vouches for."""
        made = []
        for asked in self.questions:
            rare = self.words.rare(asked)
            names = self.names[asked].intersection(rare)
            if not names or not self._drawn("stated", asked):
                continue
            vouched = frozenset().union(*(self.words.news(row, asked) for row in self.replies[asked]))
            for row in self.words.about(rare)[: WORDS_LOOKED_UP * 4]:
                if self._states(row) and self._elsewhere(row, asked) and names & self.words.of[row]:
                    news = vouched & self.words.of[row]
                    if news or (not vouched and self.words.weight(asked, row) >= ALIKE):
                        made.append(self._told(asked, row, news or self.words.news(row, asked), kind=2.0))
                        break
        return [row for row in made if row]

    def _elsewhere(self, row: int, asked: int) -> bool:
        threads = self.threads
        return (
            threads.trees.root[row] != threads.trees.root[asked]
            and threads.splits[row] == threads.splits[asked]
            and not threads.answers(row)
        )

    def unanswered(self) -> list[dict[str, Any]]:
        """Questions among posts that have none of their rarest words."""
        made = []
        for asked in self.questions:
            rare = self.words.rare(asked)
            if self.names[asked].intersection(rare) and self._drawn("unanswered", asked, UNANSWERED_SHARE):
                telling = frozenset(rare[:2]) | self.names[asked].intersection(rare)
                posts = self._others(asked, [word for word in rare if word not in telling], GROUNDED_POSTS, telling)
                if posts is not None:
                    made.append(self._row(asked, posts, NOTHING_FOUND, end=asked, kind=3.0))
        return [row for row in made if row]

    def _told(self, asked: int, answer: int, news: frozenset[str], *, kind: float) -> dict[str, Any] | None:
        threads, content = self.threads, self.words.of[answer]
        others = self._others(asked, self.words.rare(asked), GROUNDED_POSTS - 1, news, content, answer)
        if others is None:
            return None
        place = int(self._draw("place", threads.uids[asked], threads.uids[answer]) * GROUNDED_POSTS)
        posts = [*others[:place], answer, *others[place:]]
        text = " ".join(threads.texts[answer].split())
        row = self._row(asked, posts, f"{text} [{place + 1}]", end=answer, kind=kind)
        if row:
            self.taken[answer] = True
        return row

    def _others(
        self,
        asked: int,
        words: Sequence[str],
        count: int,
        telling: frozenset[str],
        content: frozenset[str] = frozenset(),
        answer: int = -1,
    ) -> list[int] | None:
        """Posts that do not answer: about `words` first, then any; null when there are too few.

        None has a `telling` word, most of the answer's `content`, or the thread of the question or the answer.
        Up to two may ask themselves, for those are what a search finds first.
        """
        threads = self.threads
        split, roots = threads.splits[asked], threads.trees.root[[asked, answer] if answer >= 0 else [asked]]
        pool = self.pool[split]
        start = int(self._draw("fill", threads.uids[asked], count) * max(len(pool), 1))
        fill = (pool[(start + step * 7919) % len(pool)] for step in range(min(len(pool), 40)))
        asking = int(self._draw("asking", threads.uids[asked], count) * 3)
        chosen: dict[str, int] = {}
        for row in [*self.words.about(words)[: 12 * count], *fill]:
            text, said = threads.texts[row], self.words.of[row]
            fits = (
                threads.splits[row] == split
                and threads.trees.root[row] not in roots
                and not said & telling
                and len(said & content) < SAME_CONTENT * max(len(content), 1)
                and text not in chosen
            )
            if fits and (asking or "?" not in text):
                asking -= "?" in text
                chosen[text] = row
            if len(chosen) == count:
                return sorted(chosen.values(), key=lambda r: self._draw("order", threads.uids[asked], threads.uids[r]))
        return None

    def _row(self, asked: int, posts: list[int], reply: str, *, end: int, kind: float) -> dict[str, Any] | None:
        threads = self.threads
        prompt = grounded_prompt(threads.texts[asked], [threads.texts[row] for row in posts])
        if len(prompt) + len(reply) > ALL_CHARACTERS:
            return None
        learned = [] if kind == 3.0 else [threads.uids[end]]
        turns = [
            {"role": "user", "text": prompt, "uids": [threads.uids[asked], *(threads.uids[row] for row in posts)]},
            {"role": "assistant", "text": reply, "uids": learned},
        ]
        return row_of(threads, end, turns, grounded=kind)


def build(threads: Threads, taken: np.ndarray, config: CurateConfig) -> list[dict[str, Any]]:
    """All grounded conversations; marks in `taken` the posts that they learn."""
    if config.grounded_share == 0:
        return []
    grounder = Grounder(threads, taken, config)
    return [*grounder.answered(), *grounder.stated(), *grounder.unanswered()]
