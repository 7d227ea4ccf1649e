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
UNANSWERED_SHARE = 0.15

_WORD = re.compile(r"[^\W_]{3,}")
_NAME = re.compile(r"(?<!^)(?<![.!?] )\b[A-Z][^\W_]{2,}")
_ASKS = re.compile(
    r"^(?:hey |hi |so |ok |and |anyone |does anyone know |can (?:anyone|someone) )*"
    r"(?:who|what|when|where|which|why|how|is|are|does|do|did|can|could|will|has|have|was|were)\b[^.!]{8,}$",
    re.I,
)


def asks(text: str) -> bool:
    """Whether a post reads as one question."""
    return len(text) <= QUESTION_CHARACTERS and (text.rstrip().endswith("?") or bool(_ASKS.match(text)))


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

    def about(self, words: Sequence[str]) -> list[int]:
        """Posts that share the words, best first: each word counts by its rarity."""
        scores: dict[int, float] = defaultdict(float)
        for word in words:
            worth = math.log(1 + len(self.eligible) / len(self.rows[word]))
            for row in self.rows[word]:
                scores[row] += worth
        return sorted(scores, key=lambda row: (-scores[row], row))


class Grounder:
    """Makes grounded conversations; `taken` marks the posts that are learned."""

    def __init__(self, threads: Threads, taken: np.ndarray, config: CurateConfig) -> None:
        self.threads, self.taken, self.config = threads, taken, config
        texts = threads.texts
        self.question = [asks(text) for text in texts]
        fit = [row for row in range(len(texts)) if threads.learnable[row] and len(texts[row]) <= POST_CHARACTERS]
        self.words = Words(texts, fit)
        self.fit = frozenset(fit)
        self.statements: dict[str, list[int]] = defaultdict(list)  # by split
        for row in fit:
            if not self.question[row]:
                self.statements[threads.splits[row]].append(row)

    def _draw(self, *parts: object) -> float:
        return draw(self.config.seed, *parts)

    def answered(self) -> list[dict[str, Any]]:
        """Replies to questions."""
        made = []
        for row in sorted(self.fit):
            above = int(self.threads.trees.parent[row])
            if not self.threads.answers(row) or not self.question[above] or self.question[row]:
                continue
            if self._draw("grounded", self.threads.uids[row]) < self.config.grounded_share:
                made.append(self._told(above, row, kind=1.0))
        return [row for row in made if row]

    def stated(self) -> list[dict[str, Any]]:
        """Statements that share a name and another rare word with a question asked elsewhere."""
        made = []
        for asked in (row for row, question in enumerate(self.question) if question):
            if self._draw("stated", self.threads.uids[asked]) >= self.config.grounded_share:
                continue
            rare = self.words.rare(asked)
            names = {name.lower() for name in _NAME.findall(self.threads.texts[asked])} & set(rare)
            if not names or len(rare) < 2:
                continue
            for row in self.words.about(rare)[:12]:
                shared = self.words.of[row].intersection(rare)
                if len(shared) >= 2 and shared & names and self._may_state(row, asked):
                    made.append(self._told(asked, row, kind=2.0))
                    break
        return [row for row in made if row]

    def _may_state(self, row: int, asked: int) -> bool:
        threads = self.threads
        return (
            not self.taken[row]
            and not self.question[row]
            and not threads.answers(row)
            and threads.trees.root[row] != threads.trees.root[asked]
            and threads.splits[row] == threads.splits[asked]
        )

    def unanswered(self) -> list[dict[str, Any]]:
        """Questions among posts that have none of their rarest words."""
        made = []
        for asked in (row for row, question in enumerate(self.question) if question):
            if self._draw("unanswered", self.threads.uids[asked]) < UNANSWERED_SHARE * self.config.grounded_share:
                posts = self._others(asked, None, GROUNDED_POSTS)
                if posts is not None:
                    made.append(self._row(asked, posts, NOTHING_FOUND, end=asked, kind=3.0))
        return [row for row in made if row]

    def _told(self, asked: int, answer: int, *, kind: float) -> dict[str, Any] | None:
        others = self._others(asked, answer, GROUNDED_POSTS - 1)
        if others is None:
            return None
        place = int(self._draw("place", self.threads.uids[asked], self.threads.uids[answer]) * GROUNDED_POSTS)
        posts = [*others[:place], answer, *others[place:]]
        text = " ".join(self.threads.texts[answer].split())
        row = self._row(asked, posts, f"{text} [{place + 1}]", end=answer, kind=kind)
        if row:
            self.taken[answer] = True
        return row

    def _others(self, asked: int, answer: int | None, count: int) -> list[int] | None:
        """Posts that do not answer: about the same words first, then any; null when there are too few."""
        threads, rare = self.threads, self.words.rare(asked)
        telling = set(rare[:2]) if answer is None else set()
        content = self.words.of[answer] if answer is not None else frozenset()
        split, root = threads.splits[asked], threads.trees.root[asked]
        pool = self.statements[split]
        start = int(self._draw("fill", threads.uids[asked], answer is None) * max(len(pool), 1))
        fill = (pool[(start + step * 7919) % len(pool)] for step in range(min(len(pool), 40)))
        chosen: list[int] = []
        texts: set[str] = set()
        for row in [*self.words.about(rare[2:] if answer is None else rare)[:24], *fill]:
            words = self.words.of[row]
            if (
                row not in (asked, answer)
                and not self.question[row]
                and threads.splits[row] == split
                and threads.trees.root[row] != root
                and (answer is None or threads.trees.root[row] != threads.trees.root[answer])
                and not words & telling
                and len(words & content) < SAME_CONTENT * max(len(content), 1)
                and threads.texts[row] not in texts
            ):
                chosen.append(row)
                texts.add(threads.texts[row])
                if len(chosen) == count:
                    return sorted(chosen, key=lambda r: self._draw("order", threads.uids[asked], threads.uids[r]))
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
