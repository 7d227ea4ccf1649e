"""Bluesky's records, trap by trap."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from bluesky_made import ANN, BOB, EVE, KEY, POST, STATED, link, record, ref, uri
from hypothesis import given
from hypothesis import strategies as st

from townsquare.ingest.bluesky_posts import (
    Address,
    Author,
    address,
    key_time,
    labels_in,
    post_row,
    repost_row,
    visibility,
)
from townsquare.ingest.bluesky_text import text_and_links

AT = Address(ANN, POST, KEY)
CAFE = "Visit café ☕ https://a.co/x now @bob.test"


def row(author: Author = Author(), **fields: Any) -> dict[str, Any]:
    made = post_row(AT, record(**fields), author, None)
    assert made is not None
    return {"created": made[0], **made[1]}


def test_the_key_tells_when_a_post_was_made() -> None:
    assert key_time(KEY) == dt.datetime(2024, 9, 9, 19, 46, 2, 246036, tzinfo=dt.UTC)
    for odd in ("self", "", KEY + "2", KEY[:-1], "z" + KEY[1:], KEY.upper(), "2222222222222", None, 5):
        assert key_time(odd) is None


def test_a_stated_time_near_the_keys_is_trusted_and_a_back_dated_one_is_its_apps_word() -> None:
    near = row()
    assert (near["created"], near["created_at_trust"]) == (
        (dt.datetime(2024, 9, 9, 19, 46, 2, 102000, tzinfo=dt.UTC), "ms"),
        "server",
    )
    old = row(createdAt="2010-01-01T00:00:00Z")
    assert (old["created"][0].year, old["created_at_trust"]) == (2010, "client")
    ahead = row(createdAt="2124-01-01T00:00:00Z")
    assert (ahead["created"][0].year, ahead["created_at_trust"]) == (2124, "client")
    for missing in (None, "soon", ["x"]):
        alone = row(createdAt=missing)
        assert (alone["created"][0], alone["created_at_trust"]) == (key_time(KEY), "client")
    under_a_name = post_row(Address(ANN, POST, "my-first-post"), record(), Author(), None)
    assert under_a_name is not None
    assert under_a_name[1]["created_at_trust"] == "client"


def test_facets_count_bytes_and_the_end_is_not_part() -> None:
    facets = [link(16, 30, "https://a.co/x?full=1"), {**link(35, 44, None), "features": [{"did": BOB}]}]
    text, links = text_and_links(record(CAFE, facets=facets))
    assert text == "Visit café ☕ https://a.co/x?full=1 now @bob.test"
    assert links == [{"short": "https://a.co/x", "expanded": "https://a.co/x?full=1", "title": None}]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (16, 99), (-1, 5), (30, 16), (16, 16), (9, 10), (10, 11), (12, 14), (13, 15), (13, 14),
        (16.0, 30), ("16", "30"), (None, 30), (True, 30),
    ],
)  # fmt: skip
def test_a_facet_out_of_range_or_inside_a_character_is_ignored(start: Any, end: Any) -> None:
    facets = [link(start, end, "https://a.co/x"), link(16, 30, "https://a.co/x/y")]
    text, links = text_and_links(record(CAFE, facets=facets))
    assert text == CAFE.replace("https://a.co/x", "https://a.co/x/y")
    assert [item["expanded"] for item in links] == ["https://a.co/x/y"]


def test_of_overlapping_facets_the_first_counts() -> None:
    facets = [link(20, 30, "https://b.co/x"), link(16, 30, "https://a.co/x/long"), link(16, 24, "https://c.co/x")]
    assert text_and_links(record(CAFE, facets=facets[:2]))[0] == CAFE.replace("https://a.co/x", "https://a.co/x/long")
    assert [item["expanded"] for item in text_and_links(record(CAFE, facets=facets))[1]] == ["https://c.co/x"]


@pytest.mark.parametrize(
    ("shown", "address_given", "written"),
    [
        (
            "example.org/a/very/lo...",
            "https://www.example.org/a/very/long/path",
            "https://www.example.org/a/very/long/path",
        ),
        ("example.org/a/very…", "http://example.org/a/very/long", "http://example.org/a/very/long"),
        ("Example.org", "https://example.org/", "https://example.org/"),
        ("the article", "https://example.org/a", "the article"),
        ("U.S. Senate", "https://example.org/a", "U.S. Senate"),
        ("bank.example", "https://evil.example", "bank.example"),
        ("x.y", "javascript:x.y", "x.y"),
    ],
)
def test_shortened_links_are_written_out_and_words_stay(shown: str, address_given: str, written: str) -> None:
    text, [found] = text_and_links(record(f"è {shown}!", facets=[link(3, 3 + len(shown.encode()), address_given)]))
    assert (text, found["expanded"]) == (f"è {written}!", address_given)


def test_posts_of_2022_count_utf16_units() -> None:
    raw = "👩 see a.co/x…"
    entities = [
        {"type": "link", "index": {"start": 7, "end": 14}, "value": "https://a.co/x/y"},
        {"type": "mention", "index": {"start": 0, "end": 2}, "value": BOB},
        {"type": "link", "index": {"start": 1, "end": 4}, "value": "https://inside.a/character"},
    ]
    assert text_and_links(record(raw, entities=entities)) == (
        "👩 see https://a.co/x/y",
        [{"short": "a.co/x…", "expanded": "https://a.co/x/y", "title": None}],
    )


@given(st.text(), st.lists(st.tuples(st.integers(-3, 40), st.integers(-3, 40)), max_size=6))
def test_facets_never_change_other_text(text: str, places: list[tuple[int, int]]) -> None:
    """Against the same told over code points, for facets that only link and never shorten."""
    facets = [link(start, end, "urn:x") for start, end in places]
    assert text_and_links(record(text, facets=facets))[0] == text
    borders = {0}
    for character in text:
        borders.add(max(borders) + len(character.encode()))
    expected, done = [], 0
    for start, end in sorted(places):
        if start in borders and end in borders and done <= start < end:
            expected.append(text.encode()[start:end].decode().replace("\0", ""))
            done = end
    made = row(text=text, facets=facets)
    assert [item["short"] or "" for item in made["links"] or []] == [
        "".join(c for c in shown if c == "\x85" or not 0x80 <= ord(c) < 0xA0) for shown in expected
    ]


def test_lone_surrogates_and_nul_do_not_move_facets() -> None:
    raw = "\ud83d\0 a.co/x"
    made = row(text=raw, facets=[link(5, 11, "https://a.co/x/y")])
    assert made["text"] == "� https://a.co/x/y"
    assert made["text_raw"] == "� a.co/x"


def embed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"$type": f"app.bsky.embed.{kind}", **fields}


IMAGES = embed(
    "images",
    images=[
        {"alt": "a cat", "image": {"$type": "blob"}, "aspectRatio": {"width": 4, "height": 3}},
        {"alt": "", "image": {"$type": "blob"}},
    ],
)
CARD = embed("external", external={"uri": "https://a.co/x", "title": "A page", "description": "about it"})


def photo(alt: str | None, w: int | None = None, h: int | None = None, kind: str = "photo") -> dict[str, Any]:
    return {"kind": kind, "url": None, "alt": alt, "w": w, "h": h}


@pytest.mark.parametrize(
    ("given_embed", "expected"),
    [
        (IMAGES, {"media": [photo("a cat", 4, 3), photo(None)]}),
        (embed("video", video={}, alt="a dog runs"), {"media": [photo("a dog runs", kind="video")]}),
        (
            embed("gallery", media=[{"alt": "a gull", "aspectRatio": {"width": 1, "height": -1}}]),
            {"media": [photo("a gull", 1)]},
        ),
        (CARD, {"links": [{"short": None, "expanded": "https://a.co/x", "title": "A page"}]}),
        (embed("record", record=ref(BOB)), {"quote_of": f"bsky:{uri(BOB)}"}),
        (embed("record", record=ref(BOB, "list", "app.bsky.graph.list")), {}),
        (embed("record", record=ref(BOB, "f", "app.bsky.feed.generator")), {}),
        (embed("record", record={"record": ref(BOB)}), {}),
        (
            embed("recordWithMedia", record=embed("record", record=ref(BOB)), media=IMAGES),
            {"quote_of": f"bsky:{uri(BOB)}", "media": [photo("a cat", 4, 3), photo(None)]},
        ),
        (
            embed("recordWithMedia", record=embed("record", record=ref(BOB)), media=CARD),
            {
                "quote_of": f"bsky:{uri(BOB)}",
                "links": [{"short": None, "expanded": "https://a.co/x", "title": "A page"}],
            },
        ),
        (embed("recordWithMedia", record=ref(BOB), media=[]), {}),
        ({"$type": 5, "images": IMAGES["images"]}, {}),
        ("odd", {}),
    ],
)  # fmt: skip
def test_embeds(given_embed: Any, expected: dict[str, Any]) -> None:
    made = row(embed=given_embed)
    assert {name: made[name] for name in ("media", "links", "quote_of") if made[name]} == expected


def test_a_card_of_a_link_in_the_text_gives_it_its_title() -> None:
    made = row(text="a.co/x", facets=[link(0, 6, "https://a.co/x")], embed=CARD)
    assert made["links"] == [{"short": "a.co/x", "expanded": "https://a.co/x", "title": "A page"}]


def test_replies_name_parent_and_root_and_other_posts_are_their_own_root() -> None:
    made = row(reply={"parent": ref(BOB), "root": ref(EVE, "3l3qo2vuowo2c")})
    assert (made["reply_to"], made["reply_to_author"]) == (f"bsky:{uri(BOB)}", BOB)
    assert (made["conversation_root"], made["root_source"]) == (f"bsky:{uri(EVE, '3l3qo2vuowo2c')}", "platform")
    alone = row()
    assert (alone["reply_to"], alone["conversation_root"]) == (None, f"bsky:{uri()}")
    odd = row(reply={"parent": {"uri": "at://bob.example/app.bsky.feed.post/x"}, "root": {"uri": 5}})
    assert (odd["reply_to"], odd["conversation_root"], odd["root_source"]) == (None, None, None)


@pytest.mark.parametrize(
    ("langs", "lang"),
    [
        (["en"], "en"), (["pt-BR"], "pt"), ("de", "de"),
        (["en", "de"], None), ([], None), (None, None), ([5], None), (["x y"], None),
    ],
)  # fmt: skip
def test_language_is_the_apps_setting_and_several_are_none(langs: Any, lang: str | None) -> None:
    made = row(langs=langs)
    assert (made["lang"], made["lang_source"]) == (lang, "client" if lang else None)


def self_labels(*values: Any) -> dict[str, Any]:
    return {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": value} for value in values]}


def test_labels() -> None:
    made = row(labels=self_labels("porn", "aside"))
    assert (made["labels"], made["sensitive"], made["visibility"]) == (["aside", "porn"], True, "public")
    assert row()["sensitive"] is None
    assert row(labels=self_labels("!no-unauthenticated"))["visibility"] == "community"
    bot = row(Author("ann.example", frozenset({"bot", "!no-unauthenticated"})))
    assert (bot["author_kind"], bot["visibility"], bot["labels"]) == ("bot", "community", None)
    assert labels_in([{"val": "porn", "neg": True}, {"val": "spam", "neg": False}]) == {"spam"}
    assert visibility(labels_in([{"val": "!hide"}, {"val": "!no-unauthenticated"}])) == "protected"


@pytest.mark.parametrize("odd", ["!no-unauthenticated", {"values": "x"}, {}, {"values": [5]}, [{"val": 5}], [None], 7])
def test_labels_that_cannot_be_read_leave_it_unknown_whether_a_post_is_public(odd: Any) -> None:
    assert row(labels=odd)["visibility"] == "unknown"


def test_an_empty_text_is_a_post_and_a_missing_one_is_none() -> None:
    assert row(text="")["text"] == ""
    for missing in (None, 5, ["x"]):
        assert post_row(AT, {"text": missing, "createdAt": STATED}, Author(), None) is None


def test_text_is_composed_and_raw_is_as_received() -> None:
    made = row(text="  cafe\u0301\nnext\u2028line  ")
    assert (made["text_raw"], made["text"]) == ("  cafe\u0301\nnext\u2028line  ", "café\nnext\u2028line")


def test_reposts_carry_no_text_and_name_what_they_share() -> None:
    made = repost_row(
        Address(ANN, "app.bsky.feed.repost", KEY), {"subject": ref(BOB), "createdAt": STATED}, Author(), None
    )
    assert made is not None
    assert (made[1]["repost_of"], made[1]["repost_of_author"], made[1]["text"]) == (f"bsky:{uri(BOB)}", BOB, "")
    assert made[1]["text_status"] == "missing"
    for odd in (None, {}, {"subject": "x"}, {"subject": ref(BOB, "x", "app.bsky.feed.generator")}):
        assert repost_row(Address(ANN, "app.bsky.feed.repost", KEY), odd or {}, Author(), None) is None


@pytest.mark.parametrize(
    "odd",
    [None, 5, "", "at://", uri("bob.example"), uri() + "/more", uri(key="a b"), uri(key=""), uri() + "\n", "x" + uri()],
)  # fmt: skip
def test_an_address_that_is_none_or_names_a_handle(odd: Any) -> None:
    assert address(odd) is None
    assert address(uri(EVE)) == Address(EVE, POST, KEY)
