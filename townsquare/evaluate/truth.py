"""What the town knows and the pipeline does not: which posts state a fact, and why an answer went wrong."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from townsquare.evaluate.matching import right, stands_in
from townsquare.square import Square

if TYPE_CHECKING:
    from townsquare.serve.answers import Answer
    from townsquare.town.tables import Question


@dataclasses.dataclass(frozen=True)
class Truth:
    """Facts by id, and the hidden rows of posts by uid."""

    facts: dict[str, dict[str, Any]]
    posts: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, square: Square) -> Truth:
        """Raises StaleError when there is no town."""
        from townsquare.town import tables as town

        rows = town.read_truth(square).select(["uid", "author", "fact_id", "defects"]).to_pylist()
        return cls({fact["fact_id"]: fact for fact in town.read_facts(square)}, {row["uid"]: row for row in rows})

    def states(self, question: Question, uid: str, text: str) -> bool:
        """Whether a post answers: it is known to state the fact, or holds an accepted answer and the subject's name."""
        name = self.facts[question.fact_id]["subject"]
        return uid in question.evidence or (right(question.answers, text) and stands_in(name, text))

    def why_wrong(self, question: Question, answer: Answer, found: list[str]) -> str:
        """The error's class. `found` are the uids of the first ten posts that retrieval gives, best first."""
        fact = self.facts[question.fact_id]
        cited = [self.posts.get(citation.uid, {}) for citation in answer.citations]
        told = question.evidence and any(uid in question.evidence for uid in found)
        if not answer.found:
            return "found nothing"
        if any(right(old["forms"], answer.text) for old in fact.get("before", ())):
            return "an older value"
        if any(row.get("fact_id") == question.fact_id and "mistaken" in (row.get("defects") or ()) for row in cited):
            return "a post that is mistaken"
        if any(self.states(question, citation.uid, citation.text) for citation in answer.citations):
            return "the right post, read wrong"
        if not told:
            return "no right post among the first ten"
        if any(row.get("fact_id") for row in cited):
            return "a post about another fact went first"
        return "a post that states no fact went first"
