"""Grounded conversations: a question with numbered posts at hand, and an answer that names the post it rests on.

Three kinds, told apart by the score `grounded`: 1, a question that someone asked and the reply it got; 2, a
question from elsewhere and a statement about the same names; 3, a question that none of the posts answers.
The wrong posts share rare words with the question, so that a model must read and not only match.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from townsquare.curate.config import CurateConfig
from townsquare.curate.conversations import Threads, row_of
from townsquare.curate.splits import draw
from townsquare.curate.words import Words
from townsquare.model.chat import GROUNDED_POSTS, NOTHING_FOUND, grounded_prompt

POST_CHARACTERS = 200
QUESTION_CHARACTERS = 160
ALL_CHARACTERS = 900  # prompt and answer: about a row of 256 tokens
SAME_CONTENT = 0.6  # share of the answer's words from which another post may answer as well
STATED_LOOKED_AT = 24
LOOKED_AT = 12 * (GROUNDED_POSTS - 1)
ALIKE = 0.7  # share of a question's weight that a statement must have where no reply vouches for it
UNANSWERED_SHARE = 0.3

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


class Grounder:
    """Makes grounded conversations; `taken` marks the posts that are learned."""

    def __init__(self, threads: Threads, taken: np.ndarray, config: CurateConfig) -> None:
        self.threads, self.taken, self.config = threads, taken, config
        texts = pl.Series("text", threads.texts, dtype=pl.String)
        fit = threads.learnable & (texts.str.len_chars() <= POST_CHARACTERS).to_numpy()
        may_ask = (texts.str.len_chars() <= QUESTION_CHARACTERS) & texts.str.contains("?", literal=True)
        self.questions = [row for row in may_ask.arg_true().to_list() if asks(threads.texts[row])]
        self.states: list[bool] = (fit & ~texts.str.contains("?", literal=True).to_numpy()).tolist()
        self.roots: list[int] = threads.trees.root.tolist()
        self.answers: list[bool] = threads.answering.tolist()
        self.replies: dict[int, list[int]] = {row: [] for row in self.questions}
        for row in np.flatnonzero(threads.answering & np.isin(threads.trees.parent, self.questions)).tolist():
            self.replies[int(threads.trees.parent[row])].append(row)
        self.pool: dict[str, list[int]] = defaultdict(list)  # by split
        for row in np.flatnonzero(fit).tolist():
            self.pool[threads.splits[row]].append(row)
        self.words = Words(texts, fit)
        rare = self.words.rare(np.array(self.questions, np.int64))
        self.rare = dict(zip(self.questions, rare, strict=True))
        self.names = {row: self._rare_names(row) for row in self.questions}
        self.fitting = {row: [reply for reply in self.replies[row] if self._fits(reply, row)] for row in self.questions}
        """The replies that are drawn and say what they are about, by the question."""
        self.to_state = [row for row in self.questions if self.names[row] and self._drawn("stated", row)]
        asked = sorted({*self.to_state, *(row for row, replies in self.fitting.items() if replies)})
        near = self.words.about([self.rare[row] for row in asked], LOOKED_AT)
        self.near = dict(zip(asked, near, strict=True))
        """The posts that share a question's rare words, best first."""

    def _rare_names(self, asked: int) -> frozenset[int]:
        names = {name.lower() for name in _NAME.findall(self.threads.texts[asked])}
        return frozenset(word for word in self.rare[asked] if self.words.vocabulary[word] in names)

    def _fits(self, reply: int, asked: int) -> bool:
        about_it = self.states[reply] and not self.words.of(reply).isdisjoint(self.rare[asked])
        return about_it and self._drawn("answered", reply)

    def _draw(self, *parts: object) -> float:
        return draw(self.config.seed, *parts)

    def _drawn(self, kind: str, row: int, share: float = 1.0) -> bool:
        return self._draw(kind, self.threads.uids[row]) < share * self.config.grounded_share

    def _states(self, row: int) -> bool:
        return self.states[row] and not self.taken[row]

    def answered(self) -> list[dict[str, Any]]:
        """Questions and the replies they got, as far as a reply says what it is about."""
        made = [
            self._told(asked, row, self.words.news(row, asked), kind=1.0)
            for asked, replies in self.fitting.items()
            for row in replies
        ]
        return [row for row in made if row]

    def stated(self) -> list[dict[str, Any]]:
        """Questions, and statements from other threads that share a name and what a reply vouches for."""
        made = []
        for asked in self.to_state:
            names = self.names[asked]
            vouched = frozenset().union(*(self.words.news(row, asked) for row in self.replies[asked]))
            for row in self.near[asked][:STATED_LOOKED_AT]:
                if self._states(row) and self._elsewhere(row, asked) and names & self.words.of(row):
                    news = vouched & self.words.of(row)
                    if news or (not vouched and self.words.weight(asked, row) >= ALIKE):
                        made.append(self._told(asked, row, news or self.words.news(row, asked), kind=2.0))
                        break
        return [row for row in made if row]

    def _elsewhere(self, row: int, asked: int) -> bool:
        threads = self.threads
        return (
            self.roots[row] != self.roots[asked]
            and threads.splits[row] == threads.splits[asked]
            and not self.answers[row]
        )

    def unanswered(self) -> list[dict[str, Any]]:
        """Questions among posts that have none of their rarest words."""
        chosen = [
            asked
            for asked in self.questions
            if self.names[asked] and self._drawn("unanswered", asked, UNANSWERED_SHARE)
        ]
        telling = [self.names[asked].union(self.rare[asked][:2]) for asked in chosen]
        rest = [
            [word for word in self.rare[asked] if word not in told] for asked, told in zip(chosen, telling, strict=True)
        ]
        near = self.words.about(rest, 12 * GROUNDED_POSTS)
        made = []
        for asked, told, about in zip(chosen, telling, near, strict=True):
            posts = self._others(asked, about, GROUNDED_POSTS, told)
            if posts is not None:
                made.append(self._row(asked, posts, NOTHING_FOUND, end=asked, kind=3.0))
        return [row for row in made if row]

    def _told(self, asked: int, answer: int, news: frozenset[int], *, kind: float) -> dict[str, Any] | None:
        threads, content = self.threads, self.words.of(answer)
        others = self._others(asked, self.near[asked], GROUNDED_POSTS - 1, news, content, answer)
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
        about: Sequence[int],
        count: int,
        telling: frozenset[int],
        content: frozenset[int] = frozenset(),
        answer: int = -1,
    ) -> list[int] | None:
        """Posts that do not answer: those `about` it first, then any; null when there are too few.

        None has a `telling` word, most of the answer's `content`, or the thread of the question or the answer.
        Up to two may ask themselves, for those are what a search finds first.
        """
        threads = self.threads
        split, roots = threads.splits[asked], {self.roots[asked], self.roots[answer] if answer >= 0 else -1}
        pool = self.pool[split]
        start = int(self._draw("fill", threads.uids[asked], count) * max(len(pool), 1))
        fill = (pool[(start + step * 7919) % len(pool)] for step in range(min(len(pool), 40)))
        asking = int(self._draw("asking", threads.uids[asked], count) * 3)
        chosen: dict[str, int] = {}
        for row in chain(about, fill):
            text, said = threads.texts[row], self.words.of(row)
            fits = (
                threads.splits[row] == split
                and self.roots[row] not in roots
                and said.isdisjoint(telling)
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
