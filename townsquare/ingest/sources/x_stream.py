"""X's v1.1 streams and look-ups: posts one a line, with the author inside, among notices of what happened to others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from townsquare.ingest import x_v11
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Items, Origin, quarantine
from townsquare.ingest.shapes import a_dict
from townsquare.ingest.sources import x_compliance
from townsquare.ingest.text import parse_time

NAME = "x_stream"
TABLE = (
    ("reads", "posts (text, full_text, extended_tweet), and retweeted_status and quoted_status as posts of their own"),
    ("reads", "plain, .gz, .bz2, .zst, and tars and zips of those"),
    (
        "reads for events only",
        "delete, scrub_geo, status_withheld, user_withheld, user_delete and the others of x_compliance",
    ),
    ("never reads", "coordinates and places; a repost's own text and counts, which are its original's"),
    ("trap", "truncated posts without extended_tweet are marked; a number in id may be rounded, so id_str comes first"),
    ("trap", "the stream sees a post in its first second: later counts come with those who repost or quote it"),
    ("trap", "posts whose author is protected, or not said not to be, are kept as not public"),
    ("quarantines", "limit, disconnect, warning and what accounts hear in private, the latter without its content"),
    ("quarantines", "lines that are no JSON, posts without id or text"),
)

NOT_TAKEN = ("limit", "disconnect", "warning")
PRIVATE = ("direct_message", "friends", "friends_str", "event", "for_user", "control")
LONG_LINE = 60_000  # bytes; what is read for detection ends before such a line does
V2 = ("public_metrics", "edit_history_tweet_ids", "author_id")


def detect(member: Member) -> str | None:
    """Why this is a v1.1 stream, or None: there is a post on one of the first lines, or a notice on the first."""
    notice = None
    start = head(member).lstrip(b"\xef\xbb\xbf \r\n")
    if b"\n" not in start and len(start) > LONG_LINE and all(name in start for name in (b'"id_str"', b'"user"')):
        return "its first line is long, and has fields of v1.1 posts"
    for number, record in enumerate(_records(start)):
        if isinstance(record.get("user"), dict) and x_v11.is_post(record) and not record.keys() & set(V2):
            return "its lines are v1.1 posts, with a user inside"
        names = record.keys() & {*x_compliance.STREAM, *NOT_TAKEN}
        if number == 0 and names and isinstance(record[min(names)], dict):
            notice = f"its first line is a v1.1 notice, {min(names)}"
    return notice


def _records(start: bytes) -> Iterator[dict[str, Any]]:
    for line in start.split(b"\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Posts and events; a post's line gives a row for it and one for each post inside it."""
    with member.open() as stream:
        for number, line in lines(stream):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                yield quarantine(origin, number, "broken_json", line)
                continue
            yield from _rows(origin, number, record, config)


def _rows(origin: Origin, number: int, record: Any, config: IngestConfig) -> Items:
    if not isinstance(record, dict):
        yield quarantine(origin, number, "not_a_post", record)
    elif x_v11.is_post(record):
        # Only streams say timestamp_ms: when they saw the post, which is when it was made.
        yield from x_v11.posts(origin, number, record, config, parse_time(record.get("timestamp_ms"))[0])
    elif private := next((name for name in PRIVATE if name in record), None):
        yield quarantine(origin, number, f"not_taken:{private}")
    elif other := next((name for name in NOT_TAKEN if name in record), None):
        yield quarantine(origin, number, f"not_taken:{other}", record)
    else:
        yield from x_compliance.events(origin, number, a_dict(record)) or [
            quarantine(origin, number, "not_a_post", record)
        ]
