"""X API v2: pages and flattened posts with every trap of the format, and real responses against a plain count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ingesting import ingest, posts_of, quarantine_of

from townsquare.square import Square


def post(number: int, text: str = "hello", **fields: Any) -> dict[str, Any]:
    """What the API gives when nothing else was asked for."""
    return {"id": str(number), "text": text, "edit_history_tweet_ids": [str(number)], **fields}


def pages(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "posts.jsonl"


def test_data_as_list_as_one_and_absent(square: Square, file: Path) -> None:
    error = {"resource_id": "9", "resource_type": "tweet", "type": ".../resource-not-found", "title": "Not Found"}
    pages(
        file,
        {"data": [post(1), post(2)], "meta": {"result_count": 2}},
        {"data": post(3)},
        {"errors": [error, {"title": "Invalid Request", "message": "?"}, "odd"]},
        {"data": [post(4), "odd", {"id": "5", "name": "no text"}]},
        {"meta": {"result_count": 0}},
        {"data": []},
        [1],
    )
    receipt = ingest(square, file)
    assert receipt.counts["quarantined"] == {
        "unavailable": 1,
        "api_error": 2,
        "not_a_post": 2,
        "no_posts": 2,
        "not_a_page": 1,
    }
    assert set(posts_of(square)) == {"x:1", "x:2", "x:3", "x:4"}
    [missing] = [row for row in quarantine_of(square) if row["reason"] == "unavailable"]
    assert (missing["uid"], missing["detail"]) == ("x:9", ".../resource-not-found")


def test_what_was_not_asked_for_is_unknown_and_not_zero(square: Square, file: Path) -> None:
    ingest(square, pages(file, {"data": [post(1212092628029698048)]}))
    row = posts_of(square)["x:1212092628029698048"]
    unknown = ["author_id", "author_handle", "lang", "reply_to", "conversation_root", "likes", "reposts", "replies"]
    unknown += [
        "quotes",
        "views",
        "bookmarks",
        "sensitive",
        "withheld_copyright",
        "withheld_countries",
        "media",
        "links",
    ]
    assert {name: row[name] for name in unknown} == dict.fromkeys(unknown)
    assert (
        row["created_at"].isoformat(timespec="seconds") == "2019-12-31T19:26:16+00:00"
    )  # as X's own sample of it says


def test_all_fields(square: Square, file: Path) -> None:
    text = "@XDev see https://t.co/a and https://t.co/p &amp; more"
    one = post(
        10,
        text,
        author_id="2244994945",
        conversation_id="7",
        in_reply_to_user_id="5",
        created_at="2019-12-31T19:26:16.000Z",
        lang="en",
        source="Twitter Web App",
        possibly_sensitive=False,
        referenced_tweets=[{"type": "replied_to", "id": "8"}, {"type": "quoted", "id": "9"}],
        public_metrics={
            "retweet_count": 7,
            "reply_count": 3,
            "like_count": 38,
            "quote_count": 0,
            "bookmark_count": 2,
            "impression_count": 1250,
        },
        entities={
            "urls": [
                {"url": "https://t.co/a", "expanded_url": "https://e.org/short", "unwound_url": "https://e.org/a?x&y"},
                {"url": "https://t.co/p", "expanded_url": "https://x.com/a/status/10/photo/1", "media_key": "3_1"},
            ],
            "mentions": [{"start": 0, "end": 5, "username": "xdev"}],
            "annotations": [{"start": 42, "end": 44, "normalized_text": "API"}],
        },
        attachments={"media_keys": ["3_1", "3_missing"]},
        withheld={"copyright": False, "country_codes": ["DE", "FR"], "scope": "tweet"},
    )
    media = {
        "media_key": "3_1",
        "type": "photo",
        "url": "https://p/1.jpg",
        "alt_text": "a cat",
        "width": 10,
        "height": 2**40,
    }
    user = {"id": "2244994945", "username": "somebody", "protected": False}
    ingest(square, pages(file, {"data": one, "includes": {"media": [media], "users": [user]}}))
    row = posts_of(square)["x:10"]
    assert row["text"] == "see https://e.org/a?x&y and  & more"
    assert (row["author_id"], row["author_handle"]) == ("2244994945", "somebody")
    assert (row["reply_to"], row["quote_of"], row["conversation_root"]) == ("x:8", "x:9", "x:7")
    assert (row["likes"], row["reposts"], row["replies"], row["quotes"]) == (38, 7, 3, 0)
    assert (row["views"], row["bookmarks"], row["sensitive"], row["root_source"]) == (1250, 2, False, "platform")
    assert row["media"] == [{"kind": "photo", "url": "https://p/1.jpg", "alt": "a cat", "w": 10, "h": None}]
    assert (row["withheld_countries"], row["withheld_copyright"], row["withheld_scope"]) == (
        ["DE", "FR"],
        False,
        "tweet",
    )


def test_included_posts_are_posts_with_their_own_authors(square: Square, file: Path) -> None:
    repost = post(
        1, "RT @other: the beginning of it…", author_id="100", referenced_tweets=[{"type": "retweeted", "id": "2"}]
    )
    original = post(2, "the beginning of it and the end", author_id="200")
    users = [{"id": "100", "username": "me"}, {"id": "200", "username": "other", "protected": True}]
    receipt = ingest(square, pages(file, {"data": [repost], "includes": {"tweets": [original], "users": users}}))
    assert receipt.counts["kept"] == 2
    rows = posts_of(square)
    assert (rows["x:1"]["repost_of"], rows["x:1"]["text_status"]) == ("x:2", "truncated")
    assert (rows["x:2"]["text"], rows["x:2"]["text_status"]) == ("the beginning of it and the end", "full")
    assert (rows["x:2"]["author_handle"], rows["x:2"]["visibility"]) == ("other", "protected")


def test_a_note_is_the_text_and_its_entities_with_it(square: Square, file: Path) -> None:
    note = {
        "text": "long " * 80 + "https://t.co/n",
        "entities": {"urls": [{"url": "https://t.co/n", "expanded_url": "https://e.org/n"}]},
    }
    short = {"urls": [{"url": "https://t.co/n", "expanded_url": "https://wrong.org"}]}
    ingest(square, pages(file, {"data": post(1, "long long… https://t.co/n", note_tweet=note, entities=short)}))
    row = posts_of(square)["x:1"]
    assert (row["text"], row["text_status"]) == ("long " * 80 + "https://e.org/n", "note_joined")


def test_edits_name_their_first_version_and_the_latest(square: Square, file: Path) -> None:
    versions = [post(i, f"version {i}") | {"edit_history_tweet_ids": ["1", "2", "3"]} for i in (1, 2, 3)]
    ingest(square, pages(file, {"data": versions}))
    rows = posts_of(square)
    assert [(rows[f"x:{i}"]["edit_of"], rows[f"x:{i}"]["is_latest_edit"]) for i in (1, 2, 3)] == [
        (None, False),
        ("x:1", False),
        ("x:1", True),
    ]


def test_flattened_posts(square: Square, file: Path) -> None:
    original = post(2, "the original", author_id="200", author={"id": "200", "username": "other"})
    flat = post(
        1,
        "RT",
        author_id="100",
        author={"id": "100", "username": "me"},
        referenced_tweets=[{"type": "retweeted", **original}],
        attachments={"media_keys": ["3_1"], "media": [{"media_key": "3_1", "type": "photo", "alt_text": "a cat"}]},
    )
    ingest(square, pages(file, flat, post(3)))
    rows = posts_of(square)
    assert set(rows) == {"x:1", "x:2", "x:3"}
    assert (rows["x:1"]["author_handle"], rows["x:2"]["author_handle"]) == ("me", "other")
    assert rows["x:1"]["media"][0]["alt"] == "a cat"


def test_a_page_printed_over_many_lines(square: Square, tmp_path: Path) -> None:
    file = tmp_path / "page.json"
    file.write_text(json.dumps({"data": [post(1), post(2)], "meta": {}}, indent=4), encoding="utf-8-sig")
    assert ingest(square, file).counts["kept"] == 2


def test_a_half_written_last_line_is_kept_as_it_is(square: Square, file: Path) -> None:
    pages(file, {"data": post(1)}, {"data": post(2, "the last")})
    cut = file.read_bytes()[:-20]
    file.write_bytes(cut)
    receipt = ingest(square, file)
    assert receipt.counts == {"seen": 2, "kept": 1, "events": 0, "quarantined": {"broken_json": 1}}
    [row] = quarantine_of(square)
    assert row["raw"].encode() == cut.split(b"\n")[1]
    assert row["source_locator"] == "posts.jsonl:2"


def test_only_line_feeds_end_a_line(square: Square, file: Path) -> None:
    file.write_text('{"data": {"id": "1", "text": "a\u2028b\u2029c\x85d"}}\r\n\r\n{"data": {"id": "2", "text": "e"}}')
    ingest(square, file)
    rows = posts_of(square)
    assert (rows["x:1"]["text"], rows["x:2"]["text"]) == ("a\u2028b\u2029c\x85d", "e")


@pytest.mark.parametrize("number", ["1.626922779105759235e18", "1626922779105759235.0"])
def test_an_id_that_is_a_float_is_refused_and_never_rounded(square: Square, file: Path, number: str) -> None:
    file.write_text(f'{{"data": [{{"id": {number}, "text": "a"}}, {{"id": 1626922779105759235, "text": "b"}}]}}')
    receipt = ingest(square, file)
    assert receipt.counts["quarantined"] == {"not_a_post": 1}
    assert set(posts_of(square)) == {"x:1626922779105759235"}


def _independent_count(folder: Path) -> tuple[int, int, set[str], int]:
    """Posts in data and in includes, their ids, and reply links, counted with nothing but json."""
    data = included = replies = 0
    ids: set[str] = set()

    def take(record: dict[str, Any]) -> bool:
        if "text" not in record or "id" not in record:
            return False
        nonlocal replies
        ids.add(record["id"])
        replies += any(r["type"] == "replied_to" for r in record.get("referenced_tweets", []))
        return True

    for file in sorted(folder.iterdir()):
        if "compliance" in file.name or not file.stat().st_size:
            continue
        text = file.read_text(encoding="utf-8")
        try:
            records = [json.loads(text)]
        except ValueError:
            records = []
            for line in text.split("\n"):
                try:
                    records.append(json.loads(line))
                except ValueError:
                    continue
        for page in records:
            if "text" in page:
                data += take(page)
                included += sum(take(reference) for reference in page.get("referenced_tweets", []))
                continue
            found = page.get("data", [])
            data += sum(take(record) for record in (found if isinstance(found, list) else [found]))
            included += sum(take(record) for record in page.get("includes", {}).get("tweets", []))
    return data, included, ids, replies


def test_real_responses_against_a_plain_count(square: Square, shared_data: Path) -> None:
    data, included, ids, replies = _independent_count(shared_data / "x_api_v2")
    receipt = ingest(square, shared_data / "x_api_v2")
    assert receipt.counts["kept"] == data + included
    assert receipt.results["replies"] == replies
    assert receipt.counts["events"] == 4
    rows = posts_of(square)
    assert {uid.removeprefix("x:") for uid in rows} == ids
    assert {file: said["format"] for file, said in receipt.results["files"].items() if said["kept"] == 0} == {
        "counts.jsonl": "x_api_v2",
        "empty.json": "none",
        "lists.jsonl": "x_api_v2",
        "tweets_compliance.jsonl": "x_compliance",
        "users_compliance.jsonl": "x_compliance",
    }


def test_an_alt_text_stands_with_the_media_or_with_the_post(square: Square, file: Path) -> None:
    keys = {"attachments": {"media_keys": ["3_1", "3_2", "3_3"]}}
    told = {"media_metadata": [{"media_key": "3_1", "alt_text": "a cat"}, {"media_key": "3_2", "alt_text": "a dog"}]}
    media = [{"media_key": key, "type": "photo"} for key in ("3_1", "3_2", "3_3")]
    media[1]["alt_text"] = "a dog, asleep"
    ingest(square, pages(file, {"data": [post(1, **keys, **told)], "includes": {"media": media}}))
    assert [one["alt"] for one in posts_of(square)["x:1"]["media"]] == ["a cat", "a dog, asleep", None]


def test_what_a_page_cannot_give_is_told_with_its_reason(square: Square, file: Path) -> None:
    kinds = ["resource-not-found", "not-authorized-for-resource"]
    errors = [
        {"resource_id": str(i), "resource_type": "tweet", "type": f"https://api.twitter.com/2/problems/{kind}"}
        for i, kind in enumerate(kinds, start=8)
    ]
    ingest(
        square, pages(file, {"data": [post(1, referenced_tweets=[{"type": "quoted", "id": "9"}])], "errors": errors})
    )
    assert posts_of(square)["x:1"]["quote_of"] == "x:9"
    told = {row["uid"]: row["detail"].rpartition("/")[2] for row in quarantine_of(square)}
    assert told == {"x:8": kinds[0], "x:9": kinds[1]}
