"""Filters and fresh posts, held against plain Python over the same rows, and against a rebuilt index."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from assistant_square import POSTS, allow, assistant, indexed, write_posts
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.serve.serving import MODEL, FakeAssistant, serving
from townsquare.cli import app
from townsquare.consent.grants import Grant, add_grant
from townsquare.errors import ConfigError
from townsquare.records import UTC
from townsquare.serve import index, retrieval
from townsquare.serve.config import IndexConfig
from townsquare.serve.filters import NONE, Filters
from townsquare.serve.fresh import Fresh
from townsquare.serve.run import run as build_index
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.run import run as take_down

LATEST = dt.time.max
DAYS = [dt.date(2024, 1, day) for day in (1, 2, 3)]
HANDLES = ["Ann", "o'x", "ann", None]
LANGS = ["en", "en-GB", "PT", "e", None]
ROWS = [
    {"uid": f"x:{n}", "network": network, "author_id": str(n % 3), "author_handle": HANDLES[n % 4],
     "lang": LANGS[n % 5], "created_at": moment}
    for n, (network, moment) in enumerate(
        (network, moment)
        for network in ("x", "bsky")
        for day in DAYS
        for moment in (dt.datetime.combine(day, dt.time.min, dt.UTC), dt.datetime.combine(day, LATEST, dt.UTC), None)
    )
]  # fmt: skip
TABLE = lance.write_dataset(
    pa.table({name: pa.array([row[name] for row in ROWS], UTC if name == "created_at" else pa.string())
              for name in ROWS[0]}), "memory://filters"
)  # fmt: skip


def passes(filters: Filters, row: dict[str, Any]) -> bool:
    """What the docstrings of Filters say, in plain Python."""
    handle, lang, moment = row["author_handle"], row["lang"], row["created_at"]
    own = {f"{row['network']}:{row['author_id']}", f"@{handle.lower()}" if handle else ""}
    wanted = {a.lower() if a.startswith("@") else a for a in filters.authors}
    if filters.authors and not own & wanted:
        return False
    if filters.languages and not (lang and lang.lower().split("-")[0] in {tag.lower() for tag in filters.languages}):
        return False
    if filters.networks and row["network"] not in filters.networks:
        return False
    day = moment and moment.date().isoformat()
    return (not filters.since or bool(day and day >= filters.since)) and (
        not filters.until or bool(day and day <= filters.until)
    )


@given(
    st.lists(st.sampled_from(["@ann", "@O'X", "x:1", "bsky:2"]), max_size=2),
    st.lists(st.sampled_from(["en", "pt", "e"]), max_size=2),
    st.lists(st.sampled_from(["x", "bsky"]), max_size=1),
    st.sampled_from([None, "2024-01-01", "2024-01-02"]),
    st.sampled_from([None, "2024-01-02", "2024-01-03"]),
)
def test_the_condition_says_what_the_filters_say(
    authors: list[str], languages: list[str], networks: list[str], since: str | None, until: str | None
) -> None:
    filters = Filters(tuple(authors), tuple(languages), tuple(networks), since, until)
    found = TABLE.to_table(columns=["uid"], filter=filters.sql())["uid"].to_pylist()
    assert sorted(found) == sorted(row["uid"] for row in ROWS if passes(filters, row))


@pytest.mark.parametrize(
    "values",
    [
        {"authors": ("ann",)},
        {"authors": ("@",)},
        {"authors": ("x:",)},
        {"networks": ("myspace",)},
        {"since": "yesterday"},
        {"until": "2024-02-30"},
        {"since": "9999-12-31"},
        {"since": "2024-02-02", "until": "2024-02-01"},
        {"languages": ("",)},
        {"authors": ("@a",) * 51},
    ],
)
def test_filters_that_cannot_be(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as raised:
        Filters(**values)
    assert raised.value.remedy


LATE = ("90", "zoe", "Harbour Bakery opens at 9:45 these days", None, "2024-03-01T10:00:00Z")
QUESTION = "When does Harbour Bakery open?"


def found(square: Square, filters: Filters = NONE, fresh: Fresh | None = None) -> list[str]:
    return [h.uid for h in retrieval.search(square, QUESTION, 4, filters=filters, fresh=fresh and fresh.table())]


def test_an_answer_rests_only_on_what_passes(square: Square) -> None:
    indexed(square)
    assert found(square) == ["table:3", "table:2"]
    assert found(square, Filters(authors=("table:bob",))) == ["table:2"]  # through a question that does not pass
    assert found(square, Filters(until="2024-01-31")) == ["table:2"]
    assert found(square, Filters(since="2024-02-01", until="2024-02-01")) == ["table:3"]
    assert found(square, Filters(networks=("x",))) == []


def test_posts_of_a_later_ingest_are_found_before_the_index_is_built_anew(square: Square) -> None:
    indexed(square)
    fresh = Fresh(square)
    assert fresh.table() is None
    write_posts(square, [LATE, ("91", "yan", "nice", None, LATE[4])], name="late")
    assert found(square) == ["table:3", "table:2"]  # the index alone does not know
    assert found(square, fresh=fresh)[0] == "table:90"
    assert found(square, Filters(until="2024-02-28"), fresh) == ["table:3", "table:2"]
    with_it = found(square, fresh=fresh)
    again = Square.open(square.root, replace=True)
    build_index(again, IndexConfig())
    assert fresh.table() is None  # the index has them now
    assert found(again) == with_it


def test_a_name_that_only_fresh_posts_know(square: Square) -> None:
    indexed(square)
    write_posts(square, [("90", "zoe", "The Zorblax Bakery opens at 9:45", None, "2024-03-01T10:00:00Z")], name="late")
    hits = retrieval.search(square, "When does Zorblax Bakery open?", 4, fresh=Fresh(square).table())
    assert [hit.uid for hit in hits] == ["table:90"]


def test_a_fresh_post_that_is_taken_down_is_gone_at_the_next_question(square: Square) -> None:
    indexed(square)
    answering = assistant(square, "")
    write_posts(square, [LATE], name="late")
    answer = answering.answer([("user", QUESTION)])
    assert ([c.uid for c in answer.citations], answer.as_of) == (["table:90"], "2024-03-01")
    fresh = Fresh(square)
    assert fresh.table() is not None
    take_down(square, TakedownConfig(post=("table:90",)))
    answer = answering.answer([("user", QUESTION)])
    assert ([c.uid for c in answer.citations], answer.as_of) == (["table:3"], "2024-02-05")
    assert fresh.table() is None  # dropped from memory too


def test_fresh_posts_pass_the_gate(square: Square) -> None:
    write_posts(square, POSTS)
    add_grant(square, Grant("old", "Owner", "User", ("retrieve", "display"), sources=("posts",)))
    build_index(square, IndexConfig())
    fresh = Fresh(square)
    write_posts(square, [LATE], name="late")
    assert fresh.table() is None
    allow(square)
    assert fresh.table() is not None  # a grant is heeded though no post has changed


def test_fresh_posts_are_held_up_to_a_number(square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed(square)
    write_posts(square, [("90", "zoe", "Harbour Bakery opens at 9:45", None, "2024-03-01T10:00:00Z")], name="late")
    write_posts(square, [("89", "zoe", "Harbour Bakery opens at 9:15", None, "2024-02-28T10:00:00Z")], name="later")
    assert {"table:89", "table:90"} < set(found(square, fresh=Fresh(square)))
    monkeypatch.setattr("townsquare.serve.fresh.MOST_POSTS", 1)
    assert "table:90" in (held := found(square, fresh=Fresh(square)))
    assert "table:89" not in held


def test_filters_through_the_api() -> None:
    import httpx

    assistant = FakeAssistant()
    body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hm?"}]}
    with serving(assistant) as address, httpx.Client(base_url=address) as http:
        filters = {"authors": ["@ann"], "since": "2024-01-01"}
        assert http.post("/v1/chat/completions", json={**body, "filters": filters}).status_code == 200
        assert assistant.filters == [Filters(authors=("@ann",), since="2024-01-01")]
        for wrong in ({"author": ["@ann"]}, {"since": "soon"}, {"networks": "x"}, []):
            reply = http.post("/v1/chat/completions", json={**body, "filters": wrong})
            assert reply.status_code == 400
            assert reply.json()["error"]["param"].startswith("filters")
    assert len(assistant.asked) == 1


def test_filters_on_the_command_line(square: Square, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["ask", QUESTION, "--network", "myspace", "--square", str(square.root)])
    assert result.exit_code == 2
    assert "myspace" in result.stderr
    assert index.path(square).exists() is False
