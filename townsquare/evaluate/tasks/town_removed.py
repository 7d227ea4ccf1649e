"""Questions that only removed posts answered: nothing of them may come back."""

from __future__ import annotations

from townsquare.errors import StaleError
from townsquare.evaluate.cases import Cases
from townsquare.evaluate.matching import right
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Reply, Subject
from townsquare.progress import progress

NAME = "town_removed"
ABOUT = (
    "Asked what only posts answered that were removed since: the share of questions whose answer holds an accepted "
    "answer, and of those that cite a removed post. Both must be zero."
)


def run(subject: Subject) -> Outcome:
    """Ask and score. Raises StaleError when there is no town, index or model.gguf, or nothing was removed."""
    from townsquare.town import tables as town

    gone = [q for q in town.read_questions(subject.square) if q.answerable and not subject.live_uids & set(q.evidence)]
    if not gone:
        raise StaleError("no question's posts were all removed", remedy="Run first: townsquare takedown")
    questions, assistant = subject.drawn(gone), subject.assistant
    from townsquare.serve.engines import Sampling

    replies, citing = [], []
    with progress("Asking what was removed", len(questions), "questions") as bar:
        for question in questions:
            answer = assistant.answer([("user", question.question)], Sampling())
            cited = tuple(citation.uid for citation in answer.citations)
            told = right(question.answers, answer.text)
            replies.append(Reply(NAME, question.id, question.question, answer.text, not told, cited))
            citing.append(int(not subject.live_uids.issuperset(cited)))
            bar.advance()
    told_all = [int(not reply.right) for reply in replies]
    seed, ids = subject.config.seed, [question.id for question in questions]
    scores = share("answered", told_all, seed=seed) | share("cites_removed", citing, seed=seed) | {"n": len(ids)}
    return Outcome(scores, {}, tuple(replies), (Cases.of_rights("answered", ids, told_all),))
