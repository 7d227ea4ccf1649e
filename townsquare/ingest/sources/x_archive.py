"""An X account's own archive ("Download your data"): JavaScript files that each assign one JSON array.

Posts carry no author, no conversation and no link from a long post to its note; those are put together
here. Circle posts (August 2022 to November 2023) and posts of protected periods carry no flag either.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any

import ijson

from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import BROKEN, Member, head
from townsquare.ingest.rows import Item, Items, Origin, event, post, quarantine
from townsquare.ingest.text import clean, parse_time, sound, unescape_x, whole_number, x_id, x_text, x_uid

NAME = "x_archive"
TABLE = (
    ("reads", "tweets.js, tweet.js and their parts, note-tweet.js, community-tweet.js, account.js"),
    ("reads for events only", "deleted-tweets.js, deleted-tweet-headers.js: never their text"),
    ("reads to hold back", "twitter-circle.js, protected-history.js"),
    ("never reads", "direct messages, likes (other people's text), ads, contacts, devices, Grok chats"),
    ("quarantines", "posts that may have been for a Circle, posts of protected periods, notes without a post"),
)

POSTS = re.compile(r"(tweets?|tweets?-part\d+|community-tweet)\.js")
AUXILIARY = ("account.js", "note-tweet.js", "twitter-circle.js", "protected-history.js", "manifest.js", "profile.js")
DELETED = ("deleted-tweets.js", "deleted-tweet-headers.js")
REPOST = re.compile(r"RT @(\w{1,15}): ")
STATUS_LINK = re.compile(r"https?://(?:www\.|mobile\.)?(?:twitter|x)\.com/(?:i/web|\w+)/status(?:es)?/(\d+)(?:[/?].*)?")
OWN_MEDIA = re.compile(r"https?://(?:twitter|x)\.com/(\w+)/status/(\d+)/(?:photo|video)/\d")
CIRCLE = (dt.datetime(2022, 8, 1, tzinfo=dt.UTC), dt.datetime(2023, 12, 1, tzinfo=dt.UTC))
LONG_TEXT = 240  # a post shorter than this has no note
BAD = (ijson.JSONError, OSError, RuntimeError, UnicodeDecodeError, *BROKEN)


@dataclasses.dataclass
class Archive:
    """What must be known of an archive before its posts can be read."""

    account_id: str | None
    handle: str | None
    notes: list[tuple[dt.datetime | None, str, str]]  # when, text to compare, full text
    own_ids: frozenset[str]
    circle: bool
    protected: list[tuple[dt.datetime, dt.datetime]]
    used_notes: set[int] = dataclasses.field(default_factory=set)


def detect_members(members: list[Member]) -> str | None:
    """Why a folder or zip is an X archive, or None."""
    for member in members:
        if POSTS.fullmatch(PurePosixPath(member.name).name) and detect(member):
            return f"it holds {member.name}, which assigns window.YTD"
    return None


def detect(member: Member) -> str | None:
    """Why one file is part of an X archive, or None."""
    if re.match(rb"(\xef\xbb\xbf)?\s*window\.YTD\.\w+\.part\d+\s*=", head(member, 200)):
        return "it assigns window.YTD"
    return None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """One bare .js file as an archive of its own."""
    yield from read_archive([member], origin, config)


def read_archive(members: list[Member], origin: Origin, config: IngestConfig) -> Items:
    """A whole archive: posts, delete events, quarantine rows. Members that are never read are not counted."""
    archive = _look(members)
    for member in members:
        name = PurePosixPath(member.name).name
        if not (POSTS.fullmatch(name) or name in DELETED):
            continue
        here = dataclasses.replace(origin, member=member.name)
        if member.unsafe:
            yield quarantine(here, 0, "unsafe_member", detail=member.unsafe)
            continue
        number = 0
        try:
            for number, record in enumerate(_items(member), start=1):
                yield (
                    _deleted(here, number, record)
                    if name in DELETED
                    else _post(here, number, record, archive, config, community=name.startswith("community"))
                )
        except BAD as error:
            yield quarantine(here, number + 1, "broken_json", detail=f"read up to item {number}: {error}")
    for i, (_, _, text) in enumerate(archive.notes):
        if i not in archive.used_notes:
            yield quarantine(dataclasses.replace(origin, member="note-tweet.js"), i + 1, "note_without_post", text)


def _items(member: Member) -> Iterator[Any]:
    """The array's items, one at a time, numbers as integers or Decimal, never as float."""
    with member.open() as stream:
        yield from ijson.items(_after_assignment(stream), "item")


def _after_assignment(stream: IO[bytes]) -> IO[bytes]:
    """The stream from the first bracket after the first equals sign."""
    start = stream.read(4096)
    equals = start.find(b"=")
    brackets = [i for i in (start.find(b"[", equals), start.find(b"{", equals)) if i >= 0]
    return _Joined(start[min(brackets, default=0) :], stream)  # type: ignore[return-value]


class _Joined:
    """Bytes already read, then the rest of a stream, up to a trailing semicolon."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest = start, rest

    def read(self, size: int = -1) -> bytes:
        if self._start and size:
            taken, self._start = self._start, b""
            return _without_semicolon(taken)
        return _without_semicolon(self._rest.read(size))


def _without_semicolon(block: bytes) -> bytes:
    end = block.rstrip()
    return end[:-1] if end.endswith(b"];") else block


def _look(members: list[Member]) -> Archive:
    """The account, the notes, and what tells of Circles and protected periods."""
    found: dict[str, list[Any]] = {}
    for member in members:
        name = PurePosixPath(member.name).name
        if name in AUXILIARY and name not in ("manifest.js", "profile.js") and not member.unsafe:
            try:
                found[name] = [item for item in _items(member) if isinstance(item, dict)]
            except BAD:
                found[name] = []
    account = next((item.get("account") for item in found.get("account.js", [])), None) or {}
    ids, guessed = _own(members)
    account_id = x_id(account.get("accountId")) or guessed[0]
    return Archive(
        account_id=account_id,
        handle=_text(account.get("username")) or guessed[1],
        notes=[note for item in found.get("note-tweet.js", []) if (note := _note(item))],
        own_ids=ids,
        circle=bool(found.get("twitter-circle.js")),
        protected=_protected_periods(found.get("protected-history.js", [])),
    )


def _own(members: list[Member]) -> tuple[frozenset[str], tuple[str | None, str | None]]:
    """The ids of all posts, and whose archive it is by what the posts tell: replies to own posts, own media."""
    ids: set[str] = set()
    parents: dict[str, str] = {}
    handles: dict[str, str] = {}
    for member in members:
        if not POSTS.fullmatch(PurePosixPath(member.name).name) or member.unsafe:
            continue
        try:
            for record in _items(member):
                tweet = _tweet(record)
                number = x_id(tweet.get("id_str") or tweet.get("id"))
                if number:
                    ids.add(number)
                    _gather(tweet, number, parents, handles)
        except BAD:
            continue
    account = next((user for parent, user in parents.items() if parent in ids), None)
    return frozenset(ids), (account, next(iter(handles.values()), None))


def _gather(tweet: dict[str, Any], number: str, parents: dict[str, str], handles: dict[str, str]) -> None:
    parent, user = x_id(tweet.get("in_reply_to_status_id_str")), x_id(tweet.get("in_reply_to_user_id_str"))
    if parent and user:
        parents[parent] = user
    for item in _entity(tweet, "media"):
        match = OWN_MEDIA.match(str(item.get("expanded_url")))
        if match and match[2] == number:
            handles[number] = match[1]


def _tweet(record: Any) -> dict[str, Any]:
    """The post inside an item: wrapped as {"tweet": …}, or bare as in archives of 2018."""
    if not isinstance(record, dict):
        return {}
    for key in ("tweet", "communityTweet"):
        if isinstance(record.get(key), dict):
            inner: dict[str, Any] = record[key]
            return inner
    return record


def _text(value: Any) -> str | None:
    return sound(value) if isinstance(value, str) and value else None


def _note(item: dict[str, Any]) -> tuple[dt.datetime | None, str, str] | None:
    note = item.get("noteTweet") if isinstance(item.get("noteTweet"), dict) else item
    assert isinstance(note, dict)
    for holder in ("core", "noteTweetResults", "noteTweetContents"):
        if isinstance(note.get(holder), dict) and isinstance(note[holder].get("text"), str):
            text = note[holder]["text"]
            return parse_time(note.get("createdAt"))[0], _comparable(text), text
    return None


def _comparable(text: str) -> str:
    text = clean(unescape_x(re.sub(r"…?\s*https://t\.co/\w*…?$", "", text.rstrip())))
    return text.rstrip("… \n")[:200]


def _protected_periods(items: list[Any]) -> list[tuple[dt.datetime, dt.datetime]]:
    changes = []
    for item in items:
        body = item.get("protectedHistory", item)
        when = parse_time(body.get("protectedAt"))[0] if isinstance(body, dict) else None
        if when is not None:
            changes.append((when, str(body.get("action", "Protect"))))
    periods, since = [], None
    for when, action in sorted(changes):
        if action.lower().startswith("protect"):
            since = since or when
        elif since is not None:
            periods.append((since, when))
            since = None
    return periods + ([(since, dt.datetime.max.replace(tzinfo=dt.UTC))] if since else [])


def _deleted(origin: Origin, number: int, record: Any) -> Item:
    tweet = _tweet(record)
    uid = x_uid(tweet.get("tweet_id") or tweet.get("id_str") or tweet.get("id"))
    if uid is None:
        return quarantine(origin, number, "no_id")
    when = parse_time(tweet.get("deleted_at"))[0]
    fields = {"kind": "delete", "target_uid": uid, "reversible": False, "reason": "deleted_by_author"}
    return event(origin, number, {**fields, "event_at": when, "received_at": when})


def _post(origin: Origin, number: int, record: Any, archive: Archive, config: IngestConfig, *, community: bool) -> Item:
    tweet = _tweet(record)
    uid = x_uid(tweet.get("id_str") or tweet.get("id"))
    raw = tweet.get("full_text") if isinstance(tweet.get("full_text"), str) else tweet.get("text")
    if uid is None or not isinstance(raw, str):
        return quarantine(origin, number, "not_a_post", str(record)[:2000], author_id=archive.account_id)
    created = parse_time(tweet.get("created_at"))
    parent = x_uid(tweet.get("in_reply_to_status_id_str"))
    held = _held_back(archive, created[0], parent)
    if held:
        return quarantine(origin, number, held, raw, uid=uid, author_id=archive.account_id)
    note = _join_note(archive, created[0], raw)
    repost = REPOST.match(raw)
    fields = {
        "uid": uid,
        "network": "x",
        "author_id": archive.account_id,
        "author_handle": archive.handle,
        "created_at_trust": "server",
        "text_status": _status(tweet, raw, note, repost is not None),
        "lang": _text(tweet.get("lang")),
        "lang_source": "platform" if tweet.get("lang") else None,
        "reply_to": parent,
        "reply_to_author": x_id(tweet.get("in_reply_to_user_id_str")),
        "repost_of_author": repost[1] if repost else None,
        "likes": whole_number(tweet.get("favorite_count")),
        "reposts": whole_number(tweet.get("retweet_count")),
        "source_app": _app(tweet.get("source")),
        "sensitive": tweet.get("possibly_sensitive") if isinstance(tweet.get("possibly_sensitive"), bool) else None,
        "visibility": "community" if community else "public",
        "grant_id": config.grant,
        **_texts(tweet, raw, note, parent is not None),
        **_edits(tweet, uid),
        "media": _media(tweet),
    }
    return post(origin, number, created, fields)


def _held_back(archive: Archive, when: dt.datetime | None, parent: str | None) -> str | None:
    """Why a post must wait for a person: it may never have been public."""
    if when is None:
        return None
    if any(start <= when < end for start, end in archive.protected):
        return "protected_period"
    own_thread = parent is None or parent.removeprefix("x:") in archive.own_ids
    return "possible_circle_post" if archive.circle and own_thread and CIRCLE[0] <= when < CIRCLE[1] else None


def _join_note(archive: Archive, when: dt.datetime | None, raw: str) -> str | None:
    """The full text of a long post: the note of the same second whose text begins alike."""
    if len(raw) < LONG_TEXT or when is None:
        return None
    start = _comparable(raw)
    for i, (noted, comparable, text) in enumerate(archive.notes):
        near = noted is not None and abs((noted - when).total_seconds()) <= 1
        length = min(len(start), len(comparable))
        if near and i not in archive.used_notes and length >= 20 and start[:length] == comparable[:length]:
            archive.used_notes.add(i)
            return text
    return None


def _status(tweet: dict[str, Any], raw: str, note: str | None, repost: bool) -> str:
    if note is not None:
        return "note_joined"
    cut = tweet.get("truncated") is True or raw.rstrip().endswith("…") or (repost and "…" in raw[-30:])
    return "truncated" if cut and len(raw) > 100 else "full"


def _entity(tweet: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for holder in ("entities", "extended_entities"):
        group = tweet.get(holder)
        for item in (group.get(name) or []) if isinstance(group, dict) else []:
            if isinstance(item, dict):
                found[str(item.get("id_str") or item.get("url"))] = item
    return list(found.values())


def _texts(tweet: dict[str, Any], raw: str, note: str | None, reply: bool) -> dict[str, Any]:
    links = [
        {"short": _text(url.get("url")), "expanded": _text(url.get("expanded_url")), "title": None}
        for url in _entity(tweet, "urls")
    ]
    drop = [str(item["url"]) for item in _entity(tweet, "media") if item.get("url")]
    quote = None
    if links and links[-1]["short"] and raw.rstrip().endswith(links[-1]["short"]):
        match = STATUS_LINK.fullmatch(links[-1]["expanded"] or "")
        if match and not OWN_MEDIA.match(links[-1]["expanded"] or ""):
            quote = f"x:{match[1]}"
            drop.append(links[-1]["short"])
    text = note if note is not None else raw
    if reply:
        names = {str(mention.get("screen_name")).lower() for mention in _entity(tweet, "user_mentions")}
        words = text.split(" ")
        while len(words) > 1 and words[0].startswith("@") and words[0][1:].lower() in names:
            words.pop(0)
        text = " ".join(words)
    return {"text_raw": sound(raw), "text": x_text(text, links, drop), "links": links, "quote_of": quote}


def _edits(tweet: dict[str, Any], uid: str) -> dict[str, Any]:
    info = tweet.get("edit_info")
    if not isinstance(info, dict):
        return {}
    if isinstance(info.get("edit"), dict):
        first = x_uid(info["edit"].get("initialTweetId"))
        history = (info["edit"].get("editControlInitial") or {}).get("editTweetIds") or []
    else:
        first = uid
        history = (info.get("initial") or {}).get("editTweetIds") or []
    uids = [x_uid(i) for i in history if x_uid(i)]
    return {
        "edit_history": uids or None,
        "edit_of": first if first != uid else None,
        "is_latest_edit": uids[-1] == uid if uids else None,
    }


def _app(source: Any) -> str | None:
    match = re.search(r">([^<]*)<", source) if isinstance(source, str) else None
    return sound(match[1]) if match else None


def _media(tweet: dict[str, Any]) -> list[dict[str, Any]] | None:
    return [
        {
            "kind": _text(item.get("type")),
            "url": _text(item.get("media_url_https") or item.get("media_url")),
            "alt": _text(item.get("ext_alt_text") or item.get("media_alt")),
            "w": None,
            "h": None,
        }
        for item in _entity(tweet, "media")
    ] or None
