"""X API v2: pages ({"data", "includes", "errors", "meta"}), one a line or one a file, and flattened posts."""

from __future__ import annotations

import json
from typing import Any

from townsquare.ingest import x_pages, x_words
from townsquare.ingest.ahead import ahead
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, line_batches
from townsquare.ingest.rows import Items, Origin, Row, post, quarantine
from townsquare.ingest.shapes import a_dict, a_flag, a_list, a_text, dicts
from townsquare.ingest.text import sound, whole_number, without_mentions, x_created, x_id, x_text, x_uid
from townsquare.ingest.x_page_schema import METRICS

NAME = "x_api_v2"
TABLE = (
    ("reads", "data, includes (tweets as posts too, users, media), errors; posts with what was requested of them"),
    ("never reads", "people's names, descriptions and places; polls; annotations"),
    ("trap", "note_tweet holds the whole text of long posts; a repost's own text is cut"),
    ("quarantines", "pages of users, lists or counts; errors; references that the page cannot give"),
)

LARGEST_SINGLE_PAGE = 256 << 20
PAGE_KEYS = {"data", "includes", "meta", "errors"}
BATCH_BYTES = 8 << 20


def detect(member: Member) -> str | None:
    """Why this is X API v2, or None."""
    start = head(member).lstrip(b"\xef\xbb\xbf \r\n")
    if not start.startswith(b"{"):
        return None
    try:
        record = json.loads(start.split(b"\n")[0])
    except (ValueError, RecursionError):
        # A first line longer than what was read, or a page printed over many lines.
        fits = b'"edit_history_tweet_ids"' in start or b'"public_metrics"' in start or b'"author_id"' in start
        return "it looks like a page with posts' fields" if fits else None
    if not isinstance(record, dict):
        return None
    if PAGE_KEYS & record.keys() and not isinstance(record.get("data"), str):
        return "its lines are pages with data, includes, meta or errors"
    known = {"edit_history_tweet_ids", "public_metrics", "conversation_id"} & record.keys()
    return "its lines are flattened posts" if {"id", "text"} <= record.keys() and known else None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Posts of data and includes; everything else a quarantine row."""
    page = _single_page(member)
    if page is not None:
        yield from _page(origin, "1", page, config)
        return
    with member.open() as stream:
        for batch, (table, left, errors) in ahead(
            line_batches(stream, BATCH_BYTES), lambda batch: x_pages.read(batch, origin, config.grant)
        ):
            if len(table):
                yield "posts", table
            for i in left:
                yield from _line(origin, *batch[i], config)
            for number, found in errors:
                for i, error in enumerate(found):
                    yield _error(origin, f"{number}:errors:{i}", error)


def _line(origin: Origin, number: int, line: bytes, config: IngestConfig) -> Items:
    try:
        page = json.loads(line)
    except (ValueError, RecursionError):
        yield quarantine(origin, number, "broken_json", line)
        return
    yield from _page(origin, str(number), page, config)


def _single_page(member: Member) -> Any:
    """A file that is one page printed over many lines, or None."""
    start = head(member).lstrip(b"\xef\xbb\xbf \r\n")
    if len(start.split(b"\n", 1)[0].strip()) > 200 or b"\n" not in start:
        return None
    try:
        json.loads(start.split(b"\n", 1)[0])
        return None
    except (ValueError, RecursionError):
        pass
    try:
        with member.open() as stream:
            return json.loads(stream.read(LARGEST_SINGLE_PAGE).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _page(origin: Origin, place: str, page: Any, config: IngestConfig) -> Items:
    if not isinstance(page, dict):
        yield quarantine(origin, place, "not_a_page", page)
        return
    if "data" not in page and {"id", "text"} <= page.keys():
        page = _unflatten(page)
    includes = a_dict(page.get("includes"))
    users = {str(user.get("id")): user for user in dicts(includes.get("users"))}
    media = {str(item.get("media_key")): item for item in dicts(includes.get("media"))}
    found = False
    for where, records in (("data", page.get("data")), ("includes", includes.get("tweets"))):
        for i, record in enumerate(_each(records)):
            found = True
            yield _post(origin, f"{place}:{where}:{i}", record, (users, media), config)
    for i, error in enumerate(_each(page.get("errors"))):
        found = True
        yield _error(origin, f"{place}:errors:{i}", error)
    if not found:
        yield quarantine(origin, place, "no_posts", page)


def _each(value: Any) -> list[Any]:
    """What stands under a key: a list's items whatever they are, one thing as a list of it, nothing as none."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _error(origin: Origin, place: str, error: Any) -> Row:
    said = a_dict(error)
    uid = x_uid(said.get("resource_id")) if said.get("resource_type") == "tweet" else None
    reason = "unavailable" if "resource_id" in said or "resource_type" in said else "api_error"
    detail = a_text(said.get("type")) or a_text(said.get("title"))
    return quarantine(origin, place, reason, error, detail=detail, uid=uid)


def _unflatten(record: dict[str, Any]) -> dict[str, Any]:
    """A flattened post as a page: its author and media stand inside it, so do the posts that it refers to."""
    references = [r for r in dicts(record.get("referenced_tweets")) if "text" in r]
    authors = [record.get("author"), *(r.get("author") for r in references)]
    media = dicts(a_dict(record.get("attachments")).get("media"))
    return {"data": record, "includes": {"tweets": references, "users": dicts(authors), "media": media}}


def _post(
    origin: Origin,
    place: str,
    given: Any,
    known: tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]],
    config: IngestConfig,
) -> Row:
    record = a_dict(given)
    own_id = x_id(record.get("id"))
    if own_id is None or not isinstance(record.get("text"), str):
        return quarantine(origin, place, "not_a_post", given)
    uid = f"x:{own_id}"
    users, media = known
    author_id = x_id(record.get("author_id"))
    user = users.get(author_id or "") or {}
    references = {str(r.get("type")): x_uid(r.get("id")) for r in dicts(record.get("referenced_tweets"))}
    body = record["note_tweet"] if _has_note(record) else record
    created = x_created(record.get("created_at"), own_id)
    root = x_uid(record.get("conversation_id"))
    fields = {
        "uid": uid,
        "network": "x",
        "author_id": author_id,
        "author_handle": a_text(user.get("username")),
        "created_at_trust": "server" if created[0] else None,
        "text_status": _status(record, references),
        "lang": a_text(record.get("lang")),
        "lang_source": "platform" if a_text(record.get("lang")) else None,
        "reply_to": references.get("replied_to"),
        "reply_to_author": x_id(record.get("in_reply_to_user_id")),
        "conversation_root": root,
        "root_source": "platform" if root else None,
        "quote_of": references.get("quoted"),
        "repost_of": references.get("retweeted"),
        "source_app": a_text(record.get("source")),
        "sensitive": a_flag(record.get("possibly_sensitive")),
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
    return isinstance(a_dict(record.get("note_tweet")).get("text"), str)


def _status(record: dict[str, Any], references: dict[str, str | None]) -> str:
    cut = x_words.cut_short(record["text"], repost="retweeted" in references)
    return "note_joined" if _has_note(record) else "truncated" if cut else "full"


def _texts(body: dict[str, Any], references: dict[str, str | None]) -> dict[str, Any]:
    entities = a_dict(body.get("entities"))
    urls = dicts(entities.get("urls"))
    links = [
        {
            "short": a_text(url.get("url")),
            "expanded": a_text(url.get("unwound_url")) or a_text(url.get("expanded_url")),
            "title": a_text(url.get("title")),
        }
        for url in urls
    ]
    drop = x_words.dropped(links, [url.get("media_key") is not None for url in urls], references.get("quoted"))
    raw = text = body["text"]
    if "replied_to" in references:
        text = without_mentions(raw, {str(m.get("username")) for m in dicts(entities.get("mentions"))})
    return {"text_raw": sound(raw), "text": x_text(text, links, drop), "links": links or None}


def _edits(record: dict[str, Any], uid: str) -> dict[str, Any]:
    history = [found for i in a_list(record.get("edit_history_tweet_ids")) if (found := x_uid(i))]
    return {
        "edit_history": history or None,
        "edit_of": history[0] if history and history[0] != uid else None,
        "is_latest_edit": history[-1] == uid if history else None,
    }


def _metrics(record: dict[str, Any]) -> dict[str, Any]:
    metrics = a_dict(record.get("public_metrics"))
    return {field: whole_number(metrics.get(name)) for field, name in METRICS.items()}


def _withheld(record: dict[str, Any]) -> dict[str, Any]:
    withheld = a_dict(record.get("withheld"))
    countries = sorted({country for code in a_list(withheld.get("country_codes")) if (country := a_text(code))})
    return {
        "withheld_countries": countries or None,
        "withheld_copyright": a_flag(withheld.get("copyright")),
        "withheld_scope": a_text(withheld.get("scope")),
    }


def _media(record: dict[str, Any], known: dict[str, dict[str, Any]]) -> list[dict[str, Any]] | None:
    keys = a_list(a_dict(record.get("attachments")).get("media_keys"))
    said = {str(item.get("media_key")): a_text(item.get("alt_text")) for item in dicts(record.get("media_metadata"))}
    return [
        {
            "kind": a_text(item.get("type")),
            "url": a_text(item.get("url")) or a_text(item.get("preview_image_url")),
            "alt": a_text(item.get("alt_text")) or said.get(str(key)),
            "w": _pixels(item.get("width")),
            "h": _pixels(item.get("height")),
        }
        for key in keys
        if (item := known.get(str(key)))
    ] or None


def _pixels(value: Any) -> int | None:
    number = whole_number(value)
    return number if number is not None and 0 <= number < 1 << 31 else None
