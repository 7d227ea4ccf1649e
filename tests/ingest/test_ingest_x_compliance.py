"""X's compliance events: every shape, and what each does to stored posts."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ingesting import events_of, ingest, posts_of

from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import members
from townsquare.ingest.rows import Origin
from townsquare.ingest.sources import x_compliance
from townsquare.square import Square

AT = "2024-01-12T08:30:00.000Z"
MS = "1705048200000"


def put(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def api_posts(path: Path, *numbers: int, author: int = 7) -> Path:
    """Posts of one author, from the API."""
    data = [{"id": str(n), "text": f"post {n}", "author_id": str(author), "public_metrics": {}} for n in numbers]
    return put(path, {"data": data})


def stream(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"data": {kind: {**body, "event_at": AT}}}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (stream("delete", {"tweet": {"id": "1", "author_id": "2"}}), ("delete", False, "x:1", None)),
        (stream("delete", {"favorite": {"id": "1", "user_id": "2"}}), ("unlike", False, "x:1", None)),
        (stream("withheld", {"tweet": {"id": "1"}, "withheld_in_countries": ["de"]}), ("withheld", False, "x:1", None)),
        (stream("drop", {"tweet": {"id": "1"}}), ("drop", True, "x:1", None)),
        (stream("undrop", {"tweet": {"id": "1"}}), ("undrop", True, "x:1", None)),
        (
            stream("tweet_edit", {"tweet": {"id": "1"}, "initial_tweet_id": "1", "edit_tweet_ids": ["1", "3"]}),
            ("edit", False, "x:1", None),
        ),
        (stream("user_delete", {"user": {"id": "2"}}), ("author_delete", True, None, "x:2")),
        (stream("user_undelete", {"user": {"id": "2"}}), ("author_undelete", True, None, "x:2")),
        (stream("user_protect", {"user": {"id": "2"}}), ("protect", True, None, "x:2")),
        (stream("user_unprotect", {"user": {"id": "2"}}), ("unprotect", True, None, "x:2")),
        (stream("user_suspend", {"user": {"id": "2"}}), ("suspend", True, None, "x:2")),
        (stream("user_unsuspend", {"user": {"id": "2"}}), ("unsuspend", True, None, "x:2")),
        (stream("user_withheld", {"user": {"id": "2"}}), ("withheld", False, None, "x:2")),
        (stream("scrub_geo", {"user": {"id": "2"}, "up_to_tweet_id": "9"}), ("scrub_geo", False, None, "x:2")),
        (
            {"delete": {"status": {"id": 601430178305220600, "id_str": "601430178305220608"}, "timestamp_ms": MS}},
            ("delete", False, "x:601430178305220608", None),
        ),
        (
            {"scrub_geo": {"user_id": 2, "user_id_str": "2", "up_to_status_id": 9, "up_to_status_id_str": "9"}},
            ("scrub_geo", False, None, "x:2"),
        ),
        (
            {"status_withheld": {"id": 1, "user_id": 2, "withheld_in_countries": ["XX"]}},
            ("withheld", False, "x:1", None),
        ),
        (
            {"status_withheld": {"status": {"id": "1"}, "withheld_in_countries": ["XY"], "timestamp_ms": MS}},
            ("withheld", False, "x:1", None),
        ),
        (
            {
                "user_withheld": {
                    "user": {"id": 2},
                    "withheld_in_countries": ["DE"],
                    "timestampMs": "2014-08-27T00:00:00Z",
                }
            },
            ("withheld", False, None, "x:2"),
        ),
        ({"user_protect": {"id": 3182003550, "timestamp_ms": MS}}, ("protect", True, None, "x:3182003550")),
        ({"user_delete": {"id": 771136850, "timestamp_ms": MS}}, ("author_delete", True, None, "x:771136850")),
        (
            {"tweet_edit": {"id": "1", "initial_tweet_id": "1", "edit_tweet_ids": ["1"], "timestamp_ms": MS}},
            ("edit", False, "x:1", None),
        ),
    ],
)
def test_every_shape_of_stream(tmp_path: Path, record: Any, expected: Any) -> None:
    with ExitStack() as open_files:
        [member] = members(put(tmp_path / "stream.jsonl", record), open_files)
        assert x_compliance.detect(member)
        [(kind, row)] = x_compliance.read(member, Origin("s", "0", member.name), IngestConfig(paths=(tmp_path,)))
    assert kind == "event"
    assert (row["kind"], row["reversible"], row.get("target_uid"), row.get("target_author")) == expected
    assert row["event_at"] is not None or "timestamp_ms" not in json.dumps(record)


@pytest.mark.parametrize(
    ("reason", "about_posts", "about_users"),
    [
        ("deleted", ("delete", False), ("author_delete", True)),
        ("protected", ("protect", True), ("protect", True)),
        ("suspended", ("suspend", True), ("suspend", True)),
        ("deactivated", ("author_delete", True), ("author_delete", True)),
        ("bounced", ("drop", True), None),
        ("scrub_geo", ("scrub_geo", False), None),
    ],
)
def test_batch_results(
    square: Square, tmp_path: Path, reason: str, about_posts: tuple[str, bool], about_users: tuple[str, bool] | None
) -> None:
    """The same line means a post or a user by the name of its file, and both where that does not tell."""
    row = {"id": "5", "action": "delete", "created_at": "2024-01-10T12:00:00.000Z", "redacted_at": AT, "reason": reason}
    wanted = {
        "tweets_result.jsonl": {("x:5", None, *about_posts)},
        "users_result.jsonl": {(None, "x:5", *about_users)} if about_users else {("x:5", None, *about_posts)},
        "result.jsonl": {("x:5", None, *about_posts)} | ({(None, "x:5", *about_users)} if about_users else set()),
    }
    for number, (name, expected) in enumerate(wanted.items()):
        place = Square.create(square.root / str(number))
        ingest(place, put(tmp_path / name, row))
        found = {(e["target_uid"], e["target_author"], e["kind"], e["reversible"]) for e in events_of(place)}
        assert found == expected
        assert {e["event_at"].isoformat() for e in events_of(place)} == {"2024-01-12T08:30:00+00:00"}


def test_scrubbing_the_place_leaves_the_post(square: Square, tmp_path: Path) -> None:
    ingest(square, api_posts(tmp_path / "posts.jsonl", 1))
    ingest(square, put(tmp_path / "tweets.jsonl", {"id": "1", "action": "delete", "reason": "scrub_geo"}))
    assert posts_of(square)["x:1"]["state"] == "live"


@pytest.mark.parametrize(
    ("away", "back"),
    [
        (("user_protect", {"user": {"id": "7"}}), ("user_unprotect", {"user": {"id": "7"}})),
        (("user_suspend", {"user": {"id": "7"}}), ("user_unsuspend", {"user": {"id": "7"}})),
        (("user_delete", {"user": {"id": "7"}}), ("user_undelete", {"user": {"id": "7"}})),
        (("drop", {"tweet": {"id": "1"}}), ("undrop", {"tweet": {"id": "1"}})),
    ],
)
def test_reversible_events_suppress_and_come_back(square: Square, tmp_path: Path, away: Any, back: Any) -> None:
    ingest(square, api_posts(tmp_path / "posts.jsonl", 1, 2))
    text = posts_of(square)["x:1"]["text"]
    ingest(square, put(tmp_path / "away.jsonl", stream(*away)))
    assert (posts_of(square)["x:1"]["state"], posts_of(square)["x:1"]["text"]) == ("suppressed", text)
    later = stream(*back)
    later["data"][back[0]]["event_at"] = "2024-02-01T00:00:00.000Z"
    ingest(square, put(tmp_path / "back.jsonl", later))
    assert {post["state"] for post in posts_of(square).values()} == {"live"}


def test_the_last_of_several_toggles_counts_in_whatever_order_they_come(square: Square, tmp_path: Path) -> None:
    ingest(square, api_posts(tmp_path / "posts.jsonl", 1))
    for number, (kind, day) in enumerate([("user_unprotect", 20), ("user_protect", 10), ("user_protect", 30)]):
        event = {"data": {kind: {"user": {"id": "7"}, "event_at": f"2024-01-{day}T00:00:00.000Z"}}}
        ingest(square, put(tmp_path / f"{number}.jsonl", event))
        assert posts_of(square)["x:1"]["state"] == ["live", "live", "suppressed"][number]


def test_unknown_ids_and_lines_that_are_no_event(square: Square, tmp_path: Path) -> None:
    receipt = ingest(
        square,
        put(
            tmp_path / "stream.jsonl",
            stream("delete", {"tweet": {"id": "404"}}),
            stream("delete", {"tweet": {"id": "not an id"}}),
            {"limit": {"track": 5}},
            stream("user_profile_modification", {"user": {"id": "2"}}),
            {"id": "5", "action": "delete", "reason": "new_reason"},
            {"id": "5", "action": "delete", "reason": ["odd"]},
            {"delete": "odd"},
            [],
        ),
    )
    assert receipt.counts == {"seen": 8, "kept": 0, "events": 1, "quarantined": {"not_an_event": 7}}
    ingest(square, api_posts(tmp_path / "posts.jsonl", 404, 405))
    assert {uid: post["state"] for uid, post in posts_of(square).items()} == {"x:404": "deleted", "x:405": "live"}


def test_the_same_event_twice_is_one(square: Square, tmp_path: Path) -> None:
    one = stream("delete", {"tweet": {"id": "1"}})
    receipt = ingest(square, put(tmp_path / "a.jsonl", one, one))
    ingest(square, put(tmp_path / "b.jsonl", one))
    assert receipt.counts["events"] == 2
    assert len(events_of(square)) == 1


def test_real_results(square: Square, shared_data: Path) -> None:
    folder = shared_data / "x_api_v2"
    ingest(square, folder / "tweets_compliance.jsonl", folder / "users_compliance.jsonl")
    found = {(e["kind"], e["target_uid"], e["target_author"]) for e in events_of(square)}
    lines = [
        (json.loads(line), kind)
        for kind in ("tweets", "users")
        for line in (folder / f"{kind}_compliance.jsonl").read_text().split()
    ]
    kinds = {"protected": "protect", "deactivated": "author_delete"}
    assert found == {
        (kinds[row["reason"]], *((f"x:{row['id']}", None) if kind == "tweets" else (None, f"x:{row['id']}")))
        for row, kind in lines
    }
