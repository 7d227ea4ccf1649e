"""Retrieval alone: whether the posts that answer are among the first that it finds."""

from __future__ import annotations

from townsquare import receipts
from townsquare.evaluate.cases import Cases
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Subject
from townsquare.evaluate.truth import Truth
from townsquare.progress import progress

NAME = "town_retrieval"
ABOUT = (
    "Share of the answerable questions for which a post that states the answer is among the first ten found, and for "
    "which it is the first. No model takes part."
)
DEPTH = 10


def run(subject: Subject) -> Outcome:
    """Search and score. Raises StaleError when there is no town or no index."""
    questions = subject.questions(answerable=True)
    receipts.need(subject.square, "index")
    from townsquare.serve import retrieval

    truth = Truth.read(subject.square)
    among, first = [], []
    with progress("Searching", len(questions), "questions") as bar:
        for question in questions:
            hits = retrieval.search(subject.square, question.question, DEPTH)
            good = [truth.states(question, hit.uid, hit.post.text) for hit in hits]
            among.append(int(any(good)))
            first.append(int(any(good[:1])))
            bar.advance()
    seed, ids = subject.config.seed, [question.id for question in questions]
    scores = share("recall_at_10", among, seed=seed) | share("first_is_right", first, seed=seed) | {"n": len(ids)}
    return Outcome(scores, cases=(Cases.of_rights("recall_at_10", ids, among),))
