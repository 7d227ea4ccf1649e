"""Why an answer went wrong, class by class, on a fact that changed, with posts that state it rightly and wrongly."""

from __future__ import annotations

import pytest

from townsquare.evaluate.truth import Truth
from townsquare.model.chat import NOTHING_FOUND
from townsquare.serve.answers import Answer, Citation, Sentence
from townsquare.town.tables import Question

FACT = {"fact_id": "f1", "subject": "Mill Bakery", "before": [{"forms": ["8:00", "eight"]}]}
OTHER = {"fact_id": "f2", "subject": "Mill Library", "before": []}
ROWS = {
    "x:right": {"fact_id": "f1", "defects": []},
    "x:erring": {"fact_id": "f1", "defects": ["mistaken"]},
    "x:other": {"fact_id": "f2", "defects": []},
    "x:chat": {"fact_id": None, "defects": []},
}
TEXTS = {
    "x:right": "Mill Bakery opens at 7:00",
    "x:erring": "Mill Bakery opens at 6:00",
    "x:other": "Mill Library opens at 9:00",
    "x:chat": "Off to the Mill Bakery, 5:00 already",
    "x:unknown": "At 7:00 the Mill Bakery opens, they say",
}
TRUTH = Truth({"f1": FACT, "f2": OTHER}, ROWS)
QUESTION = Question("q1", "When does Mill Bakery open?", ("7:00", "seven"), "opens", "f1", ("x:right",), ("x:a",), True)


def answer(text: str, *uids: str) -> Answer:
    citations = tuple(
        Citation(number, uid, None, "x:1", None, TEXTS[uid], None, "x") for number, uid in enumerate(uids, start=1)
    )
    said = (Sentence(text, tuple(c.number for c in citations), True, False),)
    return Answer(text, said, citations, None, bool(uids), "chat")


@pytest.mark.parametrize(
    ("said", "found", "why"),
    [
        (answer(NOTHING_FOUND), ["x:right"], "found nothing"),
        (answer("It opens at eight.", "x:right"), ["x:right"], "an older value"),
        (answer("It opens at 6:00.", "x:erring"), ["x:erring", "x:right"], "a post that is mistaken"),
        (answer("It opens.", "x:right"), ["x:right"], "the right post, read wrong"),
        (answer("It opens at 9:00.", "x:other"), ["x:other"], "no right post among the first ten"),
        (answer("It opens at 9:00.", "x:other"), ["x:other", "x:right"], "a post about another fact went first"),
        (answer("It is 5:00.", "x:chat"), ["x:chat", "x:right"], "a post that states no fact went first"),
    ],
)
def test_every_error_has_its_class(said: Answer, found: list[str], why: str) -> None:
    assert TRUTH.why_wrong(QUESTION, said, found) == why


def test_a_post_answers_by_the_truth_or_by_what_it_says() -> None:
    assert TRUTH.states(QUESTION, "x:right", TEXTS["x:right"])
    assert TRUTH.states(QUESTION, "x:unknown", TEXTS["x:unknown"])
    assert not TRUTH.states(QUESTION, "x:erring", TEXTS["x:erring"])
    assert not TRUTH.states(QUESTION, "x:other", TEXTS["x:other"].replace("9:00", "7:00"))  # of another subject
