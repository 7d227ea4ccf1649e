"""No format takes another's file for its own."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from bluesky_made import account, commit, frame, posts_of_a_repository, record, repository, uri, view
from ingesting import account_js, tweet, tweets_js

from townsquare.ingest.files import members
from townsquare.ingest.sources import SOURCES

ROW = {"id": "1", "text": "see at://did:plc:ann/app.bsky.feed.post/3l3qo2vuowo2b", "created_at": "2024-01-10"}
PAGE = {"data": [{"id": "1", "text": "hi", "edit_history_tweet_ids": ["1"]}], "meta": {}}
OPT_OUT = {"network": "bsky", "author_id": "did:plc:ann", "requested_at": "2024-01-10"}


def lines(*records: object) -> bytes:
    return "".join(json.dumps(item) + "\n" for item in records).encode()


FILES = {
    "bluesky_jetstream": [
        ("a.jsonl", lines(commit(record()))),
        ("b", lines(account(True))),
        ("c.ndjson", lines(frame("commit", did="did:plc:ann"))),
        ("d.json", b"damaged\n" + lines(commit(record()))),
    ],
    "bluesky_repo": [
        ("a.car", b"".join(repository(posts_of_a_repository(2)))),
        ("b", b"".join(repository(posts_of_a_repository(2)))),
    ],
    "bluesky_appview": [
        ("a.json", lines({"feed": [{"post": view()}], "cursor": ""})),
        ("b.json", json.dumps({"thread": {"post": view()}}, indent=2).encode()),
        ("c.json", json.dumps([view()]).encode()),
        ("d.jsonl", lines({"uri": uri(), "text": "hi", "created_at": "2024-01-10", "likes": 5})),
        ("e.jsonl", lines({"uri": uri(), "cid": "b", "value": record()})),
        ("f.json", json.dumps({"posts": [view(f"{i}") for i in range(500)]}).encode()),
    ],
    "x_api_v2": [("a.jsonl", lines(PAGE)), ("b.jsonl", lines(PAGE["data"][0]))],  # type: ignore[index]
    "x_archive": [("tweets.js", tweets_js(tweet(1, "hi"))), ("account.js", account_js())],
    "x_compliance": [
        ("a.jsonl", lines({"id": "1", "action": "delete", "reason": "deleted"})),
        ("c.jsonl", lines({"data": {"user_protect": {"user": {"id": "2"}}}})),
    ],
    "x_stream": [("b.jsonl", lines({"delete": {"status": {"id_str": "1"}}}))],
    "opt_out": [("a.jsonl", lines(OPT_OUT)), ("a.csv", b"network,author_id,requested_at\nbsky,did:plc:ann,\n")],
    "table": [
        ("a.jsonl", lines(ROW)),
        ("a.csv", b"id,text\n1,at://did:plc:ann/app.bsky.feed.post/x\n"),
        ("b.jsonl", lines({"post": "hi", "author": "ann"})),
    ],
}
CASES = [(name, *file) for name, files in FILES.items() for file in files]


@pytest.mark.parametrize(("name", "file", "content"), CASES, ids=[f"{name}-{file}" for name, file, _ in CASES])
def test_the_first_format_that_claims_a_file_is_its_own(tmp_path: Path, name: str, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    with ExitStack() as open_files:
        [member] = members(tmp_path / file, open_files)
        claims = {source.NAME: why for source in SOURCES if (why := source.detect(member))}
    assert next(iter(claims)) == name
    ours = {other for other in claims if other.startswith("bluesky")}
    assert ours == ({name} if name.startswith("bluesky") else set())
