"""The check of citations against a table made by hand, and the cutting of a stream into sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townsquare.serve.citations import Source, check, quote, says, split_marks, whole_sentences

OPENS = "Harbour Bakery opens at 8:00 and closes at 18:30, not on Sunday"
PLAIN = "The market closes at 6pm on Friday"
SCORE = "Lowfield Otters beat Marsh Rovers 3-1"
PAYS = "I heard Mira pays £5, and Tom pays £7"

CASES = [
    ("The market closes at 6pm on Friday", PLAIN, True, "verbatim"),
    ("On Friday the market closes at 6pm", PLAIN, False, "names and figures in another order: not this post's words"),
    ("The market closed at 6pm", PLAIN, True, "another ending of the same word, less said"),
    ("The market closes at 6", PLAIN, True, "a unit left out"),
    ("The market closes at 6am", PLAIN, False, "another unit"),
    ("The market closes at 7pm on Friday", PLAIN, False, "another time"),
    ("The market closes at 6pm on Saturday", PLAIN, False, "another day"),
    ("The market closes at six", PLAIN, False, "a number in words that the post does not have"),
    ("The Lowfield market closes at 6pm", PLAIN, False, "a name from nowhere"),
    ("The market never closes at 6pm", PLAIN, False, "a negation from nowhere"),
    ("The market does not close at 6pm on Friday", PLAIN, False, "a negation from nowhere, in the verb"),
    ("The cheerful splendid market gladly closes at 6pm", PLAIN, False, "too many words of its own"),
    ("It is.", PLAIN, False, "nothing said"),
    ("Lowfield Otters beat Marsh Rovers 3-1", SCORE, True, "a score"),
    ("Lowfield Otters beat Marsh Rovers 1-3", SCORE, False, "the score turned round"),
    ("Marsh Rovers beat Lowfield Otters 3-1", SCORE, False, "the winner turned round"),
    ("I heard Mira pays £5", PAYS, True, "who pays what"),
    ("I heard Tom pays £7", PAYS, True, "who pays what, further on"),
    ("I heard Mira pays £7", PAYS, False, "one's name with the other's figure"),
    ("I heard Mira pays $5", PAYS, False, "another currency"),
    ('The post says "closes at 6pm"', PLAIN, False, "words of its own around the quotation"),
    ('The market "closes at 6pm on Friday"', PLAIN, True, "a quotation, verbatim"),
    ('The market "closes on Friday at 6pm"', PLAIN, False, "a quotation that is none"),
]


@pytest.mark.parametrize(("sentence", "post", "supported", "why"), CASES, ids=[case[3] for case in CASES])
def test_supported_as_a_person_would_say(sentence: str, post: str, supported: bool, why: str) -> None:
    assert says(Source(post), sentence) is supported, why


def test_a_sentence_that_drops_a_negation_is_not_supported() -> None:
    assert not says(Source("The pool does not open on Monday"), "The pool opens on Monday")


def test_context_lends_names_but_never_figures() -> None:
    source = Source("opens at 7:30", context="Does Harbour Bakery open at 9:00?")
    assert says(source, "The Harbour Bakery opens at 7:30")
    assert not says(source, "The Harbour Bakery opens at 9:00")


def test_marks_that_fail_are_dropped_and_others_stay() -> None:
    sources = [Source("The library is quiet"), Source(PLAIN)]
    found = check("The market closes at 6pm on Friday", (1, 2, 3, 0), sources)
    assert (found.citations, found.supported) == ((2,), True)
    assert check("The market closes at 6pm on Friday", (1, 9), sources).supported is False
    assert check("The market closes at 6pm on Friday", (), sources).supported is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It closes at 6 [1].", [("It closes at 6.", (1,))]),
        ("It closes at 6. [1]", [("It closes at 6.", (1,))]),
        (
            "It opens at 8:00 [2]. It closes at 18.30 [1][3].",
            [("It opens at 8:00.", (2,)), ("It closes at 18.30.", (1, 3))],
        ),
        ("Ask Dr. Holt at 7 p.m. today [1]", [("Ask Dr. Holt at 7 p.m. today", (1,))]),
        ("Yes [1] [1] [01]", [("Yes", (1,))]),
        ("one [1]\ntwo [2]", [("one", (1,)), ("two", (2,))]),
        ("It is so [１] and [1, 2] or 【1】", [("It is so and or", ())]),
        ("[1]", []),
        ("", []),
    ],
)
def test_marks_are_read(text: str, expected: list[tuple[str, tuple[int, ...]]]) -> None:
    assert split_marks(text) == expected


@given(
    st.lists(st.sampled_from(["It opens at 8:00 [1].", "No. ", "Dr. Holt", " [2]", "\n", "6pm", "! ", "…", "a", " "])),
    st.integers(1, 7),
)
def test_a_stream_is_cut_without_loss_and_the_same_however_it_arrives(parts: list[str], size: int) -> None:
    text = "".join(parts)
    by_size = list(whole_sentences(text[start : start + size] for start in range(0, len(text), size)))
    assert "".join(by_size) == text
    flat = [pair for piece in by_size for pair in split_marks(piece)]
    assert flat == [pair for piece in whole_sentences(iter(text)) for pair in split_marks(piece)]


def test_the_quoted_sentence_is_the_one_that_answers() -> None:
    post = "Lovely morning! Harbour Bakery opens at 8:00. Bring coffee. Anyone coming?"
    assert quote(post, "When does Harbour Bakery open?") == "Harbour Bakery opens at 8:00."


def test_a_long_quotation_is_cut_at_a_word() -> None:
    found = quote("open " * 200, "When does it open?")
    assert len(found) <= 281
    assert found.endswith("open…")


@given(st.text(min_size=1, max_size=200).filter(lambda text: any(c.isalnum() for c in text)))
def test_nothing_a_person_writes_breaks_the_check(text: str) -> None:
    check(text, (1,), [Source(text)])
    split_marks(text)
    assert "[1]" not in quote(f"{text} [1] open", "open?")
