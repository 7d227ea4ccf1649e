"""The town's questions asked of the assistant, which looks posts up and cites them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from townsquare.evaluate.cases import Cases
from townsquare.evaluate.matching import right
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Reply, Subject
from townsquare.evaluate.truth import Truth
from townsquare.progress import progress

if TYPE_CHECKING:
    from townsquare.serve.answers import Answer
    from townsquare.town.tables import Question

    Pairs = list[tuple[Question, Answer]]

NAME = "town_open_book"
ABOUT = (
    "Right if an accepted answer stands in the assistant's answer: in a sentence of the model's own, or else in a "
    "post that it quotes. A citation is good if the post is among those known to state the fact, or holds both an "
    "accepted answer and the name of what is asked about: precision is the share of citations that are good, recall "
    "the share of sentences that have a good one."
)
DEPTH = 10


def run(subject: Subject) -> Outcome:
    """Ask and score. Raises StaleError when there is no town, index or model.gguf."""
    questions = subject.questions(answerable=True)
    assistant = subject.assistant
    from townsquare.serve.engines import Sampling

    answers: list[Answer] = []
    with progress("Asking the assistant", len(questions), "questions") as bar:
        for question in questions:
            answers.append(assistant.answer([("user", question.question)], Sampling()))
            bar.advance()
    return _judged(subject, list(zip(questions, answers, strict=True)), Truth.read(subject.square))


def _judged(subject: Subject, pairs: Pairs, truth: Truth) -> Outcome:
    seed = subject.config.seed
    ids = [q.id for q, _ in pairs]
    correct = [int(right(q.answers, a.text)) for q, a in pairs]
    own = [int(any(not s.quoted and right(q.answers, s.text) for s in a.sentences)) for q, a in pairs]
    good = [{c.number for c in a.citations if truth.states(q, c.uid, c.text)} for q, a in pairs]
    cited = [len(a.citations) for _, a in pairs]
    upheld = [sum(bool(good[i] & set(s.citations)) for s in a.sentences) for i, (_, a) in enumerate(pairs)]
    said = [len(a.sentences) if a.found else 0 for _, a in pairs]
    scores = {
        **share("right", correct, seed=seed),
        **share("right_in_own_words", own, seed=seed),
        **share("right_by_quoting", [int(c and not o) for c, o in zip(correct, own, strict=True)], seed=seed),
        **share("citation_precision", [len(marks) for marks in good], cited, seed=seed),
        **share("citation_recall", upheld, said, seed=seed),
        "citations": sum(cited),
        **share("found_nothing", [int(not a.found) for _, a in pairs], seed=seed),
        "n": len(pairs),
    }
    replies = tuple(
        Reply(NAME, q.id, q.question, a.text, bool(ok), tuple(c.uid for c in a.citations))
        for (q, a), ok in zip(pairs, correct, strict=True)
    )
    precision = Cases("citation_precision", tuple(ids), tuple(float(len(g)) for g in good), tuple(map(float, cited)))
    wrong = [pair for pair, ok in zip(pairs, correct, strict=True) if not ok]
    mistaken = [pair for pair, g, n in zip(pairs, good, cited, strict=True) if len(g) < n]
    details = {"errors": _classes(subject, wrong, truth), "citation_errors": _classes(subject, mistaken, truth)}
    return Outcome(scores, details, replies, (Cases.of_rights("right", ids, correct), precision))


def _classes(subject: Subject, pairs: Pairs, truth: Truth) -> dict[str, int]:
    """How many went wrong in which way, most first."""
    from townsquare.serve import retrieval

    found = Counter(
        truth.why_wrong(q, a, [hit.uid for hit in retrieval.search(subject.square, q.question, DEPTH)])
        for q, a in pairs
    )
    return dict(found.most_common())
