"""Questions that no post of the town answers: the assistant should say that it found nothing."""

from __future__ import annotations

from townsquare.evaluate.cases import Cases
from townsquare.evaluate.scores import share
from townsquare.evaluate.subject import Outcome, Reply, Subject
from townsquare.model.chat import NOTHING_FOUND
from townsquare.progress import progress

NAME = "town_unanswerable"
ABOUT = "Right if the assistant says that it found nothing, asked what no post answers."


def run(subject: Subject) -> Outcome:
    """Ask and score. Raises StaleError when there is no town, index or model.gguf, or no such question."""
    questions = subject.questions(answerable=False)
    assistant = subject.assistant
    from townsquare.serve.engines import Sampling

    replies: list[Reply] = []
    with progress("Asking what cannot be known", len(questions), "questions") as bar:
        for question in questions:
            answer = assistant.answer([("user", question.question)], Sampling())
            cited = tuple(citation.uid for citation in answer.citations)
            refused = answer.text.startswith(NOTHING_FOUND) and not cited
            replies.append(Reply(NAME, question.id, question.question, answer.text, refused, cited))
            bar.advance()
    refusals = [int(reply.right) for reply in replies]
    cases = Cases.of_rights("refused", [reply.question_id for reply in replies], refusals)
    scores = share("refused", refusals, seed=subject.config.seed) | {"n": len(replies)}
    return Outcome(scores, {}, tuple(replies), (cases,))
