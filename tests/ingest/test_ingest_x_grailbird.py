"""X archives before 2019: every trap of the format, on archives made by hand."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ingesting import ingest, posts_of, quarantine_of, tweet, tweets_js

from townsquare.errors import InputError
from townsquare.square import Square

OWN = {"name": "Some Body", "screen_name": "somebody", "protected": False, "id_str": "7", "id": 7, "verified": False}


def old(number: int, text: str, created: str = "2015-01-24 02:02:37 +0000", **fields: Any) -> dict[str, Any]:
    """A post as these archives have it: ids are numbers too, `text` is whole, the place may be an empty object."""
    return {
        "source": '<a href="http://example.org" rel="nofollow">An App</a>',
        "entities": {"user_mentions": [], "media": [], "hashtags": [], "urls": []},
        "geo": {},
        "id_str": str(number),
        "text": text,
        "id": number,
        "created_at": created,
        "user": OWN,
        **fields,
    }


def month(name: str, *posts: dict[str, Any]) -> bytes:
    return f"Grailbird.data.tweets_{name} =\n {json.dumps(list(posts), indent=2)}".encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def write(folder: Path, months: dict[str, bytes], **about: Any) -> Path:
    """An archive with its CSV twin, and files about the posts: `var NAME = …`."""
    tweets = folder / "data" / "js" / "tweets"
    tweets.mkdir(parents=True)
    for name, content in months.items():
        (tweets / f"{name}.js").write_bytes(content)
    details = {"user_details": {"screen_name": "somebody", "id": "7", "full_name": "Some Body"}, **about}
    for name, value in details.items():
        (folder / "data" / "js" / f"{name}.js").write_text(f"var {name} =  {json.dumps(value)}")
    (folder / "data" / "csv").mkdir()
    for name in ("data/csv/2015_01.csv", "tweets.csv"):
        (folder / name).write_text('"tweet_id","text","timestamp"\n"1","one","2015-01-24 02:02:37 +0000"\n')
    (folder / "index.html").write_text("<html>")
    return folder


def packed(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def test_a_folder_a_zip_a_wrapped_zip_and_a_bare_month_hold_the_same_posts(square: Square, folder: Path) -> None:
    write(folder, {"2015_01": month("2015_01", old(1, "one"), old(2, "two"))})
    bare = folder.parent / "a month.js"
    bare.write_bytes(b"\xef\xbb\xbf" + month("2015_01", old(1, "one"), old(2, "two")) + b";\n")
    wrapped = packed(folder, folder.parent / "wrapped.zip", "archive/")
    for number, path in enumerate((folder, packed(folder, folder.with_suffix(".zip")), wrapped, bare)):
        place = Square.create(square.root / str(number))
        receipt = ingest(place, path)
        assert receipt.counts == {"seen": 2, "kept": 2, "events": 0, "quarantined": {}}
        assert {file["format"] for file in receipt.results["files"].values() if file["kept"]} <= {"x_grailbird"}
        assert {uid: row["text"] for uid, row in posts_of(place).items()} == {"x:1": "one", "x:2": "two"}


def test_fields_of_a_post(square: Square, folder: Path) -> None:
    post = old(
        558806439193083904,
        "@ann look &amp; see http://t.co/x http://t.co/m",
        in_reply_to_status_id_str="558806439193083000",
        in_reply_to_user_id=9,
        in_reply_to_screen_name="ann",
        entities={
            "user_mentions": [{"screen_name": "ann", "id_str": "9"}],
            "urls": [{"url": "http://t.co/x", "expanded_url": "http://e.org/?a&b"}],
            "media": [
                {
                    "url": "http://t.co/m",
                    "id_str": "5",
                    "media_url_https": "https://pbs.example/5.jpg",
                    "media_alt": "a cat",
                    "sizes": [{"h": 600, "w": 800, "resize": "fit"}],
                }
            ],
        },
    )
    write(
        folder,
        {"2015_01": month("2015_01", post)},
        payload_details={"tweets": 1, "created_at": "2015-02-01 10:00:00 +0000", "lang": "en"},
    )
    ingest(square, folder, grant="g1")
    row = posts_of(square)["x:558806439193083904"]
    assert row["text"] == "look & see http://e.org/?a&b"
    assert (row["author_id"], row["author_handle"], row["grant_id"]) == ("7", "somebody", "g1")
    assert (row["reply_to"], row["reply_to_author"]) == ("x:558806439193083000", "9")
    assert (row["likes"], row["reposts"], row["replies"], row["lang"]) == (None, None, None, None)
    assert (row["source_app"], row["text_status"], row["visibility"]) == ("An App", "full", "public")
    assert (row["media"][0]["alt"], row["media"][0]["url"]) == ("a cat", "https://pbs.example/5.jpg")
    assert row["observed_at"].isoformat() == "2015-02-01T10:00:00+00:00"


@pytest.mark.parametrize(
    ("created", "wanted", "precision"),
    [
        ("Sat Dec 01 02:52:47 +0000 2007", "2007-12-01T02:52:47+00:00", "s"),
        ("2015-01-24 02:02:37 +0000", "2015-01-24T02:02:37+00:00", "s"),
        ("2010-03-05 00:00:00 +0000", "2010-03-05T00:00:00+00:00", "day"),
        ("Fri Mar 05 00:00:00 +0000 2010", "2010-03-05T00:00:00+00:00", "day"),
        ("2015-01-24 00:00:00 +0000", "2015-01-24T00:00:00+00:00", "s"),
        ("nonsense", None, "unknown"),
    ],
)
def test_both_forms_of_a_time_and_days_without_one(
    square: Square, folder: Path, created: str, wanted: str | None, precision: str
) -> None:
    write(folder, {"2010_03": month("2010_03", old(459419062, "old", created))})
    ingest(square, folder)
    row = posts_of(square)["x:459419062"]  # its id is older than those that tell a time
    assert (row["created_at"] and row["created_at"].isoformat(), row["created_at_precision"]) == (wanted, precision)


def test_numbers_beyond_what_a_float_holds_stay_whole(square: Square, folder: Path) -> None:
    post = old(1626922779105759235, "a number", in_reply_to_status_id=1697011324369178968)
    del post["id_str"]
    write(folder, {"2015_01": month("2015_01", post)})
    ingest(square, folder)
    assert posts_of(square)["x:1626922779105759235"]["reply_to"] == "x:1697011324369178968"


def test_a_repost_is_an_edge_and_holds_the_whole_original(square: Square, folder: Path) -> None:
    original = old(5, "the original, all of it", user={**OWN, "screen_name": "ann", "id_str": "9", "id": 9})
    repost = old(6, "RT @ann: the original, all…", retweeted_status=original)
    receipt = ingest(square, write(folder, {"2015_01": month("2015_01", repost)}))
    rows = posts_of(square)
    assert receipt.counts["kept"] == 2
    assert (rows["x:6"]["repost_of"], rows["x:6"]["text"], rows["x:6"]["author_id"]) == ("x:5", None, "7")
    assert (rows["x:5"]["text"], rows["x:5"]["author_id"]) == ("the original, all of it", "9")


def test_a_last_link_to_a_post_is_a_quote(square: Square, folder: Path) -> None:
    links = {"urls": [{"url": "http://t.co/q", "expanded_url": "https://twitter.com/ann/status/99"}]}
    write(folder, {"2015_01": month("2015_01", old(1, "look http://t.co/q", entities=links))})
    ingest(square, folder)
    row = posts_of(square)["x:1"]
    assert (row["quote_of"], row["text"]) == ("x:99", "look")


def test_a_link_from_before_the_shortener_stays(square: Square, folder: Path) -> None:
    write(folder, {"2009_01": month("2009_01", old(1, "see http://tinyurl.com/x", "2009-01-24 02:02:37 +0000"))})
    ingest(square, folder)
    assert posts_of(square)["x:1"]["text"] == "see http://tinyurl.com/x"


def test_posts_of_a_protected_account_are_not_public(square: Square, folder: Path) -> None:
    posts = [old(1, "closed", user={**OWN, "protected": True}), old(2, "unsaid", user={"id_str": "7"}), old(3, "open")]
    write(folder, {"2015_01": month("2015_01", *posts)})
    ingest(square, folder)
    found = {uid: row["visibility"] for uid, row in posts_of(square).items()}
    assert found == {"x:1": "protected", "x:2": "unknown", "x:3": "public"}


def test_the_index_tells_which_months_are_missing(square: Square, folder: Path) -> None:
    index = [{"file_name": f"data/js/tweets/2015_0{n}.js", "year": 2015, "month": n, "tweet_count": 1} for n in (1, 2)]
    write(folder, {"2015_01": month("2015_01", old(1, "one"))}, tweet_index=index)
    assert ingest(square, folder).counts["quarantined"] == {"missing_file": 1}
    assert quarantine_of(square)[0]["source_locator"] == "data/js/tweets/2015_02.js:0"


def test_damage_costs_only_what_is_damaged(square: Square, folder: Path) -> None:
    content = month("2015_01", *(old(n, f"post {n}") for n in range(1, 30)))
    months = {"2015_01": content.replace(b'"text": "post 7"', b'"text": "post 7'), "2015_02": content[:-500]}
    write(folder, months, payload_details="odd", tweet_index={"file_name": 5})
    receipt = ingest(square, folder)
    rows = posts_of(square)
    assert {f"x:{n}" for n in range(1, 29) if n != 7} <= rows.keys()
    assert set(receipt.counts["quarantined"]) == {"broken_json"}


def test_an_archive_of_both_ages_tells_which_it_did_not_read(square: Square, folder: Path) -> None:
    write(folder, {"2015_01": month("2015_01", old(1, "one"))})
    (folder / "data" / "tweets.js").write_bytes(tweets_js(tweet(2, "two")))
    receipt = ingest(square, folder)
    assert set(posts_of(square)) == {"x:2"}
    assert receipt.counts["quarantined"] == {"archive_inside": 1}


def test_without_a_month_it_is_refused(square: Square, folder: Path) -> None:
    write(folder, {})
    with pytest.raises(InputError, match="no month of posts") as caught:
        ingest(square, folder, format="x_grailbird")
    assert caught.value.remedy
