"""An account's whole Bluesky repository: the CAR file that com.atproto.sync.getRepo gives."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from townsquare.ingest.bluesky_accounts import INTENTS, PROFILE, Told, declared, made, record_rows
from townsquare.ingest.bluesky_posts import POST, REPOST, UNREADABLE, Address, Author, address, key_time
from townsquare.ingest.car import Blocks, Lost, commit, read_blocks, records
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head
from townsquare.ingest.rows import Item, Items, Origin, quarantine

NAME = "bluesky_repo"
TABLE = (
    ("reads", "posts and reposts of the account whose repository it is; each block is held to its hash"),
    ("reads for events only", "the profile's label !no-unauthenticated; the account's user intents on generative AI"),
    ("reads to hold back", "with that label every post is community, and with a refused intent consent_intent is deny"),
    ("never reads", "blobs; the signature; likes, follows, lists and other records: counted by kind as not_taken"),
    ("trap", "a record's key stands only in the tree: an older version of a post, outside it, is no post"),
    ("quarantines", "damaged, missing or cut-off blocks, records that are no post, records whose place is lost"),
)
SINGLE = "self"  # the key of a record that an account has once


def detect(member: Member) -> str | None:
    """Why this is a CAR file, or None."""
    start = head(member, 64)
    if b"\xa2eroots" in start[:16] or (b"gversion" in start and b"eroots" in start):
        return "it begins with a CAR's header"
    return "its name ends with .car" if member.name.lower().endswith(".car") and start else None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Posts, events, and a quarantine row for each record or block that is neither."""
    with member.open() as stream:
        blocks = read_blocks(stream)
    latest = commit(blocks)
    if latest is None:
        blocks.lost.append(Lost("commit", "no_commit", f"it does not say whose records its {len(blocks)} blocks are"))
    else:
        yield from _records(origin, blocks, latest, config)
    for lost in blocks.lost:
        yield quarantine(origin, lost.place, lost.reason, detail=lost.detail)


def _records(origin: Origin, blocks: Blocks, latest: dict[str, Any], config: IngestConfig) -> Items:
    did, at = latest["did"], key_time(latest.get("rev"))
    found = list(records(blocks, latest["data"]))
    lost = [item for item in found if isinstance(item, Lost)]
    entries = [item for item in found if not isinstance(item, Lost)]
    author = _author(blocks, dict(entries), at, whole=not lost)
    for key, cid in entries:
        place = address(f"at://{did}/{key}")
        if place is None:
            yield quarantine(origin, key, "strange_key", author_id=did)
        else:
            yield from _record(Told(origin, key, did, at), place, _value(blocks, cid), author, config)
    blocks.lost += lost
    if lost and (unused := blocks.unused()):
        blocks.lost.append(Lost("blocks", "unplaced_blocks", f"{len(unused)} whose key is lost, or old versions"))


def _author(blocks: Blocks, entries: dict[str, bytes], at: dt.datetime | None, *, whole: bool) -> Author:
    """What the account's own records say of it; where one may be lost, no post is known to be public."""
    author = Author(intent="undefined", intent_source=INTENTS[0], intent_seen_at=at) if whole else Author()
    for collection in (PROFILE, *reversed(INTENTS)):
        cid = entries.get(f"{collection}/{SINGLE}")
        value = _value(blocks, cid) if cid is not None else None
        if isinstance(value, dict):
            author = declared(author, collection, value, at)
        elif value is not None or not whole:
            author = dataclasses.replace(author, labels=author.labels | {UNREADABLE})
    return author


def _value(blocks: Blocks, cid: bytes) -> Any:
    """A record's value, or Lost."""
    try:
        return blocks.take(cid)
    except KeyError:
        return Lost("", "missing_block", "the tree names it, the file lacks it")
    except (ValueError, RecursionError) as error:
        return Lost("", "broken_record", str(error))


def _record(told: Told, at: Address, value: Any, author: Author, config: IngestConfig) -> list[Item]:
    """A record's rows; what cannot be read goes to quarantine under its own id, so that a deletion finds it."""
    known = {"uid": at.uid if at.collection in (POST, REPOST) else None, "author_id": at.did}
    if isinstance(value, Lost):
        return [quarantine(told.origin, told.place, value.reason, detail=value.detail, **known)]
    if not isinstance(value, dict):
        return [quarantine(told.origin, told.place, "not_a_record", value, **known)]
    if at.collection not in (POST, REPOST):
        return record_rows(told, at.collection, value)
    return [made(told, at, value, author, config.grant)]
