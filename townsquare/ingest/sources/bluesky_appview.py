"""Bluesky as an app sees it: feeds, threads, searches and lists of records as JSON, and tables made of them.

Each post stands in a view with its author, its counts and its labels; what it replies to and quotes stands
beside it, as views of their own, which are posts too.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from townsquare.ingest.arrays import Damaged, items
from townsquare.ingest.bluesky_accounts import Told, made, profile_event, record_rows
from townsquare.ingest.bluesky_posts import (
    POST,
    REPOST,
    SIGNED_IN_ONLY,
    Address,
    Author,
    address,
    handle,
    labels_in,
    media,
    post_row,
)
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, post, quarantine
from townsquare.ingest.shapes import a_dict, a_list, dicts
from townsquare.ingest.text import parse_time, whole_number

NAME = "bluesky_appview"
TABLE = (
    ("reads", "feeds, threads, searches and lists of posts; parents, roots and quoted posts in them as posts too"),
    ("reads", "records with their address ({uri, value}), and flattened posts ({uri, text, like_count, …})"),
    ("reads to hold back", "labels of posts and authors: !no-unauthenticated is community, a withdrawal protected"),
    ("never reads", "viewer (what the asking account did), display names, avatars, cards' descriptions"),
    ("trap", "a view does not say when it was made: it is taken as seen at the latest indexedAt beside it"),
    ("trap", "replies that the thread's author hid are labelled hidden_by_thread, detached quotes detached_quote"),
    ("quarantines", "posts not found, blocked or detached; what is no view of a post; damaged stretches"),
)
LISTS = ("feed", "posts", "records")
LARGEST_DOCUMENT_BYTES = 256 << 20
METRICS = {
    "likes": ("likeCount", "like_count"),
    "reposts": ("repostCount", "repost_count"),
    "replies": ("replyCount", "reply_count"),
    "quotes": ("quoteCount", "quote_count"),
    "bookmarks": ("bookmarkCount", "bookmark_count"),
}
HIDDEN, DETACHED = "hidden_by_thread", "detached_quote"
GONE = ("notFoundPost", "blockedPost", "viewNotFound", "viewBlocked", "viewDetached")
THREAD_ITEM = "app.bsky.unspecced.defs#threadItem"
_BEGINS = re.compile(r'\{\s*"(?:post|uri|cid|\$type)"\s*:')
_LIST = re.compile(r'"(?:feed|posts|records)"\s*:\s*(?=\[)')


@dataclasses.dataclass(frozen=True)
class Found:
    """One thing in a page: a view of a post, a repost's reason with what it shares, or what is unavailable or odd."""

    kind: str
    view: dict[str, Any]
    shared: Any = None


def detect(member: Member) -> str | None:
    """Why this is Bluesky as an app sees it, or None."""
    start = head(member).lstrip(b"\xef\xbb\xbf \r\n")
    if not start.startswith((b"{", b"[")) or b"at://did:" not in start:
        return None
    try:
        record = json.loads(start.split(b"\n")[0])
    except (ValueError, RecursionError):
        fits = b'"uri"' in start and (b'"record"' in start or b'"value"' in start or b'"text"' in start)
        return "it looks like a page with posts' at:// addresses" if fits else None
    for item in record if isinstance(record, list) else [record]:
        if any(found.kind != "odd" for found in _found(item)):
            return "it holds posts by their at:// addresses"
    return None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Posts, reposts, and a quarantine row for whatever else stands in a page."""
    for place, value in _values(member):
        if isinstance(value, Damaged):
            yield quarantine(origin, place, "broken_json", value.raw, detail=value.why)
        else:
            yield from _page(origin, place, value, config)


def _values(member: Member) -> Iterator[tuple[str, Any]]:
    """Pages, views or records with their places: one a line, or the only one, or those of one array."""
    start = head(member).lstrip(b"\xef\xbb\xbf \r\n")
    with member.open() as stream:
        if start.startswith(b"["):
            yield from ((str(number), item) for number, item in enumerate(items(stream, _BEGINS), start=1))
        elif _is_lines(start):
            for number, line in lines(stream):
                yield from _document(str(number), line)
        else:
            yield from _document("1", stream.read(LARGEST_DOCUMENT_BYTES))


def _is_lines(start: bytes) -> bool:
    """Whether each line stands for itself: a document over many lines goes on indented or with a name."""
    _, _, rest = start.partition(b"\n")
    return rest[:1] not in (b" ", b"\t", b'"') or any(map(_is_whole, start.split(b"\n")))


def _is_whole(line: bytes) -> bool:
    try:
        return line.startswith(b"{") and bool(a_dict(json.loads(line)))
    except (ValueError, RecursionError):
        return False


def _document(place: str, data: bytes) -> Iterator[tuple[str, Any]]:
    """One page; of a damaged one what is whole in its list, and what is not."""
    try:
        yield place, json.loads(data.decode("utf-8-sig"))
        return
    except (ValueError, RecursionError) as error:
        text, why = data.decode("utf-8-sig", errors="replace"), str(error)
    listed = _LIST.search(text)
    if listed is None:
        yield place, Damaged(text, why)
        return
    yield f"{place}:start", Damaged(text[: listed.end()], why)
    inside = io.BytesIO(text[listed.end() :].encode())
    yield from ((f"{place}:{number}", item) for number, item in enumerate(items(inside, _BEGINS), start=1))


def _page(origin: Origin, place: str, page: Any, config: IngestConfig) -> Items:
    found = list(_found(page))
    views = [item.view for item in found]
    seen_at = max((when for view in views if (when := parse_time(view.get("indexedAt"))[0])), default=None)
    hidden = {reply: root for view in views for reply, root in _hidden(view)}
    for number, item in enumerate(found):
        told = Told(origin, f"{place}:{number}", "", seen_at)
        yield from _rows(told, item, hidden, config)
    for did, labels in sorted(_closed(views)):
        about = Told(origin, place, did, seen_at)
        yield profile_event(about, {"labels": [{"val": label} for label in sorted(labels)]})
    if not found:
        yield quarantine(origin, place, "no_posts", page)


def _found(page: Any) -> Iterator[Found]:
    """Everything in a page, in the order in which it stands there; a thread may be nested as deep as JSON can be."""
    stack = [page]
    while stack:
        item = stack.pop()
        view = a_dict(item)
        inside = _inside(view)
        if inside is not None:
            stack += reversed(inside)
            reason, shared = a_dict(view.get("reason")), a_dict(view.get("post")).get("uri")
            if "by" in reason and "uri" in reason:
                yield Found("repost", reason, shared)
        elif _unavailable(view):
            yield Found("unavailable", view)
        elif "uri" in view and _record(view) is not None:
            stack += reversed(_quoted(view))
            yield Found("post", view)
        else:
            yield Found("odd", view, item)


def _inside(view: dict[str, Any]) -> list[Any] | None:
    """What a page, a thread or an item of a feed holds; None where it is none of them."""
    if str(a_dict(view.get("value")).get("$type")) == f"{THREAD_ITEM}Post":
        return [view["value"]]
    if "uri" in view:
        return None
    if "post" in view:
        reply = a_dict(view.get("reply"))
        around = [reply.get("root"), reply.get("parent"), view.get("parent"), *a_list(view.get("replies"))]
        return [view["post"], *(item for item in around if item is not None)]
    if "thread" in view:
        return view["thread"] if isinstance(view["thread"], list) else [view["thread"]]
    lists = [view[name] for name in LISTS if isinstance(view.get(name), list)]
    return [item for found in lists for item in found] if lists else None


def _unavailable(view: dict[str, Any]) -> str | None:
    """Why a view has no post in it, in the network's word, or None."""
    for kind in (str(view.get("$type")), str(a_dict(view.get("value")).get("$type"))):
        name = kind.rpartition("#")[2]
        if name in GONE or kind.startswith(THREAD_ITEM):
            return name
    return next((word for word in ("notFound", "blocked", "detached") if view.get(word) is True), None)


def _record(view: dict[str, Any]) -> dict[str, Any] | None:
    """The record that a view is of; a flattened post is one, but for what it does not tell of replies."""
    for key in ("record", "value"):
        if isinstance(view.get(key), dict):
            found: dict[str, Any] = view[key]
            return found
    if not isinstance(view.get("text"), str):
        return None
    record = {**view, "createdAt": view.get("createdAt") or view.get("created_at")}
    if view.get("is_reply") is not False and "reply" not in view:
        record["reply"] = None
    return record


def _quoted(view: dict[str, Any]) -> list[dict[str, Any]]:
    """Views of the posts that a view's post quotes; lists, feeds and the like are none."""
    found = []
    for embed in (a_dict(view.get("embed")), *dicts(view.get("embeds"))):
        record = a_dict(embed.get("record"))
        record = a_dict(record.get("record")) if "uri" not in record else record
        if "uri" in record and (_unavailable(record) or isinstance(record.get("value"), dict)):
            found.append(record)
    return found


def _closed(views: list[dict[str, Any]]) -> set[tuple[str, frozenset[str]]]:
    """Authors in a page who ask to be shown to signed-in people alone: their other posts are held back too."""
    authors = [(at, _author(at, a_dict(view.get("author")))) for view in views if (at := address(view.get("uri")))]
    return {(at.did, author.labels) for at, author in authors if SIGNED_IN_ONLY in author.labels}


def _hidden(view: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Replies that a thread's own author hid, each with the thread's root."""
    gate, root = a_dict(view.get("threadgate")), address(view.get("uri"))
    by = address(gate.get("uri"))
    if root is not None and by is not None and by.did == root.did:
        replies = a_list(a_dict(gate.get("record")).get("hiddenReplies"))
        yield from ((reply, view["uri"]) for reply in replies if isinstance(reply, str))


def _rows(told: Told, item: Found, hidden: dict[str, str], config: IngestConfig) -> list[Item]:
    at, view = address(item.view.get("uri")), item.view
    if at is None or item.kind == "odd":
        return [quarantine(told.origin, told.place, "not_a_post", view or item.shared)]
    told = dataclasses.replace(told, did=at.did)
    if item.kind == "unavailable":
        uid = at.uid if at.collection == POST else None
        return [
            quarantine(told.origin, told.place, "unavailable", detail=_unavailable(view), uid=uid, author_id=at.did)
        ]
    author = _author(at, a_dict(view.get("by") if item.kind == "repost" else view.get("author")))
    if item.kind == "repost":
        record: dict[str, Any] = {"subject": {"uri": item.shared}, "createdAt": view.get("indexedAt")}
    else:
        record = _record(view) or {}
    if at.collection == POST:
        return [_post(told, at, (view, record), author, hidden, config)]
    if at.collection == REPOST:
        return [made(told, at, record, author, config.grant)]
    return record_rows(told, at.collection, record)


def _author(at: Address, view: dict[str, Any]) -> Author:
    """The author's view, where it is of the one whom the address names."""
    return Author(handle(view.get("handle")), labels_in(view.get("labels"))) if view.get("did") == at.did else Author()


def _post(
    told: Told,
    at: Address,
    given: tuple[dict[str, Any], dict[str, Any]],
    author: Author,
    hidden: dict[str, str],
    config: IngestConfig,
) -> Item:
    view, record = given
    labels = set(labels_in(view.get("labels")))
    root = a_dict(a_dict(record.get("reply")).get("root")).get("uri")
    if isinstance(root, str) and hidden.get(at.uri) == root:
        labels.add(HIDDEN)
    if any(_unavailable(quoted) in ("viewDetached", "detached") for quoted in _quoted(view)):
        labels.add(DETACHED)
    row = post_row(at, record, author, told.at, labels)
    if row is None:
        return quarantine(told.origin, told.place, "not_a_post", record, uid=at.uid, author_id=at.did)
    shown = {"media": seen} if (seen := media(view.get("embed"))) else {}
    return post(told.origin, told.place, row[0], {**row[1], **shown, **_counts(view), "grant_id": config.grant})


def _counts(view: dict[str, Any]) -> dict[str, int | None]:
    return {
        field: next((count for name in names if (count := whole_number(view.get(name))) is not None), None)
        for field, names in METRICS.items()
    }
