"""Hacker News: items as its API gives them, one a line or as one array."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from townsquare.ingest.arrays import Damaged, items
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import BROKEN, Member, head, lines
from townsquare.ingest.html import text_of, unescaped
from townsquare.ingest.rows import Item, Items, Origin, event, post, quarantine
from townsquare.ingest.shapes import a_list, a_text
from townsquare.ingest.text import clean, parse_time, sound, whole_number

NAME = "hacker_news"
TABLE = (
    (
        "reads",
        "items of every type as posts: stories, jobs and polls by title and text, comments, the options of polls",
    ),
    ("reads for events only", "items with deleted (gone for good) or dead (held back), never their text"),
    ("never reads", "descendants: it counts all comments below; parts: an option names its poll itself"),
    ("trap", "text is HTML whose paragraphs are not closed, with links cut for display and entities such as &#x27;"),
    ("trap", "a comment does not name its story: it is found by walking the parents that the same file holds"),
    ("trap", "null stands for an item that could not be had; comments have no score"),
    ("quarantines", "null items, items without an id, of an unknown type or without text, damaged stretches"),
)

ROOTS = ("story", "job", "poll")
TYPES = (*ROOTS, "comment", "pollopt")
FIELDS = (
    "by", "dead", "deleted", "descendants", "id", "kids", "parent", "parts", "poll", "score", "text", "time", "title",
    "type", "url",
)  # fmt: skip
ITEM_BEGINS = re.compile(r'\{\s*"(?:' + "|".join(FIELDS) + r')"\s*:')
_DIGITS = re.compile(r"[0-9]{1,18}")


def detect(member: Member) -> str | None:
    """Why this holds items of Hacker News, or None."""
    start = head(member)
    array = start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    found = (item for _, item in _given(io.BytesIO(start), array))
    first = next((item for item in found if isinstance(item, dict)), {})
    ours = first.get("type") in TYPES and _number(first.get("id")) is not None
    told = not {"by", "deleted", "dead"}.isdisjoint(first)
    return f"its items have id, by and a type such as {first['type']}" if ours and told else None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Posts and events, one an item."""
    array = head(member, 64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    roots = _Roots(member, array)
    with member.open() as stream:
        for number, given in _given(stream, array):
            yield _item(origin, number, given, roots, config)


def _given(stream: Any, array: bool) -> Iterator[tuple[int, Any]]:
    if array:
        yield from enumerate(items(stream, ITEM_BEGINS), start=1)
        return
    for number, line in lines(stream):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, Damaged(line[:40_000].decode("utf-8", errors="replace"), str(error))


def _number(value: Any) -> int | None:
    """An item's number, from a number or from digits; 0 and what has a fraction are none."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    text = str(value) if not isinstance(value, int) or abs(value) < 10**18 else ""
    return int(text) or None if _DIGITS.fullmatch(text) else None


def _parent(item: dict[str, Any]) -> int | None:
    return _number(item.get("parent")) or _number(item.get("poll"))


class _Roots:
    """The story, job or poll that each item of a file belongs to, as far as the file holds the way to it."""

    def __init__(self, member: Member, array: bool) -> None:
        known: dict[str, list[int]] = {"id": [], "parent": [], "is_root": []}
        try:
            with member.open() as stream:
                for _, item in _given(stream, array):
                    number = _number(item.get("id")) if isinstance(item, dict) else None
                    if number is not None:
                        known["id"].append(number)
                        known["parent"].append(_parent(item) or 0)
                        known["is_root"].append(item.get("type") in ROOTS)
        except (OSError, RuntimeError, *BROKEN):
            pass  # what comes before the break counts; the reading itself says so
        self._ids, first = np.unique(np.array(known["id"], np.int64), return_index=True)
        self._roots = _climb(self._ids, np.array(known["parent"], np.int64)[first], np.array(known["is_root"])[first])

    def of(self, number: int) -> int | None:
        place = int(np.searchsorted(self._ids, number))
        return int(self._roots[place]) or None if place < len(self._ids) and self._ids[place] == number else None


def _climb(ids: np.ndarray, parents: np.ndarray, is_root: np.ndarray) -> np.ndarray:
    """For each id (sorted) that of the root above it, or 0 where the way ends before one or goes round.

    Every round doubles how far each item has climbed.
    """
    count = len(ids)
    place = np.searchsorted(ids, parents)
    there = (place < count) & (ids[np.minimum(place, count - 1)] == parents) if count else np.zeros(0, bool)
    above = np.append(np.where(is_root, np.arange(count), np.where(there, place, count)), count)
    for _ in range(count.bit_length()):
        above = above[above]
    found = np.append(np.where(is_root, ids, 0), 0)
    return found[above[:count]]


def _item(origin: Origin, place: int, item: Any, roots: _Roots, config: IngestConfig) -> Item:
    if isinstance(item, Damaged):
        return quarantine(origin, place, "broken_json", item.raw, detail=item.why)
    if item is None:
        return quarantine(origin, place, "null_item")
    number = _number(item.get("id")) if isinstance(item, dict) else None
    if number is None:
        return quarantine(origin, place, "no_id", item)
    uid, author = f"hn:{number}", a_text(item.get("by"))
    for flag, kind in (("deleted", "delete"), ("dead", "drop")):
        if item.get(flag) not in (None, False):
            fields = {"kind": kind, "target_uid": uid, "reversible": kind == "drop", "reason": flag}
            return event(origin, place, {**fields, "event_at": None, "received_at": None})
    if item.get("type") not in TYPES:
        return quarantine(origin, place, "unknown_type", item, uid=uid, author_id=author)
    texts = _texts(item)
    if not texts["text"]:
        return quarantine(origin, place, "no_text", item, uid=uid, author_id=author)
    parent, root = _parent(item), roots.of(number)
    kids = item.get("kids")
    fields = {
        "uid": uid,
        "network": "hn",
        "author_id": author,
        "author_handle": author,
        "created_at_trust": "server",
        "text_status": "html_stripped",
        "reply_to": f"hn:{parent}" if parent else None,
        "conversation_root": f"hn:{root}" if root else None,
        "root_source": "derived" if root else None,
        "score": whole_number(item.get("score")),
        "replies": len(a_list(kids)) if isinstance(kids, list) else None,
        "grant_id": config.grant,
        **texts,
    }
    return post(origin, place, parse_time(item.get("time")), fields)


def _texts(item: dict[str, Any]) -> dict[str, Any]:
    """Title and text as one text; the title is no HTML, but for its entities."""
    title, body = a_text(item.get("title")) or "", a_text(item.get("text")) or ""
    text, links = text_of(body)
    own = a_text(item.get("url"))
    return {
        "text_raw": sound("\n\n".join(part for part in (title, body) if part)),
        "text": clean("\n\n".join(part for part in (unescaped(title), text) if part)).strip(),
        "links": [{"short": None, "expanded": sound(link), "title": None} for link in [*([own] if own else []), *links]]
        or None,
    }
