"""The words of a deleted post leave the posts that quote or answer it; their authors' own words stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.removed import CUT
from townsquare.ingest.run import run as ingest
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.run import run

SAID = "The third drawer holds the fair's whole secret, and the key is under the stone"


KINDS = {"reply_to": "replied_to", "quote_of": "quoted"}


def put(square: Square, path: Path, *rows: dict[str, str]) -> None:
    """Posts (id, text, author, reply_to, quote_of) by X's API."""
    posts: list[dict[str, Any]] = []
    for row in rows:
        links = [{"type": KINDS[name], "id": row[name]} for name in KINDS if name in row]
        posts.append({"id": row["id"], "text": row["text"], "author_id": row.get("author", "100")})
        posts[-1] |= {"public_metrics": {}, "referenced_tweets": links}
    path.write_text(json.dumps({"data": posts}) + "\n", encoding="utf-8")
    ingest(square, IngestConfig(paths=(path,), name=path.stem))


def texts(square: Square) -> dict[str, str | None]:
    rows = tables.read_posts(square, ["uid", "text", "text_raw"]).to_pylist()
    assert not any(
        SAID in (row["text_raw"] or "") for row in rows if row["text"] is not None and SAID not in row["text"]
    )
    return {row["uid"].removeprefix("x:"): row["text"] for row in rows}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"I heard: {SAID}. Amazing!", f"I heard: {CUT}. Amazing!"),
        (f"I heard: “{SAID.upper()}”", f"I heard: “{CUT}”"),
        (f"{SAID}\n\n{SAID}\nboth times wrong", f"{CUT}\n\n{CUT}\nboth times wrong"),
        (f"> {SAID}\nI disagree with that", f"> {CUT}\nI disagree with that"),
        (f"> {SAID[:40]}\nI disagree with that", f"{CUT}\nI disagree with that"),
        ("> ok\nagreed, short as it is", "> ok\nagreed, short as it is"),
        ("I have words of my own, and quite a number of them", "I have words of my own, and quite a number of them"),
    ],
)
@pytest.mark.parametrize("link", ["reply_to", "quote_of"])
def test_what_an_answer_or_a_quote_repeats_is_cut(
    square: Square, tmp_path: Path, text: str, left: str, link: str
) -> None:
    row = {"id": "2", "text": text, "author": "200", link: "1"}
    put(square, tmp_path / "posts.jsonl", {"id": "1", "text": SAID}, row)
    receipt = run(square, TakedownConfig(post=("x:1",)))
    assert texts(square) == {"1": None, "2": left}
    assert receipt.results["posts_with_a_quotation_cut"] == (left != text)
    assert receipt.results["left"] == 0
    assert tables.quotes_cut(square) == frozenset(), "what was dealt with is forgotten"
    kept = b"".join(path.read_bytes() for path in square.posts.rglob("*") if path.is_file())
    assert SAID.encode() not in kept


def test_who_repeats_it_without_a_link_keeps_it(square: Square, tmp_path: Path) -> None:
    """Two people may say the same; nothing but a link says that it was taken from the other."""
    put(
        square,
        tmp_path / "posts.jsonl",
        {"id": "1", "text": SAID},
        {"id": "2", "text": f"Well: {SAID}", "author": "200"},
    )
    run(square, TakedownConfig(post=("x:1",)))
    assert texts(square) == {"1": None, "2": f"Well: {SAID}"}


def test_what_an_answer_says_of_another_post_than_the_one_it_answers_stays(square: Square, tmp_path: Path) -> None:
    answer = {"id": "3", "text": f"As somebody said: {SAID}", "author": "200", "reply_to": "2"}
    asked = {"id": "2", "text": "What was it that somebody said about the fair?"}
    put(square, tmp_path / "posts.jsonl", {"id": "1", "text": SAID}, asked, answer)
    run(square, TakedownConfig(author=("x:100",)))
    assert texts(square) == {"1": None, "2": None, "3": answer["text"]}


def test_an_answer_that_comes_after_the_deletion_is_cut_too(square: Square, tmp_path: Path) -> None:
    put(square, tmp_path / "first.jsonl", {"id": "1", "text": SAID})
    run(square, TakedownConfig(post=("x:1",)))
    late = {"id": "2", "text": f"I heard: {SAID}", "author": "200", "reply_to": "1"}
    put(square, tmp_path / "second.jsonl", late, {"id": "1", "text": SAID})
    assert texts(square) == {"1": None, "2": f"I heard: {CUT}"}


def test_a_reversible_event_cuts_nothing(square: Square, tmp_path: Path) -> None:
    quote = {"id": "2", "text": f"I heard: {SAID}", "author": "200", "quote_of": "1"}
    put(square, tmp_path / "posts.jsonl", {"id": "1", "text": SAID}, quote)
    run(square, TakedownConfig(author=("x:100",), kind="protect"))
    assert texts(square) == {"1": SAID, "2": quote["text"]}


own_words = st.text(st.sampled_from('añ👩 .!\n\t"\\'), max_size=12)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(own_words, min_size=2, max_size=4))
def test_own_words_stay_whatever_stands_between_them(tmp_path_factory: pytest.TempPathFactory, own: list[str]) -> None:
    folder = tmp_path_factory.mktemp("quotes")
    square = Square.create(folder / "square")
    answer = {"id": "2", "text": SAID.join(own), "author": "200", "reply_to": "1"}
    put(square, folder / "posts.jsonl", {"id": "1", "text": SAID}, answer)
    before = texts(square)["2"]
    assert before is not None
    run(square, TakedownConfig(post=("x:1",)))
    assert texts(square)["2"] == before.replace(SAID, CUT)
