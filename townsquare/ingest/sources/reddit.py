"""Reddit's monthly dumps: comments (RC_YYYY-MM) and submissions (RS_YYYY-MM), one a line, packed by Zstandard."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, event, post, quarantine
from townsquare.ingest.shapes import a_dict, a_flag, a_text
from townsquare.ingest.text import clean, parse_time, sound, unescape_x, whole_number

NAME = "reddit"
TABLE = (
    ("reads", "comments: body; submissions: title, selftext, url; subreddit, spoiler and distinguished as labels"),
    ("reads for events only", "what was deleted or removed, of which a dump may still hold the text: it never enters"),
    ("never reads", "flairs, awards, and the other submission inside a cross-post"),
    ("trap", "_meta.was_deleted_later and was_initially_deleted, removed_by_category, [deleted] and [removed]"),
    ("trap", "created_utc is text in some months, edited is a flag or a time, author_fullname may be missing"),
    ("trap", "num_comments counts the whole thread; a hidden score is unknown"),
    ("quarantines", "advertisements, lines that are no JSON, rows without id: none of it with its text"),
    ("quarantines", "rows without text"),
)

ID = re.compile(r"[0-9a-z]{1,13}")
FULL_NAME = re.compile(r"t[13]_[0-9a-z]{1,13}")
AUTHOR = re.compile(r"t2_[0-9a-z]{1,13}")
DELETED, REMOVED = ("[deleted]", "[deleted by user]"), ("[removed]", "[ Removed by Reddit ]")
BY_ITS_AUTHOR = ("deleted", "author")
FOR_GOOD = ("content_takedown", "copyright_takedown")
OPEN, CLOSED = (
    ("public", "restricted", "archived", "user"),
    ("private", "gold_only", "gold_restricted", "employees_only"),
)


def detect(member: Member) -> str | None:
    """Why this is a Reddit dump, or None."""
    for line in head(member).split(b"\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and (kind := _kind(record)):
            return f"its lines are {kind}s with Reddit's fields"
    return None


def _kind(record: dict[str, Any]) -> str | None:
    if {"body", "link_id", "parent_id"} <= record.keys():
        return "comment"
    about = {"subreddit", "permalink", "is_self", "promoted", "num_comments"}
    return "submission" if "title" in record and len(about & record.keys()) >= 2 else None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """A post, an event or a quarantine row for each line."""
    with member.open() as stream:
        for number, line in lines(stream):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                # Its text is not kept: it may be of a deleted post, and without an id no takedown would find it.
                yield quarantine(origin, number, "broken_json")
                continue
            yield _row(origin, number, record, config)


def _row(origin: Origin, number: int, record: Any, config: IngestConfig) -> Item:
    record = a_dict(record) or record
    kind = _kind(record) if isinstance(record, dict) else None
    if kind is None:
        return quarantine(origin, number, "not_a_post", detail="it has no fields of a comment or submission")
    if record.get("promoted") is True or (kind == "submission" and not record.get("subreddit")):
        return quarantine(origin, number, "not_taken:promoted")
    own_id = record.get("id")
    if not isinstance(own_id, str) or not ID.fullmatch(own_id):
        return quarantine(origin, number, "not_a_post", detail="it has no id")
    uid = f"reddit:{'t1' if kind == 'comment' else 't3'}_{own_id}"
    gone = _gone(record)
    if gone is not None:
        when = parse_time(a_dict(record.get("_meta")).get("retrieved_2nd_on"))[0] or _seen(record)
        fields = {"target_uid": uid, "event_at": when, "received_at": when}
        return event(origin, number, {**fields, **gone})
    raw = _text(record, kind)
    if raw is None:
        return quarantine(origin, number, "not_a_post", record, uid=uid)
    return post(origin, number, parse_time(record.get("created_utc")), _fields(record, kind, uid, raw, config))


def _gone(record: dict[str, Any]) -> dict[str, Any] | None:
    """What took a post away, as an event; None for one that stands.

    What its author deleted, or the law took down, is gone for good; what moderators removed they may restore.
    """
    meta = a_dict(record.get("_meta"))
    for name in ("was_deleted_later", "was_initially_deleted"):
        if meta.get(name):
            return {"kind": "delete", "reversible": False, "reason": name}
    category = record.get("removed_by_category")
    text = record.get("body", record.get("selftext"))
    text = text.strip() if isinstance(text, str) else None
    if category in BY_ITS_AUTHOR or category in FOR_GOOD or text in DELETED:
        return {"kind": "delete", "reversible": False, "reason": a_text(category) or "deleted"}
    if category or text in REMOVED or record.get("removal_reason"):
        return {"kind": "drop", "reversible": True, "reason": a_text(category) or "removed"}
    return None


def _text(record: dict[str, Any], kind: str) -> str | None:
    if kind == "comment":
        return record["body"] if isinstance(record["body"], str) else None
    parts = [record.get("title"), record.get("selftext")]
    found = [part for part in parts if isinstance(part, str) and part.strip()]
    return "\n\n".join(found) if found else None


def _fields(record: dict[str, Any], kind: str, uid: str, raw: str, config: IngestConfig) -> dict[str, Any]:
    author, full_name = a_text(record.get("author")), record.get("author_fullname")
    root = _uid(record.get("link_id")) if kind == "comment" else uid
    hidden = record.get("score_hidden") is True
    return {
        "uid": uid,
        "network": "reddit",
        "author_id": full_name if isinstance(full_name, str) and AUTHOR.fullmatch(full_name) else None,
        "author_handle": None if author in DELETED else author,
        "created_at_trust": "server",
        "observed_at": _seen(record),
        "text_raw": sound(raw),
        "text": clean(unescape_x(raw)).strip(),  # Reddit escapes the same three characters
        "reply_to": _uid(record.get("parent_id")) if kind == "comment" else None,
        "conversation_root": root,
        "root_source": "platform" if root else None,
        "quote_of": _uid(record.get("crosspost_parent")),
        "replies": whole_number(record.get("num_comments")),
        "score": None if hidden else whole_number(record.get("score")),
        "upvote_ratio": _share(record.get("upvote_ratio")),
        "links": _links(record),
        "sensitive": a_flag(record.get("over_18")),
        "labels": _labels(record),
        "visibility": _visibility(record),
        "grant_id": config.grant,
    }


def _seen(record: dict[str, Any]) -> dt.datetime | None:
    """When the row was last fetched: a second look changes its score."""
    meta = a_dict(record.get("_meta"))
    given = (meta.get("retrieved_2nd_on"), record.get("retrieved_on"), record.get("retrieved_utc"))
    return max(filter(None, (parse_time(value)[0] for value in given)), default=None)


def _uid(value: Any) -> str | None:
    return f"reddit:{value}" if isinstance(value, str) and FULL_NAME.fullmatch(value) else None


def _share(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= 1 else None


def _links(record: dict[str, Any]) -> list[dict[str, Any]] | None:
    url = a_text(record.get("url"))
    if url is None or record.get("is_self") is True or not url.startswith(("http://", "https://")):
        return None
    return [{"short": None, "expanded": unescape_x(url), "title": None}]


def _labels(record: dict[str, Any]) -> list[str] | None:
    named = [f"{name}:{value}" for name in ("subreddit", "distinguished") if (value := a_text(record.get(name)))]
    return [*named, *(name for name in ("spoiler", "stickied") if record.get(name) is True)] or None


def _visibility(record: dict[str, Any]) -> str:
    kind = record.get("subreddit_type")
    if kind is None or kind in OPEN:
        return "public"
    return "community" if kind in CLOSED else "unknown"
