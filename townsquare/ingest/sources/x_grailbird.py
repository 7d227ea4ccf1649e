"""An X account's archive as it was until 2018 ("Grailbird"): one JavaScript file a month, each post with its author."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from townsquare.errors import InputError
from townsquare.ingest import x_v11
from townsquare.ingest.arrays import Damaged, items
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import BROKEN, Member, head
from townsquare.ingest.rows import Item, Items, Origin, quarantine
from townsquare.ingest.shapes import a_text, dicts
from townsquare.ingest.text import parse_time

NAME = "x_grailbird"
TABLE = (
    ("reads", "data/js/tweets/YYYY_MM.js, and the whole original inside a repost; payload_details.js, tweet_index.js"),
    ("never reads", "the CSV twin (no ids of replies, broken quoting), user_details.js, places"),
    ("trap", "times come in two forms; of many posts before November 2010 only the day is known"),
    ("trap", "ids are numbers beyond what a float holds"),
    ("quarantines", "damaged stretches of a file, and months that the index lists and the archive lacks"),
)

ASSIGNS = re.compile(rb"(?:\xef\xbb\xbf)?\s*Grailbird\.data\.(tweets_\d{4}_\d{2})\s*=")
BEGINS = re.compile(r'\{\s*"(?:source|entities|geo|id|id_str|text|created_at|user|retweeted_status)"\s*:')
ANY_OBJECT = re.compile(r"\{")
ABOUT = ("payload_details.js", "tweet_index.js")
WHOLE_TIMES_FROM = dt.datetime(2010, 11, 5, tzinfo=dt.UTC)


def detect_members(members: list[Member]) -> str | None:
    """Why a folder or zip is such an archive, or None."""
    return next((f"it holds {member.name}, which {why}" for member in members if (why := detect(member))), None)


def detect(member: Member) -> str | None:
    """Why one file is a month of such an archive, or None."""
    match = ASSIGNS.match(head(member, 200)) if not member.unsafe and member.name.endswith(".js") else None
    return f"assigns Grailbird.data.{match[1].decode()}" if match else None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """One month by itself."""
    yield from read_archive([member], origin, config)


def read_archive(members: list[Member], origin: Origin, config: IngestConfig) -> Items:
    """A whole archive: posts, and quarantine rows. Members that are never read are not counted."""
    months = [member for member in members if detect(member)]
    if not months:
        raise InputError(
            "there is no month of posts in it",
            place=members[0].name,
            remedy="Give the archive's zip or folder, with data/js/tweets/ in it.",
        )
    for member in members:
        if member.unsafe or member.inner:
            reason = "unsafe_member" if member.unsafe else "archive_inside"
            yield quarantine(_in(origin, member), 0, reason, detail=member.unsafe)
    about = {PurePosixPath(member.name).name: member for member in members if not member.unsafe}
    details, index = (_about(about.get(name)) for name in ABOUT)
    here = {PurePosixPath(member.name).name for member in members}
    for month in index:
        name = a_text(month.get("file_name"))
        if name and PurePosixPath(name).name not in here:
            missing = dataclasses.replace(origin, member=name)
            yield quarantine(missing, 0, "missing_file", detail="tweet_index.js lists it")
    observed_at = next((when for found in details if (when := parse_time(found.get("created_at"))[0])), None)
    for member in months:
        yield from _month(member, _in(origin, member), config, observed_at)


def _in(origin: Origin, member: Member) -> Origin:
    return dataclasses.replace(origin, member=member.name)


def _about(member: Member | None) -> list[dict[str, Any]]:
    """The objects that a file about the posts assigns; none where it is missing or damaged, for nothing hangs on it."""
    if member is None:
        return []
    try:
        with member.open() as stream:
            return dicts(list(items(stream, ANY_OBJECT)))
    except (OSError, RuntimeError, *BROKEN):
        return []


def _month(member: Member, origin: Origin, config: IngestConfig, observed_at: dt.datetime | None) -> Items:
    with member.open() as stream:
        for number, record in enumerate(items(stream, BEGINS), start=1):
            if isinstance(record, Damaged):
                yield quarantine(origin, number, "broken_json", record.raw, detail=record.why)
            else:
                yield from _dated(x_v11.posts(origin, number, record, config, observed_at))


def _dated(found: Iterable[Item]) -> Items:
    """Before November 2010 midnight means that only the day is known."""
    for kind, row in found:
        at = row.get("created_at")
        if kind == "post" and at is not None and at < WHOLE_TIMES_FROM and at.time() == dt.time(0):
            row["created_at_precision"] = "day"
        yield kind, row
