"""X's compliance results and streams: what happened to posts and accounts afterwards.

Batch results are NDJSON of affected ids; streams are NDJSON of single events, in X API v2's form
({"data": {"delete": …}}) or the older one ({"delete": {"status": …}}).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, event, quarantine
from townsquare.ingest.shapes import a_dict, a_text
from townsquare.ingest.text import parse_time, x_id, x_uid

NAME = "x_compliance"
TABLE = (
    ("reads for events only", "batch compliance results, compliance streams (v2 and older): ids, kinds and times"),
    ("never reads", "whatever else stands beside an id, such as names"),
    ("trap", "a batch row with reason scrub_geo also says action delete, and means only the place"),
    (
        "trap",
        "batch results of posts and of users look alike: unless the file's name says users or posts, both are meant",
    ),
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
USERS, POSTS = ("user", "account"), ("tweet", "post")
ONLY_POSTS = ("bounced", "scrub_geo")
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
        inner = a_dict(record.get("data")) or record
        names = STREAM.keys() & inner.keys()
        if names and "text" not in inner:
            return f"its lines are events such as {min(names)}"
    return None


def _first_records(member: Member) -> Iterator[dict[str, Any]]:
    for line in head(member).split(b"\n")[:3]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Events, one a line; two where a batch result does not tell whether its ids are posts or users."""
    with member.open() as stream:
        for number, line in lines(stream):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                yield quarantine(origin, number, "broken_json", line)
                continue
            yield from events(origin, number, a_dict(record)) or [quarantine(origin, number, "not_an_event", line)]


def events(origin: Origin, number: int, record: dict[str, Any]) -> list[Item]:
    """What one line says, in any of the forms; empty where it is no event."""
    if {"id", "reason"} <= record.keys():
        return _batch(origin, number, record)
    inner = a_dict(record.get("data")) or record
    name = next((key for key in inner if key in STREAM), None)
    if name is None or not isinstance(inner[name], dict):
        return []
    kind, reversible = STREAM[name]
    body = inner[name]
    if "favorite" in body:
        kind = "unlike"
    target = _target(name, body)
    if target is None:
        return []
    when = _first_time(body, "event_at", "timestamp_ms", "timestampMs")
    fields = {"kind": kind, "reversible": reversible, "reason": name, "event_at": when, "received_at": when}
    return [event(origin, number, {**fields, **target})]


def _first_time(body: dict[str, Any], *keys: str) -> dt.datetime | None:
    return next((when for key in keys if (when := parse_time(body.get(key))[0]) is not None), None)


def _target(name: str, body: dict[str, Any]) -> dict[str, str] | None:
    if name.startswith("user_") or name == "scrub_geo":
        user = a_dict(body.get("user")) or body
        author = next(
            (found for key in ("id_str", "id", "user_id_str", "user_id") if (found := x_id(user.get(key)))), None
        )
        return {"target_author": f"x:{author}"} if author else None
    holder = next((body[key] for key in ("tweet", "status", "favorite") if isinstance(body.get(key), dict)), body)
    uid = x_uid(holder.get("id_str")) or x_uid(holder.get("id"))
    return {"target_uid": uid} if uid else None


def _batch(origin: Origin, number: int, record: dict[str, Any]) -> list[Item]:
    reason, uid = a_text(record["reason"]) or "", x_uid(record["id"])
    if reason not in BATCH_POST or uid is None:
        return []
    when = _first_time(record, "redacted_at", "created_at")
    found = []
    if not _says(origin.member, USERS, POSTS) or reason in ONLY_POSTS:
        kind, reversible = BATCH_POST[reason]
        found.append(({"target_uid": uid}, kind, reversible))
    if not _says(origin.member, POSTS, USERS) and reason not in ONLY_POSTS:
        kind, reversible = ("author_delete", True) if reason == "deleted" else BATCH_POST[reason]
        found.append(({"target_author": uid}, kind, reversible))
    return [
        event(
            origin,
            number,
            {"kind": kind, "reversible": reversible, "reason": reason, "event_at": when, "received_at": when, **target},
        )
        for target, kind, reversible in found
    ]


def _says(name: str, wanted: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Whether a file's name has one of the wanted words and none of the others.

    Results about posts and about users look alike; only a name that says one of the two tells.
    """
    name = name.lower()
    return any(word in name for word in wanted) and not any(word in name for word in others)
