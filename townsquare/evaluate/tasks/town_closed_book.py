"""The town's questions asked of the bare model: what its weights know."""

from __future__ import annotations

from townsquare.evaluate.cases import Cases
from townsquare.evaluate.matching import right
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Reply, Subject
from townsquare.progress import progress

NAME = "town_closed_book"
ABOUT = "Right if an accepted answer stands in the bare model's reply; it is given no posts."
MAX_TOKENS = 64  # an answer is a sentence; a longer list of guesses should not win


def run(subject: Subject) -> Outcome:
    """Ask and score. Raises StaleError when there is no town or no model.gguf."""
    questions = subject.questions(answerable=True)
    settings = subject.serve_config()
    from townsquare.serve.engines import Sampling, open_engine

    replies: list[Reply] = []
    engine = open_engine(subject.square, settings)
    try:
        with progress("Asking the bare model", len(questions), "questions") as bar:
            for question in questions:
                pieces = engine.stream([("user", question.question)], Sampling(max_tokens=MAX_TOKENS))
                said = "".join(piece for piece in pieces if isinstance(piece, str)).strip()
                replies.append(Reply(NAME, question.id, question.question, said, right(question.answers, said)))
                bar.advance()
    finally:
        engine.close()
    correct = [int(reply.right) for reply in replies]
    cases = Cases.of_rights("right", [reply.question_id for reply in replies], correct)
    scores = share("right", correct, seed=subject.config.seed) | {"n": len(replies)}
    return Outcome(scores, {}, tuple(replies), (cases,))
