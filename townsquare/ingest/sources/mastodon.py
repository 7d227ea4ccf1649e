"""Mastodon: a person's export (outbox.json, actor.json), or an instance's activities, one a line."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from townsquare.errors import InputError
from townsquare.ingest.activitypub import ACTIVITIES, OTHERS, POSTS, Known, rows_of
from townsquare.ingest.actors import ACTORS, Actor, actor_of
from townsquare.ingest.arrays import Damaged, items
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import BROKEN, Member, head, lines
from townsquare.ingest.rows import Items, Origin, quarantine
from townsquare.ingest.text import parse_time

NAME = "mastodon"
TABLE = (
    ("reads", "an export (folder, zip, tar.gz): outbox.json, actor.json; an outbox.json by itself"),
    (
        "reads",
        "activities of an instance, one a line or as one array: Create and Update of Note and Question, Announce",
    ),
    ("reads", "Note and Question by themselves; of a repost whose it is; the answers of a poll as text"),
    ("reads for events only", "Delete, Tombstone, Undo of Announce; Delete of an actor is the end of the account"),
    (
        "reads for events only",
        "changed profiles with indexable or discoverable false or #nobot, #noindex, #noai: opt-outs",
    ),
    (
        "reads to hold back",
        "the same of actor.json, as the author's refusal on every post; one that is damaged refuses",
    ),
    ("trap", "an outbox holds posts for followers and direct ones: who could see a post follows from to and cc"),
    ("trap", "Public is written in three ways; where post and activity tell two audiences the narrower counts"),
    ("trap", "links are cut for display by hidden parts: text has them whole"),
    ("trap", "an edited post keeps its id: the version with the latest updated wins"),
    ("trap", "anyone can write anyone's name: what an actor says of another instance's posts does not count"),
    ("never reads", "likes.json, bookmarks.json, media, avatars; the text of others' posts inside a repost"),
    (
        "quarantines",
        "likes, follows, blocks, reports, votes (only their type is kept), posts by others, damaged stretches",
    ),
)

OUTBOX, ACTOR = "outbox.json", "actor.json"
COLLECTIONS = ("OrderedCollection", "OrderedCollectionPage")
LARGEST_ACTOR_BYTES = 16 << 20
REFUSES = Actor(intent="deny", intent_source="unreadable")
ITEM_BEGINS = re.compile(r'\{[^{}]{0,400}?"type"\s*:\s*"(?:' + "|".join(ACTIVITIES) + r')"')
_TYPE = re.compile(rb'"type"\s*:\s*(?:\[\s*)?"(\w+)"')
_EXPORTED = re.compile(r"archive-(20\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})-[0-9a-f]")
_KNOWN_TYPES = {name.encode() for name in (*ACTIVITIES, *POSTS, *ACTORS, *OTHERS, "Tombstone")}


def detect_members(members: list[Member]) -> str | None:
    """Why a folder or archive holds exports of Mastodon, or None."""
    found = next((m for m in members if _base(m) == OUTBOX and not m.unsafe and _shape(m) == "outbox"), None)
    return f"it holds {found.name}, an ActivityPub outbox" if found else None


def detect(member: Member) -> str | None:
    """Why one file is an outbox or holds activities, or None."""
    return {
        "outbox": "it is an ActivityPub outbox (OrderedCollection)",
        "array": "it is an array of ActivityPub activities",
        "lines": "its lines are ActivityPub activities",
    }.get(_shape(member) or "")


def _base(member: Member) -> str:
    return PurePosixPath(member.name).name


def _shape(member: Member) -> str | None:
    """outbox, array or lines, by the first type that is named; None for what is not ActivityPub."""
    start = head(member).removeprefix(b"\xef\xbb\xbf").lstrip()
    first = _TYPE.search(start)
    listed = start.find(b'"orderedItems"')
    if first is None or not start.startswith((b"{", b"[")):
        return None
    kind = first[1]
    if start.startswith(b"{") and listed >= 0 and (listed < first.start() or kind.decode() in COLLECTIONS):
        return "outbox"
    ours = any(word in start for word in (b'"actor"', b'"attributedTo"', b"//www.w3.org/ns/activitystreams"))
    if kind not in _KNOWN_TYPES or not ours:
        return None
    return "array" if start.startswith(b"[") else "lines"


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Posts and events of one file. Whose outbox it is its activities say."""
    yield from _activities(member, _shape(member), origin, Known(Actor(), _exported_at(member, config), config.grant))


def read_archive(members: list[Member], origin: Origin, config: IngestConfig) -> Items:
    """Every outbox of a folder or archive, each with the actor.json beside it. Other members are not counted."""
    outboxes = [member for member in members if _base(member) == OUTBOX]
    if not outboxes:
        raise InputError(
            "it is of a Mastodon export, and holds no outbox.json",
            place=members[0].name,
            remedy="Give the export's archive or folder, or its outbox.json.",
        )
    for member in members:
        if member.unsafe:
            yield quarantine(_in(origin, member), 0, "unsafe_member", detail=member.unsafe)
    for outbox in outboxes:
        if outbox.unsafe:
            continue
        beside = PurePosixPath(outbox.name).with_name(ACTOR).as_posix()
        profile = next((member for member in members if member.name == beside), None)
        actor = Actor() if profile is None else _actor(profile)
        if actor is REFUSES and profile is not None and not profile.unsafe:
            yield quarantine(
                _in(origin, profile), 0, "broken_json", detail="its posts count as refused by their author"
            )
        known = Known(actor, _exported_at(outbox, config), config.grant)
        yield from _activities(outbox, "outbox", _in(origin, outbox), known)


def _in(origin: Origin, member: Member) -> Origin:
    return dataclasses.replace(origin, member=member.name)


def _actor(member: Member) -> Actor:
    """Who the outbox is of; REFUSES where that cannot be read."""
    if member.unsafe:
        return REFUSES
    try:
        with member.open() as stream:
            profile = json.loads(stream.read(LARGEST_ACTOR_BYTES))
    except (ValueError, RecursionError, OSError, RuntimeError, *BROKEN):
        return REFUSES
    actor = actor_of(profile) if isinstance(profile, dict) else REFUSES
    return actor if actor.id else REFUSES


def _exported_at(member: Member, config: IngestConfig) -> dt.datetime | None:
    """When an export was made: Mastodon writes it into the archive's name, and nowhere else."""
    name = config.paths[0].name if len(config.paths) == 1 else member.name
    found = _EXPORTED.search(name)
    return parse_time("{}-{}-{}T{}:{}:{}Z".format(*found.groups()))[0] if found else None


def _activities(member: Member, shape: str | None, origin: Origin, known: Known) -> Items:
    with member.open() as stream:
        found: Iterable[tuple[int, Any]]
        if shape in ("outbox", "array"):
            key = "orderedItems" if shape == "outbox" else None
            found = enumerate(items(stream, ITEM_BEGINS, key), start=1)
        else:
            found = _lines(stream)
        for number, given in found:
            if isinstance(given, Damaged):
                yield quarantine(origin, number, "broken_json", given.raw, detail=given.why, author_id=known.actor.id)
            else:
                yield from rows_of(origin, number, given, known)


def _lines(stream: Any) -> Iterator[tuple[int, Any]]:
    for number, line in lines(stream):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, Damaged(line[:40_000].decode("utf-8", errors="replace"), str(error))
