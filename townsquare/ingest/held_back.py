"""Quarantined inputs of posts that must be gone: the row stays, to be counted, and what it held goes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

import numpy as np
import polars as pl
import pyarrow as pa

from townsquare.ingest import store
from townsquare.records import NETWORKS, QUARANTINE
from townsquare.square import Square
from townsquare.traces import Texts, rows_holding

READS = ("uid", "author_id", "raw", "detail")
_WORDS = re.compile(r"[^\s\"'<>,;{}\[\]\\]+")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.S)
SHORTEST_ID = 6  # a shorter number in an input says nothing of whose it is


def blank(square: Square, uids: Iterable[str], authors: Iterable[str]) -> int:
    """Empty what was quarantined of these posts and authors (NETWORK:ID); returns how many rows were."""
    return _blank(square, lambda table: holds(table, uids, authors))


def blank_texts(square: Square, texts: Texts) -> int:
    """Empty quarantined inputs that hold one of the texts, as it is or as JSON writes it."""
    return _blank(square, lambda table: holds_text(table, texts))


def holds(table: pa.Table, uids: Iterable[str], authors: Iterable[str]) -> np.ndarray:
    """For each row (columns READS) whether it still has content of one of the posts or authors (NETWORK:ID).

    A row that could not be understood belongs to a post when the post's id stands in it as a word.
    """
    wanted = pl.Series("uid", list(uids), dtype=pl.String)
    names = [name.split(":", 1) for name in authors]
    ids = pl.Series([rest for network, rest in names if network in NETWORKS], dtype=pl.String)
    frame = pl.DataFrame(pl.from_arrow(table.select(list(READS))))
    said = frame.select(pl.col("raw", "detail").fill_null(""))
    known = frame["uid"].is_in(wanted.implode()) | frame["author_id"].is_in(ids.implode())
    local = wanted.str.replace("^[^:]*:", "").unique()
    local = local.filter(local.str.len_chars() >= SHORTEST_ID)
    result = known.fill_null(False) & ((said["raw"] != "") | (said["detail"] != ""))
    for column in said:
        result |= _with_word(column, local)
    return result.to_numpy()


def _with_word(column: pl.Series, ids: pl.Series) -> pl.Series:
    """Whether any of the ids stands in a text as a word. The few that hold one anywhere are looked at closely."""
    if not len(ids) or not len(column):
        return pl.Series([False] * len(column), dtype=pl.Boolean)
    likely, wanted = column.str.contains_any(ids.to_list()), frozenset(ids)
    sure = [
        hit and not wanted.isdisjoint(word.strip(":") for word in _WORDS.findall(text))
        for hit, text in zip(likely, column, strict=True)
    ]
    return pl.Series(sure, dtype=pl.Boolean)


def holds_text(table: pa.Table, texts: Texts) -> np.ndarray:
    """For each row whether it still has one of the texts."""
    written = table["raw"].to_pylist()
    return rows_holding(written, texts) | rows_holding([unescaped(text) for text in written], texts)


def unescaped(text: str | None) -> str | None:
    """A text in which JSON's escapes are what they stand for; a broken one stays."""
    return _ESCAPE.sub(_meant, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace") if text else text


def _meant(match: re.Match[str]) -> str:
    try:
        said: str = json.loads(f'"{match[0]}"')
    except ValueError:
        return match[0]
    return said


def _blank(square: Square, which: Callable[[pa.Table], np.ndarray]) -> int:
    table = store.dataset(square, "quarantine").to_table()
    hits = table.filter(pa.array(which(table)))
    if not len(hits):
        return 0
    store.mark_purge(square)
    for name in ("raw", "detail"):
        index = hits.schema.get_field_index(name)
        hits = hits.set_column(index, QUARANTINE.field(name), pa.nulls(len(hits), pa.string()))
    store.upsert(square, "quarantine", hits)
    return len(hits)
