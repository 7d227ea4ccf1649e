"""Bluesky's Jetstream: NDJSON of what accounts do, in the form of /subscribe or of subscribeEvents."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from typing import Any

from townsquare.ingest.bluesky_accounts import Told, made, record_rows
from townsquare.ingest.bluesky_posts import POST, REPOST, Author, address, handle, key_time
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, quarantine
from townsquare.ingest.shapes import a_dict, a_text
from townsquare.ingest.text import parse_time

NAME = "bluesky_jetstream"
TABLE = (
    (
        "reads",
        "posts and reposts, created and updated; the handle of an author from identity lines before, in the file",
    ),
    (
        "reads for events only",
        "deletions; accounts deleted (for good), deactivated, taken down, suspended, active again",
    ),
    (
        "reads for events only",
        "sync (repo_reset); profiles labelled !no-unauthenticated; user intents on generative AI",
    ),
    ("never reads", "likes, follows, blocks, lists and other records: counted by kind as not_taken, without content"),
    ("trap", "facets count bytes of UTF-8; a deletion wins over a post made again under the same key"),
    ("trap", "createdAt is its app's word: a post whose key tells another time has created_at_trust client"),
    ("trap", "an intent that is taken back does not end a refusal; only an allow does"),
    ("quarantines", "lines that are no message, records that are no post, reposts of what is no post"),
    ("quarantines", "threadgates and postgates that hide replies or detach quotes, with the addresses they name"),
)
KINDS = ("commit", "account", "identity", "sync")
FRAMES = "network.bsky.jetstream.subscribeEvents#"
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]{1,256}")
INACTIVE = {"deleted": ("author_delete", False), "deactivated": ("author_delete", True)}
"""An account's status: kind of event and whether it can end. Any other is a suspension by somebody."""


@dataclasses.dataclass(frozen=True)
class Message:
    """One line, in either form: `body` is what stands under its kind."""

    did: str
    kind: str
    at: dt.datetime | None
    body: dict[str, Any]


def detect(member: Member) -> str | None:
    """Why this is a Jetstream recording, or None."""
    for line in head(member).lstrip(b"\xef\xbb\xbf \r\n").split(b"\n")[:3]:
        try:
            record = a_dict(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if record.get("kind") in KINDS and "did" in record and isinstance(record.get(record["kind"]), dict):
            return f"its lines have did and kind, such as {record['kind']}"
        frame = a_text(a_dict(record.get("payload")).get("$type"))
        if record.get("$type") == "message" and frame and frame.startswith(FRAMES):
            return "its lines are frames of subscribeEvents"
    return None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Posts, events, and a quarantine row for each line that is neither."""
    handles: dict[str, str | None] = {}
    with member.open() as stream:
        for number, line in lines(stream):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                yield quarantine(origin, number, "broken_json", line)
                continue
            message = _message(a_dict(record))
            if message is None:
                yield quarantine(origin, number, "not_a_message", line)
                continue
            if message.kind == "identity":
                handles[message.did] = handle(message.body.get("handle"))
            told = Told(origin, number, message.did, message.at)
            if message.kind == "commit":
                yield from _commit(told, message.body, Author(handles.get(message.did)), config)
            else:
                yield from _about_account(told, message)


def _message(record: dict[str, Any]) -> Message | None:
    kind, body, time = record.get("kind"), record.get(str(record.get("kind"))), record.get("time_us")
    if record.get("$type") == "message":
        record = a_dict(record.get("payload"))
        kind = str(record.get("$type")).removeprefix(FRAMES)
        body, time = record.get(kind, record), record.get("time")
    did = record.get("did")
    if kind not in KINDS or not isinstance(body, dict) or not isinstance(did, str) or not _DID.fullmatch(did):
        return None
    return Message(did, kind, parse_time(time)[0], body)


def _about_account(told: Told, message: Message) -> list[Item]:
    """An account's or a repository's change, dated as the network dates it: the same from every Jetstream."""
    when = parse_time(message.body.get("time"))[0] or told.at
    about = dataclasses.replace(told, at=when)
    if message.kind == "identity":
        return [about.not_taken("identity")]
    if message.kind == "sync":
        return [about.event("repo_reset", reason="sync")]
    active, status = message.body.get("active"), a_text(message.body.get("status"))
    if active is True:
        return [about.event(kind, reason="active") for kind in ("author_undelete", "unsuspend")]
    if active is not False:
        return [quarantine(told.origin, told.place, "not_a_message", message.body, author_id=told.did)]
    kind, reversible = INACTIVE.get(status or "", ("suspend", True))
    return [about.event(kind, reversible=reversible, reason=status or "inactive")]


def _commit(told: Told, commit: dict[str, Any], author: Author, config: IngestConfig) -> list[Item]:
    collection, operation = a_text(commit.get("collection")), commit.get("operation")
    at = address(f"at://{told.did}/{collection}/{commit.get('rkey')}")
    if at is None or operation not in ("create", "update", "delete"):
        return [quarantine(told.origin, told.place, "not_a_message", commit, author_id=told.did)]
    if at.collection not in (POST, REPOST):
        record = None if operation == "delete" else commit.get("record")
        if operation != "delete" and not isinstance(record, dict):
            return [quarantine(told.origin, told.place, "not_a_record", commit, author_id=told.did)]
        return record_rows(told, at.collection, record)
    if operation == "delete":
        # A commit's own time is the same from every Jetstream, so that the deletion is one event.
        own = dataclasses.replace(told, at=key_time(commit.get("rev")) or told.at)
        gone = own.event("delete", reversible=False, reason="deleted_by_author", target_uid=at.uid)
        return [(gone[0], {**gone[1], "received_at": told.at})]
    return [made(told, at, commit.get("record"), author, config.grant)]
