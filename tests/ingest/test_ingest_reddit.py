"""Reddit's dumps: every trap of the format, on rows made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lance
import pytest
import zstandard
from ingesting import events_of, ingest, posts_of, quarantine_of

from townsquare.ingest import store
from townsquare.square import Square

SECRET = "a secret that was deleted"


def comment(own: str, body: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": own,
        "author": "Some_Body",
        "author_fullname": "t2_abc",
        "body": body,
        "created_utc": 1199145600,
        "retrieved_on": 1199150000,
        "edited": False,
        "link_id": "t3_root",
        "parent_id": "t1_parent",
        "score": 12,
        "subreddit": "Gardening",
        **fields,
    }


def submission(own: str, title: str, selftext: str = "", **fields: Any) -> dict[str, Any]:
    return {
        "id": own,
        "author": "Some_Body",
        "author_fullname": "t2_abc",
        "title": title,
        "selftext": selftext,
        "url": "https://www.reddit.com/r/Gardening/comments/x/",
        "is_self": True,
        "over_18": False,
        "num_comments": 7,
        "score": 12,
        "upvote_ratio": 0.91,
        "created_utc": 1199145600,
        "permalink": "/r/Gardening/comments/x/",
        "subreddit": "Gardening",
        **fields,
    }


def put(path: Path, *rows: Any) -> Path:
    """A dump: packed by Zstandard, with no line feed at its end."""
    path.write_bytes(zstandard.compress("\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "RC_2008-01.zst"


def test_fields_of_a_comment(square: Square, path: Path) -> None:
    receipt = ingest(square, put(path, comment("c1", "> quoted\n\n&gt; &amp;lt; **bold** é")), grant="g1")
    assert receipt.results["files"][path.name]["format"] == "reddit"
    row = posts_of(square)["reddit:t1_c1"]
    assert (row["text"], row["text_raw"]) == ("> quoted\n\n> &lt; **bold** é", "> quoted\n\n&gt; &amp;lt; **bold** é")
    assert (row["author_id"], row["author_handle"], row["network"]) == ("t2_abc", "Some_Body", "reddit")
    assert (row["reply_to"], row["conversation_root"], row["root_source"]) == (
        "reddit:t1_parent",
        "reddit:t3_root",
        "platform",
    )
    assert (row["score"], row["likes"], row["replies"], row["grant_id"]) == (12, None, None, "g1")
    assert (row["visibility"], row["text_status"], row["labels"]) == ("public", "full", ["subreddit:Gardening"])
    assert row["observed_at"].isoformat() == "2008-01-01T01:13:20+00:00"


def test_fields_of_a_submission(square: Square, path: Path) -> None:
    rows = [
        submission("s1", "A title", "And a text.", spoiler=True, distinguished="moderator", over_18=True),
        submission("s2", "Only a link", url="https://e.org/?a&amp;b", is_self=False),
        submission("s3", "A cross-post", crosspost_parent="t3_s1", crosspost_parent_list=[submission("s9", "inner")]),
    ]
    ingest(square, put(path, *rows))
    found = posts_of(square)
    first = found["reddit:t3_s1"]
    assert (first["text"], first["reply_to"], first["conversation_root"]) == (
        "A title\n\nAnd a text.",
        None,
        "reddit:t3_s1",
    )
    assert (first["sensitive"], first["upvote_ratio"], first["replies"]) == (True, 0.91, 7)
    assert first["labels"] == ["subreddit:Gardening", "distinguished:moderator", "spoiler"]
    assert first["links"] is None
    assert [link["expanded"] for link in found["reddit:t3_s2"]["links"]] == ["https://e.org/?a&b"]
    assert found["reddit:t3_s3"]["quote_of"] == "reddit:t3_s1"
    assert "reddit:t3_s9" not in found


@pytest.mark.parametrize("created", [1199145600, "1199145600", 1199145600.0])
@pytest.mark.parametrize("edited", [True, False, 1199150001, 1199150001.0, "1199150001", None])
def test_created_utc_of_every_type_and_edited_of_every_type(
    square: Square, path: Path, created: Any, edited: Any
) -> None:
    ingest(square, put(path, comment("c1", "text", created_utc=created, edited=edited)))
    row = posts_of(square)["reddit:t1_c1"]
    assert (row["created_at"].isoformat(), row["created_at_precision"]) == ("2008-01-01T00:00:00+00:00", "s")


@pytest.mark.parametrize("given", [{}, {"author_fullname": None}, {"author_fullname": "odd"}, {"author_fullname": 5}])
def test_an_author_without_an_id_is_known_by_name_only(square: Square, path: Path, given: dict[str, Any]) -> None:
    row = comment("c1", "text")
    del row["author_fullname"]
    ingest(square, put(path, {**row, **given}, comment("c2", "text", author="[deleted]", author_fullname=None)))
    found = posts_of(square)
    assert (found["reddit:t1_c1"]["author_id"], found["reddit:t1_c1"]["author_handle"]) == (None, "Some_Body")
    assert (found["reddit:t1_c2"]["author_id"], found["reddit:t1_c2"]["author_handle"]) == (None, None)


@pytest.mark.parametrize(
    ("row", "kind", "reversible"),
    [
        (comment("x", "[deleted]"), "delete", False),
        (comment("x", "[removed]"), "drop", True),
        (comment("x", SECRET, removal_reason="legal"), "drop", True),
        (comment("x", SECRET, _meta={"was_deleted_later": True, "removal_type": "deleted"}), "delete", False),
        (comment("x", SECRET, _meta={"was_deleted_later": True, "retrieved_2nd_on": 1199200000}), "delete", False),
        (comment("x", SECRET, _meta={"was_initially_deleted": True}), "delete", False),
        (submission("x", SECRET, "[deleted]"), "delete", False),
        (submission("x", SECRET, "[removed]"), "drop", True),
        (submission("x", "t", SECRET, removed_by_category="deleted"), "delete", False),
        (submission("x", "t", SECRET, removed_by_category="author"), "delete", False),
        (submission("x", "t", SECRET, removed_by_category="copyright_takedown"), "delete", False),
        (submission("x", "t", SECRET, removed_by_category="content_takedown"), "delete", False),
        (submission("x", "t", SECRET, removed_by_category="moderator"), "drop", True),
        (submission("x", "t", SECRET, removed_by_category="automod_filtered"), "drop", True),
        (submission("x", "t", SECRET, removed_by_category="reddit"), "drop", True),
        (submission("x", SECRET, _meta={"was_deleted_later": True}), "delete", False),
    ],
)
def test_what_was_deleted_is_an_event_and_its_text_never_enters(
    square: Square, path: Path, row: dict[str, Any], kind: str, reversible: bool
) -> None:
    receipt = ingest(square, put(path, row, comment("stays", "text")))
    assert receipt.counts == {"seen": 2, "kept": 1, "events": 1, "quarantined": {}}
    [event] = events_of(square)
    uid = f"reddit:{'t1' if 'body' in row else 't3'}_x"
    assert (event["kind"], event["target_uid"], event["reversible"]) == (kind, uid, reversible)
    for name in store.SCHEMAS:
        for version in store.dataset(square, name).versions():
            table = lance.dataset(store.path(square, name), version=version["version"]).to_table()
            assert SECRET not in str(table.to_pylist())


@pytest.mark.parametrize("meta", [{}, {"was_deleted_later": False, "is_edited": True, "retrieved_2nd_on": 1199160000}])
def test_what_was_not_deleted_stays_and_a_second_look_is_the_later_one(
    square: Square, path: Path, meta: dict[str, Any]
) -> None:
    ingest(square, put(path, comment("c1", "text", _meta=meta)))
    row = posts_of(square)["reddit:t1_c1"]
    assert row["state"] == "live"
    assert row["observed_at"].isoformat() == ("2008-01-01T04:00:00+00:00" if meta else "2008-01-01T01:13:20+00:00")


def test_an_early_dump_and_a_late_one_end_alike_in_any_order(square: Square, path: Path, tmp_path: Path) -> None:
    early = put(path, comment("c1", SECRET), comment("c2", "stays", score=1))
    later = [
        comment("c1", "[deleted]", author="[deleted]", retrieved_on=1199300000),
        comment("c2", "stays", score=40, retrieved_on=1199300000),
    ]
    late = put(tmp_path / "RC_2008-02.zst", *later)
    for number, order in enumerate(([early, late], [late, early])):
        place = Square.create(square.root / str(number))
        for one in order:
            ingest(place, one)
        rows = posts_of(place)
        assert (rows["reddit:t1_c2"]["score"], rows["reddit:t1_c2"]["state"]) == (40, "live")
        assert rows["reddit:t1_c1"]["state"] == "deleted"
        assert SECRET not in str(rows)


def test_advertisements_and_rows_without_ids_leave_no_text(square: Square, path: Path) -> None:
    rows = [
        submission("s1", "buy this now", promoted=True),
        {key: value for key, value in submission("s2", "buy that").items() if key != "subreddit"} | {"promoted": False},
        comment("c1", "stays"),
        comment("not an id!", SECRET),
        comment("c2", SECRET) | {"id": None},
        {"hello": SECRET},
        [SECRET],
        comment("c3", "x") | {"body": None},
    ]
    receipt = ingest(square, put(path, *rows))
    assert receipt.counts == {
        "seen": 8,
        "kept": 1,
        "events": 0,
        "quarantined": {"not_taken:promoted": 2, "not_a_post": 5},
    }
    assert SECRET not in str(quarantine_of(square))
    assert "buy" not in str(quarantine_of(square))
    assert [row["uid"] for row in quarantine_of(square) if row["uid"]] == ["reddit:t1_c3"]


def test_odd_parents_scores_and_kinds_of_subreddits(square: Square, path: Path) -> None:
    rows = [
        comment("c1", "top", parent_id="t3_root", score=1, score_hidden=True),
        comment("c2", "odd", parent_id=12345, link_id="odd", score=None),
        comment("c3", "closed", subreddit_type="private"),
        comment("c4", "open", subreddit_type="restricted"),
        comment("c5", "new", subreddit_type="some_new_kind"),
    ]
    ingest(square, put(path, *rows))
    found = posts_of(square)
    assert (found["reddit:t1_c1"]["reply_to"], found["reddit:t1_c1"]["score"]) == ("reddit:t3_root", None)
    assert (found["reddit:t1_c2"]["reply_to"], found["reddit:t1_c2"]["conversation_root"]) == (None, None)
    assert [found[f"reddit:t1_c{i}"]["visibility"] for i in (3, 4, 5)] == ["community", "public", "unknown"]


def test_a_dump_that_breaks_off_keeps_its_whole_rows_and_no_half_text(square: Square, path: Path) -> None:
    rows = [comment(f"c{n}", f"{n} {'é' * (n % 50)} {n * 7919}") for n in range(3000)]
    whole = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    half = len(whole) // 2
    content = zstandard.compress(whole[:half]) + zstandard.compress(whole[half:])
    path.write_bytes(content[: -len(content) // 8])
    receipt = ingest(square, path)
    assert receipt.counts["kept"] >= whole[:half].count(b"\n")
    assert receipt.counts["quarantined"]["broken_file"] == 1
    assert all(row["raw"] is None for row in quarantine_of(square))
    assert "breaks off" in str([row["detail"] for row in quarantine_of(square)])
