"""Posts in X's v1.1 form, as streams and archives hold them: entities beside the text, other posts inside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from townsquare.ingest.config import IngestConfig
from townsquare.ingest.rows import Item, Items, Origin, post, quarantine
from townsquare.ingest.shapes import a_dict, a_flag, a_list, a_text, dicts
from townsquare.ingest.text import is_cut, sound, whole_number, without_mentions, x_created, x_id, x_text, x_uid

NESTED = ("retweeted_status", "quoted_status")
OWN_MEDIA = re.compile(r"https?://(?:(?:www|mobile)\.)?(?:twitter|x)\.com/(\w+)/status/(\d+)/(?:photo|video)/\d")
STATUS_LINK = re.compile(
    r"https?://(?:(?:www|mobile)\.)?(?:twitter|x)\.com/(?:i/web|\w+)/status(?:es)?/([0-9]{1,20})(?:[/?].*)?"
)
REPOST = re.compile(r"RT @(\w{1,15}): ", re.ASCII)
MENTIONS = re.compile(r"(?:@\w+\s+)+", re.ASCII)
Links = list[dict[str, Any]]


def is_post(record: dict[str, Any]) -> bool:
    """Whether an object claims to be a post of this form, whole or not."""
    return bool(record.keys() & {"text", "full_text"}) and bool(record.keys() & {"id", "id_str"})


def posts(
    origin: Origin, place: Any, record: dict[str, Any], config: IngestConfig, observed_at: datetime | None
) -> Items:
    """A post and those inside it, each a row of its own: they carry later counts, and texts that no other line has.

    `observed_at` is when the source saw them; unknown, the ones inside were seen when the outer was made.
    """
    waiting: list[tuple[Any, Any, datetime | None]] = [(place, record, observed_at)]
    while waiting:
        where, given, seen_at = waiting.pop()
        item = _post(origin, where, given, config, seen_at)
        yield item
        for name in NESTED:
            inside = a_dict(given).get(name)
            if inside is not None:
                waiting.append((f"{where}:{name}", inside, seen_at or item[1].get("created_at")))


def _post(origin: Origin, place: Any, given: Any, config: IngestConfig, seen_at: datetime | None) -> Item:
    record = a_dict(given)
    own_id = id_of(record)
    raw, body = _body(record)
    if own_id is None or raw is None:
        return quarantine(origin, place, "not_a_post", given)
    user = a_dict(record.get("user"))
    fields = {
        "uid": f"x:{own_id}",
        "network": "x",
        "author_id": id_of(user),
        "author_handle": a_text(user.get("screen_name")),
        "created_at_trust": "server",
        "observed_at": seen_at,
        "visibility": visibility(record, user),
        "grant_id": config.grant,
        **_withheld(record, user),
    }
    if record.get("retweeted_status") is not None:
        fields |= _repost(a_dict(record["retweeted_status"]))
    else:
        fields |= _own_content(record, own_id, raw, body)
    return post(origin, place, x_created(record.get("created_at"), own_id), fields)


def _repost(original: dict[str, Any]) -> dict[str, Any]:
    """A repost is an edge: its text and counts are the original's, cut, and the original has a row of its own."""
    number = id_of(original)
    author = a_text(a_dict(original.get("user")).get("screen_name"))
    return {
        "repost_of": f"x:{number}" if number else None,
        "repost_of_author": None if number else author,
        "text_raw": None,
        "text": None,
        "text_status": "missing",
    }


def _own_content(record: dict[str, Any], own_id: str, raw: str, body: dict[str, Any]) -> dict[str, Any]:
    parent = x_uid(record.get("in_reply_to_status_id_str")) or x_uid(record.get("in_reply_to_status_id"))
    lang = a_text(record.get("lang"))
    links = links_of(body)
    quote, drop = _quote(record, own_id, raw, links)
    text = _without_prefix(raw, body, parent is not None)
    return {
        "text_raw": sound(raw),
        "text": x_text(text, links, [*drop, *media_links(body)]),
        "text_status": _status(record, raw, body),
        "lang": lang,
        "lang_source": "platform" if lang else None,
        "reply_to": parent,
        "reply_to_author": x_id(record.get("in_reply_to_user_id_str")) or x_id(record.get("in_reply_to_user_id")),
        "quote_of": quote,
        "likes": whole_number(record.get("favorite_count")),
        "reposts": whole_number(record.get("retweet_count")),
        "replies": whole_number(record.get("reply_count")),
        "quotes": whole_number(record.get("quote_count")),
        "source_app": app(record.get("source")),
        "sensitive": a_flag(record.get("possibly_sensitive")),
        "links": links or None,
        "media": media_of(body),
        **_edits(record, f"x:{own_id}"),
    }


def id_of(record: dict[str, Any]) -> str | None:
    """The id of a post or user: its text form first, for the number may have been rounded."""
    return x_id(record.get("id_str")) or x_id(record.get("id"))


def _body(record: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The fullest text, and the object that holds the entities that belong to it."""
    extended = a_dict(record.get("extended_tweet"))
    for holder, name in ((extended, "full_text"), (record, "full_text"), (record, "text")):
        if isinstance(holder.get(name), str):
            return holder[name], holder
    return None, record


def _status(record: dict[str, Any], raw: str, body: dict[str, Any]) -> str:
    said = a_flag(record.get("truncated"))
    if body is not record:
        return "full"
    return "truncated" if said or (said is None and is_cut(raw)) else "full"


def visibility(record: dict[str, Any], user: dict[str, Any]) -> str:
    """Public only if the author is said not to be protected, and the post not to be for subscribers or a community."""
    if user.get("protected") is not False:
        return "protected" if user.get("protected") is True else "unknown"
    return narrowed(record) or "public"


def narrowed(record: dict[str, Any]) -> str | None:
    """What a post itself says of a smaller audience."""
    if a_dict(record.get("scopes")).get("followers") is True:
        return "followers"
    return "community" if record.get("community_id_str") or record.get("community_id") else None


def _withheld(record: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    own, whole = (_countries(holder.get("withheld_in_countries")) for holder in (record, user))
    said = a_text(record.get("withheld_scope"))
    return {
        "withheld_countries": sorted(own | whole) or None,
        "withheld_copyright": a_flag(record.get("withheld_copyright")),
        "withheld_scope": said or ("user" if whole else "status" if own else None),
    }


def _countries(value: Any) -> set[str]:
    """Country codes, from a list or, in early payloads, from "GR, HK"."""
    given = value.split(",") if isinstance(value, str) else a_list(value)
    return {code for item in given if isinstance(item, str) and (code := sound(item).strip().upper())}


def _edits(record: dict[str, Any], uid: str) -> dict[str, Any]:
    """The versions of a post, oldest first; only payloads since September 2022 tell."""
    versions = [found for i in a_list(a_dict(record.get("edit_history")).get("edit_tweet_ids")) if (found := x_uid(i))]
    return {
        "edit_history": versions or None,
        "edit_of": versions[0] if versions and versions[0] != uid else None,
        "is_latest_edit": versions[-1] == uid if versions else None,
    }


def entities(record: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A post's entities of one kind; extended ones take the place of the same in the plain list."""
    found: dict[str, dict[str, Any]] = {}
    for holder in ("entities", "extended_entities"):
        for item in dicts(a_dict(record.get(holder)).get(name)):
            found[str(item.get("id_str") or item.get("url") or item.get("screen_name"))] = item
    return list(found.values())


def links_of(body: dict[str, Any]) -> Links:
    return [
        {"short": a_text(url.get("url")), "expanded": a_text(url.get("expanded_url")), "title": None}
        for url in entities(body, "urls")
    ]


def media_links(body: dict[str, Any]) -> list[str]:
    """The t.co links that stand in a text for its own media."""
    return [short for item in entities(body, "media") if (short := a_text(item.get("url")))]


def last_quoted(raw: str, links: Links) -> tuple[str, str] | None:
    """The id of the post that a text's last link leads to, and that link: X shows it as a quote."""
    if not links or not links[-1]["short"] or not raw.rstrip().endswith(links[-1]["short"]):
        return None
    expanded = links[-1]["expanded"] or ""
    match = STATUS_LINK.fullmatch(expanded)
    return (match[1], links[-1]["short"]) if match and not OWN_MEDIA.match(expanded) else None


def _quote(record: dict[str, Any], own_id: str, raw: str, links: Links) -> tuple[str | None, Iterator[str]]:
    """What a post quotes, and the links that stand for it or for the post's own whole text."""
    number = id_of(a_dict(record.get("quoted_status"))) or x_id(record.get("quoted_status_id_str"))
    number = number or x_id(record.get("quoted_status_id"))
    drop = {str(a_dict(record.get("quoted_status_permalink")).get("url") or "")}
    if number is None and record.get("is_quote_status") is not False and (last := last_quoted(raw, links)):
        number = last[0] if last[0] != own_id else None
    for link in links:
        match = STATUS_LINK.fullmatch(link["expanded"] or "")
        if match and link["short"] and match[1] in (number, own_id) and not OWN_MEDIA.match(link["expanded"]):
            drop.add(link["short"])
    return (f"x:{number}" if number else None), filter(None, sorted(drop))


def _without_prefix(raw: str, body: dict[str, Any], reply: bool) -> str:
    """A text without the @names that X puts in front of a reply: as far as the display range says, if it says."""
    start = (a_list(body.get("display_text_range")) or [None])[0]
    if start == 0 or (isinstance(start, int) and start > 0 and MENTIONS.fullmatch(raw[:start])):
        return raw[start:]
    names = {str(mention.get("screen_name")) for mention in entities(body, "user_mentions")}
    return without_mentions(raw, names) if reply else raw


def app(source: Any) -> str | None:
    """The app's name inside the link that `source` is."""
    match = re.search(r">([^<]*)<", source) if isinstance(source, str) else None
    return a_text(match[1]) if match else None


def media_of(body: dict[str, Any]) -> list[dict[str, Any]] | None:
    return [
        {
            "kind": a_text(item.get("type")),
            "url": a_text(item.get("media_url_https")) or a_text(item.get("media_url")),
            "alt": a_text(item.get("ext_alt_text")) or a_text(item.get("media_alt")),
            "w": _pixels(item, "w"),
            "h": _pixels(item, "h"),
        }
        for item in entities(body, "media")
    ] or None


def _pixels(item: dict[str, Any], side: str) -> int | None:
    number = whole_number(a_dict(a_dict(item.get("sizes")).get("large")).get(side))
    return number if number is not None and 0 <= number < 1 << 31 else None
