"""ActivityPub: what each activity of an outbox or of an instance's stream becomes, a post, an event or neither."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from townsquare.ingest.actors import ACTORS, Actor, host_of, reference, refusal, type_of, uid_of
from townsquare.ingest.html import text_of
from townsquare.ingest.rows import Item, Origin, event, post, quarantine
from townsquare.ingest.shapes import a_dict, a_flag, a_text, dicts
from townsquare.ingest.text import clean, parse_time, sound, whole_number, without_mentions

POSTS = ("Note", "Question")
ACTIVITIES = ("Create", "Announce", "Update", "Delete", "Undo")
OTHERS = (
    "Accept", "Add", "Article", "Audio", "Block", "Bookmark", "Dislike", "Document", "EmojiReact", "Event", "Flag",
    "Follow", "Ignore", "Image", "Invite", "Join", "Leave", "Like", "Listen", "Move", "Offer", "Page", "Place", "Read",
    "Reject", "Relationship", "Remove", "TentativeAccept", "TentativeReject", "Video", "View",
)  # fmt: skip
"""What people do or make beside posts: neither post nor event."""
PUBLIC = frozenset(("https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"))
CLOSING = ("public", "unlisted", "followers", "circle", "direct")
"""Audiences from the widest to the narrowest; of two that are told the narrower counts."""
QUOTES = ("quote", "quoteUrl", "quoteUri", "_misskey_quote")

_USER = re.compile(r"https?://([^/]+)/(?:users/|@)([\w.-]+)", re.ASCII)
_STATUS = re.compile(r"(https?://[^/]+/(?:ap/)?users/[^/]+)/statuses/[^/]+")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*")
_UPDATE_AT = re.compile(r"#updates/([0-9]{9,11})")


@dataclasses.dataclass(frozen=True)
class Known:
    """What holds for all activities of one file: whose they are, when they were put together, the grant."""

    actor: Actor
    seen_at: dt.datetime | None
    grant: str | None


def rows_of(origin: Origin, place: Any, given: Any, known: Known) -> list[Item]:
    """Everything that one activity, or one object that stands for itself, becomes: at least one row."""
    record, kind = a_dict(given), type_of(given)
    actor = reference(record.get("actor")) or reference(record.get("attributedTo")) or known.actor.id
    whose = _Whose(record, actor, known)
    if kind == "Announce":
        return _boost(origin, place, whose)
    if kind in ("Delete", "Undo"):
        return [_taken_back(origin, place, kind, whose)]
    inner = record.get("object") if kind in ("Create", "Update") else record
    what = type_of(inner)
    if what in POSTS:
        return [_post(origin, place, a_dict(inner), whose)]
    if what == "Tombstone":
        return [_gone(origin, place, inner, what, whose)]
    if what in ACTORS and kind != "Create":
        return [_profile(origin, place, a_dict(inner), whose)]
    if what in OTHERS:
        return [_not_taken(origin, place, what)]
    return [quarantine(origin, place, "not_an_activity", given)]


@dataclasses.dataclass(frozen=True)
class _Whose:
    """An activity and who did it."""

    activity: dict[str, Any]
    actor: str | None
    known: Known

    def may_speak_for(self, target: str | None) -> bool:
        """Whether what the actor says of this id counts: only an id of the actor's own instance."""
        return self.actor is None or target is None or host_of(self.actor) == host_of(target)

    @property
    def is_stranger(self) -> bool:
        """Whether it is not by the person whose archive it stands in."""
        return self.known.actor.id is not None and self.actor != self.known.actor.id


def _not_taken(origin: Origin, place: Any, what: str | None) -> Item:
    """Likes, follows, reports, pages. What they say of people is not kept."""
    return quarantine(origin, place, "not_taken", detail=what)


def _profile(origin: Origin, place: Any, profile: dict[str, Any], whose: _Whose) -> Item:
    """A changed profile: what it refuses from now on, for all posts of the author, early and late.

    It never takes a refusal back: what else the author refused, and where, a profile does not know.
    """
    author = reference(profile)
    if author is None or (whose.actor is not None and whose.actor != author):
        return quarantine(origin, place, "other_author", detail="a profile", author_id=whose.actor)
    found = refusal(profile)
    if found is None:
        return _not_taken(origin, place, type_of(profile))
    when = _first_time(profile.get("updated"), whose.activity.get("published"), _update_second(whose.activity))
    fields = {"kind": "opt_out", "target_author": f"masto:{author}", "scope": "train", "reversible": True}
    return event(origin, place, {**fields, "reason": found, "event_at": when, "received_at": when})


def _update_second(activity: dict[str, Any]) -> str | None:
    """When an update was made, as Mastodon writes it into the activity's id."""
    match = _UPDATE_AT.search(a_text(activity.get("id")) or "")
    return match[1] if match else None


def _first_time(*values: Any) -> dt.datetime | None:
    return next((when for value in values if (when := parse_time(value)[0]) is not None), None)


def _taken_back(origin: Origin, place: Any, kind: str, whose: _Whose) -> Item:
    target = whose.activity.get("object")
    what = type_of(target)
    if kind == "Undo" and what in OTHERS:  # of a like, a follow, a block
        return _not_taken(origin, place, f"Undo {what}")
    if kind == "Undo" and what not in (None, "Announce"):
        return quarantine(origin, place, "not_an_activity", whose.activity)
    return _gone(origin, place, target, kind, whose)


def _gone(origin: Origin, place: Any, target: Any, reason: str, whose: _Whose) -> Item:
    """A deleted post, boost or account. Somebody of the same instance deletes a post, an account only itself."""
    found = reference(target)
    if found is None:
        return quarantine(origin, place, "no_id", detail=reason, author_id=whose.actor)
    account = reason == "Delete" and (found == whose.actor or type_of(target) in ACTORS)
    if not whose.may_speak_for(found) or (account and whose.actor not in (found, None)):
        return quarantine(origin, place, "other_author", detail=f"{reason} of {found}", author_id=whose.actor)
    when = _first_time(a_dict(target).get("deleted"), whose.activity.get("published"))
    what = {"kind": "author_delete", "target_author": f"masto:{found}"} if account else {"kind": "delete"}
    fields = {**what, "target_uid": None if account else f"masto:{found}", "reversible": False, "reason": reason}
    return event(origin, place, {**fields, "event_at": when, "received_at": when})


def _boost(origin: Origin, place: Any, whose: _Whose) -> list[Item]:
    """A repost: only whose words it repeats, never the words, except those of the same author beside it."""
    activity, target = whose.activity, whose.activity.get("object")
    uid, original = uid_of(activity.get("id")), uid_of(target)
    if uid is None or original is None or whose.actor is None:
        detail = "no id, original or author"
        return [quarantine(origin, place, "no_id", detail=detail, uid=uid, author_id=whose.actor)]
    if whose.is_stranger or not whose.may_speak_for(reference(activity)):
        return [quarantine(origin, place, "other_author", uid=uid, author_id=whose.actor)]
    created = parse_time(activity.get("published"))
    fields = {
        **_common(uid, whose, _latest(whose.known.seen_at, created[0])),
        "text": "",
        "text_status": "missing",
        "repost_of": original,
        "visibility": _visibility([activity], whose, set()),
    }
    found: list[Item] = [post(origin, place, created, fields)]
    if type_of(target) in POSTS and reference(a_dict(target).get("attributedTo")) == whose.actor:
        found.append(_post(origin, f"{place}:object", a_dict(target), dataclasses.replace(whose, activity={})))
    return found


def _post(origin: Origin, place: Any, note: dict[str, Any], whose: _Whose) -> Item:
    author = reference(note.get("attributedTo")) or whose.actor
    uid = uid_of(note.get("id"))
    content = _content(note)
    about: dict[str, Any] = {"uid": uid, "author_id": author}
    if uid is None or author is None:
        return quarantine(origin, place, "no_id", note, detail="no id or author", **about)
    if whose.is_stranger or author != whose.actor or not whose.may_speak_for(reference(note)):
        return quarantine(origin, place, "other_author", **about)
    if content is None:
        vote = a_text(note.get("name")) is not None and reference(note.get("inReplyTo")) is not None
        return quarantine(origin, place, "poll_vote" if vote else "no_text", "" if vote else note, **about)
    created = parse_time(note.get("published"))
    if created[0] is None:
        created = parse_time(whose.activity.get("published"))
    parent = uid_of(note.get("inReplyTo"))
    told = (note.get("updated"), whose.activity.get("published"), _update_second(whose.activity))
    fields = {
        **_common(uid, whose, _latest(whose.known.seen_at, created[0], *(parse_time(time)[0] for time in told))),
        **_texts(note, content, parent is not None),
        "reply_to": parent,
        "reply_to_author": _author_of(parent),
        "quote_of": next((found for key in QUOTES if (found := uid_of(note.get(key)))), None),
        "likes": _total(note, "likes"),
        "reposts": _total(note, "shares"),
        "replies": _total(note, "replies"),
        "sensitive": a_flag(note.get("sensitive")),
        "content_warning": a_text(note.get("summary")),
        "visibility": _visibility([note, whose.activity], whose, _mentioned(note)),
        "media": _media(note),
    }
    return post(origin, place, created, fields)


def _common(uid: str, whose: _Whose, observed: dt.datetime | None) -> dict[str, Any]:
    """What posts and reposts say alike: of their author, of when they were seen."""
    actor = whose.known.actor
    own = actor.id is not None and actor.id == whose.actor
    user = _USER.match(whose.actor or "")
    return {
        "uid": uid,
        "network": "masto",
        "author_id": whose.actor,
        "author_handle": actor.handle if own else f"{user[2]}@{user[1]}" if user else None,
        "author_kind": actor.kind if own else None,
        "created_at_trust": "server",
        "observed_at": observed,
        "consent_intent": actor.intent,
        "consent_source": f"mastodon:{actor.intent_source}" if actor.intent else None,
        "consent_seen_at": whose.known.seen_at if actor.intent else None,
        "grant_id": whose.known.grant,
    }


def _latest(*times: dt.datetime | None) -> dt.datetime | None:
    return max((time for time in times if time is not None), default=None)


def _content(note: dict[str, Any]) -> str | None:
    """The HTML; where only the language map holds it, that of its one language."""
    named = list(a_dict(note.get("contentMap")).values())
    found = note["content"] if isinstance(note.get("content"), str) else named[0] if len(named) == 1 else None
    return found if isinstance(found, str) else None


def _texts(note: dict[str, Any], content: str, reply: bool) -> dict[str, Any]:
    """Text, links and language. The answers of a poll are lines of its text."""
    text, links = text_of(content)
    if reply:
        text = without_mentions(text, {name for tag in _tags(note, "Mention") for name in _names(tag)})
    options = [
        name for key in ("oneOf", "anyOf") for option in dicts(note.get(key)) if (name := a_text(option.get("name")))
    ]
    languages = list(a_dict(note.get("contentMap")))
    lang = languages[0] if len(languages) == 1 and _LANGUAGE.fullmatch(languages[0]) else None
    return {
        "text_raw": sound(content),
        "text": clean("\n".join([text, *(f"- {option}" for option in options)])).strip(),
        "text_status": "html_stripped",
        "links": [{"short": None, "expanded": sound(link), "title": None} for link in links] or None,
        "lang": lang,
        "lang_source": "client" if lang else None,
    }


def _tags(note: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [tag for tag in dicts(note.get("tag")) if type_of(tag) == kind]


def _names(mention: dict[str, Any]) -> tuple[str, str]:
    """How a text may name who is mentioned: ann, or ann@example.org."""
    name = (a_text(mention.get("name")) or "").lstrip("@")
    return name.partition("@")[0], name


def _mentioned(note: dict[str, Any]) -> set[str]:
    return {found for tag in _tags(note, "Mention") if (found := reference(tag.get("href")))}


def _author_of(uid: str | None) -> str | None:
    """Whose post a Mastodon id names, as far as it tells."""
    match = _STATUS.fullmatch((uid or "").removeprefix("masto:"))
    return match[1] if match else None


def _visibility(holders: Sequence[dict[str, Any]], whose: _Whose, mentioned: set[str]) -> str:
    """Who could see it: of the audiences that the post and its activity tell the narrower; unknown where none is."""
    told = [
        _audience(_recipients(holder.get("to")), _recipients(holder.get("cc")), whose, mentioned)
        for holder in holders
        if "to" in holder or "cc" in holder
    ]
    return max(told, key=CLOSING.index) if told else "unknown"


def _audience(to: set[str], cc: set[str], whose: _Whose, mentioned: set[str]) -> str:
    if to & PUBLIC:
        return "public"
    if cc & PUBLIC:
        return "unlisted"
    everyone = to | cc
    if any(name == whose.known.actor.followers or name.endswith("/followers") for name in everyone):
        return "followers"
    return "direct" if everyone <= mentioned else "circle"


def _recipients(value: Any) -> set[str]:
    """Everyone named; what cannot be read is somebody whom nobody mentions."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    return {item if isinstance(item, str) else a_text(a_dict(item).get("id")) or "unreadable" for item in items}


def _total(note: dict[str, Any], key: str) -> int | None:
    return whole_number(a_dict(note.get(key)).get("totalItems"))


def _media(note: dict[str, Any]) -> list[dict[str, Any]] | None:
    return [
        {
            "kind": (a_text(item.get("mediaType")) or type_of(item) or "").partition("/")[0].lower() or None,
            "url": a_text(item.get("url")) or reference(item.get("url")),
            "alt": a_text(item.get("name")),
            "w": _pixels(item.get("width")),
            "h": _pixels(item.get("height")),
        }
        for item in dicts(note.get("attachment"))
        if type_of(item) != "Link"
    ] or None


def _pixels(value: Any) -> int | None:
    number = whole_number(value)
    return number if number is not None and 0 <= number < 1 << 31 else None
