"""Questions about the town whose answers are known, in wordings that no post has."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from random import Random

from townsquare.town.posts import Post
from townsquare.town.threads import Talk
from townsquare.town.world import Fact, World

MOST_ANSWERABLE = 480
MOST_OF_ONE_AUTHOR = 40
WATCHED = 3_000
"""Facts whose evidence is kept while the town is written; enough for the questions, however large the town."""
LEAST_EVIDENCE = 3
ENOUGH = 150
"""Where this many facts were told LEAST_EVIDENCE times, those that were told less come last."""


@dataclasses.dataclass(frozen=True)
class Question:
    """One question. `answers` are all accepted spellings; `evidence` the live public posts that state the answer
    (uids), `authors` who wrote those (author keys). Without an answer all three are empty."""

    id: str
    question: str
    answers: tuple[str, ...]
    kind: str
    fact_id: str
    evidence: tuple[str, ...]
    authors: tuple[str, ...]
    answerable: bool


class Evidence:
    """Remembers who states what, and how much each of those authors writes."""

    def __init__(self, world: World) -> None:
        self._watched = {fact.number for fact in world.stated[:WATCHED]}
        self.stated: dict[int, list[tuple[str, str]]] = defaultdict(list)

    def post(self, post: Post) -> None:
        fact = post.fact
        if fact is None or post.private or fact.number not in self._watched or post.version != len(fact.versions) - 1:
            return
        if post.state == "live" and post.person.standing in ("good", "protected_for_a_while"):
            self.stated[fact.number].append((post.uid, post.person.key))


def make_questions(world: World, talk: Talk, evidence: Evidence, seed: int) -> list[Question]:
    """Answerable questions, those of one author first, then unanswerable ones about facts that nobody told."""
    random = Random(f"questions {seed}")
    facts = {fact.number: fact for fact in world.facts}
    known = [(facts[number], said) for number, said in sorted(evidence.stated.items())]
    enough = [pair for pair in known if len(pair[1]) >= LEAST_EVIDENCE]
    chosen = enough if len(enough) >= ENOUGH else known
    random.shuffle(chosen)
    chosen += [pair for pair in known if pair not in chosen]
    single = [pair for pair in chosen if pair[0].owner is not None]
    shared = [pair for pair in chosen if pair[0].owner is None]
    picked = single[:MOST_OF_ONE_AUTHOR]
    picked += shared[: MOST_ANSWERABLE - len(picked)]
    questions = [_question(fact, said, talk, random) for fact, said in picked]
    silent = [fact for fact in world.facts if fact.silent]
    random.shuffle(silent)
    questions += [_question(fact, [], talk, random) for fact in silent]
    return [dataclasses.replace(question, id=f"q{i:04d}") for i, question in enumerate(questions)]


def _question(fact: Fact, said: list[tuple[str, str]], talk: Talk, random: Random) -> Question:
    wording = random.choice(talk.facts[fact.attribute]["questions"]) % fact.slots
    return Question(
        id="",
        question=wording,
        answers=fact.versions[-1][1] if said else (),
        kind=fact.attribute,
        fact_id=fact.id,
        evidence=tuple(uid for uid, _ in said),
        authors=tuple(dict.fromkeys(author for _, author in said)),
        answerable=bool(said),
    )
