"""An X account's own archive ("Download your data"): JavaScript files that each assign one JSON array.

Posts carry no author, no conversation and no link from a long post to its note; `x_account` puts those
together. Circle posts (August 2022 to November 2023) and posts of protected periods carry no flag either.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePosixPath
from typing import Any

from townsquare.errors import InputError
from townsquare.ingest import x_account
from townsquare.ingest.arrays import Damaged, items
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member
from townsquare.ingest.rows import Item, Items, Origin, event, post, quarantine
from townsquare.ingest.shapes import a_dict, a_flag, a_list, a_text
from townsquare.ingest.text import (
    is_cut,
    parse_time,
    sound,
    whole_number,
    without_mentions,
    x_created,
    x_id,
    x_text,
    x_uid,
)
from townsquare.ingest.x_account import ITEM_BEGINS, Archive, Note, tweet_of
from townsquare.ingest.x_v11 import (
    REPOST,
    app,
    entities,
    id_of,
    last_quoted,
    links_of,
    media_links,
    media_of,
    narrowed,
)

NAME = "x_archive"
TABLE = (
    ("reads", "tweets.js, tweet.js, note-tweet.js, community-tweet.js and their parts; account.js, manifest.js"),
    ("reads for events only", "deleted-tweets.js, deleted-tweet-headers.js, deleted-note-tweet.js: never their text"),
    ("reads to hold back", "twitter-circle.js, protected-history.js"),
    ("never reads", "direct messages, likes (other people's text), ads, contacts, devices, Grok chats, media"),
    ("trap", "a post's scopes or community_id mean that it was not for everybody"),
    ("quarantines", "posts that may have been for a Circle, posts of protected periods, notes without a post"),
    ("quarantines", "damaged stretches of a file, and files that the manifest lists and the archive lacks"),
    ("quarantines", "archives inside (of 2019, with media) and months of an archive before 2019: they are not opened"),
)

OLD_MONTH = re.compile(r"(?:.*/)?js/tweets/\d{4}_\d{2}\.js")


def detect_members(members: list[Member]) -> str | None:
    """Why a folder or zip is an X archive, or None."""
    for member in members:
        if x_account.role(member) in ("posts", "community", "deleted") and detect(member):
            return f"it holds {member.name}, which assigns window.YTD"
    return None


def detect(member: Member) -> str | None:
    """Why one file is part of an X archive, or None."""
    name = x_account.assigned(member)
    return f"it assigns window.YTD.{name}" if name else None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """One bare .js file, of any name, as an archive of its own."""
    yield from read_archive([member], origin, config)


def read_archive(members: list[Member], origin: Origin, config: IngestConfig) -> Items:
    """A whole archive: posts, delete events, quarantine rows. Members that are never read are not counted."""
    roles = [(m, role) for m in members if not m.unsafe and (role := x_account.role(m, alone=len(members) == 1))]
    if not roles:
        raise InputError(
            "it is of an X archive, and nothing in it is read",
            place=members[0].name,
            remedy="Give the archive's zip or folder, or its tweets.js. Read are: " + ", ".join(x_account.FILES),
        )
    archive = x_account.look(roles, {PurePosixPath(member.name).name for member in members})
    for member in members:
        if member.unsafe:
            yield quarantine(_in(origin, member.name), 0, "unsafe_member", detail=member.unsafe)
        elif member.inner is not None or OLD_MONTH.fullmatch(member.name):
            detail = "it is not opened here: ingest it by itself if it holds posts"
            yield quarantine(_in(origin, member.name), 0, "archive_inside", detail=detail)
    for name, number, damaged in archive.damaged:
        yield quarantine(_in(origin, name), number, "broken_json", damaged.raw, detail=damaged.why)
    for name in archive.missing:
        yield quarantine(_in(origin, name), 0, "missing_file", detail="the manifest lists it")
    for member, role in roles:
        if role in ("posts", "community", "deleted"):
            yield from _posts(member, role, _in(origin, member.name), archive, config)
    for note in archive.notes:
        if not note.used:
            row = {**origin.at(0), "source_locator": note.place}
            yield quarantine(origin, 0, "note_without_post", note.text, **row, author_id=archive.account_id)


def _in(origin: Origin, member: str) -> Origin:
    return dataclasses.replace(origin, member=member)


def _posts(member: Member, role: str, origin: Origin, archive: Archive, config: IngestConfig) -> Items:
    with member.open() as stream:
        for number, record in enumerate(items(stream, ITEM_BEGINS), start=1):
            if isinstance(record, Damaged):
                raw = "" if role == "deleted" else record.raw
                yield quarantine(origin, number, "broken_json", raw, detail=record.why, author_id=archive.account_id)
            elif role == "deleted":
                yield _deleted(origin, number, record)
            else:
                yield _post(origin, number, record, archive, config, community=role == "community")


def _deleted(origin: Origin, number: int, record: Any) -> Item:
    tweet = tweet_of(record)
    tweet = a_dict(tweet.get("noteTweet")) or tweet
    found = (x_uid(tweet.get(name)) for name in ("tweet_id", "id_str", "id", "tweetId"))
    uid = next(filter(None, found), None)
    if uid is None:
        return quarantine(origin, number, "no_id")
    when = parse_time(tweet.get("deleted_at"))[0]
    fields = {"kind": "delete", "target_uid": uid, "reversible": False, "reason": "deleted_by_author"}
    return event(origin, number, {**fields, "event_at": when, "received_at": when})


def _post(origin: Origin, number: int, record: Any, archive: Archive, config: IngestConfig, *, community: bool) -> Item:
    tweet = tweet_of(record)
    own_id = id_of(tweet)
    raw = tweet.get("full_text") if isinstance(tweet.get("full_text"), str) else tweet.get("text")
    if own_id is None or not isinstance(raw, str):
        return quarantine(origin, number, "not_a_post", record, author_id=archive.account_id)
    uid = f"x:{own_id}"
    created = x_created(tweet.get("created_at"), own_id)
    parent = x_uid(tweet.get("in_reply_to_status_id_str")) or x_uid(tweet.get("in_reply_to_status_id"))
    held = archive.held_back(created[0], parent)
    if held:
        return quarantine(origin, number, held, raw, uid=uid, author_id=archive.account_id)
    note = archive.note_for(created[0], raw)
    repost = REPOST.match(raw)
    fields = {
        "uid": uid,
        "network": "x",
        "author_id": archive.account_id,
        "author_handle": archive.handle,
        "created_at_trust": "server",
        "observed_at": archive.observed_at,
        "text_status": _status(tweet, raw, note, repost is not None),
        "lang": a_text(tweet.get("lang")),
        "lang_source": "platform" if a_text(tweet.get("lang")) else None,
        "reply_to": parent,
        "reply_to_author": x_id(tweet.get("in_reply_to_user_id_str")) or x_id(tweet.get("in_reply_to_user_id")),
        "repost_of_author": repost[1] if repost else None,
        "likes": whole_number(tweet.get("favorite_count")),
        "reposts": whole_number(tweet.get("retweet_count")),
        "source_app": app(tweet.get("source")),
        "sensitive": a_flag(tweet.get("possibly_sensitive")),
        "visibility": "community" if community else narrowed(tweet) or "public",
        "grant_id": config.grant,
        **_texts(tweet, raw, note, parent is not None),
        **_edits(tweet, uid),
        "media": media_of(tweet),
    }
    return post(origin, number, created, fields)


def _status(tweet: dict[str, Any], raw: str, note: Note | None, repost: bool) -> str:
    if note is not None:
        return "note_joined"
    cut = tweet.get("truncated") is True or is_cut(raw) or (repost and len(raw) > 100 and "…" in raw[-30:])
    return "truncated" if cut else "full"


def _texts(tweet: dict[str, Any], raw: str, note: Note | None, reply: bool) -> dict[str, Any]:
    links = links_of(tweet)
    drop = media_links(tweet)
    quoted = last_quoted(raw, links)
    if quoted is not None:
        drop.append(quoted[1])
    text = raw
    if note is not None:
        text, links = note.text, links + [link for link in note.links if link not in links]
    if reply:
        text = without_mentions(text, {str(mention.get("screen_name")) for mention in entities(tweet, "user_mentions")})
    return {
        "text_raw": sound(raw),
        "text": x_text(text, links, drop),
        "links": links or None,
        "quote_of": f"x:{quoted[0]}" if quoted else None,
    }


def _edits(tweet: dict[str, Any], uid: str) -> dict[str, Any]:
    info = a_dict(tweet.get("edit_info"))
    edited = a_dict(info.get("edit"))
    control = a_dict(edited.get("editControlInitial")) if edited else a_dict(info.get("initial"))
    first = x_uid(edited.get("initialTweetId")) if edited else uid
    uids = [found for i in a_list(control.get("editTweetIds")) if (found := x_uid(i))]
    return {
        "edit_history": uids or None,
        "edit_of": first if first != uid else None,
        "is_latest_edit": uids[-1] == uid if uids else None,
    }
