"""What must be known of an X archive before its posts can be read: whose it is, its long texts, what was not public."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from townsquare.ingest.arrays import Damaged, items
from townsquare.ingest.files import BROKEN, Member, head
from townsquare.ingest.shapes import a_dict, a_text, dicts
from townsquare.ingest.text import LONG_TEXT, clean, parse_time, sound, unescape_x, x_id
from townsquare.ingest.x_v11 import OWN_MEDIA, entities, id_of

Role = str
"""What a file of an archive is for: posts, community, notes, deleted, account, circle, protected or manifest."""

FILES: dict[str, tuple[Role, tuple[str, ...]]] = {
    "tweets": ("posts", ("tweets", "tweet")),
    "tweet": ("posts", ("tweets", "tweet")),
    "community-tweet": ("community", ("community_tweet",)),
    "note-tweet": ("notes", ("note_tweet",)),
    "deleted-tweets": ("deleted", ("deleted_tweets", "deleted_tweet")),
    "deleted-tweet-headers": ("deleted", ("deleted_tweet_headers",)),
    "deleted-note-tweet": ("deleted", ("deleted_note_tweet",)),
    "account": ("account", ("account",)),
    "twitter-circle": ("circle", ("twitter_circle",)),
    "protected-history": ("protected", ("protected_history",)),
}
"""Base name (without -partN.js): its role, and the names under window.YTD that it may assign."""

MANIFEST = "manifest.js"
MANIFEST_TYPES = (
    "tweets", "tweet", "communityTweet", "noteTweet", "deletedTweets", "deletedTweetHeaders", "deletedNoteTweet",
)  # fmt: skip
ITEM_BEGINS = re.compile(r'\{\s*"(?:tweet|communityTweet|noteTweet|account|twitterCircle|protectedHistory)"\s*:')
_ASSIGNS = re.compile(rb"(?:\xef\xbb\xbf)?\s*window\.YTD\.(\w+)\.part\d+\s*=")
_BASE = re.compile(r"(.+?)(?:-part\d+)?\.js")
CIRCLES = (dt.datetime(2022, 8, 1, tzinfo=dt.UTC), dt.datetime(2023, 12, 1, tzinfo=dt.UTC))
ALWAYS = (dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC))
UNREADABLE = (OSError, RuntimeError, *BROKEN)


@dataclasses.dataclass
class Note:
    """The whole text of a long post; nothing in it names the post."""

    place: str
    at: dt.datetime | None
    text: str
    links: list[dict[str, Any]]
    used: bool = False


@dataclasses.dataclass
class Archive:
    """What the files around the posts tell. `damaged` are (member, number, stretch) that could not be read."""

    account_id: str | None = None
    handle: str | None = None
    observed_at: dt.datetime | None = None
    notes: list[Note] = dataclasses.field(default_factory=list)
    own_ids: frozenset[str] = frozenset()
    circle: bool = False
    protected: list[tuple[dt.datetime, dt.datetime]] = dataclasses.field(default_factory=list)
    damaged: list[tuple[str, int, Damaged]] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_second: dict[int, list[Note]] = defaultdict(list)

    def add_note(self, note: Note) -> None:
        self.notes.append(note)
        if note.at is not None:
            self._by_second[int(note.at.timestamp())].append(note)

    def note_for(self, at: dt.datetime | None, raw: str) -> Note | None:
        """The note of a long post: the one of the same second, or the next to it, whose text begins alike."""
        if len(raw) < LONG_TEXT or at is None:
            return None
        start, second = comparable(raw), int(at.timestamp())
        for note in (note for s in (second, second - 1, second + 1) for note in self._by_second[s]):
            other = comparable(note.text)
            length = min(len(start), len(other))
            if not note.used and length >= 20 and start[:length] == other[:length]:
                note.used = True
                return note
        return None

    def held_back(self, at: dt.datetime | None, parent: str | None) -> str | None:
        """Why a post must wait for a person: it may never have been public."""
        if self.protected and (at is None or any(start <= at < end for start, end in self.protected)):
            return "protected_period"
        own_thread = parent is None or parent.removeprefix("x:") in self.own_ids
        in_time = at is None or CIRCLES[0] <= at < CIRCLES[1]
        return "possible_circle_post" if self.circle and own_thread and in_time else None


def comparable(text: str) -> str:
    """The beginning of a text in the form in which a post and its note agree."""
    text = re.sub(r"…?\s*https://t\.co/\w*…?$", "", text.rstrip())
    return clean(unescape_x(text)).rstrip("… \n")[:200]


def assigned(member: Member) -> str | None:
    """The name under window.YTD that a file assigns, or None when it assigns none."""
    match = _ASSIGNS.match(head(member, 200))
    return match[1].decode("ascii", errors="replace") if match else None


def role(member: Member, *, alone: bool = False) -> Role | None:
    """What a file is for, by its base name and the name it assigns, never by a part of either.

    `alone`, it may have any file name. None for what is never read.
    """
    base = _BASE.fullmatch(PurePosixPath(member.name).name)
    known = FILES.get(base[1]) if base else None
    if known is None and not alone:
        return "manifest" if PurePosixPath(member.name).name == MANIFEST else None
    name = assigned(member)
    if known is not None and (name is None or name in known[1]):
        return known[0]
    return next((r for r, names in FILES.values() if name in names), None) if alone else None


def tweet_of(record: Any) -> dict[str, Any]:
    """The post inside an item: wrapped as {"tweet": …}, or bare as in archives of 2018."""
    record = a_dict(record)
    for key in ("tweet", "communityTweet"):
        if isinstance(record.get(key), dict):
            inner: dict[str, Any] = record[key]
            return inner
    return record


def look(roles: list[tuple[Member, Role]], names: set[str]) -> Archive:
    """Read everything but the posts' content. What cannot be read is taken to restrict as much as it could.

    `names` are the base names of all members, for the manifest's list.
    """
    archive = Archive()
    circles = False
    periods: list[dict[str, Any]] = []
    for member, what in roles:
        if what in ("posts", "community", "deleted"):
            continue
        whole = True
        for number, given in _read(member):
            is_note = what == "notes" and not isinstance(given, Damaged)
            item = _note(archive, f"{member.name}:{number}", a_dict(given)) if is_note else given
            if isinstance(item, Damaged):
                whole = False
                # Only notes are posts; what else these files hold, such as an e-mail address, is not kept.
                archive.damaged.append((member.name, number, item if what == "notes" else Damaged("", item.why)))
            elif what == "account":
                _account(archive, a_dict(a_dict(item).get("account")))
            elif what == "manifest":
                _manifest(archive, a_dict(item), names)
            elif what == "circle":
                circles = True
            elif what == "protected":
                periods.append(a_dict(a_dict(item).get("protectedHistory", item)))
        circles = circles or (what == "circle" and not whole)
        if what == "protected" and not whole:
            archive.protected.append(ALWAYS)
    archive.circle = circles
    archive.protected += protected_periods(periods)
    _own(archive, [member for member, what in roles if what in ("posts", "community")])
    return archive


def _read(member: Member) -> Iterable[tuple[int, Any]]:
    try:
        with member.open() as stream:
            yield from enumerate(items(stream, ITEM_BEGINS), start=1)
    except UNREADABLE as error:
        yield 0, Damaged("", f"it cannot be read: {error}")


def _account(archive: Archive, account: dict[str, Any]) -> None:
    archive.account_id = x_id(account.get("accountId")) or archive.account_id
    archive.handle = a_text(account.get("username")) or archive.handle


def _manifest(archive: Archive, manifest: dict[str, Any], names: set[str]) -> None:
    user = a_dict(manifest.get("userInfo"))
    archive.account_id = archive.account_id or x_id(user.get("accountId"))
    archive.handle = archive.handle or a_text(user.get("userName"))
    archive.observed_at = parse_time(a_dict(manifest.get("archiveInfo")).get("generationDate"))[0]
    for kind in MANIFEST_TYPES:
        for file in dicts(a_dict(a_dict(manifest.get("dataTypes")).get(kind)).get("files")):
            name = a_text(file.get("fileName"))
            if name and PurePosixPath(name).name not in names:
                archive.missing.append(name)


def _note(archive: Archive, place: str, item: dict[str, Any]) -> Damaged | None:
    note = a_dict(item.get("noteTweet")) or item
    holders = (a_dict(note.get(key)) for key in ("core", "noteTweetResults", "noteTweetContents"))
    body = next((holder for holder in holders if isinstance(holder.get("text"), str)), None)
    if body is None:
        return Damaged(json.dumps(item), "a note without text")
    links = [
        {"short": a_text(url.get("shortUrl")), "expanded": a_text(url.get("expandedUrl")), "title": None}
        for url in dicts(body.get("urls"))
    ]
    archive.add_note(Note(place, parse_time(note.get("createdAt"))[0], sound(body["text"]), links))
    return None


def protected_periods(changes: list[dict[str, Any]]) -> list[tuple[dt.datetime, dt.datetime]]:
    """When the account was protected, from its history of changes; a change without a time restricts always."""
    dated = [(parse_time(change.get("protectedAt"))[0], str(change.get("action", "Protect"))) for change in changes]
    if any(when is None for when, _ in dated):
        return [ALWAYS]
    periods, since = [], None
    for when, action in sorted((when, action) for when, action in dated if when is not None):
        if action.lower().startswith("protect"):
            since = since or when
        elif since is not None:
            periods.append((since, when))
            since = None
    return periods + ([(since, ALWAYS[1])] if since else [])


def _own(archive: Archive, posts: list[Member]) -> None:
    """The ids of all posts; and, where no file says so, whose archive it is by replies to own posts and own media."""
    ids: set[str] = set()
    parents: dict[str, str] = {}
    handle = None
    for member in posts:
        for _, record in _read(member):
            tweet = tweet_of(record) if not isinstance(record, Damaged) else {}
            number = id_of(tweet)
            if number is None:
                continue
            ids.add(number)
            parent, user = x_id(tweet.get("in_reply_to_status_id_str")), x_id(tweet.get("in_reply_to_user_id_str"))
            if parent and user:
                parents[parent] = user
            for item in entities(tweet, "media") if archive.handle is None and handle is None else ():
                match = OWN_MEDIA.match(str(item.get("expanded_url")))
                handle = match[1] if match and match[2] == number else handle
    archive.own_ids = frozenset(ids)
    archive.account_id = archive.account_id or next((user for parent, user in parents.items() if parent in ids), None)
    archive.handle = archive.handle or handle
