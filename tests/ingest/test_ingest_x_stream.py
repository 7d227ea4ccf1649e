"""v1.1 streams: every trap of the format, on lines made by hand, and the real ones' counts."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from ingesting import events_of, ingest, posts_of, quarantine_of

from townsquare.ingest import x_v11
from townsquare.square import Square

MS = "1705048200000"  # 2024-01-12 08:30:00 UTC
LATER_MS = "1705051800000"


def user(number: int = 7, name: str = "somebody", **fields: Any) -> dict[str, Any]:
    return {"id": number, "id_str": str(number), "screen_name": name, "protected": False, **fields}


def status(number: int, text: str, author: int = 7, **fields: Any) -> dict[str, Any]:
    """A post as the stream has it: counts are numbers, and the author stands in it."""
    return {
        "created_at": "Fri Jan 12 08:30:00 +0000 2024",
        "id": number,
        "id_str": str(number),
        "text": text,
        "source": '<a href="http://example.org" rel="nofollow">An App</a>',
        "truncated": False,
        "in_reply_to_status_id": None,
        "in_reply_to_user_id": None,
        "user": user(author),
        "geo": {"type": "Point", "coordinates": [1.5, 2.5]},
        "is_quote_status": False,
        "favorite_count": 0,
        "retweet_count": 0,
        "entities": {"hashtags": [], "urls": [], "user_mentions": []},
        "lang": "en",
        "timestamp_ms": MS,
        **fields,
    }


def put(path: Path, *records: Any, end: str = "\n") -> Path:
    path.write_text("".join(json.dumps(record) + end for record in records), encoding="utf-8", newline="")
    return path


def url(short: str, expanded: str | None) -> dict[str, Any]:
    return {"url": short, "expanded_url": expanded, "indices": [0, 1]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stream.json"


def test_fields_of_a_post(square: Square, path: Path) -> None:
    record = status(
        1626922779105759235,
        "@ann @bob did &amp;lt; that https://t.co/x https://t.co/m",
        display_text_range=[5, 30],
        in_reply_to_status_id=1626916612560281601,
        in_reply_to_status_id_str="1626916612560281601",
        in_reply_to_user_id_str="-1",
        favorite_count=3,
        reply_count=2,
        quote_count=1,
        possibly_sensitive=True,
        withheld_in_countries=["DE", "xy"],
        withheld_copyright=True,
        entities={
            "urls": [url("https://t.co/x", "https://example.org/?a&b")],
            "user_mentions": [{"screen_name": "ann"}, {"screen_name": "bob"}],
            "media": [{"url": "https://t.co/m", "id_str": "7", "type": "photo"}],
        },
        extended_entities={
            "media": [
                {
                    "url": "https://t.co/m",
                    "id_str": "7",
                    "type": "photo",
                    "media_url_https": "https://pbs.example/7.jpg",
                    "ext_alt_text": "a cat",
                    "sizes": {"large": {"w": 640, "h": 480}},
                }
            ]
        },
    )
    receipt = ingest(square, put(path, record), grant="g1")
    assert receipt.results["files"]["stream.json"]["format"] == "x_stream"
    row = posts_of(square)["x:1626922779105759235"]
    assert row["text"] == "@bob did &lt; that https://example.org/?a&b"
    assert (row["author_id"], row["author_handle"], row["grant_id"]) == ("7", "somebody", "g1")
    assert (row["reply_to"], row["reply_to_author"]) == ("x:1626916612560281601", None)
    assert (row["likes"], row["reposts"], row["replies"], row["quotes"], row["views"]) == (3, 0, 2, 1, None)
    assert (row["withheld_countries"], row["withheld_copyright"]) == (["DE", "XY"], True)
    assert (row["sensitive"], row["visibility"], row["source_app"], row["lang"]) == (True, "public", "An App", "en")
    assert row["media"] == [{"kind": "photo", "url": "https://pbs.example/7.jpg", "alt": "a cat", "w": 640, "h": 480}]
    assert row["observed_at"].isoformat() == row["created_at"].isoformat() == "2024-01-12T08:30:00+00:00"
    assert "coordinates" not in json.dumps(row, default=str)


@pytest.mark.parametrize(
    ("fields", "text", "text_status"),
    [
        ({"text": "short"}, "short", "full"),
        ({"text": None, "full_text": "from a look-up"}, "from a look-up", "full"),
        ({"text": "cut…", "full_text": "the whole of it"}, "the whole of it", "full"),
        ({"text": "cut… https://t.co/s", "truncated": True}, "cut… https://t.co/s", "truncated"),
        (
            {
                "text": "cut… https://t.co/s",
                "truncated": True,
                "entities": {"urls": [url("https://t.co/s", "https://twitter.com/i/web/status/5")]},
            },
            "cut…",
            "truncated",
        ),
        (
            {
                "text": "cut… https://t.co/s",
                "truncated": True,
                "entities": {"urls": [url("https://t.co/s", "https://twitter.com/i/web/status/5")]},
                "extended_tweet": {
                    "full_text": "@ann the whole https://t.co/b",
                    "display_text_range": [5, 20],
                    "entities": {"urls": [url("https://t.co/b", "https://e.org")]},
                },
            },
            "the whole https://e.org",
            "full",
        ),
        ({"text": "no flag, and " + "long " * 24 + "…", "truncated": None}, None, "truncated"),
    ],
)
def test_text_is_resolved_in_the_order_of_the_format(
    square: Square, path: Path, fields: dict[str, Any], text: str | None, text_status: str
) -> None:
    ingest(square, put(path, {**status(5, ""), **fields}))
    row = posts_of(square)["x:5"]
    assert row["text_status"] == text_status
    assert text is None or row["text"] == text


def test_reposts_are_edges_and_what_they_repost_is_a_post_of_its_own(square: Square, path: Path) -> None:
    original = status(
        10,
        "cut…",
        author=8,
        truncated=True,
        extended_tweet={"full_text": "the whole original text"},
        favorite_count=500,
        quoted_status=status(9, "what it quotes", author=9),
        quoted_status_id_str="9",
        created_at="Fri Jan 12 07:00:00 +0000 2024",
    )
    repost = status(11, "RT @somebody: cut…", retweeted_status=original, quoted_status=original["quoted_status"])
    receipt = ingest(square, put(path, repost))
    rows = posts_of(square)
    assert receipt.counts == {"seen": 4, "kept": 4, "events": 0, "quarantined": {}}
    assert {uid: row["author_id"] for uid, row in rows.items()} == {"x:9": "9", "x:10": "8", "x:11": "7"}
    assert (rows["x:11"]["repost_of"], rows["x:11"]["quote_of"]) == ("x:10", None)
    assert (rows["x:11"]["text"], rows["x:11"]["text_status"], rows["x:11"]["likes"]) == (None, "missing", None)
    assert (rows["x:10"]["text"], rows["x:10"]["likes"], rows["x:10"]["quote_of"]) == (
        "the whole original text",
        500,
        "x:9",
    )
    assert rows["x:10"]["observed_at"] > rows["x:10"]["created_at"]
    assert (receipt.results["reposts"], receipt.results["quotes"]) == (1, 1)


def test_the_later_look_at_a_post_has_the_counts(square: Square, path: Path) -> None:
    first = status(10, "a post", author=8)
    later = {**first, "favorite_count": 99}
    del later["timestamp_ms"]
    repost = status(11, "RT @somebody: a post", retweeted_status=later, timestamp_ms=LATER_MS)
    for number, records in enumerate(([first, repost], [repost, first])):
        place = Square.create(square.root / str(number))
        ingest(place, put(path, *records))
        assert posts_of(place)["x:10"]["likes"] == 99


@pytest.mark.parametrize(
    ("fields", "quote", "text"),
    [
        (
            {
                "is_quote_status": True,
                "quoted_status_id_str": "9",
                "quoted_status_permalink": {"url": "https://t.co/q", "expanded": "https://twitter.com/a/status/9"},
            },
            "x:9",
            "look",
        ),
        (  # before May 2018 the link stands in the text
            {
                "is_quote_status": True,
                "quoted_status_id": 9,
                "entities": {"urls": [url("https://t.co/q", "https://twitter.com/a/status/9")]},
            },
            "x:9",
            "look",
        ),
        (  # what it quotes is gone, so that only the link tells
            {
                "is_quote_status": True,
                "entities": {"urls": [url("https://t.co/q", "https://x.com/i/web/status/9?s=20")]},
            },
            "x:9",
            "look",
        ),
        (
            {"entities": {"urls": [url("https://t.co/q", "https://twitter.com/a/status/9")]}},
            None,
            "look https://twitter.com/a/status/9",
        ),
        (
            {
                "is_quote_status": True,
                "entities": {"urls": [url("https://t.co/q", "https://twitter.com/me/status/5/photo/1")]},
            },
            None,
            "look https://twitter.com/me/status/5/photo/1",
        ),
        ({"entities": {"urls": [url("https://t.co/q", None)]}}, None, "look https://t.co/q"),
    ],
)
def test_quotes(square: Square, path: Path, fields: dict[str, Any], quote: str | None, text: str) -> None:
    ingest(square, put(path, status(5, "look https://t.co/q", **fields)))
    row = posts_of(square)["x:5"]
    assert (row["quote_of"], row["text"]) == (quote, text)


def test_code_points_and_utf16_units_before_a_link_do_not_matter(square: Square, path: Path) -> None:
    text = "👨‍👩‍👧 hi https://t.co/abc"
    assert (text.index("https"), len(text[: text.index("https")].encode("utf-16-le")) // 2) == (9, 12)
    records = [
        status(n, text, entities={"urls": [{**url("https://t.co/abc", "https://e.org"), "indices": [at, at + 16]}]})
        for n, at in ((1, 9), (2, 12), (3, 500))
    ]
    ingest(square, put(path, *records))
    assert {row["text"] for row in posts_of(square).values()} == {"👨‍👩‍👧 hi https://e.org"}


def test_only_the_hidden_prefix_of_a_reply_goes(square: Square, path: Path) -> None:
    mentions = {"user_mentions": [{"screen_name": "ann"}, {"screen_name": "bob"}]}
    reply = {"in_reply_to_status_id_str": "1", "entities": mentions}
    records = [
        status(2, "@ann @bob typed", display_text_range=[5, 15], **reply),
        status(3, "@ann @bob typed", display_text_range=[0, 15], **reply),
        status(4, "@ann @bob @eve typed", **reply),
        status(5, "no names typed", display_text_range=[5, 14], **reply),
        status(6, "@ann not a reply", entities=mentions),
        status(7, "@ann odd", display_text_range=[True, "x"], **reply),
        status(8, "@ann odd", display_text_range=[-3, 5], **reply),
    ]
    ingest(square, put(path, *records))
    assert [posts_of(square)[f"x:{i}"]["text"] for i in range(2, 9)] == [
        "@bob typed", "@ann @bob typed", "@eve typed", "no names typed", "@ann not a reply", "odd", "odd",
    ]  # fmt: skip


def test_ids_never_go_through_a_float(square: Square, path: Path) -> None:
    rounded = status(1, "the text form counts")
    rounded |= {"id": 601430178305220600, "id_str": "601430178305220608"}
    only_number = status(1626922779105759235, "only a number")
    del only_number["id_str"]
    floating = status(1, "rounded, so unknown")
    del floating["id_str"]
    path.write_text(
        "\n".join(json.dumps(r) for r in (rounded, only_number))
        + "\n"
        + json.dumps(floating).replace('"id": 1,', '"id": 1.626922779105759e18,'),
        encoding="utf-8",
    )
    receipt = ingest(square, path)
    assert set(posts_of(square)) == {"x:601430178305220608", "x:1626922779105759235"}
    assert receipt.counts["quarantined"] == {"not_a_post": 1}


@pytest.mark.parametrize(
    ("author", "fields", "expected"),
    [
        (user(), {}, "public"),
        (user(protected=True), {}, "protected"),
        (user(protected=None), {}, "unknown"),
        ({"id_str": "7"}, {}, "unknown"),
        ("odd", {}, "unknown"),
        (user(), {"scopes": {"followers": True}}, "followers"),
        (user(), {"scopes": {"followers": False}}, "public"),
    ],
)
def test_visibility_fails_closed(
    square: Square, path: Path, author: Any, fields: dict[str, Any], expected: str
) -> None:
    ingest(square, put(path, status(1, "first"), status(2, "second", user=author, **fields)))
    assert posts_of(square)["x:2"]["visibility"] == expected


def test_a_protected_authors_quoted_post_is_not_public(square: Square, path: Path) -> None:
    quoted = status(1, "for friends", user=user(9, protected=True))
    ingest(square, put(path, status(2, "look", quoted_status=quoted)))
    assert {uid: row["visibility"] for uid, row in posts_of(square).items()} == {"x:1": "protected", "x:2": "public"}


@pytest.mark.parametrize(
    ("post", "author", "countries", "scope"),
    [
        ({"withheld_in_countries": ["XX"]}, {}, ["XX"], "status"),
        ({"withheld_in_countries": "GR, HK"}, {}, ["GR", "HK"], "status"),
        ({"withheld_in_countries": ["DE"], "withheld_scope": "user"}, {}, ["DE"], "user"),
        ({}, {"withheld_in_countries": ["TR"]}, ["TR"], "user"),
        ({"withheld_in_countries": [5, None, ""]}, {}, None, None),
    ],
)
def test_withheld_posts(
    square: Square, path: Path, post: dict[str, Any], author: dict[str, Any], countries: Any, scope: str | None
) -> None:
    ingest(square, put(path, status(1, "text", user=user(**author), **post)))
    row = posts_of(square)["x:1"]
    assert (row["withheld_countries"], row["withheld_scope"]) == (countries, scope)


def test_versions_of_an_edited_post(square: Square, path: Path) -> None:
    ingest(square, put(path, status(2, "better", edit_history={"initial_tweet_id": "1", "edit_tweet_ids": ["1", "2"]})))
    row = posts_of(square)["x:2"]
    assert (row["edit_of"], row["edit_history"], row["is_latest_edit"]) == ("x:1", ["x:1", "x:2"], True)


DELETE = {"delete": {"status": {"id": 2, "id_str": "2", "user_id": 7, "user_id_str": "7"}, "timestamp_ms": LATER_MS}}


@pytest.mark.parametrize("early", [True, False])
def test_a_delete_wins_before_and_after_its_post(square: Square, path: Path, early: bool) -> None:
    posts = [status(1, "stays"), status(2, "goes"), status(3, "RT", retweeted_status=status(2, "goes"))]
    receipt = ingest(square, put(path, *([DELETE, *posts] if early else [*posts, DELETE])))
    assert receipt.results["files"]["stream.json"]["format"] == "x_stream"
    rows = posts_of(square)
    assert {uid: row["state"] for uid, row in rows.items()} == {"x:1": "live", "x:2": "deleted", "x:3": "deleted"}
    assert rows["x:2"]["text"] is None


def test_every_kind_of_line(square: Square, path: Path) -> None:
    records = [
        status(1, "a post"),
        DELETE,
        {"scrub_geo": {"user_id": 7, "user_id_str": "7", "up_to_status_id": 9, "up_to_status_id_str": "9"}},
        {"status_withheld": {"id": 4, "user_id": 2, "withheld_in_countries": ["XX"]}},
        {"status_withheld": {"status": {"id": "5"}, "withheld_in_countries": ["XY"], "timestamp_ms": MS}},
        {"user_withheld": {"id": 3, "withheld_in_countries": ["DE"]}},
        {"user_withheld": {"user": {"id": 4}, "withheld_in_countries": ["DE"], "timestampMs": "2014-08-27T00:00:00Z"}},
        {"user_delete": {"id": 771136850, "timestamp_ms": MS}},
        {"user_protect": {"id": 3182003550, "timestamp_ms": MS}},
        {"limit": {"track": 1234, "timestamp_ms": MS}},
        {"disconnect": {"code": 4, "reason": "bye"}},
        {"warning": {"code": "FALLING_BEHIND", "percent_full": 60}},
        {"direct_message": {"id": 1, "text": "a secret"}},
        {"friends": [1, 2, 3]},
        {"something": "new"},
        ["odd"],
    ]
    receipt = ingest(square, put(path, *records, end="\r\n\r\n"))
    assert receipt.counts["kept"] == 1
    assert receipt.counts["quarantined"] == {
        "not_a_post": 2,
        "not_taken:direct_message": 1,
        "not_taken:disconnect": 1,
        "not_taken:friends": 1,
        "not_taken:limit": 1,
        "not_taken:warning": 1,
    }
    assert {(e["kind"], e["target_uid"], e["target_author"], e["reversible"]) for e in events_of(square)} == {
        ("delete", "x:2", None, False),
        ("scrub_geo", None, "x:7", False),
        ("withheld", "x:4", None, False),
        ("withheld", "x:5", None, False),
        ("withheld", None, "x:3", False),
        ("withheld", None, "x:4", False),
        ("author_delete", None, "x:771136850", True),
        ("protect", None, "x:3182003550", True),
    }
    assert "secret" not in json.dumps(quarantine_of(square))
    assert posts_of(square)["x:1"]["state"] == "live"  # only the place was scrubbed, and it was never kept


def test_a_stream_that_begins_with_notices_is_still_a_stream(square: Square, path: Path) -> None:
    notices = [{"delete": {"status": {"id": n, "id_str": str(n)}, "timestamp_ms": MS}} for n in range(100, 2000)]
    receipt = ingest(square, put(path, *notices, status(1, "the only post")))
    assert (receipt.counts["kept"], receipt.counts["events"]) == (1, 1900)


def test_odd_posts_inside_posts_are_told(square: Square, path: Path) -> None:
    records = [
        status(1, "odd", quoted_status={"id_str": "2"}),
        status(3, "odd", retweeted_status="odd"),
        status(4, "none", quoted_status=None, retweeted_status=None),
    ]
    receipt = ingest(square, put(path, *records))
    assert receipt.counts == {"seen": 5, "kept": 3, "events": 0, "quarantined": {"not_a_post": 2}}
    assert {row["source_locator"] for row in quarantine_of(square)} == {
        "stream.json:1:quoted_status",
        "stream.json:2:retweeted_status",
    }


def test_posts_nested_deep_are_read_without_recursion(square: Square, path: Path) -> None:
    record = status(1, "innermost")
    for number in range(2, 121):
        record = status(number, "quotes", quoted_status=record)
    too_deep = '{"quoted_status":' * 20_000
    path.write_text(json.dumps(record) + "\n" + too_deep + "\n", encoding="utf-8")
    receipt = ingest(square, path)
    assert receipt.counts == {"seen": 121, "kept": 120, "events": 0, "quarantined": {"broken_json": 1}}


MINUTES = {
    f"2018/01/0{day}/00/{minute:02}.json": "".join(
        json.dumps(status(day * 1000 + minute * 10 + n, f"post {n}")) + "\r\n" for n in range(3)
    ).encode()
    for day in (1, 2)
    for minute in range(4)
}
PACK = {"bz2": bz2.compress, "gz": gzip.compress, "zst": zstandard.compress}


def _tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("outer", ["tar", "tar.gz", "zip", "zip of tars", "tar of zips", "folder"])
def test_packed_minutes_in_every_container(square: Square, tmp_path: Path, ending: str, outer: str) -> None:
    files = {f"{name}.{ending}": PACK[ending](content) for name, content in MINUTES.items()}
    days = {f"day-{day}": {name: content for name, content in files.items() if f"/0{day}/00" in name} for day in (1, 2)}
    path = tmp_path / f"month.{outer.split(maxsplit=1)[0]}"
    if outer == "tar":
        path.write_bytes(_tar(files))
    elif outer == "tar.gz":
        path.write_bytes(_tar(files, "w:gz"))
    elif outer == "zip":
        path.write_bytes(_zip(files))
    elif outer == "zip of tars":
        path.write_bytes(_zip({f"{day}.tar": _tar(inside) for day, inside in days.items()}))
    elif outer == "tar of zips":
        path.write_bytes(_tar({f"{day}.zip": _zip(inside) for day, inside in days.items()}))
    else:
        path = tmp_path / "month"
        for day, inside in days.items():
            path.mkdir(exist_ok=True)
            (path / f"{day}.tar.bz2").write_bytes(_tar(inside, "w:bz2"))
    receipt = ingest(square, path)
    assert receipt.counts == {"seen": 24, "kept": 24, "events": 0, "quarantined": {}}
    assert {file["format"] for file in receipt.results["files"].values()} == {"x_stream"}
    assert len(receipt.results["files"]) == len(MINUTES)


@pytest.mark.parametrize("ending", PACK)
def test_a_cut_member_among_others_keeps_its_whole_lines(square: Square, tmp_path: Path, ending: str) -> None:
    blocks = [
        b"".join(json.dumps(status(part * 1000 + n, f"{part} {n} {'é' * n}")).encode() + b"\n" for n in range(1, 90))
        for part in range(1, 4)
    ]
    packed = b"".join(PACK[ending](block) for block in blocks)
    cut = packed[: len(packed) - len(PACK[ending](blocks[2])) // 2]
    files = {f"a.json.{ending}": cut, f"b.json.{ending}": PACK[ending](blocks[0][:5000])}
    (tmp_path / "month.zip").write_bytes(_zip(files))
    receipt = ingest(square, tmp_path / "month.zip")
    rows = posts_of(square)
    assert {f"x:{part * 1000 + n}" for part in (1, 2) for n in range(1, 90)} <= rows.keys()
    assert receipt.counts["quarantined"]["broken_file"] == 1
    assert "breaks off" in str(quarantine_of(square)) or "ended before" in str(quarantine_of(square))
    assert receipt.results["files"][f"b.json.{ending}"]["kept"] > 0


@given(st.lists(st.sampled_from(["a", "@ann ", "&amp;", "https://t.co/x", "…", "é", "👨‍👩‍👧", "\n", " "]), max_size=12))
def test_no_text_keeps_a_known_t_co_link_or_an_escape_of_x(parts: list[str]) -> None:
    raw = " ".join(parts)
    record = {"text": raw, "entities": {"urls": [url("https://t.co/x", "https://e.org/")]}}
    fields = x_v11._own_content(record, "1", raw, record)
    assert fields["text"].count("https://e.org/") == parts.count("https://t.co/x")
    assert "t.co" not in fields["text"]
    assert fields["text"].count("&") == parts.count("&amp;")


@pytest.mark.parametrize(("name", "posts"), [("broad_b", 1521), ("broad_e", 200)])
def test_real_posts_counts(square: Square, shared_data: Path, name: str, posts: int) -> None:
    path = shared_data / "x_api_v11" / f"{name}.jsonl"
    receipt = ingest(square, path)
    lines = path.read_text(encoding="utf-8").split("\n")
    given = {record["id_str"]: record for line in lines if line for record in [json.loads(line)]}
    assert len(given) == posts
    inside = {
        record[key]["id_str"]: record[key]
        for record in given.values()
        for key in ("retweeted_status", "quoted_status")
        if record.get(key)
    }
    rows = posts_of(square)
    assert {uid.removeprefix("x:") for uid in rows} == given.keys() | inside.keys()
    assert receipt.counts["quarantined"] == {}
    for number, record in given.items():
        row = rows[f"x:{number}"]
        assert (row["author_id"], row["likes"]) == (
            record["user"]["id_str"],
            None if record.get("retweeted_status") else record["favorite_count"],
        )
        if not record.get("retweeted_status"):
            assert row["text_raw"] == record["text"]
            assert "t.co" not in row["text"] or "t.co" in record["text"]
    replies = sum(
        record["in_reply_to_status_id_str"] is not None and not record.get("retweeted_status")
        for record in given.values()
    )
    assert sum(rows[f"x:{n}"]["reply_to"] is not None for n in given) == replies
