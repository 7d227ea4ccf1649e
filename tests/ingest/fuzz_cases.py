"""Every source's inputs to mutate, and what must always hold of what comes of them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import random
import re
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from bluesky_made import account, commit, link, posts_of_a_repository, record, ref, repository, uri, view
from fuzz_mutations import mutated, reshaped
from ingesting import js, note, tweet, tweets_js

from townsquare.ingest.rows import RAW_CHARACTERS

MARK = re.compile(r"mark\d+x")
LOSSES = {"broken_file", "unsafe_member", "unknown_format", "unfit_file"}
"""Reasons that own up to losing the rest of a file."""

Rows = dict[str, list[dict[str, Any]]]


def page(number: int) -> dict[str, Any]:
    return {
        "data": [
            {
                "id": str(100 + number),
                "text": f"@ann hi mark{number}x https://t.co/a &amp; https://t.co/p",
                "author_id": "7",
                "created_at": "2024-01-10T12:00:00.000Z",
                "conversation_id": "5",
                "in_reply_to_user_id": "8",
                "lang": "en",
                "edit_history_tweet_ids": ["99", str(100 + number)],
                "referenced_tweets": [{"type": "replied_to", "id": "5"}, {"type": "quoted", "id": "6"}],
                "public_metrics": {"like_count": 5, "retweet_count": 2, "reply_count": 0},
                "entities": {
                    "urls": [{"url": "https://t.co/a", "expanded_url": "https://e.org", "title": "t"}],
                    "mentions": [{"username": "ann"}],
                },
                "attachments": {"media_keys": ["3_1"]},
                "withheld": {"country_codes": ["DE"], "copyright": False},
                "note_tweet": {"text": f"@ann a long text mark{number}x", "entities": {"urls": []}},
            }
        ],
        "includes": {
            "users": [{"id": "7", "username": "me", "protected": False}],
            "media": [{"media_key": "3_1", "type": "photo", "alt_text": "cat", "width": 5}],
            "tweets": [{"id": "5", "text": "root"}],
        },
        "errors": [{"resource_id": "6", "resource_type": "tweet", "type": "t"}],
    }


COMPLIANCE = [
    {
        "id": "1",
        "action": "delete",
        "created_at": "2024-01-10T12:00:00.000Z",
        "redacted_at": "2024-01-12",
        "reason": "deleted",
    },
    {"data": {"delete": {"tweet": {"id": "1", "author_id": "2"}, "event_at": "2024-01-12T08:30:00.000Z"}}},
    {"data": {"user_protect": {"user": {"id": "2"}, "event_at": "2024-01-12T08:30:00.000Z"}}},
    {"delete": {"status": {"id": 1, "id_str": "1"}, "timestamp_ms": "1705048200000"}},
    {"scrub_geo": {"user_id": 2, "user_id_str": "2", "up_to_status_id": 9}},
    {"user_withheld": {"user": {"id": 2}, "withheld_in_countries": ["DE"], "timestampMs": "2014-08-27T00:00:00Z"}},
]


def status(number: int, **fields: Any) -> dict[str, Any]:
    """A post of a v1.1 stream."""
    return {
        "id": number,
        "id_str": str(number),
        "created_at": "Fri Jan 12 08:30:00 +0000 2024",
        "text": f"@ann hi mark{number}x… https://t.co/a &amp; https://t.co/p",
        "truncated": True,
        "user": {"id": 7, "id_str": "7", "screen_name": "me", "protected": False, "withheld_in_countries": ["DE"]},
        "in_reply_to_status_id_str": "5",
        "in_reply_to_user_id": 8,
        "display_text_range": [5, 30],
        "favorite_count": 3,
        "possibly_sensitive": False,
        "withheld_in_countries": ["XX"],
        "scopes": {"followers": False},
        "edit_history": {"edit_tweet_ids": ["1", str(number)]},
        "extended_tweet": {
            "full_text": f"@ann the whole mark{number}x https://t.co/a https://t.co/p",
            "display_text_range": [5, 40],
            "entities": {
                "urls": [{"url": "https://t.co/a", "expanded_url": "https://x.com/a/status/9"}],
                "user_mentions": [{"screen_name": "ann", "id_str": "8"}],
                "media": [{"url": "https://t.co/p", "id_str": "3", "type": "photo", "sizes": {"large": {"w": 5}}}],
            },
        },
        "timestamp_ms": "1705048200000",
        **fields,
    }


STREAM = [
    status(1),
    status(2, retweeted_status=status(12, quoted_status=status(22))),
    status(3, quoted_status=status(13), quoted_status_permalink={"url": "https://t.co/a"}, is_quote_status=True),
    {"delete": {"status": {"id": 1, "id_str": "1"}, "timestamp_ms": "1705048200000"}},
    {"status_withheld": {"status": {"id": "1"}, "withheld_in_countries": ["XY"], "timestamp_ms": "1705048200000"}},
    {"limit": {"track": 5}},
    {"direct_message": {"text": "private"}},
]
REDDIT = [
    {
        "id": f"c{i}",
        "author": "ann",
        "author_fullname": "t2_a",
        "body": f"hi mark{i}x",
        "created_utc": "1199145600",
        "retrieved_on": 1199150000,
        "edited": 1199145700,
        "link_id": "t3_r",
        "parent_id": "t3_r",
        "score": 5,
        "subreddit": "all",
        "subreddit_type": "public",
    }
    for i in range(4)
]
REDDIT += [
    {
        "id": f"s{i}",
        "author": "ann",
        "title": f"a title mark{i}x",
        "selftext": "and text",
        "url": "https://e.org",
        "is_self": False,
        "permalink": "/r/all/s",
        "num_comments": 5,
        "subreddit": "all",
        "created_utc": 1199145600,
        "upvote_ratio": 0.9,
        "removed_by_category": category,
        "_meta": {"was_deleted_later": later, "retrieved_2nd_on": 1199145600},
    }
    for i, (category, later) in enumerate([(None, False), ("moderator", False), (None, True)])
]
OPT_OUTS = [
    {
        "network": "x",
        "author_id": str(i),
        "post_id": "",
        "kind": "opt_out",
        "requested_at": "2024-01-10",
        "scope": "all",
    }
    for i in range(5)
]


def ndjson(records: list[Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _reshaped_lines(records: list[Any]) -> Callable[[random.Random], bytes]:
    def make(chance: random.Random) -> bytes:
        lines = [reshaped(r, chance) if chance.random() < 0.5 else r for r in records]
        content = ndjson(lines)
        return mutated(content, chance) if chance.random() < 0.5 else content

    return make


BORDERS = {"x_archive_file": b'"tweet"', "x_grailbird_file": b"\n },\n {"}
"""What stands between two posts, by case."""


def _is_cut(rows: Rows) -> bool:
    """Whether what was quarantined may be more than is kept of it; NULs are taken out after the cut."""
    return any(len(row["raw"] or "") > RAW_CHARACTERS - 100 for row in rows["quarantine"])


def _lines_are_told(name: str, content: bytes, rows: Rows) -> None:
    """Every line with something in it has a row that says so."""
    if any(row["source_locator"].endswith(":0") for row in rows["quarantine"]):
        return
    if content.startswith(b"window.YTD"):  # it became another format's, which knows no lines
        return
    told = {int(row["source_locator"].split(":")[1]) for found in rows.values() for row in found}
    lines = content.split(b"\n")
    lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
    wanted = {number for number, line in enumerate(lines, start=1) if line.strip(b"\r\n \t")}
    assert wanted <= told | ({1} if name.endswith("page") else set())


def _marks_are_told(name: str, content: bytes, rows: Rows) -> None:
    """Every mark that is still in the input stands in some row, or a row says that the rest is lost."""
    if {row["reason"] for row in rows["quarantine"]} & LOSSES:
        return
    if _is_cut(rows):
        return
    told = " ".join(
        str(row.get(name)) for found in rows.values() for row in found for name in ("text", "text_raw", "raw")
    )
    lost = set(MARK.findall(content.decode("utf-8", errors="replace"))) - set(MARK.findall(told))
    if name in BORDERS:  # two posts whose border was cut out are one JSON object with one row
        for part in content.split(BORDERS[name]):
            marks = {mark.decode() for mark in re.findall(rb"mark\d+x", part)}
            twice = part.count(b'"source"') > 1  # of one name's two values in an object JSON keeps the last
            lost -= marks if b"retweeted_status" in part or twice or marks - lost else set()
    # A cell that slid under another column, in a row that has its own place, is not a lost row; nor is a header.
    starts = {"1"} | {row["source_locator"].rpartition(":")[2] for found in rows.values() for row in found}
    assert not {mark for mark in lost if str(content[: content.index(mark.encode())].count(b"\n") + 1) not in starts}


TWEETS = [tweet(i, f"words = [mark{i}x]; and {{more}}") for i in range(1, 12)]
LONG = "a long text about everything there is to say, and more of it, and so on and on, " * 4
FULL = tweet(
    50,
    LONG[:270] + " mark50x…",
    in_reply_to_status_id_str="5",
    edit_info={"edit": {"initialTweetId": "49", "editControlInitial": {"editTweetIds": ["49", "50"]}}},
    entities={
        "urls": [{"url": "https://t.co/q", "expanded_url": "https://x.com/a/status/9"}],
        "media": [{"url": "https://t.co/m", "type": "photo", "expanded_url": "https://x.com/me/status/50/photo/1"}],
        "user_mentions": [{"screen_name": "ann"}],
    },
)
CSV = "id,text,created_at,author,likes\n" + "".join(f'{i},"hi, mark{i}x",2024-01-10,ann,{i}\n' for i in range(30))
RECORDS = [
    {"id": i, "text": f"hi mark{i}x", "created_at": "2024-01-10", "author": "ann", "likes": i} for i in range(20)
]


PACKED = gzip.compress(
    ndjson([{**record, "text": f"{n} {hash((n, i))}"} for n in range(40) for i, record in enumerate(RECORDS)])
)


def _archive_js(chance: random.Random) -> bytes:
    content = tweets_js(*[reshaped(t, chance) if chance.random() < 0.2 else t for t in [*TWEETS, FULL]])
    return mutated(content, chance) if chance.random() < 0.7 else content


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


AROUND = {
    "account.js": [{"account": {"accountId": "7", "username": "me"}}],
    "note-tweet.js": [note(LONG + "mark50x", urls=[{"shortUrl": "https://t.co/a", "expandedUrl": "https://e.org"}])],
    "twitter-circle.js": [{"twitterCircle": {"id": "1"}}],
    "protected-history.js": [{"protectedHistory": {"protectedAt": "2010-01-01T00:00:00Z", "action": "Protect"}}],
    "deleted-tweet-headers.js": [{"tweet": {"tweet_id": "3", "deleted_at": "Sat Feb 18 12:33:11 +0000 2023"}}],
    "community-tweet.js": [{"tweet": tweet(60, "club")}],
}


def _archive_zip(chance: random.Random) -> bytes:
    """A zip whose files around the posts, or whose own bytes, are mutated."""
    files = {"data/tweets.js": tweets_js(*TWEETS, FULL)}
    for name, records in AROUND.items():
        content = js(name.removesuffix(".js").replace("-", "_"), reshaped(records, chance))
        files[f"data/{name}"] = mutated(content, chance) if chance.random() < 0.3 else content
    manifest = {"userInfo": {"accountId": "7"}, "dataTypes": {"tweets": {"files": [{"fileName": "data/tweets.js"}]}}}
    files["data/manifest.js"] = b"window.__THAR_CONFIG = " + json.dumps(reshaped(manifest, chance)).encode()
    content = _zip(files)
    return mutated(content, chance) if chance.random() < 0.4 else content


def _tar(chance: random.Random) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in (("a.csv", CSV.encode()), ("b.jsonl", ndjson(RECORDS))):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    if chance.random() < 0.5:
        return gzip.compress(mutated(out.getvalue(), chance))
    return mutated(gzip.compress(out.getvalue()), chance)


def _parquet(chance: random.Random) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(RECORDS), out)
    return mutated(out.getvalue(), chance)


def jetstream_lines() -> list[Any]:
    said = record(
        "café mark1x a.co/x…",
        facets=[link(13, 22, "https://a.co/x/y")],
        embed={
            "$type": "app.bsky.embed.recordWithMedia",
            "record": {"record": ref()},
            "media": {"images": [{"alt": "a"}]},
        },
        reply={"root": ref(), "parent": ref()},
        labels={"values": [{"val": "porn"}]},
        langs=["en"],
        entities=[{"type": "link", "index": {"start": 0, "end": 4}, "value": "https://a.co"}],
    )
    hides = {"hiddenReplies": [uri()]}
    return [
        commit(said),
        commit(said, operation="update"),
        commit(None, operation="delete"),
        commit({"subject": ref()}, collection="app.bsky.feed.repost"),
        commit({"subject": ref()}, collection="app.bsky.feed.like"),
        commit(
            {"labels": {"values": [{"val": "!no-unauthenticated"}]}}, collection="app.bsky.actor.profile", key="self"
        ),
        commit({"syntheticContentGeneration": {"allow": False}}, collection="org.user-intents.declaration", key="self"),
        commit(hides, collection="app.bsky.feed.threadgate"),
        account(False, "suspended"),
        {"did": "did:plc:ann", "time_us": 1, "kind": "identity", "identity": {"handle": "ann.example"}},
        {"did": "did:plc:ann", "time_us": 1, "kind": "sync", "sync": {"rev": "x"}},
    ]


def bluesky_views() -> list[dict[str, Any]]:
    quoted = {"uri": uri(key="3l3qo2vuowo2l"), "author": {}, "value": record("quoted mark99x")}
    more = {
        "embed": {"$type": "app.bsky.embed.record#view", "record": quoted},
        "threadgate": {"uri": uri(collection="app.bsky.feed.threadgate"), "record": {"hiddenReplies": [uri()]}},
        "labels": [{"val": "nudity"}],
    }
    keys = "bcdefghijk"
    views = [view(f"mark{i}x", key=f"3l3qo2vuowo2{sign}", **more) for i, sign in enumerate(keys)]
    reply = {"root": view("root"), "parent": {"uri": uri(), "notFound": True}}
    by = {"by": {"did": "did:plc:bob"}, "uri": uri(collection="app.bsky.feed.repost"), "indexedAt": "2024-01-10"}
    return [{"post": one, "reply": reply, "reason": by} for one in views]


def _bluesky_page(chance: random.Random) -> bytes:
    page = {"feed": [reshaped(v, chance) if chance.random() < 0.2 else v for v in bluesky_views()], "cursor": "x"}
    content = json.dumps(page, indent=chance.choice([None, 1])).encode()
    return mutated(content, chance) if chance.random() < 0.7 else content


def _views_are_told(_name: str, content: bytes, rows: Rows) -> None:
    """Every view that stands there whole, to its neighbours' marks, stands in some row.

    Of one that falls apart the text may come to stand beside another view, as a field that is not read.
    """
    if _is_cut(rows) or {row["reason"] for row in rows["quarantine"]} & LOSSES:
        return
    said = [str(row["text"]) for row in rows["post"]] + [str(row["raw"]) for row in rows["quarantine"]]
    told = set(MARK.findall(" ".join(said)))
    for indent in (None, 1):
        page = json.dumps({"feed": bluesky_views(), "cursor": "x"}, indent=indent)
        around, marks = MARK.split(page), MARK.findall(page)
        for i in range(0, len(marks), 2):  # a view's own, and that of the post it quotes
            whole = f"{around[i]}{marks[i]}{around[i + 1]}{marks[i + 1]}{around[i + 2]}"
            assert {marks[i], marks[i + 1]} <= told or whole.encode() not in content


CAR = repository(
    {
        **posts_of_a_repository(20),
        "app.bsky.actor.profile/self": {"labels": {"values": [{"val": "bot"}]}},
        "app.bsky.feed.like/3l3qo2vuowo2b": {"subject": ref()},
        "org.user-intents.declaration/self": {"syntheticContentGeneration": {"allow": False}},
    }
)


def _car(chance: random.Random) -> bytes:
    """A repository with damaged bytes, or with one whole but reshaped record."""
    if chance.random() < 0.6:
        return mutated(b"".join(CAR), chance)
    held = posts_of_a_repository(6)
    key = chance.choice(list(held))
    held[key] = reshaped(held[key], chance)
    try:
        return b"".join(repository(held))
    except (AttributeError, OverflowError, UnicodeEncodeError):  # DAG-CBOR has no such value
        return b"".join(CAR)


def _whole_posts_of_a_car_are_told(_name: str, content: bytes, rows: Rows) -> None:
    """A post's text comes as it was or not at all; and where some of the twenty are missing, a row says so."""
    texts = [row["text"] for row in rows["post"]]
    assert all(re.fullmatch(r"mark\d+x says hello", text) for text in texts) or b"".join(CAR)[:40] not in content
    if len(set(texts)) < len(set(MARK.findall(content.decode("utf-8", errors="replace")))):
        assert rows["quarantine"]


def _nothing_more(_name: str, _content: bytes, _rows: Rows) -> None:
    pass


def _grailbird(chance: random.Random) -> bytes:
    posts = [status(i, text=f"words = [mark{i}x]; and {{more}}", extended_tweet=None) for i in range(1, 8)]
    posts[2] |= {
        "text": "RT @me: an edge, whose text is the original's",
        "retweeted_status": status(30, text="it", extended_tweet=None),
    }
    posts = [reshaped(post, chance) if chance.random() < 0.2 else post for post in posts]
    content = b"Grailbird.data.tweets_2015_01 =\n " + json.dumps(posts, indent=1).encode()
    return mutated(content, chance) if chance.random() < 0.7 else content


def _grailbird_zip(chance: random.Random) -> bytes:
    """A zip whose months, files about them, or own bytes are mutated."""
    index = [{"file_name": "data/js/tweets/2015_01.js", "year": 2015}, {"file_name": "data/js/tweets/2015_03.js"}]
    details = {"created_at": "2015-02-01 10:00:00 +0000"}
    files = {
        "data/js/tweets/2015_01.js": _grailbird(chance),
        "data/js/tweets/2015_02.js": b"Grailbird.data.tweets_2015_02 = [ ]",
        "data/js/tweet_index.js": b"var tweet_index = " + json.dumps(reshaped(index, chance)).encode(),
        "data/js/payload_details.js": b"var payload_details = " + json.dumps(reshaped(details, chance)).encode(),
    }
    content = _zip(files)
    return mutated(content, chance) if chance.random() < 0.4 else content


def _packed_stream(chance: random.Random) -> bytes:
    """A zip with a tar in it, both with packed streams; the bytes of one of them, or of all, are mutated."""
    content = ndjson(STREAM)
    packed = {"a.json.bz2": bz2.compress, "b.json.gz": gzip.compress, "c.json.zst": zstandard.compress}
    files = {name: pack(content) for name, pack in packed.items()}
    name = chance.choice(list(files))
    files[name] = mutated(files[name], chance)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for inner, data in files.items():
            info = tarfile.TarInfo(inner)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    day = mutated(out.getvalue(), chance) if chance.random() < 0.3 else out.getvalue()
    whole = _zip({"day.tar": day, **files})
    return mutated(whole, chance) if chance.random() < 0.3 else whole


def _cut_dump(chance: random.Random) -> bytes:
    return mutated(b"".join(zstandard.compress(ndjson(REDDIT * 3)) for _ in range(3)), chance)


OUTBOX: list[dict[str, Any]] = [
    {
        "id": f"https://h.example/users/ann/statuses/{i}/activity",
        "type": "Create",
        "actor": "https://h.example/users/ann",
        "to": ["https://www.w3.org/ns/activitystreams#Public"],
        "object": {
            "id": f"https://h.example/users/ann/statuses/{i}",
            "type": "Question" if i % 3 == 0 else "Note",
            "published": "2024-01-10T12:00:00Z",
            "updated": "2024-01-11T12:00:00Z",
            "attributedTo": "https://h.example/users/ann",
            "inReplyTo": {"id": "https://far.example/users/bob/statuses/1"},
            "to": ["https://www.w3.org/ns/activitystreams#Public"],
            "cc": ["https://h.example/users/ann/followers"],
            "content": f'<p>mark{i}x <a href="https://e.example/a">e.example/a</a> &amp; [more], {{so}}</p>',
            "contentMap": {"en": "x"},
            "attachment": [{"type": "Document", "mediaType": "image/png", "url": "a.png", "name": "cat", "width": 5}],
            "tag": [{"type": "Mention", "href": "https://far.example/users/bob", "name": "@bob@far.example"}],
            "likes": {"totalItems": 5},
            "oneOf": [{"type": "Note", "name": "Tea"}],
            "quote": "https://far.example/users/bob/statuses/2",
        },
    }
    for i in range(1, 7)
] + [
    {"type": "Announce", "id": "https://h.example/b", "actor": "https://h.example/a", "object": "https://far.example/1"},
    {"type": "Delete", "id": "https://h.example/d", "actor": "https://h.example/a", "object": "https://h.example/1"},
    {"type": "Undo", "actor": "https://h.example/a", "object": {"type": "Announce", "id": "https://h.example/2"}},
    {"type": "Update", "actor": "https://h.example/a", "object": {
        "type": "Person", "id": "https://h.example/a", "indexable": False, "summary": "<p>#nobot",
        "tag": [{"name": "x"}],
    }},
]  # fmt: skip
PERSON = {**OUTBOX[-1]["object"], "preferredUsername": "ann", "id": "https://h.example/users/ann", "followers": "x"}
ITEMS: list[Any] = [
    {
        "by": "ann",
        "id": 10,
        "kids": [11],
        "score": 5,
        "time": 1175714200,
        "title": "mark0x",
        "type": "story",
        "url": "u",
    },
    None,
    *(
        {"by": "bob", "id": 10 + i, "parent": 9 + i, "text": f"mark{i}x<p>&#x27;&gt;", "type": "comment"}
        for i in range(1, 7)
    ),
    {"deleted": True, "id": 20, "parent": 10, "type": "comment"},
    {"dead": True, "by": "eve", "id": 21, "parent": 20, "text": "x", "type": "comment"},
]


def outbox(items: list[Any]) -> bytes:
    return json.dumps({"id": "outbox.json", "type": "OrderedCollection", "orderedItems": items}).encode()


def _mastodon_zip(chance: random.Random) -> bytes:
    person = json.dumps(reshaped(PERSON, chance)).encode()
    said = outbox([reshaped(item, chance) if chance.random() < 0.3 else item for item in OUTBOX])
    files = {
        "outbox.json": mutated(said, chance) if chance.random() < 0.5 else said,
        "actor.json": mutated(person, chance) if chance.random() < 0.3 else person,
        "likes.json": b"{}",
    }
    content = _zip(files)
    return mutated(content, chance) if chance.random() < 0.3 else content


def _whole_items_are_told(items: list[Any]) -> Callable[[str, bytes, Rows], None]:
    """Every item of an array whose bytes are all still there stands in some row."""
    by_mark = {found[0]: item for item in items if (found := MARK.search(json.dumps(item)))}

    def check(_name: str, content: bytes, rows: Rows) -> None:
        if _is_cut(rows):
            return
        told = " ".join(str(row.get("text")) + str(row.get("raw")) for found in rows.values() for row in found)
        whole = {mark for mark, item in by_mark.items() if json.dumps(item).encode() in content}
        assert whole <= set(MARK.findall(told))

    return check


Case = tuple[str, Callable[[random.Random], bytes], Callable[[str, bytes, Rows], None]]
CASES: dict[str, Case] = {
    "x_archive_file": ("tweets.js", _archive_js, _marks_are_told),
    "x_archive_zip": ("archive.zip", _archive_zip, _nothing_more),
    "x_api_v2": ("a.jsonl", _reshaped_lines([page(i) for i in range(6)]), _lines_are_told),
    "x_api_v2_flat": ("b.jsonl", _reshaped_lines([page(i)["data"][0] for i in range(6)]), _lines_are_told),
    "x_api_v2_page": (
        "c.json",
        lambda chance: mutated(json.dumps(reshaped(page(1), chance), indent=2).encode(), chance),
        _nothing_more,
    ),
    "x_compliance": ("tweets.jsonl", _reshaped_lines(COMPLIANCE), _lines_are_told),
    "x_stream": ("stream.jsonl", _reshaped_lines(STREAM), _lines_are_told),
    "x_stream_packed": ("month.zip", _packed_stream, _nothing_more),
    "x_grailbird_file": ("2015_01.js", _grailbird, _marks_are_told),
    "x_grailbird_zip": ("old.zip", _grailbird_zip, _nothing_more),
    "reddit": ("RC_2008-01", _reshaped_lines(REDDIT), _lines_are_told),
    "reddit_zst": ("RC_2008-01.zst", _cut_dump, _nothing_more),
    "opt_out": ("out.jsonl", _reshaped_lines(OPT_OUTS), _lines_are_told),
    "opt_out_csv": (
        "out.csv",
        lambda chance: mutated(
            ("\n".join([",".join(OPT_OUTS[0]), *(",".join(r.values()) for r in OPT_OUTS)])).encode(), chance
        ),
        _nothing_more,
    ),
    "bluesky_jetstream": ("j.jsonl", _reshaped_lines(jetstream_lines()), _lines_are_told),
    "bluesky_appview": ("v.json", _bluesky_page, _views_are_told),
    "bluesky_appview_lines": ("v.jsonl", _reshaped_lines(bluesky_views()), _lines_are_told),
    "bluesky_repo": ("r.car", _car, _whole_posts_of_a_car_are_told),
    "csv": ("t.csv", lambda chance: mutated(CSV.encode(), chance), _marks_are_told),
    "jsonl": ("t.jsonl", _reshaped_lines(RECORDS), _lines_are_told),
    "gz": ("t.jsonl.gz", lambda chance: mutated(PACKED, chance), _nothing_more),
    "parquet": ("t.parquet", _parquet, _nothing_more),
    "tar": ("t.tar.gz", _tar, _nothing_more),
    "mastodon": ("a.ndjson", _reshaped_lines(OUTBOX), _lines_are_told),
    "mastodon_outbox": (
        "outbox.json",
        lambda chance: mutated(outbox([reshaped(i, chance) if chance.random() < 0.1 else i for i in OUTBOX]), chance),
        _whole_items_are_told(OUTBOX),
    ),
    "mastodon_zip": ("export.zip", _mastodon_zip, _nothing_more),
    "hacker_news": ("items.ndjson", _reshaped_lines(ITEMS), _lines_are_told),
    "hacker_news_array": (
        "items.json",
        lambda chance: mutated(json.dumps(ITEMS, indent=chance.choice([None, 1])).encode(), chance),
        _whole_items_are_told(ITEMS),
    ),
}
