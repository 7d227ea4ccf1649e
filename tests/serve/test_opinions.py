"""Opinions of answers: kept, paired, and gone with the posts that the answers cite. And threads, from real posts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import httpx
from assistant_square import POSTS, Row, allow, assistant, indexed, write_posts
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.serving import FakeAssistant, serving
from townsquare.serve import copies, opinions, standing
from townsquare.serve.opinions import Opinion
from townsquare.serve.standing import Standing
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.run import run as take_down

GOOD = Opinion("When does it open?", "Harbour Bakery opens at 8:00 these days.", ("table:3",), "good", "chat")
BAD = Opinion("When does it open?", "At 7:30 I think", ("table:2",), "bad", "chat")


def test_opinions_are_kept_in_order_and_paired(square: Square) -> None:
    assert opinions.read(square) == []
    other = Opinion("Who owns it?", "Mira Holt", (), "bad", "chat")
    for opinion in (GOOD, BAD, other):
        opinions.keep(square, opinion)
    assert opinions.read(square) == [GOOD, BAD, other]
    assert opinions.pairs(square) == [("When does it open?", GOOD, BAD)]
    opinions.keep(square, dataclasses.replace(BAD, verdict="good"))
    assert opinions.pairs(square) == []  # whoever changes their mind is heeded


@given(st.lists(st.builds(Opinion, st.text(), st.text(), st.just(("x:1",)), st.just("good"), st.text()), max_size=5))
def test_any_text_comes_back_as_it_was(tmp_path_factory: object, said: list[Opinion]) -> None:
    square = Square.create(Path(tmp_path_factory.mktemp("o")) / "square")  # type: ignore[attr-defined]
    for opinion in said:
        opinions.keep(square, opinion)
    assert opinions.read(square) == said


def test_a_line_that_a_kill_cut_off_is_no_opinion(square: Square) -> None:
    opinions.keep(square, GOOD)
    whole = opinions.path(square).read_bytes()
    opinions.path(square).write_bytes(whole + whole[: len(whole) // 2])
    assert opinions.read(square) == [GOOD]


def test_a_takedown_takes_the_opinions_of_answers_that_cite_the_post(square: Square) -> None:
    indexed(square)
    answering = assistant(square)
    for opinion in (GOOD, BAD):
        answering.judge(opinion)
    gone, text = frozenset({"table:3"}), [POSTS[2][2]]
    assert copies.find(square, gone, text)["opinions"] == 1
    assert copies.find(square, frozenset(), ["Harbour Bakery opens at 8:00 these days."])["opinions"] == 1
    receipt = take_down(square, TakedownConfig(post=("table:3",)))
    assert receipt.results["copies"]["opinions"] == {"erased": 1, "left": 0}
    assert b"8:00" not in opinions.path(square).read_bytes()
    assert opinions.read(square) == [BAD]
    assert receipt.results["left"] == 0


def test_a_takedown_takes_the_opinions_that_repeat_the_post_without_citing_it(square: Square) -> None:
    indexed(square)
    opens = POSTS[2][2]
    repeats = Opinion("When does it open?", f"Somebody said: {opens.upper()}", (), "bad", "chat")
    asks = Opinion(f"Is it true that {opens}", "I do not know.", (), "bad", "chat")
    for opinion in (repeats, asks, BAD):
        opinions.keep(square, opinion)
    receipt = take_down(square, TakedownConfig(post=("table:3",)))
    assert receipt.results["copies"]["opinions"] == {"erased": 2, "left": 0}
    assert opinions.read(square) == [BAD]


def test_a_thread_is_what_may_be_shown_of_it(square: Square) -> None:
    def said(number: int, author: str, text: str, to: str | None) -> Row:
        return (str(number), author, text, to, f"2024-01-{number:02d}T00:00:00Z")

    rows = [said(1, "ann", "one", None), said(2, "bob", "two", "1"), said(3, "cid", "three", "2")]
    rows += [said(4, "dee", "four", "3"), said(5, "eve", "five", "3"), said(6, "fay", "six", "5")]
    write_posts(square, rows)
    assert Standing(square).now().around("table:3") == ([], [])  # nobody's leave
    allow(square)

    def texts(uid: str) -> tuple[list[str], list[str]]:
        before, after = Standing(square).now().around(uid)
        return [post.text for post in before], [post.text for post in after]

    assert texts("table:3") == (["one", "two"], ["four", "five"])
    take_down(square, TakedownConfig(post=("table:2", "table:5")))
    assert texts("table:3") == ([], ["four"])


def test_a_thread_that_bites_its_tail_ends(square: Square) -> None:
    rows: list[Row] = [("1", "a", "one", "2", "2024-01-01T00:00:00Z"), ("2", "b", "two", "1", "2024-01-02T00:00:00Z")]
    indexed(square, [*rows, POSTS[2]])
    before, _ = Standing(square).now().around("table:1")
    assert len(before) <= standing.BEFORE


def test_feedback_and_lookup_over_http() -> None:
    fake = FakeAssistant()
    body = {"question": "Open?", "answer": "At nine.", "uids": ["x:1"], "verdict": "good"}
    with serving(fake) as address, httpx.Client(base_url=address) as http:
        assert http.post("/feedback", json=body).status_code == 204
        for wrong in ({"verdict": "meh"}, {"question": ""}, {"uids": "x:1"}, {"more": 1}, {"uids": ["x:1"] * 51}):
            assert http.post("/feedback", json={**body, **wrong}).status_code == 400, wrong
        assert http.post("/feedback", content="{}", headers={"content-type": "text/plain"}).status_code == 415
        assert http.get("/lookup", params={"name": "@ana"}).json()["posts"] == {"live": 3}
        assert http.get("/lookup", params={"name": "what"}).status_code == 400
        assert http.get("/lookup").status_code == 400
    assert fake.opinions == [Opinion("Open?", "At nine.", ("x:1",), "good", "chat")]
