"""Quarantined inputs of posts that must be gone: the row stays, to be counted, and what it held goes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from townsquare.ingest import store
from townsquare.records import NETWORKS, QUARANTINE
from townsquare.square import Square
from townsquare.traces import rows_holding

READS = ("uid", "author_id", "raw", "detail")
_WORDS = re.compile(r"[^\s\"'<>,;{}\[\]\\]+")
SHORTEST_ID = 6  # a shorter number in an input says nothing of whose it is


def blank(square: Square, uids: Iterable[str], authors: Iterable[str]) -> int:
    """Empty what was quarantined of these posts and authors (NETWORK:ID); returns how many rows were."""
    return _blank(square, lambda table: holds(table, uids, authors))


def blank_texts(square: Square, texts: Sequence[str]) -> int:
    """Empty quarantined inputs that hold one of the texts, as it is or as JSON writes it."""
    return _blank(square, lambda table: holds_text(table, texts))


def holds(table: pa.Table, uids: Iterable[str], authors: Iterable[str]) -> list[bool]:
    """For each row (columns READS) whether it still has content of one of the posts or authors (NETWORK:ID).

    A row that could not be understood belongs to a post when the post's id stands in it as a word.
    """
    wanted, names = set(uids), set(authors)
    local = {word for uid in wanted if len(word := uid.split(":", 1)[-1]) >= SHORTEST_ID}
    result = []
    for row in table.to_pylist():
        whole = [row["raw"] or "", row["detail"] or ""]
        by_author = row["author_id"] and any(f"{network}:{row['author_id']}" in names for network in NETWORKS)
        known = row["uid"] in wanted or bool(by_author)
        result.append(any(whole) and (known or any(not local.isdisjoint(_words(text)) for text in whole)))
    return result


def _words(text: str) -> Iterator[str]:
    return (word.strip(":") for word in _WORDS.findall(text))


def holds_text(table: pa.Table, texts: Sequence[str]) -> list[bool]:
    """For each row whether it still has one of the texts."""
    written = [
        form for text in texts for form in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    ]
    return rows_holding(table["raw"].to_pylist(), written)


def _blank(square: Square, which: Callable[[pa.Table], list[bool]]) -> int:
    table = store.dataset(square, "quarantine").to_table()
    hits = table.filter(pa.array(which(table), pa.bool_()))
    if not len(hits):
        return 0
    store.mark_purge(square)
    for name in ("raw", "detail"):
        index = hits.schema.get_field_index(name)
        hits = hits.set_column(index, QUARANTINE.field(name), pa.nulls(len(hits), pa.string()))
    store.upsert(square, "quarantine", hits)
    return len(hits)
