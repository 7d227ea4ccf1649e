"""The text of a Bluesky post: what is linked in it stands beside it, by bytes (facets) or UTF-16 units (entities)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from townsquare.ingest.shapes import a_dict, a_text, dicts
from townsquare.ingest.text import sound

_WEB = re.compile(r"https?://(?:www\.)?", re.IGNORECASE)

Span = tuple[int, int, str | None]
"""Where a facet begins and ends in the encoded text, and the address it links to, if it is a link."""


def text_and_links(record: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """A post's text with shortened addresses written out, and the links in it."""
    raw = record["text"]
    codec, spans = "utf-8", list(_facets(record.get("facets")))
    if not spans:
        codec, spans = "utf-16-le", list(_entities(record.get("entities")))
    if not spans:
        return raw, []
    data = raw.encode(codec, "surrogatepass")
    pieces, links, done = [], [], 0
    for start, end, uri in sorted(_fitting(data, spans, codec), key=lambda span: span[:2]):
        if start < done:
            continue  # it overlaps the one before
        shown = data[start:end].decode(codec, "surrogatepass")
        pieces += [data[done:start].decode(codec, "surrogatepass"), _written_out(shown, uri)]
        done = end
        if uri:
            links.append({"short": sound(shown) or None, "expanded": uri, "title": None})
    pieces.append(data[done:].decode(codec, "surrogatepass"))
    return "".join(pieces), links


def _facets(value: Any) -> Iterator[Span]:
    """Facets count bytes of UTF-8; the end is not part."""
    for facet in dicts(value):
        index = a_dict(facet.get("index"))
        uri = next((uri for f in dicts(facet.get("features")) if (uri := a_text(f.get("uri")))), None)
        if (place := _place(index.get("byteStart"), index.get("byteEnd"))) is not None:
            yield (*place, uri)


def _entities(value: Any) -> Iterator[Span]:
    """What posts of 2022 have instead of facets: it counts UTF-16 units, here doubled to bytes."""
    for item in dicts(value):
        index, is_link = a_dict(item.get("index")), item.get("type") == "link"
        if (place := _place(index.get("start"), index.get("end"))) is not None:
            yield 2 * place[0], 2 * place[1], a_text(item.get("value")) if is_link else None


def _place(start: Any, end: Any) -> tuple[int, int] | None:
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (start, end))
    return (start, end) if whole else None


def _fitting(data: bytes, spans: list[Span], codec: str) -> Iterator[Span]:
    """The spans inside the text that cut no character in two."""
    for start, end, uri in spans:
        if 0 <= start < end <= len(data) and not any(_cuts(data, place, codec) for place in (start, end)):
            yield start, end, uri


def _cuts(data: bytes, place: int, codec: str) -> bool:
    if place == len(data):
        return False
    return data[place] & 0xC0 == 0x80 if codec == "utf-8" else data[place + 1] & 0xFC == 0xDC


def _written_out(shown: str, uri: str | None) -> str:
    """A link's address in place of its shortened form; a link behind other words leaves the words."""
    if uri is None or not _WEB.match(uri) or "." not in shown:
        return shown
    short = _WEB.sub("", shown.strip()).removesuffix("…").removesuffix("...").rstrip("/")
    return uri if short and _WEB.sub("", uri).lower().startswith(short.lower()) else shown
