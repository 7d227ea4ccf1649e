"""What networks say of posts and accounts, in each network's own form, through every copy of the town's square."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from town_square import comment

from townsquare.curate import tables as corpus
from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.records import author_key
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.copies import find_everywhere
from townsquare.takedown.run import run

AT = "2026-11-01T10:00:00.000Z"
LATER = "2026-11-09T10:00:00.000Z"
MICROSECONDS = 1_793_527_200_000_000  # AT
CONTEXT = "https://www.w3.org/ns/activitystreams"


def _said(name: str, about: dict[str, Any]) -> str:
    return json.dumps({"data": {name: {**about, "event_at": AT}}})


def _batch(number: str, reason: str) -> str:
    about = {"id": number, "action": "delete", "created_at": AT, "redacted_at": AT, "reason": reason}
    return json.dumps(about)


def _jetstream(did: str, kind: str, body: dict[str, Any]) -> str:
    return json.dumps({"did": did, "time_us": MICROSECONDS, "kind": kind, kind: body})


def _activity(actor: str, given: Any) -> str:
    return json.dumps({"@context": CONTEXT, "type": "Delete", "actor": actor, "published": AT, "object": given})


def _number(row: dict[str, Any]) -> int:
    return int(row["uid"].removeprefix("reddit:t1_c"))


POSTS = {
    "x_batch": lambda row: _batch(row["uid"][2:], "deleted"),
    "x_stream_v2": lambda row: _said("delete", {"tweet": {"id": row["uid"][2:], "author_id": row["author_id"]}}),
    "x_stream_v1": lambda row: json.dumps(
        {
            "delete": {
                "status": {"id_str": row["uid"][2:], "user_id_str": row["author_id"]},
                "timestamp_ms": "1793527200000",
            }
        }
    ),
    "x_dropped": lambda row: _said("drop", {"tweet": {"id": row["uid"][2:], "author_id": row["author_id"]}}),
    "bsky_post": lambda row: _jetstream(
        row["author_id"],
        "commit",
        {
            "rev": "3m4jhbcyxxk2z",
            "operation": "delete",
            "collection": "app.bsky.feed.post",
            "rkey": row["uid"].rpartition("/")[2],
        },
    ),
    "masto_post": lambda row: _activity(row["author_id"], {"id": row["uid"][6:], "type": "Tombstone"}),
    "reddit_flagged": lambda row: comment(_number(row), row["text"], _meta={"was_deleted_later": True}),
    "reddit_removed": lambda row: comment(_number(row), "[removed]"),
}
"""One post each: what its network writes of it."""

AUTHORS = {
    "x_suspended": lambda author: _said("user_suspend", {"user": {"id": author}}),
    "x_user_batch": lambda author: _batch(author, "deactivated"),
    "bsky_account": lambda did: _jetstream(
        did, "account", {"active": False, "did": did, "status": "takendown", "time": AT}
    ),
    "masto_account": lambda actor: _activity(actor, actor),
    "x_opted_out": lambda author: (
        "network,author_id,post_id,kind,reason,requested_at,requester_ref,scope\n"
        f"x,{author},,opt_out,asked,{AT},ref-1,all"
    ),
}
"""Every post of an author each."""


def _network(shape: str) -> str:
    return shape.partition("_")[0]


@pytest.fixture
def told(full: Square, tmp_path: Path) -> dict[str, list[str]]:
    """The uids that each shape takes out, after all were ingested, and one takedown of what they say."""
    documents = {uid for uids in corpus.read_documents(full)["uids"].to_pylist() for uid in uids}
    rows = tables.read_posts(full, ["uid", "network", "author_id", "text"], "state = 'live'").to_pylist()
    chosen = dict(_chosen([row for row in rows if row["uid"] in documents]))
    paths = []
    for shape, row in chosen.items():
        line = POSTS[shape](row) if shape in POSTS else AUTHORS[shape](row["author_id"])
        name = "x_compliance_users" if shape == "x_user_batch" else shape
        paths.append(tmp_path / f"{name}.{'csv' if line.startswith('network,') else 'jsonl'}")
        paths[-1].write_text(line + "\n", encoding="utf-8")
    for path in paths:
        receipt = ingest(full, IngestConfig(paths=(path,)))
        assert receipt.counts["events"] >= 1, (path.name, receipt.counts, receipt.results["files"])
    run(full, TakedownConfig())
    return {
        shape: [row["uid"]]
        if shape in POSTS
        else [
            r["uid"]
            for r in rows
            if author_key(r["network"], r["author_id"]) == author_key(row["network"], row["author_id"])
        ]
        for shape, row in chosen.items()
    }


def _chosen(rows: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each shape a post of its network, no author twice."""
    used: set[str] = set()
    for shape in (*POSTS, *AUTHORS):
        row = next(r for r in rows if r["network"] == _network(shape) and r["author_id"] not in used)
        used.add(row["author_id"])
        yield shape, row


def test_no_copy_holds_what_a_network_took_back(full: Square, told: dict[str, list[str]]) -> None:
    states = {row["uid"]: row["state"] for row in tables.read_posts(full, ["uid", "state"]).to_pylist()}
    for shape, uids in told.items():
        for_good = shape in POSTS.keys() - {"x_dropped", "reddit_removed"} or shape == "masto_account"
        assert {states[uid] for uid in uids} == {"deleted" if for_good else "suppressed"}, shape
    assert len(told["x_suspended"]) > 1, "an author with one post proves little"
    gone = frozenset(uid for uids in told.values() for uid in uids)
    assert set(find_everywhere(full, gone, []).values()) == {0}


def test_what_can_be_taken_back_comes_back_without_importing_again(
    full: Square, told: dict[str, list[str]], tmp_path: Path
) -> None:
    author = next(
        row["author_id"]
        for row in tables.read_posts(full, ["uid", "author_id"]).to_pylist()
        if row["uid"] == told["x_suspended"][0]
    )
    undrop = {"tweet": {"id": told["x_dropped"][0][2:]}, "event_at": LATER}
    lines = [{"data": {"user_unsuspend": {"user": {"id": author}, "event_at": LATER}}}, {"data": {"undrop": undrop}}]
    path = tmp_path / "again.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    ingest(full, IngestConfig(paths=(path,)))
    rows = {row["uid"]: row for row in tables.read_posts(full, ["uid", "state", "text"]).to_pylist()}
    back = [*told["x_suspended"], *told["x_dropped"]]
    assert {rows[uid]["state"] for uid in back} == {"live"}
    assert all(rows[uid]["text"] for uid in told["x_dropped"])
