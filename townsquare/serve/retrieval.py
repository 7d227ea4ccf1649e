"""Retrieval: a question -> the posts that answer it, best first, or none when nothing here is about it.

BM25 gives candidates. What is then looked for is what a person would look for: every name of the question;
its topics, in these words or in others; the kind of thing that was asked for, such as a time; a statement,
not the same question again, though a reply is read together with the question that it replies to. Of posts
that say as much the newest goes first.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from townsquare.serve import index, meaning
from townsquare.serve.filters import NONE, Filters
from townsquare.serve.live import Post
from townsquare.serve.meaning import Reading
from townsquare.serve.standing import Counts, Now, Standing
from townsquare.serve.words import Word, fingerprint, words
from townsquare.square import Square

if TYPE_CHECKING:
    from lance import LanceDataset

CANDIDATES = 80
QUESTIONS = 40
REPLIES = 200
MOST_TERMS = 40
ENOUGH = 0.5
"""The least share of what a question is about that a post, read with what it replies to, must touch."""
ALIKE = 0.05
"""Scores this close say the same: then the newer post goes first."""
MOST_WEIGHT = 5.0
"""The weight of the rarest plain word: one that a hundred-and-fiftieth of the posts has."""

_A_THING = re.compile(r"\b[Aa]n? ((?:[a-z-]+ ){1,5}?)(?:costs?|at|in|on|from|go|sell)\b")
_WANTS_NAME = re.compile(
    r"\b(?:who|whose|whom|where|(?:which|what) (?:place|stop|station|venue|ground|town|city)|"
    r"(?:what|which) \w+ is .* on)\b",
    re.IGNORECASE,
)
_CONTRASTS = frozenset({"first", "last", "earliest", "latest"})
"""Words that make it another thing: the first bus is not the last."""
SHORT_REPLY_WORDS = 4


@dataclasses.dataclass(frozen=True)
class Term:
    """A word of the question that says something: `keys` of which a text must have one; rare ones weigh more."""

    keys: frozenset[str]
    weight: float


@dataclasses.dataclass(frozen=True)
class Wish:
    """A question as retrieval understands it."""

    raw: tuple[str, ...]
    """The words that the index is asked for."""
    names: tuple[frozenset[str], ...]
    """For each name how it may be spelt in this index; empty: no post knows it. A post must have every name."""
    thing: tuple[Term, ...]
    """The words of "a potted fern" in "what does a potted fern cost": a post must be about that thing."""
    concepts: tuple[Term, ...]
    """Concepts of english.toml; a post must touch half of them."""
    plain: tuple[Term, ...]
    """Its other words: they order posts, and decide where the question has no name, or neither thing nor concept."""
    kinds: frozenset[str]
    wants_name: bool
    asked: frozenset[str]
    """The keys of all its words."""


@dataclasses.dataclass(frozen=True)
class Hit:
    """A post that may be shown and is about the question."""

    uid: str
    score: float
    post: Post
    parent: Post | None
    """The question that it replies to, where it was found through it."""
    values: frozenset[str]
    """What it gives of the kind asked for, in one spelling, such as "time 435"; or names."""


def search(
    where: Square | Standing,
    question: str,
    limit: int,
    *,
    filters: Filters = NONE,
    fresh: LanceDataset | None = None,
) -> list[Hit]:
    """At most `limit` posts that answer the question, best first; none when nothing here is about it.

    `fresh` is a table of posts that the index does not have yet. Who asks often gives the same Standing each time.
    """
    standing = where if isinstance(where, Standing) else Standing(where)
    return standing.read(lambda now: _search(now, question, limit, filters, fresh))


def _search(now: Now, question: str, limit: int, filters: Filters, fresh: LanceDataset | None) -> list[Hit]:
    tables = [now.words, *([Counts(lambda: fresh)] if fresh else [])]
    wish = understand(tables, question)
    if not wish.raw or not all(wish.names):
        return []  # it asks nothing, or about a name that no post knows
    # Scored as they were indexed, and those that are left once more as they may be shown now.
    found = _candidates([words.table for words in tables], wish, filters)
    scores = {
        uid: score for uid, (text, _, asked) in found.items() if (score := _score(now, wish, text, asked)) is not None
    }
    parents = {parent_uid for uid in scores if (parent_uid := found[uid][1])}
    posts = now.allowed(scores.keys() | parents)
    hits = []
    for uid, score in scores.items():
        text, parent_uid, asked = found[uid]
        if (post := posts.get(uid)) is None:
            continue
        parent = posts.get(parent_uid or "")
        seen = (post.text, parent.text if parent else None)
        shown = score if seen == (text, asked) else _score(now, wish, *seen)
        if shown is not None:
            hits.append(Hit(uid, shown, post, parent, _values(wish, now.stated(post.text))))
    return _ordered(hits, limit)


def understand(tables: Sequence[Counts], question: str) -> Wish:
    """Take a question apart into names, the thing, concepts, other words, and the kind of answer that it wants."""
    said = words(question)[: 4 * MOST_TERMS]
    rows = sum(table.rows for table in tables)
    told = [word for word in said if word.kind != "empty"][:MOST_TERMS]
    counts = {word.raw: sum(table.count(word.raw) for table in tables) for word in told} if rows else {}
    names = {word.key: word for word in told if word.kind == "name"}
    shared = [found for found in meaning.concepts([word.key for word in said]) if said[found[1]].kind != "name"]
    inside = {place for _, start, length in shared for place in range(start, start + length)}
    plain = {w.key: w for place, w in enumerate(said) if w in told and w.key not in names and place not in inside}
    thing = {word.key for match in _A_THING.finditer(question) for word in words(match[1])} | _CONTRASTS
    terms = {key: Term(_spellings(tables, w, counts), _weight(counts.get(w.raw, 0), rows)) for key, w in plain.items()}
    spelt = tuple(_spellings(tables, word, counts) for word in names.values())
    return Wish(
        raw=tuple(sorted({word.raw for word in told if counts.get(word.raw)} | {s for n in spelt for s in n})),
        names=spelt,
        thing=tuple(term for key, term in terms.items() if key in thing),
        concepts=tuple(Term(frozenset({c}), 1.0) for c in sorted(meaning.narrowed({c for c, _, _ in shared}))),
        plain=tuple(term for key, term in terms.items() if key not in thing),
        kinds=meaning.wanted(_without(names, question)),
        wants_name=bool(_WANTS_NAME.search(question)),
        asked=frozenset(word.key for word in said).union(*spelt),
    )


def _without(names: dict[str, Word], question: str) -> str:
    """The question without its names: Story Hour asks for no hour."""
    for word in names.values():
        question = question[: word.start] + " " * len(word.raw) + question[word.start + len(word.raw) :]
    return question


def _weight(held: int, rows: int) -> float:
    # A word that no post has cannot tell posts apart: it weighs as one that every twentieth has.
    held = held or max(rows // 20, 1)
    return min(math.log(1 + (rows - held + 0.5) / (held + 0.5)), MOST_WEIGHT)


def _spellings(tables: Sequence[Counts], word: Word, counts: dict[str, int]) -> frozenset[str]:
    """The word's key; where no post has the word, keys of the index's words that are one letter off."""
    if counts.get(word.raw) or word.kind not in ("name", "plain"):
        return frozenset({word.key})
    texts = [text for table in tables for text in index.near(table.table, word.raw)] if len(word.key) > 4 else []
    keys = {other.key for text in texts for other in words(text)}
    near = {key for key in keys if difflib.SequenceMatcher(None, key, word.key).ratio() >= 0.8}
    return frozenset(near if word.kind == "name" else near | {word.key})


Found = dict[str, tuple[str, str | None, str | None]]
"""Uid -> its text, and uid and text of the post that asked and that it replies to: None where its own text matched."""


def _candidates(tables: Sequence[LanceDataset], wish: Wish, filters: Filters) -> Found:
    """What is scored. The filters hold for what answers, not for the question that it replies to."""
    query, where = " ".join(wish.raw), filters.sql()
    asked = {post.uid: post.text for table in tables for post in index.match(table, query, asks=True, limit=QUESTIONS)}
    found: Found = {}
    for table in tables:
        for asks, limit in ((False, CANDIDATES), (True, QUESTIONS)):
            if asks and not where:
                found |= {uid: (text, None, None) for uid, text in asked.items()}
                continue
            matched = index.match(table, query, asks=asks, limit=limit, where=where)
            found |= {post.uid: (post.text, None, None) for post in matched}
    for table in tables:
        replying = index.replies(table, list(asked), limit=REPLIES, where=where)
        found |= {post.uid: (post.text, post.reply_to, asked.get(post.reply_to or "")) for post in replying}
    return found


def _may_answer(now: Now, wish: Wish, text: str, asked: str | None) -> bool:
    """False where a glance shows that a post does not answer: most are told in a fifth of the time of a score."""
    if wish.kinds and not meaning.kinds(text, wish.kinds):
        return False
    left = wish.names if asked is None else [name for name in wish.names if not name & now.reading(asked).keys]
    keys = {word.key for word in words(text)} if left else set()
    return all(name & keys for name in left)


def _score(now: Now, wish: Wish, text: str, asked: str | None) -> float | None:
    """How well a post answers, read with the question that it replies to if any, up to 1.5; None when it does not."""
    if not _may_answer(now, wish, text, asked):
        return None
    stated = now.stated(text)
    own = stated.topics(wish.asked)
    steers = asked is None or meaning.instructs(asked)
    read = own if asked is None or steers else own | now.reading(asked).topics(wish.asked)
    if not all(name & read for name in wish.names) or not _answers(wish, stated, own, replies=asked is not None):
        return None
    # Without a name, and without thing or concept, its plain words are what the question is about.
    plain = wish.plain if not wish.names or not (wish.thing or wish.concepts) else ()
    about = [_share(terms, read) for terms in (wish.thing, wish.concepts, plain) if terms] or [1.0]
    if min(about) < ENOUGH:
        return None
    return sum(about) / len(about) + 0.3 * _share(wish.plain, read) + 0.2 * _share(wish.concepts, own)


def _values(wish: Wish, stated: Reading) -> frozenset[str]:
    """What a statement gives of the kinds wanted; where a name is wanted, its names that the question has not."""
    if wish.kinds or not wish.wants_name:
        return meaning.values(stated.text, wish.kinds)
    return frozenset(word.key for word in stated.words if word.kind == "name" and word.key not in wish.asked)


def _share(terms: tuple[Term, ...], found: frozenset[str]) -> float:
    whole = sum(term.weight for term in terms)
    return sum(term.weight for term in terms if term.keys & found) / whole if whole else 1.0


def _answers(wish: Wish, stated: Reading, own: frozenset[str], *, replies: bool) -> bool:
    """Whether a statement has the kind of thing asked for, and says anything beyond the question."""
    if wish.kinds:
        return bool(meaning.kinds(stated.text, wish.kinds))
    fresh = [word for word in stated.words if word.kind != "empty" and word.key not in wish.asked]
    if not wish.wants_name or stated.text == stated.text.lower():  # without capitals names have none either
        return bool(fresh)
    if frozenset({"#where"}) in {term.keys for term in wish.concepts} and "#where" not in own:
        return False
    if replies and not any(term.keys & own for term in wish.concepts) and not any(name & own for name in wish.names):
        return _names_someone(stated.words, wish.asked)
    return any(word.kind == "name" or word.start == 0 for word in fresh)


def _names_someone(said: list[Word], asked: frozenset[str]) -> bool:
    """Whether a reply that takes up nothing of the question is a name: "Mira Holt", and not chat with somebody."""
    named = [
        (word.kind == "name" or word.start == 0) and word.kind != "empty" and word.key not in asked for word in said
    ]
    return any(map(all, itertools.pairwise(named))) or (any(named) and len(said) <= SHORT_REPLY_WORDS)


def bears_on(question: str, sentence: str) -> bool:
    """Whether a sentence can answer: it has the kind of thing asked for, and says more than the question."""
    kinds, asked = meaning.wanted(question), {word.key for word in words(question)}
    fresh = any(word.kind != "empty" and word.key not in asked for word in words(sentence))
    return fresh and (not kinds or bool(meaning.kinds(sentence, kinds)))


def _ordered(hits: list[Hit], limit: int) -> list[Hit]:
    """Best first. Of hits with nearly the same score the newest first, but what only one author says comes after
    what several say: a mistake is rarely made twice. One hit of each text, at most `limit` in all."""
    left = sorted(hits, key=lambda hit: (-hit.score, hit.uid))
    distinct: dict[str, Hit] = {}
    while left and len(distinct) < limit:
        group = [hit for hit in left if hit.score >= left[0].score - ALIKE]
        left = left[len(group) :]
        backed = _backed(group)
        group.sort(
            key=lambda hit: (not backed or bool(hit.values & backed), hit.post.created_at or "", hit.uid),
            reverse=True,
        )
        for hit in itertools.takewhile(lambda _: len(distinct) < limit, group):
            distinct.setdefault(fingerprint(hit.post.text), hit)
    return list(distinct.values())


def _backed(hits: list[Hit]) -> set[str]:
    """The values that at least two authors give."""
    authors: dict[str, set[str | None]] = {}
    for hit in hits:
        for value in hit.values:
            authors.setdefault(value, set()).add(hit.post.author_id)
    return {value for value, who in authors.items() if len(who) > 1}
