"""X archives of all shapes: every trap of the format, on archives made by hand, and the real ones' counts."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import lance
import pytest
from ingesting import OWN, account_js, events_of, ingest, js, note, posts_of, quarantine_of, tweet, tweets_js, write

from townsquare.errors import InputError
from townsquare.ingest import store
from townsquare.square import Square

LONG = "This is a long post that goes on and on about the weather, the timetable and the fair. " * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def test_a_folder_a_zip_a_wrapped_zip_and_a_bare_file_hold_the_same_posts(square: Square, folder: Path) -> None:
    content = tweets_js(tweet(1, "one"), tweet(2, "two"))
    write(folder, tweets=content, account=account_js())
    plain, wrapped, bare = folder.with_suffix(".zip"), folder.parent / "wrapped.zip", folder.parent / "my tweets.js"
    bare.write_bytes(content)
    for path, prefix in ((plain, ""), (wrapped, "twitter-2023/")):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{prefix}data/tweets.js", content)
            archive.writestr(f"{prefix}data/account.js", account_js())
            archive.writestr(f"__MACOSX/{prefix}data/._tweets.js", b"\0\5\x16\7 leftovers")
            archive.writestr(f"{prefix}.DS_Store", b"leftovers")
            archive.writestr(f"{prefix}Your archive.html", b"<html>")
    said = []
    for number, path in enumerate((folder, plain, wrapped, bare)):
        receipt = ingest(Square.create(square.root / str(number)), path)
        assert receipt.counts == {"seen": 2, "kept": 2, "events": 0, "quarantined": {}}
        posts = posts_of(Square.open(square.root / str(number)))
        said.append({uid: post["text"] for uid, post in posts.items()})
        assert {post["author_id"] for post in posts.values()} == ({None} if path == bare else {OWN})
    assert said == [{"x:1": "one", "x:2": "two"}] * 4


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("layout", [{"indent": 2}, {"indent": None}])
@pytest.mark.parametrize(("before", "after"), [(b"", b""), (b"\xef\xbb\xbf", b";\n"), (b"\n ", b"\n;")])
def test_every_way_of_writing_the_array(
    square: Square, folder: Path, wrapped: bool, layout: dict[str, Any], before: bytes, after: bytes
) -> None:
    posts = [tweet(1, 'brackets ]; [ {"tweet": = and = signs;'), tweet(2, "];")]
    content = js("tweet", [{"tweet": post} for post in posts] if wrapped else posts, **layout)
    write(folder, tweet=before + content + after)
    ingest(square, folder)
    assert {uid: post["text"] for uid, post in posts_of(square).items()} == {
        "x:1": posts[0]["full_text"],
        "x:2": "];",
    }


def test_a_semicolon_in_a_text_survives_wherever_blocks_end(square: Square, folder: Path) -> None:
    posts = [tweet(i, "];" * (i % 7) + " end") for i in range(1, 4000)]
    write(folder, tweets=tweets_js(*posts, indent=None))
    assert ingest(square, folder).counts["kept"] == 3999
    stored = posts_of(square)
    assert all(stored[f"x:{i}"]["text"] == ("];" * (i % 7) + " end").strip() for i in range(1, 4000))


def test_parts_are_read_together_and_an_empty_export_is_no_error(square: Square, folder: Path) -> None:
    write(folder, tweets=tweets_js(tweet(1, "one")), tweets__part1=tweets_js(tweet(2, "two"), part=1))
    assert ingest(square, folder).counts["kept"] == 2
    empty = write(folder.parent / "empty", tweets=b"window.YTD.tweets.part0 = [ ]", account=account_js())
    assert ingest(square, empty).counts == {"seen": 0, "kept": 0, "events": 0, "quarantined": {}}


def test_fields_of_a_post(square: Square, folder: Path) -> None:
    raw = "@empathy2000 @stranger did &amp;lt; NOT https://t.co/x https://t.co/m"
    post = tweet(
        1626922779105759235,
        raw,
        in_reply_to_status_id_str="1626916612560281601",
        in_reply_to_user_id_str="732980797985148928",
        possibly_sensitive=True,
        favorite_count="1234",
        entities={
            "user_mentions": [{"screen_name": "Empathy2000", "id_str": "732980797985148928"}],
            "urls": [{"url": "https://t.co/x", "expanded_url": "https://example.org/?a&b"}],
            "media": [{"url": "https://t.co/m", "id_str": "7", "type": "photo"}],
        },
        extended_entities={
            "media": [
                {
                    "url": "https://t.co/m",
                    "id_str": "7",
                    "type": "video",
                    "media_url_https": "https://pbs.example/7.jpg",
                    "ext_alt_text": "a cat",
                }
            ]
        },
        edit_info={"initial": {"editTweetIds": ["1626922779105759235"], "isEditEligible": False}},
    )
    del post["retweet_count"]
    write(folder, tweets=tweets_js(post), account=account_js())
    ingest(square, folder, grant="g1")
    row = posts_of(square)["x:1626922779105759235"]
    assert row["text"] == "@stranger did &lt; NOT https://example.org/?a&b"
    assert row["text_raw"] == raw
    assert (row["author_id"], row["author_handle"], row["grant_id"]) == (OWN, "somebody", "g1")
    assert (row["reply_to"], row["reply_to_author"]) == ("x:1626916612560281601", "732980797985148928")
    assert (row["likes"], row["reposts"], row["replies"], row["views"]) == (1234, None, None, None)
    assert (row["sensitive"], row["visibility"], row["state"]) == (True, "public", "live")
    assert row["media"] == [{"kind": "video", "url": "https://pbs.example/7.jpg", "alt": "a cat", "w": None, "h": None}]
    assert (row["edit_history"], row["edit_of"], row["is_latest_edit"]) == (["x:1626922779105759235"], None, True)
    assert (row["source_app"], row["lang"], row["text_status"]) == ("Twitter Web App", "en", "full")
    assert row["created_at"].isoformat() == "2023-02-18T12:33:11+00:00"
    assert "example.org" not in json.dumps(quarantine_of(square))


def test_the_email_address_is_kept_nowhere(square: Square, folder: Path) -> None:
    broken = account_js() + b"\n]"
    write(folder, tweets=tweets_js(tweet(1, "one")), account=broken.replace(b'"createdVia"', b"createdVia"))
    receipt = ingest(square, folder)
    assert receipt.counts["quarantined"] == {"broken_json": 1}
    assert "somebody@" not in json.dumps([quarantine_of(square), posts_of(square)], default=str)


def test_a_note_is_joined_to_its_post_and_other_notes_wait(square: Square, folder: Path) -> None:
    cut = LONG[:270] + "… https://t.co/z"
    write(
        folder,
        tweets=tweets_js(tweet(1, cut), tweet(2, "short"), tweet(3, LONG[:270].replace("weather", "opera"))),
        note__tweet=js(
            "note_tweet",
            [
                note(
                    LONG + " see https://t.co/n &amp; so",
                    urls=[{"shortUrl": "https://t.co/n", "expandedUrl": "https://e.org"}],
                ),
                note("Another long text that no post begins with." * 9),
                note(LONG.replace("weather", "opera"), created="2023-02-18T12:33:14.000Z"),
                {"noteTweet": {"createdAt": "2023-02-18T12:33:11.000Z"}},
            ],
        ),
    )
    receipt = ingest(square, folder)
    assert receipt.counts["quarantined"] == {"note_without_post": 2, "broken_json": 1}
    rows = posts_of(square)
    assert (rows["x:1"]["text"], rows["x:1"]["text_status"]) == (LONG + " see https://e.org & so", "note_joined")
    assert rows["x:1"]["text_raw"] == cut
    assert rows["x:3"]["text_status"] == "full"  # its note is three seconds off


@pytest.mark.parametrize("holder", ["core", "noteTweetResults", "noteTweetContents"])
def test_notes_of_every_shape(square: Square, folder: Path, holder: str) -> None:
    bare = {"createdAt": "2023-02-18T12:33:11.000Z", holder: {"text": LONG}}
    write(folder, tweets=tweets_js(tweet(1, LONG[:270] + "…")), note__tweet=js("note_tweet", [{"noteTweet": bare}]))
    assert ingest(square, folder).counts["quarantined"] == {}
    assert posts_of(square)["x:1"]["text"] == LONG.strip()


def test_one_note_is_joined_once_though_two_posts_begin_alike(square: Square, folder: Path) -> None:
    write(
        folder,
        tweets=tweets_js(tweet(1, LONG[:270] + "…"), tweet(2, LONG[:270] + "…")),
        note__tweet=js("note_tweet", [note(LONG)]),
    )
    ingest(square, folder)
    assert sorted(post["text_status"] for post in posts_of(square).values()) == ["note_joined", "truncated"]


def test_a_thread_of_one_second_keeps_its_links(square: Square, folder: Path) -> None:
    thread = [tweet(10 + i, f"part {i}", **({"in_reply_to_status_id_str": str(9 + i)} if i else {})) for i in range(5)]
    write(folder, tweets=tweets_js(*reversed(thread)))
    receipt = ingest(square, folder)
    rows = posts_of(square)
    assert receipt.results["replies"] == 4
    assert [rows[f"x:{10 + i}"]["reply_to"] for i in range(5)] == [None, "x:10", "x:11", "x:12", "x:13"]
    assert len({row["created_at"] for row in rows.values()}) == 1


def test_reposts_name_who_wrote_and_quotes_whom(square: Square, folder: Path) -> None:
    def quoting(number: int, url: str, text: str = "look https://t.co/q") -> dict[str, Any]:
        return tweet(number, text, entities={"urls": [{"url": "https://t.co/q", "expanded_url": url}]})

    write(
        folder,
        tweets=tweets_js(
            tweet(1, "RT @someone: " + "words " * 21 + "and mo…"),
            tweet(2, "RT @someone: all of it"),
            quoting(3, "https://twitter.com/someone/status/99?s=20"),
            quoting(4, "https://x.com/i/web/status/98"),
            quoting(5, "https://twitter.com/somebody/status/5/photo/1"),
            quoting(6, "https://twitter.com/someone/status/97", "https://t.co/q in the middle"),
            quoting(7, "https://twitter.com/someone"),
            tweet(8, "rt @someone: typed by hand"),
        ),
    )
    receipt = ingest(square, folder)
    rows = posts_of(square)
    assert [(rows[f"x:{i}"]["repost_of_author"], rows[f"x:{i}"]["repost_of"]) for i in (1, 2, 8)] == [
        ("someone", None),
        ("someone", None),
        (None, None),
    ]
    assert (rows["x:1"]["text_status"], rows["x:2"]["text_status"]) == ("truncated", "full")
    assert [rows[f"x:{i}"]["quote_of"] for i in range(3, 8)] == ["x:99", "x:98", None, None, None]
    assert rows["x:3"]["text"] == "look"
    assert rows["x:7"]["text"] == "look https://twitter.com/someone"
    assert (receipt.results["reposts"], receipt.results["quotes"]) == (2, 2)


def test_posts_of_circle_times_wait_when_a_circle_was_used(square: Square, folder: Path) -> None:
    posts = [
        tweet(1, "before", created_at="Sun Jul 31 12:00:00 +0000 2022"),
        tweet(2, "in it", created_at="Mon Aug 01 12:00:00 +0000 2022"),
        tweet(3, "own thread", created_at="Mon Aug 01 12:01:00 +0000 2022", in_reply_to_status_id_str="2"),
        tweet(4, "to others", created_at="Mon Aug 01 12:01:00 +0000 2022", in_reply_to_status_id_str="77"),
        tweet(5, "after", created_at="Fri Dec 01 12:00:00 +0000 2023"),
    ]
    circle = js("twitter_circle", [{"twitterCircle": {"id": "5", "ownerUserId": OWN}}])
    write(folder, tweets=tweets_js(*posts), account=account_js(), twitter__circle=circle)
    receipt = ingest(square, folder)
    assert receipt.counts["quarantined"] == {"possible_circle_post": 2}
    assert set(posts_of(square)) == {"x:1", "x:4", "x:5"}
    assert {(row["uid"], row["author_id"]) for row in quarantine_of(square)} == {("x:2", OWN), ("x:3", OWN)}


@pytest.mark.parametrize("content", [b"window.YTD.twitter_circle.part0 = [ ]", None])
def test_without_a_circle_its_times_are_public(square: Square, folder: Path, content: bytes | None) -> None:
    post = tweet(2, "in it", created_at="Mon Aug 01 12:00:00 +0000 2022")
    write(folder, tweets=tweets_js(post), **({"twitter__circle": content} if content else {}))
    assert ingest(square, folder).counts["kept"] == 1


def test_a_circle_file_that_cannot_be_read_counts_as_used(square: Square, folder: Path) -> None:
    post = tweet(2, "in it", created_at="Mon Aug 01 12:00:00 +0000 2022")
    write(folder, tweets=tweets_js(post), twitter__circle=b"window.YTD.twitter_circle.part0 = [ {")
    assert ingest(square, folder).counts["quarantined"] == {"broken_json": 1, "possible_circle_post": 1}


def _protections(*changes: tuple[str, str]) -> bytes:
    return js(
        "protected_history", [{"protectedHistory": {"protectedAt": at, "action": action}} for at, action in changes]
    )


def test_posts_of_protected_times_wait(square: Square, folder: Path) -> None:
    posts = [tweet(day, f"day {day}", created_at=f"Mon May {day:02} 12:00:00 +0000 2017") for day in (1, 10, 20, 30)]
    history = _protections(
        ("2017-05-05T00:00:00.000Z", "Protect"),
        ("2017-05-15T00:00:00.000Z", "Unprotect"),
        ("2017-05-25T00:00:00.000Z", "Protect"),
    )
    write(folder, tweets=tweets_js(*posts), protected__history=history)
    assert ingest(square, folder).counts["quarantined"] == {"protected_period": 2}
    assert set(posts_of(square)) == {"x:1", "x:20"}


@pytest.mark.parametrize("content", [_protections(("?", "Protect")), b"window.YTD.protected_history.part0 = [{"])
def test_a_protection_without_a_time_holds_back_everything(square: Square, folder: Path, content: bytes) -> None:
    write(folder, tweets=tweets_js(tweet(1, "one")), protected__history=content)
    assert ingest(square, folder).counts["kept"] == 0


def test_community_posts_are_marked(square: Square, folder: Path) -> None:
    community = js("community_tweet", [{"tweet": tweet(2, "to the club", community_id_str="5")}])
    write(folder, tweets=tweets_js(tweet(1, "one")), community__tweet=community)
    ingest(square, folder)
    assert {uid: post["visibility"] for uid, post in posts_of(square).items()} == {"x:1": "public", "x:2": "community"}


def test_posts_for_subscribers_or_a_community_are_marked_wherever_they_stand(square: Square, folder: Path) -> None:
    posts = [
        tweet(1, "for all", scopes={"followers": False}),
        tweet(2, "for some", scopes={"followers": True}),
        tweet(3, "for a club", community_id_str="5"),
    ]
    write(folder, tweets=tweets_js(*posts))
    ingest(square, folder)
    found = {uid: post["visibility"] for uid, post in posts_of(square).items()}
    assert found == {"x:1": "public", "x:2": "followers", "x:3": "community"}


def test_media_zips_inside_and_months_of_an_older_archive_are_told_and_not_opened(square: Square, folder: Path) -> None:
    write(folder, tweet=tweets_js(tweet(1, "one"), name="tweet"), account=account_js())
    media = io.BytesIO()
    with zipfile.ZipFile(media, "w") as inside:
        inside.writestr("1-photo.jpg", b"\xff\xd8")
        inside.writestr("tweet.js", tweets_js(tweet(9, "not a photo"), name="tweet"))
    (folder / "data" / "tweet_media").mkdir()
    (folder / "data" / "tweet_media" / "tweet_media.zip").write_bytes(media.getvalue())
    (folder / "data" / "tweet_media" / "1-photo.jpg").write_bytes(b"\xff\xd8")
    (folder / "data" / "js" / "tweets").mkdir(parents=True)
    (folder / "data" / "js" / "tweets" / "2015_01.js").write_bytes(b"Grailbird.data.tweets_2015_01 = [ ]")
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(folder))
    for number, where in enumerate((folder, path)):
        receipt = ingest(Square.create(square.root / str(number)), where)
        assert receipt.counts == {"seen": 3, "kept": 1, "events": 0, "quarantined": {"archive_inside": 2}}


@pytest.mark.slow
def test_a_zip_of_more_members_than_a_plain_directory_can_count_is_read(square: Square, folder: Path) -> None:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data/tweets.js", tweets_js(tweet(1, "one")))
        for number in range(66_000):
            archive.writestr(f"data/tweets_media/{number}.jpg", b"")
    assert b"PK\x06\x06" in path.read_bytes()[-200:]  # the end of a zip64's directory
    assert ingest(square, path).counts == {"seen": 1, "kept": 1, "events": 0, "quarantined": {}}


def test_deleted_posts_are_events_and_their_text_is_never_read(square: Square, folder: Path) -> None:
    header = {"tweet": {"tweet_id": "3", "user_id": OWN, "deleted_at": "Sat Feb 25 12:33:11 +0000 2023"}}
    write(
        folder,
        tweets=tweets_js(tweet(1, "one"), tweet(2, "a secret that was deleted")),
        deleted__tweets=js(
            "deleted_tweets",
            [
                {"tweet": tweet(2, "a secret that was deleted", deleted_at="Sat Feb 25 12:33:11 +0000 2023")},
                {"tweet": {"full_text": "a secret without an id"}},
            ],
        )
        + b' {"tweet": {"full_text": "a secret in what is damaged"',
        deleted__tweet__headers=js("deleted_tweet_headers", [header, {"tweet": {}}]),
        deleted__note__tweet=js("deleted_note_tweet", [note("a secret note"), {"noteTweet": {"tweetId": "4"}}]),
    )
    receipt = ingest(square, folder)
    assert receipt.counts["events"] == 3
    assert receipt.counts["quarantined"] == {"no_id": 3, "broken_json": 1}
    assert {(e["kind"], e["target_uid"], e["reversible"]) for e in events_of(square)} == {
        ("delete", "x:2", False),
        ("delete", "x:3", False),
        ("delete", "x:4", False),
    }
    rows = posts_of(square)
    assert (rows["x:1"]["state"], rows["x:2"]["state"], rows["x:2"]["text"]) == ("live", "deleted", None)
    for name in store.SCHEMAS:
        for version in store.dataset(square, name).versions():
            table = lance.dataset(store.path(square, name), version=version["version"]).to_table()
            assert "secret" not in str(table.to_pylist())
    assert not any(b"secret" in path.read_bytes() for path in square.posts.rglob("*") if path.is_file())


def test_other_peoples_and_private_files_are_never_read(square: Square, folder: Path) -> None:
    never = [
        "like",
        "direct-messages",
        "contact",
        "ip-audit",
        "grok-chat-item",
        "tweet-headers",
        "tweetdeck",
    ]
    files = {name.replace("-", "__"): js(name.replace("-", "_"), [{"x": tweet(9, "not yours")}]) for name in never}
    write(folder, tweets=tweets_js(tweet(1, "one")), **files)
    (folder / "data" / "deleted_tweets_media").mkdir()
    (folder / "data" / "deleted_tweets_media" / "tweets.jpg").write_bytes(b"\xff\xd8")
    assert ingest(square, folder).counts == {"seen": 1, "kept": 1, "events": 0, "quarantined": {}}


def test_a_file_of_likes_is_not_read_as_posts_under_their_name(square: Square, folder: Path) -> None:
    likes = js("like", [{"like": {"tweetId": "5", "fullText": "somebody else's"}}])
    write(folder, tweets=tweets_js(tweet(1, "one")), tweets__part1=likes)
    ingest(square, folder)
    assert set(posts_of(square)) == {"x:1"}
    bare = folder.parent / "like.js"
    bare.write_bytes(likes)
    with pytest.raises(InputError, match="nothing in it is read") as caught:
        ingest(square, bare)
    assert caught.value.exit_code == 4
    assert "tweets.js" in str(caught.value.remedy)


def test_the_manifest_tells_the_account_and_what_is_missing(square: Square, folder: Path) -> None:
    listed = {"tweets": {"files": [{"fileName": "data/tweets.js"}, {"fileName": "data/tweets-part1.js", "count": "5"}]}}
    manifest = {
        "userInfo": {"accountId": OWN, "userName": "somebody"},
        "archiveInfo": {"generationDate": "2024-01-02T03:04:05.000Z"},
        "dataTypes": listed,
    }
    content = f"window.__THAR_CONFIG = {json.dumps(manifest, indent=2)}".encode()
    write(folder, tweets=tweets_js(tweet(1, "one")), manifest=content)
    assert ingest(square, folder).counts["quarantined"] == {"missing_file": 1}
    row = posts_of(square)["x:1"]
    assert (row["author_id"], row["author_handle"]) == (OWN, "somebody")
    assert row["observed_at"].isoformat() == "2024-01-02T03:04:05+00:00"


def test_without_an_account_file_replies_to_own_posts_tell_whose_archive_it_is(square: Square, folder: Path) -> None:
    posts = [
        tweet(1, "one"),
        tweet(2, "to another", in_reply_to_status_id_str="99", in_reply_to_user_id_str="555"),
        tweet(3, "to myself", in_reply_to_status_id_str="1", in_reply_to_user_id_str=OWN),
    ]
    write(folder, tweets=tweets_js(*posts))
    ingest(square, folder)
    assert {row["author_id"] for row in posts_of(square).values()} == {OWN}


def test_an_edited_post_names_its_first_version(square: Square, folder: Path) -> None:
    control = {"initialTweetId": "1", "editControlInitial": {"editTweetIds": ["1", "2"]}}
    write(folder, tweets=tweets_js(tweet(2, "better", edit_info={"edit": control})))
    ingest(square, folder)
    row = posts_of(square)["x:2"]
    assert (row["edit_of"], row["edit_history"], row["is_latest_edit"]) == ("x:1", ["x:1", "x:2"], True)


def test_damage_costs_only_what_is_damaged(square: Square, folder: Path) -> None:
    good = tweets_js(*(tweet(i, f"post {i}") for i in range(1, 50)))
    broken = good.replace(b'"full_text": "post 7"', b'"full_text": "post 7').replace(b"post 20", b"post \xff\xfe 20")
    write(folder, tweets=broken)
    receipt = ingest(square, folder)
    assert receipt.counts["quarantined"] == {"broken_json": 1}
    assert receipt.counts["kept"] == 48
    rows = posts_of(square)
    assert "x:7" not in rows
    assert rows["x:20"]["text"] == "post \ufffd\ufffd 20"
    assert '"post 7' in quarantine_of(square)[0]["raw"]


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_cut_file_keeps_what_is_whole(square: Square, folder: Path, share: float) -> None:
    whole = tweets_js(*(tweet(i, f"post {i}") for i in range(1, 50)))
    cut = whole[: int(len(whole) * share)]
    write(folder, tweets=cut)
    receipt = ingest(square, folder)
    assert receipt.counts["kept"] == cut.count(b"\n    }\n  }")
    assert receipt.counts["quarantined"] == {"broken_json": 1}


def test_lone_surrogates_and_nulls_in_json_can_be_stored(square: Square, folder: Path) -> None:
    write(folder, tweets=tweets_js(tweet(1, "a\ud83d b\0c"), tweet(2, "pair \ud83d\ude00")))
    ingest(square, folder)
    rows = posts_of(square)
    assert (rows["x:1"]["text"], rows["x:2"]["text"]) == ("a\ufffd bc", "pair 😀")


class _Pipe(io.RawIOBase):
    """A file that cannot be sought in: zipfile then writes sizes after the data."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def test_a_zip_written_to_a_pipe_is_read(square: Square, folder: Path) -> None:
    path = folder.with_suffix(".zip")
    with _Pipe(path) as pipe, zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("data/tweets.js", "w", force_zip64=True) as member:
            member.write(tweets_js(tweet(1, "one")))
        archive.writestr("data/account.js", account_js())
    assert path.read_bytes()[6] & 8  # bit 3: sizes follow the data
    assert ingest(square, path).counts["kept"] == 1


@pytest.mark.parametrize(
    ("name", "posts", "replies", "reposts"), [("visbot", 2096, 67, 87), ("fanfare_stiphout", 666, 14, 22)]
)
def test_real_archives_counts(
    square: Square, shared_data: Path, name: str, posts: int, replies: int, reposts: int
) -> None:
    receipt = ingest(square, shared_data / "x_archive" / name)
    assert receipt.counts == {"seen": posts, "kept": posts, "events": 0, "quarantined": {}}
    assert (receipt.results["replies"], receipt.results["reposts"]) == (replies, reposts)
    text = (shared_data / "x_archive" / name / "data" / "tweets.js").read_text(encoding="utf-8")
    originals = {item["tweet"]["id_str"]: item["tweet"] for item in json.loads(text[text.index("[") :])}
    rows = posts_of(square)
    assert {uid.removeprefix("x:") for uid in rows} == originals.keys()
    assert all(rows[f"x:{i}"]["text_raw"] == one["full_text"] for i, one in originals.items())
    assert all(rows[f"x:{i}"]["likes"] == int(one["favorite_count"]) for i, one in originals.items())
