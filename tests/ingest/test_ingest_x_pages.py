"""Whole columns against one post at a time: the same rows from any pages, and the usual ones by columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare.ingest import x_pages, x_words
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.rows import Origin
from townsquare.ingest.sources import x_api_v2
from townsquare.records import POSTS

ORIGIN = Origin("s", "0" * 64, "pages.jsonl")
CONFIG = IngestConfig(paths=(Path("pages.jsonl"),))
SHORT = ["https://t.co/a", "https://t.co/ab", "http://t.co/c9"]
words = st.sampled_from(
    [
        "@ann",
        "@Bob",
        "hi",
        "&amp;lt;",
        "&lt;3",
        "caf\u0065\u0301",
        "\u2026",
        "https://t.co/a\u2026",
        "\u3000",
        "\n",
        "\u00a0",
        *SHORT,
    ]
)
texts = st.lists(words | st.text(max_size=6), max_size=6).map(" ".join) | st.just("x" * 250 + "\u2026 https://t.co/zz")
numbers = st.sampled_from(["7", "8", "1626922779105759235", "", "x", "-1", "9" * 21])
links = st.fixed_dictionaries(
    {"url": st.sampled_from(SHORT)},
    optional={
        "expanded_url": st.sampled_from(
            [
                "https://e.org/?a=1&b",
                "https://x.com/a/status/8",
                "https://x.com/a/status/8?s=1",
                "https://x.com/a/status/9/photo/1",
                "",
            ]
        ),
        "unwound_url": st.sampled_from(["https://long.example/", ""]),
        "title": st.sampled_from(["A title", ""]),
        "media_key": st.just("m1"),
    },
)
entities = st.fixed_dictionaries(
    {},
    optional={
        "urls": st.lists(links, max_size=3),
        "mentions": st.lists(st.fixed_dictionaries({"username": st.sampled_from(["ann", "BOB", "carl"])}), max_size=2),
    },
)
references = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["replied_to", "quoted", "retweeted"]), "id": numbers}), max_size=3
)
posts = st.fixed_dictionaries(
    {"id": st.sampled_from(["1", "2", "1626922779105759235", "x"]), "text": texts},
    optional={
        "author_id": numbers,
        "created_at": st.sampled_from(
            ["2024-01-10T12:00:00.000Z", "2024-13-10T12:00:00.000Z", "Sat Feb 18 12:33:11 +0000 2023", "?"]
        ),
        "conversation_id": numbers,
        "in_reply_to_user_id": numbers,
        "lang": st.sampled_from(["en", ""]),
        "source": st.just("Web"),
        "possibly_sensitive": st.booleans() | st.just("false"),
        "edit_history_tweet_ids": st.lists(numbers, max_size=3),
        "referenced_tweets": references,
        "entities": entities,
        "note_tweet": st.fixed_dictionaries({"text": texts}, optional={"entities": entities}),
        "public_metrics": st.fixed_dictionaries(
            {}, optional={"like_count": st.sampled_from([0, 5, 10**18, 1.5, None])}
        ),
        "attachments": st.just({"media_keys": ["m1", "m2", "m9"]}),
        "withheld": st.just({"country_codes": ["DE"], "copyright": False}),
    },
)
users = st.fixed_dictionaries(
    {"id": st.sampled_from(["7", "8"]), "username": st.sampled_from(["ann", "bob", ""])},
    optional={"protected": st.booleans()},
)
media = st.fixed_dictionaries(
    {"media_key": st.sampled_from(["m1", "m2"])},
    optional={
        "type": st.just("photo"),
        "alt_text": st.just("a cat"),
        "url": st.just(""),
        "width": st.sampled_from([5, -1, 2**40]),
    },
)
errors = st.just([{"resource_id": "5", "resource_type": "tweet", "title": "Not Found Error"}]) | st.just("no list")
pages = st.fixed_dictionaries(
    {},
    optional={
        "data": st.lists(posts | st.just(None), max_size=4) | posts,
        "includes": st.fixed_dictionaries(
            {},
            optional={
                "tweets": st.lists(posts, max_size=2),
                "users": st.lists(users, max_size=3),
                "media": st.lists(media, max_size=3),
            },
        ),
        "errors": errors,
    },
)
lines = st.lists(
    st.tuples(pages, st.booleans()).map(
        lambda page: json.dumps(page[0], ensure_ascii=page[1]).encode("utf-8", "replace")
    )
    | st.sampled_from([b"{", b"[]", b"null", b'{"data": [', b"\xff{}", b'{"data":[]}{}']),
    max_size=5,
)


def as_rows(items: Any) -> list[dict[str, Any]]:
    posts = pa.Table.from_pylist([row for kind, row in items if kind == "post"], schema=POSTS).to_pylist()
    other = [dict(row, kind=kind) for kind, row in items if kind != "post"]
    return sorted([*posts, *other], key=lambda row: (row["source_locator"], str(row.get("reason"))))


@settings(max_examples=300, deadline=None)
@given(lines)
def test_columns_say_what_rows_say(found: list[bytes]) -> None:
    numbered = list(enumerate(found, start=1))
    table, left, said = x_pages.read(numbered, ORIGIN, None)
    items: list[Any] = [("post", row) for row in table.to_pylist()]
    items += [item for i in left for item in x_api_v2._line(ORIGIN, *numbered[i], CONFIG)]
    items += [("quarantine", row) for number, errors in said for row in _errors(number, errors)]
    expected = [item for number, line in numbered for item in x_api_v2._line(ORIGIN, number, line, CONFIG)]
    assert as_rows(items) == as_rows(expected)


def _errors(number: int, errors: list[Any]) -> list[dict[str, Any]]:
    return [x_api_v2._error(ORIGIN, f"{number}:errors:{i}", error)[1] for i, error in enumerate(errors)]


def test_usual_pages_are_read_by_columns() -> None:
    page = {"data": [{"id": "1", "text": "hi"}], "includes": {"users": []}, "errors": [{"resource_id": "5"}]}
    table, left, said = x_pages.read([(1, json.dumps(page).encode())], ORIGIN, None)
    assert (table["uid"].to_pylist(), left, len(said)) == (["x:1"], [], 1)


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize(("character", "odd"), [("\0", 1), ("\x80", 1), ("\x9f", 1), ("\xa0", 0), ("é", 0), ("\n", 0)])
def test_a_page_with_a_control_to_take_out_is_read_by_rows(character: str, odd: bool, escaped: bool) -> None:
    padding = "x" * x_words._IN_CACHE  # the control may stand on either side of a border
    for shift in range(8):
        page = {"data": [{"id": "1", "text": padding[shift:] + character + padding[:9]}]}
        line = json.dumps(page, ensure_ascii=escaped).encode()
        assert x_pages.read([(1, line)], ORIGIN, None)[1] == ([0] if odd else [])
