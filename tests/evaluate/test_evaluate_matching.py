"""When an answer is right: a table made by hand, and what must hold for any words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townsquare.evaluate.matching import right, stands_in, words

TABLE = [
    # answer, reply, right
    ("7", "The bus leaves at 17:30.", False),
    ("7", "at 7.", True),
    ("7", "It is 7, I think", True),
    ("7", "7,5 euro", False),
    ("3", "They won 3-1", False),
    ("3-1", "They won 3 – 1!", True),
    ("3-1", "They lost 1-3", False),
    ("3", "1, 3 and 5", True),
    ("17:30", "Opens 17.30-19:00", True),
    ("19:00", "Opens 17.30-19:00", True),
    ("17:30", "17 : 30 sharp", True),
    ("17:30", "17:3", False),
    ("17:30", "at 17:301", False),
    ("5pm", "until 5 p.m. today", True),
    ("5:30 PM", "5.30pm", True),
    ("1000", "about 1,000 people", True),
    ("4.50", "It costs £4.50 (was £5).", True),
    ("2026-11-25", "on 2026-11-25", True),
    ("Nan's Café", "at NAN’S   café, by the pier", True),
    ("Old Mill", "the old windmill", False),
    ("Old Mill", "the mill is old", False),
    ("art", "the party starts", False),
    ("Rosa", "Rosa's shop", False),
    ("B7", "in room b7", True),
    ("7", "in room b7", False),
    ("7", "the 7th", False),
    ("", "anything", False),
    ("!?", "what!?", False),
    ("yes", "", False),
    ("Thursday", "They train on Thursdays.", True),
    ("Mondays", "closed every Monday", True),
    ("Sunday", "on Sundaystreet", False),
    ("holiday", "the holidays", False),
    ("10", "10.\nThen 11.", True),
    ("Straße", "die STRASSE dort", True),
    ("図書館", "図書館", True),
]


@pytest.mark.parametrize(("answer", "reply", "expected"), TABLE)
def test_whole_words_whatever_their_dress(answer: str, reply: str, expected: bool) -> None:
    assert stands_in(answer, reply) is expected


def test_any_accepted_answer_will_do() -> None:
    assert right(("half past five", "17:30"), "at 17:30")
    assert not right((), "at 17:30")


PLAIN = st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=6)


@given(PLAIN, PLAIN, PLAIN)
def test_an_answer_stands_between_any_words(before: list[str], answer: list[str], after: list[str]) -> None:
    said = " ".join(before) + ", " + "  ".join(answer).upper() + "! " + " ".join(after)
    assert stands_in(" ".join(answer), said)


@given(PLAIN, st.from_regex(r"[a-z0-9]{1,3}", fullmatch=True))
def test_a_longer_word_is_another_word(answer: list[str], more: str) -> None:
    grown = [*answer[:-1], answer[-1] + more]
    assert not stands_in(" ".join(answer), " ".join(grown))


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_no_number_stands_in_a_clock_time(hour: int, minute: int, number: int) -> None:
    assert not stands_in(str(number), f"at {hour:02d}:{minute:02d} or {hour:02d}.{minute:02d}")


@given(st.text(), st.text())
def test_any_text_can_be_compared(answer: str, reply: str) -> None:
    assert stands_in(answer, reply) in (True, False)
    assert all(words(word) for word in words(answer) if word.isascii())
