"""Retrieval: a question -> the posts that answer it, best first, or none when nothing here is about it.

BM25 gives candidates. They are then ordered by what a person would look for: how much of the question a
post covers, rare words counting most; statements before questions; replies read together with the question
that they answer; a figure where a figure is asked for; and of equals the newest.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from typing import TYPE_CHECKING

from townsquare.serve import index, live
from townsquare.serve.live import Post
from townsquare.serve.words import CALENDAR, Word, fingerprint, is_question, words
from townsquare.square import Square

if TYPE_CHECKING:
    from lance import LanceDataset

CANDIDATES = 80
QUESTIONS = 40
REPLIES = 200
ENOUGH = 0.55
"""The least share of a question's weight that a post must cover to be about it."""
ALIKE = 0.04
"""Scores this close say the same: then the newer post goes first."""

_WANTS_NUMBER = re.compile(
    r"\b(?:when|what time|what day|how (?:much|many|long|late|early|far|old|often)|price|cost|score|hours)\b",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Term:
    """A word of the question that says something; `weight` grows with its rarity, `name`: it must be there."""

    raw: str
    weight: float
    name: bool
    variants: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Hit:
    """A post that may be shown and is about the question."""

    uid: str
    score: float
    post: Post
    parent: Post | None
    """The question that it replies to, where it was found through it."""


def search(square: Square, question: str, limit: int) -> list[Hit]:
    """At most `limit` posts that answer the question, best first; none when nothing here is about it."""
    table = index.dataset(square)
    terms = question_terms(table, question)
    if not terms or any(term.name and not term.variants for term in terms):
        return []  # what the question is about has a name that no post knows
    found = _candidates(table, terms)
    posts = live.allowed(square, found.keys() | {parent for parent in found.values() if parent})
    hits = []
    for uid, parent in found.items():
        if uid in posts and not is_question(posts[uid].text):
            score = _score(question, terms, posts[uid], posts.get(parent or ""))
            if score is not None:
                hits.append(Hit(uid, score, posts[uid], posts.get(parent or "")))
    return _ordered(hits)[:limit]


def question_terms(table: LanceDataset, question: str) -> list[Term]:
    """The words of a question that say something, each once, with the weight that the index gives them."""
    rows = table.count_rows()
    distinct: dict[str, Word] = {}
    for word in words(question):
        if word.kind != "empty" and (word.key not in distinct or word.kind == "name"):
            distinct[word.key] = word
    return [_term(table, word, rows) for word in distinct.values()] if rows else []


def _term(table: LanceDataset, word: Word, rows: int) -> Term:
    count = index.count(table, word.raw)
    variants = {word.key} if count else _misspelt(table, word)
    # A plain word that no post has cannot tell posts apart: it weighs as one that every twentieth has.
    held = count or (1 if word.kind == "name" else rows // 20)
    weight = math.log(1 + (rows - held + 0.5) / (held + 0.5))
    return Term(word.raw, weight, word.kind == "name", frozenset(variants))


def _misspelt(table: LanceDataset, word: Word) -> set[str]:
    """Words of the index that the question's word may have meant: one letter off."""
    if word.kind == "number" or len(word.key) < 5:
        return set()
    near = index.near(table, word.raw)
    keys = {other.key for row in near for other in words(row)}
    return {key for key in keys if difflib.SequenceMatcher(None, key, word.key).ratio() >= 0.8}


def _candidates(table: LanceDataset, terms: list[Term]) -> dict[str, str | None]:
    """Uid -> the question post that it replies to, or None where its own text matched."""
    query = " ".join(sorted({term.raw for term in terms} | {v for term in terms for v in term.variants}))
    found: dict[str, str | None] = dict.fromkeys(index.match(table, query, asks=False, limit=CANDIDATES))
    asked = index.match(table, query, asks=True, limit=QUESTIONS)
    for uid, parent in index.replies(table, asked, limit=REPLIES):
        found[uid] = parent
    return found


def _score(question: str, terms: list[Term], post: Post, parent: Post | None) -> float | None:
    """How well a post answers, about 0 to 1.3; None when it is not about the question."""
    own = words(post.text)
    keys = {word.key for word in own}
    read = keys | {word.key for word in words(parent.text)} if parent else keys
    if any(term.name and not term.variants & read for term in terms):
        return None
    covered = _share(terms, read)
    if covered < ENOUGH or not _says_something(question, terms, own, parent is not None):
        return None
    return covered + 0.2 * _share(terms, keys) + (0.1 if _has_kind(question, own) else 0.0)


def bears_on(question: str, sentence: str) -> bool:
    """Whether a sentence can answer: it has the kind of thing asked for, and says more than the question."""
    own, asked = words(sentence), {word.key for word in words(question)}
    return _has_kind(question, own) and any(word.kind != "empty" and word.key not in asked for word in own)


def _share(terms: list[Term], keys: set[str]) -> float:
    return sum(term.weight for term in terms if term.variants & keys) / sum(term.weight for term in terms)


def _has_kind(question: str, own: list[Word]) -> bool:
    """Whether a post has what the question asks for: a figure or a day, where it asks for one."""
    if not _WANTS_NUMBER.search(question):
        return True
    return any(word.kind == "number" or word.key in CALENDAR for word in own)


def _says_something(question: str, terms: list[Term], own: list[Word], reply: bool) -> bool:
    """Whether a post has words beyond the question's. A reply must have the kind of thing that was asked for."""
    asked = frozenset().union(*(term.variants for term in terms))
    new = any(word.kind != "empty" and word.key not in asked for word in own)
    return new and (not reply or _has_kind(question, own))


def _ordered(hits: list[Hit]) -> list[Hit]:
    """Best first; of hits with nearly the same score the newest first; one of each text."""
    left = sorted(hits, key=lambda hit: (-hit.score, hit.uid))
    ordered: list[Hit] = []
    while left:
        group = [hit for hit in left if hit.score >= left[0].score - ALIKE]
        left = left[len(group) :]
        ordered += sorted(group, key=lambda hit: (hit.post.created_at or "", hit.uid), reverse=True)
    distinct: dict[str, Hit] = {}
    for hit in ordered:
        distinct.setdefault(fingerprint(hit.post.text), hit)
    return list(distinct.values())
