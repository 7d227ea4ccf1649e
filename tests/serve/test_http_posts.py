"""Real posts behind the API: from ingest to an answer's citations, and what a takedown leaves of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.serve.serving import serving
from townsquare.consent.grants import Grant, add_grant, revoke_grant
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.model.chat import NOTHING_FOUND, Turn
from townsquare.serve.assistant import Assistant
from townsquare.serve.config import IndexConfig, ServeConfig
from townsquare.serve.engines import Sampling
from townsquare.serve.run import run as make_index
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.run import run as take_down

POSTS = (
    ("1", "ana", "The library on Mill Street opens at nine on Saturdays."),
    ("2", "ben", "Lost my umbrella near the harbour yesterday evening, it is red."),
    ("3", "cleo", "Ashford beat Millbrook two to one in the rain."),
)
QUESTION = "When does the library on Mill Street open on Saturdays?"


class Parrot:
    """Repeats the first post that it is given; `endless` goes on with sentences that no post supports."""

    name = "parrot"
    parallel = 1
    offers = frozenset[str]()

    def __init__(self) -> None:
        self.endless = False
        self.went_on, self.ended = threading.Event(), threading.Event()

    def stream(self, messages: Sequence[Turn], sampling: Sampling) -> Iterator[str]:
        post = messages[-1][1].splitlines()[1].removeprefix("[1] ")
        yield f"{post} [1]\n"
        try:
            number = 0
            while self.endless:
                number += 1
                yield f"Of that I know {number} more. "
                self.went_on.set()
        finally:
            self.ended.set()

    def close(self) -> None:
        pass


@pytest.fixture
def indexed(square: Square, tmp_path: Path) -> Square:
    rows = [
        {"id": number, "author": author, "text": text, "created_at": f"2026-03-0{number}T10:00:00Z"}
        for number, author, text in POSTS
    ]
    file = tmp_path / "posts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ingest(square, IngestConfig(paths=(file,), name="forum"))
    add_grant(square, Grant("forum", "Forum Ltd", "us", ("retrieve", "display"), sources=("*",)))
    make_index(square, IndexConfig())
    return square


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture
def http(indexed: Square, parrot: Parrot) -> Iterator[httpx.Client]:
    with (
        closing(Assistant(indexed, ServeConfig(), parrot)) as assistant,
        serving(assistant) as address,
        httpx.Client(base_url=address, timeout=30) as http,
    ):
        yield http


def ask(http: httpx.Client) -> dict[str, object]:
    body = {"model": "parrot", "messages": [{"role": "user", "content": QUESTION}]}
    reply = http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    message: dict[str, object] = reply.json()["choices"][0]["message"]
    return message


def cited(message: dict[str, object]) -> list[dict[str, str]]:
    return message["citations"]  # type: ignore[return-value]


@pytest.mark.parametrize("way", ["takedown", "revoked grant"])
def test_what_may_no_longer_be_shown_is_gone_at_the_next_request(indexed: Square, http: httpx.Client, way: str) -> None:
    before = ask(http)
    (post,) = cited(before)
    assert post["text"] == POSTS[0][2]
    assert before["found"] is True
    assert http.get("/posts", params={"uid": post["uid"]}).json()["author_handle"] == "ana"

    if way == "takedown":
        take_down(indexed, TakedownConfig(post=(post["uid"],)))
    else:
        revoke_grant(indexed, "forum")
    assert http.get("/posts", params={"uid": post["uid"]}).status_code == 404
    after = ask(http)
    assert post["uid"] not in [citation["uid"] for citation in cited(after)]
    assert "nine" not in str(after["content"])
    if way == "revoked grant":
        assert (after["content"], after["found"]) == (NOTHING_FOUND, False)


def test_a_client_that_leaves_stops_an_engine_that_says_nothing_worth_showing(
    http: httpx.Client, parrot: Parrot
) -> None:
    """No sentence passes the check, so nothing is sent: only the engine's own tokens can be counted on to stop at."""
    parrot.endless = True
    body = {"model": "parrot", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        lines = reply.iter_lines()  # held: the connection closes with it
        assert next(lines).startswith("data: ")
        assert parrot.went_on.wait(20)
        assert not parrot.ended.is_set()
    assert parrot.ended.wait(20)
