"""X's compliance results and streams: what happened to posts and accounts afterwards.

Batch results are NDJSON of affected ids; streams are NDJSON of single events, in X API v2's form
({"data": {"delete": …}}) or the older one ({"delete": {"status": …}}).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, event, quarantine
from townsquare.ingest.text import parse_time, x_id, x_uid

NAME = "x_compliance"
TABLE = (
    ("reads", "batch compliance results, compliance streams (v2 and older)"),
    ("trap", "a batch row with reason scrub_geo also says action delete, and means only the place"),
    ("quarantines", "lines that are no event"),
)

BATCH_POST = {
    "deleted": ("delete", False),
    "bounced": ("drop", True),
    "protected": ("protect", True),
    "suspended": ("suspend", True),
    "deactivated": ("author_delete", True),
    "scrub_geo": ("scrub_geo", False),
}
STREAM = {
    "delete": ("delete", False),
    "withheld": ("withheld", False),
    "status_withheld": ("withheld", False),
    "drop": ("drop", True),
    "undrop": ("undrop", True),
    "tweet_edit": ("edit", False),
    "scrub_geo": ("scrub_geo", False),
    "user_delete": ("author_delete", True),
    "user_undelete": ("author_undelete", True),
    "user_protect": ("protect", True),
    "user_unprotect": ("unprotect", True),
    "user_suspend": ("suspend", True),
    "user_unsuspend": ("unsuspend", True),
    "user_withheld": ("withheld", False),
}


def detect(member: Member) -> str | None:
    """Why this is X compliance data, or None."""
    for record in _first_records(member):
        if {"id", "action", "reason"} <= record.keys():
            return "its lines have id, action and reason"
        inner = record.get("data") if isinstance(record.get("data"), dict) else record
        assert isinstance(inner, dict)
        names = STREAM.keys() & inner.keys()
        if names and "text" not in inner:
            return f"its lines are events such as {min(names)}"
    return None


def _first_records(member: Member) -> Iterator[dict[str, Any]]:
    for line in head(member).split(b"\n")[:3]:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Events, one a line."""
    with member.open() as stream:
        for number, line in lines(stream):
            try:
                record = json.loads(line)
                found = _event(origin, number, record) if isinstance(record, dict) else None
            except (ValueError, RecursionError, TypeError, AttributeError):
                yield quarantine(origin, number, "broken_json", line)
                continue
            yield found or quarantine(origin, number, "not_an_event", line)


def _event(origin: Origin, number: int, record: dict[str, Any]) -> Item | None:
    if {"id", "reason"} <= record.keys():
        return _batch(origin, number, record)
    inner = record.get("data") if isinstance(record.get("data"), dict) else record
    assert isinstance(inner, dict)
    name = next((key for key in inner if key in STREAM), None)
    if name is None or not isinstance(inner[name], dict):
        return None
    kind, reversible = STREAM[name]
    body = inner[name]
    if "favorite" in body:
        kind = "unlike"
    target = _target(name, body)
    if target is None:
        return None
    when = parse_time(body.get("event_at") or body.get("timestamp_ms") or body.get("timestampMs"))[0]
    fields = {"kind": kind, "reversible": reversible, "reason": name, "event_at": when, "received_at": when}
    return event(origin, number, {**fields, **target})


def _target(name: str, body: dict[str, Any]) -> dict[str, str] | None:
    if name.startswith("user_") or "up_to_tweet_id" in body or "up_to_status_id" in body:
        user = body.get("user") if isinstance(body.get("user"), dict) else body
        assert isinstance(user, dict)
        author = x_id(user.get("id_str") or user.get("id") or user.get("user_id_str") or user.get("user_id"))
        return {"target_author": f"x:{author}"} if author else None
    holder = next((body[key] for key in ("tweet", "status", "favorite") if isinstance(body.get(key), dict)), body)
    uid = x_uid(holder.get("id_str") or holder.get("id"))
    return {"target_uid": uid} if uid else None


def _batch(origin: Origin, number: int, record: dict[str, Any]) -> Item | None:
    reason, uid = record["reason"], x_uid(record["id"])
    if reason not in BATCH_POST or uid is None:
        return None
    kind, reversible = BATCH_POST[reason]
    # A file of users and one of posts look alike but for where they came from: X names the job in the file.
    about_users = "user" in origin.member.lower()
    target = {"target_author": uid} if about_users else {"target_uid": uid}
    if about_users and reason == "deleted":
        kind, reversible = "author_delete", True
    when = parse_time(record.get("redacted_at") or record.get("created_at"))[0]
    fields = {"kind": kind, "reversible": reversible, "reason": reason, "event_at": when, "received_at": when}
    return event(origin, number, {**fields, **target})
