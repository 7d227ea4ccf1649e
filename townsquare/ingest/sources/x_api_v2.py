"""X API v2: pages ({"data", "includes", "errors", "meta"}), one a line or one a file, and flattened posts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, post, quarantine
from townsquare.ingest.text import parse_time, sound, whole_number, x_id, x_text, x_uid

NAME = "x_api_v2"
TABLE = (
    ("reads", "data, includes (tweets as posts too, users, media), errors; posts with what was requested of them"),
    ("trap", "note_tweet holds the whole text of long posts; a repost's own text is cut"),
    ("quarantines", "pages of users, lists or counts; errors; references that the page cannot give"),
)

LARGEST_SINGLE_PAGE = 256 << 20
PAGE_KEYS = {"data", "includes", "meta", "errors"}
METRICS = {
    "likes": "like_count",
    "reposts": "retweet_count",
    "replies": "reply_count",
    "quotes": "quote_count",
    "views": "impression_count",
    "bookmarks": "bookmark_count",
}


def detect(member: Member) -> str | None:
    """Why this is X API v2, or None."""
    start = head(member).lstrip(b"\xef\xbb\xbf \r\n")
    if not start.startswith(b"{"):
        return None
    try:
        record = json.loads(start.split(b"\n")[0])
    except ValueError:
        # A first line longer than what was read, or a page printed over many lines.
        fits = b'"edit_history_tweet_ids"' in start or b'"public_metrics"' in start or b'"author_id"' in start
        return "it looks like a page with posts' fields" if fits else None
    if not isinstance(record, dict):
        return None
    if PAGE_KEYS & record.keys() and not isinstance(record.get("data"), str):
        return "its lines are pages with data, includes, meta or errors"
    if {"id", "text"} <= record.keys() and {
        "edit_history_tweet_ids",
        "public_metrics",
        "conversation_id",
    } & record.keys():
        return "its lines are flattened posts"
    return None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Posts of data and includes; everything else a quarantine row."""
    with member.open() as stream:
        for number, line in lines(stream):
            if number == 1 and line == b"{":
                break
            try:
                page = json.loads(line)
            except (ValueError, RecursionError):
                yield quarantine(origin, number, "broken_json", line)
                continue
            yield from _page(origin, str(number), page, config)
        else:
            return
    yield from _single_page(member, origin, config)


def _single_page(member: Member, origin: Origin, config: IngestConfig) -> Items:
    with member.open() as stream:
        text = stream.read(LARGEST_SINGLE_PAGE)
    try:
        page = json.loads(text)
    except (ValueError, RecursionError):
        yield quarantine(origin, 1, "broken_json", text[:1000])
        return
    yield from _page(origin, "1", page, config)


def _page(origin: Origin, place: str, page: Any, config: IngestConfig) -> Items:
    if not isinstance(page, dict):
        yield quarantine(origin, place, "not_a_page", json.dumps(page))
        return
    if "data" not in page and {"id", "text"} <= page.keys():
        page = _unflatten(page)
    includes = page.get("includes") if isinstance(page.get("includes"), dict) else {}
    assert isinstance(includes, dict)
    users = {user.get("id"): user for user in _dicts(includes.get("users"))}
    media = {item.get("media_key"): item for item in _dicts(includes.get("media"))}
    found = False
    for where, records in (("data", page.get("data")), ("includes", includes.get("tweets"))):
        for i, record in enumerate(_dicts(records)):
            found = True
            yield _post(origin, f"{place}:{where}:{i}", record, (users, media), config)
    for i, error in enumerate(_dicts(page.get("errors"))):
        found = True
        uid = x_uid(error.get("resource_id")) if error.get("resource_type") == "tweet" else None
        reason = "unavailable" if "resource_id" in error or "resource_type" in error else "api_error"
        detail = str(error.get("type") or error.get("title"))
        yield quarantine(origin, f"{place}:errors:{i}", reason, json.dumps(error), detail=detail, uid=uid)
    if not found:
        yield quarantine(origin, place, "no_posts", json.dumps(page)[:200])


def _unflatten(record: dict[str, Any]) -> dict[str, Any]:
    """A flattened post as a page: its author and media stand inside it, so do the posts that it refers to."""
    references = [r for r in _dicts(record.get("referenced_tweets")) if "text" in r]
    authors = [record.get("author"), *(r.get("author") for r in references)]
    attachments = record.get("attachments") if isinstance(record.get("attachments"), dict) else {}
    assert isinstance(attachments, dict)
    includes = {"tweets": references, "users": _dicts(authors), "media": _dicts(attachments.get("media"))}
    return {"data": record, "includes": includes}


def _dicts(value: Any) -> list[dict[str, Any]]:
    """A list's objects; one object alone counts as a list of it, and anything else as none."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _post(
    origin: Origin,
    place: str,
    record: dict[str, Any],
    known: tuple[dict[Any, dict[str, Any]], dict[Any, dict[str, Any]]],
    config: IngestConfig,
) -> Item:
    uid = x_uid(record.get("id"))
    if uid is None or not isinstance(record.get("text"), str):
        return quarantine(origin, place, "not_a_post", json.dumps(record)[:2000])
    users, media = known
    author_id = x_id(record.get("author_id"))
    user = users.get(author_id) or {}
    references = {r.get("type"): x_uid(r.get("id")) for r in _dicts(record.get("referenced_tweets"))}
    body = record["note_tweet"] if _has_note(record) else record
    created = parse_time(record.get("created_at"))
    replied = references.get("replied_to")
    root = x_uid(record.get("conversation_id"))
    fields = {
        "uid": uid,
        "network": "x",
        "author_id": author_id,
        "author_handle": _text(user.get("username")),
        "created_at_trust": "server" if created[0] else None,
        "text_status": _status(record, references),
        "lang": _text(record.get("lang")),
        "lang_source": "platform" if record.get("lang") else None,
        "reply_to": replied,
        "reply_to_author": x_id(record.get("in_reply_to_user_id")),
        "conversation_root": root,
        "root_source": "platform" if root else None,
        "quote_of": references.get("quoted"),
        "repost_of": references.get("retweeted"),
        "source_app": _text(record.get("source")),
        "sensitive": record.get("possibly_sensitive") if isinstance(record.get("possibly_sensitive"), bool) else None,
        "visibility": "protected" if user.get("protected") is True else "public",
        "grant_id": config.grant,
        **_texts(body, references),
        **_edits(record, uid),
        **_metrics(record),
        **_withheld(record),
        "media": _media(record, media),
    }
    return post(origin, place, created, fields)


def _has_note(record: dict[str, Any]) -> bool:
    note = record.get("note_tweet")
    return isinstance(note, dict) and isinstance(note.get("text"), str)


def _text(value: Any) -> str | None:
    return sound(value) if isinstance(value, str) and value else None


def _status(record: dict[str, Any], references: dict[Any, str | None]) -> str:
    cut = "retweeted" in references and record["text"].rstrip().endswith("…")
    return "note_joined" if _has_note(record) else "truncated" if cut else "full"


def _texts(body: dict[str, Any], references: dict[Any, str | None]) -> dict[str, Any]:
    entities = body.get("entities") if isinstance(body.get("entities"), dict) else {}
    assert isinstance(entities, dict)
    links, drop = [], []
    for url in _dicts(entities.get("urls")):
        short, expanded = _text(url.get("url")), _text(url.get("unwound_url") or url.get("expanded_url"))
        links.append({"short": short, "expanded": expanded, "title": _text(url.get("title"))})
        quoted = references.get("quoted")
        own = "media_key" in url or (expanded or "").endswith(("/photo/1", "/video/1"))
        if short and (own or (quoted and (expanded or "").split("?")[0].endswith("/" + quoted.removeprefix("x:")))):
            drop.append(short)
    raw = body["text"]
    return {
        "text_raw": sound(raw),
        "text": x_text(_without_mentions(raw, entities, references), links, drop),
        "links": links,
    }


def _without_mentions(raw: str, entities: dict[str, Any], references: dict[Any, str | None]) -> str:
    """A reply's text without the @names that X puts in front of it."""
    if "replied_to" not in references:
        return raw
    names = {str(m.get("username")).lower() for m in _dicts(entities.get("mentions"))}
    words = raw.split(" ")
    while len(words) > 1 and words[0].startswith("@") and words[0][1:].lower() in names:
        words.pop(0)
    return " ".join(words)


def _edits(record: dict[str, Any], uid: str) -> dict[str, Any]:
    history = [x_uid(i) for i in record.get("edit_history_tweet_ids") or [] if x_uid(i)]
    if len(history) < 2:
        return {"edit_history": history or None, "is_latest_edit": True if history else None}
    return {
        "edit_history": history,
        "edit_of": history[0] if history[0] != uid else None,
        "is_latest_edit": history[-1] == uid,
    }


def _metrics(record: dict[str, Any]) -> dict[str, Any]:
    metrics = record.get("public_metrics")
    return {k: whole_number(metrics.get(v)) for k, v in METRICS.items()} if isinstance(metrics, dict) else {}


def _withheld(record: dict[str, Any]) -> dict[str, Any]:
    withheld = record.get("withheld")
    if not isinstance(withheld, dict):
        return {}
    countries = [c for c in withheld.get("country_codes") or [] if isinstance(c, str)]
    copyrighted = withheld.get("copyright")
    return {
        "withheld_countries": countries or None,
        "withheld_copyright": copyrighted if isinstance(copyrighted, bool) else None,
        "withheld_scope": _text(withheld.get("scope")),
    }


def _media(record: dict[str, Any], known: dict[Any, dict[str, Any]]) -> list[dict[str, Any]] | None:
    attachments = record.get("attachments")
    keys: Iterator[Any] | list[Any] = attachments.get("media_keys") or [] if isinstance(attachments, dict) else []
    found = [known.get(key) for key in keys if isinstance(key, str)]
    return [
        {
            "kind": _text(item.get("type")),
            "url": _text(item.get("url") or item.get("preview_image_url")),
            "alt": _text(item.get("alt_text")),
            "w": whole_number(item.get("width")),
            "h": whole_number(item.get("height")),
        }
        for item in found
        if item
    ] or None
