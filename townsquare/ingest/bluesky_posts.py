"""Bluesky's records as rows: what a post or repost says, whatever file it came in.

A record has neither author nor counts: its address (at://DID/COLLECTION/KEY) names the author, and the
key of a post tells when a server or an app made it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterable
from typing import Any

from townsquare.ingest.bluesky_text import text_and_links
from townsquare.ingest.shapes import a_dict, a_list, a_text, dicts
from townsquare.ingest.text import Time, clean, parse_time, sound, whole_number

POST = "app.bsky.feed.post"
REPOST = "app.bsky.feed.repost"
FIRST_KEYS = dt.datetime(2022, 1, 1, tzinfo=dt.UTC)  # no key tells an earlier time truly
LARGEST_SKEW = dt.timedelta(hours=1)  # drafts and wrong clocks; imports of old posts are days off
SIGNED_IN_ONLY = "!no-unauthenticated"
UNREADABLE = "!unreadable"  # our own word for labels of no known shape: what they hold may be a restriction
WITHDRAWN = frozenset({"!hide", "!takedown", "!suspend"})
SENSITIVE = frozenset(
    {"porn", "sexual", "sexual-figurative", "nudity", "graphic-media", "gore", "corpse", "self-harm", "nsfl"}
)
_ADDRESS = re.compile(r"at://(did:[a-z]+:[A-Za-z0-9._:%-]{1,256})/([A-Za-z0-9.-]{1,317})/([A-Za-z0-9._~:-]{1,512})")
_KEY = re.compile(r"[2-7a-j][2-7a-z]{12}")
_KEY_DIGITS = {sign: value for value, sign in enumerate("234567abcdefghijklmnopqrstuvwxyz")}
_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:-[A-Za-z0-9-]{1,60})?")


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a record lives: at://DID/COLLECTION/KEY."""

    did: str
    collection: str
    key: str

    @property
    def uri(self) -> str:
        return f"at://{self.did}/{self.collection}/{self.key}"

    @property
    def uid(self) -> str:
        return f"bsky:{self.uri}"


@dataclasses.dataclass(frozen=True)
class Author:
    """What a source tells of a record's author besides the DID; labels are those of the whole account."""

    handle: str | None = None
    labels: frozenset[str] = frozenset()
    intent: str | None = None
    intent_source: str | None = None
    intent_seen_at: dt.datetime | None = None


def address(value: Any) -> Address | None:
    """An at:// address as its parts; None for what is none, or names its author by a handle, which can change hands."""
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    return Address(*match.groups()) if match else None


def post_address(value: Any) -> Address | None:
    """The address of a post; None for any other, such as a list's or a feed's."""
    found = address(value)
    return found if found is not None and found.collection == POST else None


def key_time(key: Any) -> dt.datetime | None:
    """When a key of Bluesky's usual form (a TID) was made, to the microsecond; None for other keys."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        return None
    number = 0
    for sign in key:
        number = number << 5 | _KEY_DIGITS[sign]
    made = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=number >> 10)
    return made if made >= FIRST_KEYS else None


def created(key: str, stated: Any) -> tuple[Time, str]:
    """When a record was made, and whose word that is: server where its key tells the same time, else client.

    Whoever imports old posts states old times under new keys; a record that states none has its key's.
    """
    said, made = parse_time(stated), key_time(key)
    if said[0] is None:
        return (made, "us") if made else (None, "unknown"), "client"
    return said, "server" if made is not None and abs(made - said[0]) <= LARGEST_SKEW else "client"


def post_row(
    at: Address, record: dict[str, Any], author: Author, observed_at: dt.datetime | None, labels: Iterable[str] = ()
) -> tuple[Time, dict[str, Any]] | None:
    """A post's time and columns; None where the record is no post. `labels` are a service's on this post."""
    if not isinstance(record.get("text"), str):
        return None
    time, trust = created(at.key, record.get("createdAt"))
    own = {*labels_in(record.get("labels")), *labels}
    reply = a_dict(record.get("reply"))
    parent = post_address(a_dict(reply.get("parent")).get("uri"))
    root = post_address(a_dict(reply.get("root")).get("uri")) if "reply" in record else at
    text, links = text_and_links(record)
    fields = {
        **_common(at, author, observed_at, trust),
        "text_raw": sound(record["text"]),
        "text": clean(text).strip(),
        **_language(record.get("langs")),
        "reply_to": parent.uid if parent else None,
        "reply_to_author": parent.did if parent else None,
        "conversation_root": root.uid if root else None,
        "root_source": "platform" if root else None,
        "quote_of": _quoted(a_dict(record.get("embed"))),
        "media": media(record.get("embed")),
        "links": _with_card(links, a_dict(record.get("embed"))) or None,
        "sensitive": True if own & SENSITIVE else None,
        "labels": sorted(own) or None,
        "visibility": visibility(own | author.labels),
    }
    return time, fields


def repost_row(
    at: Address, record: dict[str, Any], author: Author, observed_at: dt.datetime | None
) -> tuple[Time, dict[str, Any]] | None:
    """A repost's time and columns; None where the record is none, or what it shares is no post."""
    original = post_address(a_dict(record.get("subject")).get("uri"))
    if original is None:
        return None
    time, trust = created(at.key, record.get("createdAt"))
    fields = {
        **_common(at, author, observed_at, trust),
        "text": "",
        "text_status": "missing",
        "repost_of": original.uid,
        "repost_of_author": original.did,
        "visibility": visibility(author.labels),
    }
    return time, fields


def _common(at: Address, author: Author, observed_at: dt.datetime | None, trust: str) -> dict[str, Any]:
    return {
        "uid": at.uid,
        "network": "bsky",
        "author_id": at.did,
        "author_handle": author.handle,
        "author_kind": "bot" if "bot" in author.labels else None,
        "created_at_trust": trust,
        "observed_at": observed_at,
        "consent_intent": author.intent,
        "consent_source": author.intent_source,
        "consent_seen_at": author.intent_seen_at,
    }


def labels_in(value: Any) -> frozenset[str]:
    """The labels that a record gives itself ({"values": [{"val": …}]}) or that a service lists ([{"val", "neg"?}])."""
    if value is None:
        return frozenset()
    given = value.get("values") if isinstance(value, dict) else value
    said = [a_text(item.get("val")) for item in dicts(given) if item.get("neg") is not True]
    whole = isinstance(given, list) and len(dicts(given)) == len(given) and None not in said
    return frozenset(label for label in said if label) | (frozenset() if whole else {UNREADABLE})


def visibility(labels: Iterable[str]) -> str:
    """protected for what a service withdrew, community for what only signed-in people may see, else public.

    Unknown where a restriction may stand in what cannot be read: a better copy of the post can still tell.
    """
    labels = frozenset(labels)
    if labels & WITHDRAWN:
        return "protected"
    if SIGNED_IN_ONLY in labels:
        return "community"
    return "unknown" if UNREADABLE in labels else "public"


def handle(value: Any) -> str | None:
    found = a_text(value)
    return found if found and len(found) <= 253 and found != "handle.invalid" else None


def _language(langs: Any) -> dict[str, Any]:
    """The language that an app was set to; with several the post may be in any of them, so it is unknown."""
    said = [langs] if isinstance(langs, str) else a_list(langs)
    match = _LANGUAGE.fullmatch(said[0]) if len(said) == 1 and isinstance(said[0], str) else None
    return {"lang": match[1].lower() if match else None, "lang_source": "client" if match else None}


def _kind(embed: dict[str, Any]) -> str:
    """An embed's kind, such as images; a service's view of it is of the same kind."""
    return str(embed.get("$type")).removeprefix("app.bsky.embed.").removesuffix("#view")


def _quoted(embed: dict[str, Any]) -> str | None:
    record = a_dict(embed.get("record"))
    if _kind(embed) == "recordWithMedia":
        record = a_dict(record.get("record"))
    found = post_address(record.get("uri"))
    return found.uid if found else None


def media(value: Any) -> list[dict[str, Any]] | None:
    """Pictures and videos of an embed, a record's or a service's view of it; an empty alt text is none."""
    embed = a_dict(value)
    if _kind(embed) == "recordWithMedia":
        embed = a_dict(embed.get("media"))
    kind = _kind(embed)
    if kind == "video":
        return [_medium("video", embed, "playlist")]
    pictures = dicts(embed.get({"images": "images", "gallery": "media"}.get(kind, "")))
    return [_medium("photo", item, "fullsize") for item in pictures] or None


def _medium(kind: str, item: dict[str, Any], address_key: str) -> dict[str, Any]:
    ratio = a_dict(item.get("aspectRatio"))
    width, height = _pixels(ratio.get("width")), _pixels(ratio.get("height"))
    return {"kind": kind, "url": a_text(item.get(address_key)), "alt": a_text(item.get("alt")), "w": width, "h": height}


def _pixels(value: Any) -> int | None:
    number = whole_number(value)
    return number if number is not None and 0 <= number < 1 << 31 else None


def _with_card(links: list[dict[str, Any]], embed: dict[str, Any]) -> list[dict[str, Any]]:
    """The text's links and that of the link card, which knows the page's title."""
    if _kind(embed) == "recordWithMedia":
        embed = a_dict(embed.get("media"))
    card = a_dict(embed.get("external"))
    address_given, title = a_text(card.get("uri")), a_text(card.get("title"))
    if address_given is None:
        return links
    if any(link["expanded"] == address_given for link in links):
        return [{**link, "title": title} if link["expanded"] == address_given else link for link in links]
    return [*links, {"short": None, "expanded": address_given, "title": title}]
