"""Takedown in the raw tables: tombstones emptied, quarantined copies removed, old versions physically gone."""

from __future__ import annotations

from collections.abc import Sequence

import lance
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.ingest import store
from townsquare.square import Square

CHUNK = 5_000


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Remove the posts' content for good. Suppressed posts keep theirs, unread, until they are freed or deleted."""
    if not store.path(square, "posts").is_dir():
        return {"posts": 0, "quarantine": 0}
    emptied = sum(
        store.dataset(square, "posts").count_rows(filter=f"state = 'deleted' AND uid IN ({_quoted(part)})")
        for part in _parts(uids)
    )
    quarantine, removed = store.dataset(square, "quarantine"), 0
    for part in _parts(uids):
        condition = f"uid IN ({_quoted(part)})"
        removed += quarantine.count_rows(filter=condition)
        quarantine.delete(condition)
        quarantine = store.dataset(square, "quarantine")
    store.purge(square)
    return {"posts": emptied, "quarantine": removed}


def _parts(uids: frozenset[str]) -> list[list[str]]:
    ordered = sorted(uids)
    return [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]


def _quoted(uids: Sequence[str]) -> str:
    return ", ".join("'" + uid.replace("'", "''") + "'" for uid in uids)


def find(square: Square, uids: frozenset[str], texts: Sequence[str]) -> dict[str, int]:
    """Count rows, in every version of the tables, that still hold content of the posts."""
    if not store.path(square, "posts").is_dir():
        return {"posts": 0, "quarantine": 0}
    wanted = pa.array(sorted(uids), pa.string())
    return {
        "posts": sum(
            _in_posts(table, wanted, texts)
            for table in _versions(square, "posts", ["uid", "state", "text", "text_raw"])
        ),
        "quarantine": sum(
            _in_quarantine(table, wanted, texts) for table in _versions(square, "quarantine", ["uid", "raw"])
        ),
    }


def _versions(square: Square, name: str, columns: list[str]) -> list[pa.Table]:
    newest = store.dataset(square, name)
    numbers = [version["version"] for version in newest.versions()]
    return [lance.dataset(store.path(square, name), version=n).to_table(columns=columns) for n in numbers]


def _in_posts(table: pa.Table, wanted: pa.Array, texts: Sequence[str]) -> int:
    # A suppressed post keeps its text by design; its reversal brings it back without another ingest.
    table = table.filter(pc.not_equal(table["state"], "suppressed"))
    has_text = pc.or_(pc.is_valid(table["text"]), pc.is_valid(table["text_raw"]))
    by_uid = pc.and_(pc.is_in(table["uid"], wanted), has_text)
    by_text = pc.is_in(pc.fill_null(table["text"], ""), pa.array(list(texts), pa.string()))
    return int(pc.sum(pc.or_(by_uid, by_text)).as_py() or 0)


def _in_quarantine(table: pa.Table, wanted: pa.Array, texts: Sequence[str]) -> int:
    hits = pc.sum(pc.is_in(table["uid"], wanted)).as_py() or 0
    raw = [text for text in table["raw"].to_pylist() if text]
    return int(hits) + sum(any(text in row for text in texts) for row in raw)
