"""The town's questions asked of the assistant, which looks posts up and cites them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townsquare.evaluate.matching import right, stands_in
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Reply, Subject
from townsquare.progress import progress

if TYPE_CHECKING:
    from townsquare.serve.answers import Answer, Citation
    from townsquare.town.tables import Question

NAME = "town_open_book"
ABOUT = (
    "Right if an accepted answer stands in the assistant's answer: in a sentence of the model's own, or else in a "
    "post that it quotes. A citation is good if the post is among those known to state the fact, or holds both an "
    "accepted answer and the name of what is asked about."
)


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
    from townsquare.town import tables as town

    names = {fact["fact_id"]: fact["subject"] for fact in town.read_facts(subject.square)}
    return _judged(list(zip(questions, answers, strict=True)), names, subject.config.seed)


def _judged(pairs: list[tuple[Question, Answer]], names: dict[str, str], seed: int) -> Outcome:
    correct = [int(right(q.answers, a.text)) for q, a in pairs]
    own = [int(any(not s.quoted and right(q.answers, s.text) for s in a.sentences)) for q, a in pairs]
    good = [sum(_good(q, names[q.fact_id], c) for c in a.citations) for q, a in pairs]
    cited = [len(a.citations) for _, a in pairs]
    scores = {
        **share("right", correct, seed=seed),
        **share("right_in_own_words", own, seed=seed),
        **share("right_by_quoting", [int(c and not o) for c, o in zip(correct, own, strict=True)], seed=seed),
        **share("citation_precision", good, cited, seed=seed),
        "citations": sum(cited),
        **share("found_nothing", [int(not a.found) for _, a in pairs], seed=seed),
        "n": len(pairs),
    }
    replies = tuple(
        Reply(NAME, q.id, q.question, a.text, bool(ok), tuple(c.uid for c in a.citations))
        for (q, a), ok in zip(pairs, correct, strict=True)
    )
    return Outcome(scores, {}, replies)


def _good(question: Question, name: str, cited: Citation) -> bool:
    states_it = right(question.answers, cited.text) and stands_in(name, cited.text)
    return cited.uid in question.evidence or states_it
