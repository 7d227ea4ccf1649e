"""Any table: CSV, JSONL or Parquet with a column of text, its other columns named by a map or by custom."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import pyarrow.parquet as pq

from townsquare.errors import InputError
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, post, quarantine
from townsquare.ingest.text import clean, parse_time, sound, whole_number

NAME = "table"
TABLE = (
    ("reads", "text, and id, created_at, author, lang, likes, reposts, replies, reply_to, url where there are any"),
    ("never reads", "other columns"),
    ("quarantines", "rows without text, rows with more or fewer cells than the header"),
)

CUSTOM: dict[str, tuple[str, ...]] = {
    "text": ("text", "body", "content", "full_text", "message", "post"),
    "id": ("id", "post_id", "tweet_id", "status_id"),
    "created_at": ("created_at", "datetime", "date", "timestamp", "time", "published"),
    "author": ("author", "user", "username", "handle", "screen_name", "author_id", "account"),
    "lang": ("lang", "language"),
    "likes": ("likes", "favorites", "favourites", "like_count", "favorite_count"),
    "reposts": ("reposts", "retweets", "repost_count", "retweet_count", "shares"),
    "replies": ("replies", "reply_count", "comments"),
    "reply_to": ("reply_to", "in_reply_to", "parent_id"),
    "url": ("url", "link", "permalink"),
}
"""The columns that each field is looked for under, case aside, when the map does not name one."""

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def detect(member: Member) -> str | None:
    """Why this can be read as a table, or None."""
    suffix = next((s for s in SUFFIXES if member.name.lower().removesuffix(".gz").endswith(s)), None)
    if suffix is None:
        return None
    start = head(member, 4096)
    if suffix == ".parquet":
        return "it is Parquet" if start.startswith(b"PAR1") else None
    columns = _columns(member, start)
    if _mapping(columns, {}).get("text") is not None:
        return f"it has a column of text among: {', '.join(columns[:12])}"
    return None


def _columns(member: Member, start: bytes) -> list[str]:
    first = start.lstrip(b"\xef\xbb\xbf \r\n").split(b"\n")[0].decode("utf-8", errors="replace").strip()
    if first.startswith("{"):
        try:
            record = json.loads(first)
        except ValueError:
            return []
        return list(record) if isinstance(record, dict) else []
    return next(csv.reader([first], delimiter=_delimiter(member)), [])


def _delimiter(member: Member) -> str:
    return "\t" if ".tsv" in member.name.lower() else ","


def _mapping(columns: list[str], named: dict[str, str]) -> dict[str, str]:
    by_lower = {column.strip().lower(): column for column in columns}
    mapping = dict(named)
    for field, customs in CUSTOM.items():
        found = next((by_lower[custom] for custom in customs if custom in by_lower), None)
        if field not in mapping and found is not None:
            mapping[field] = found
    return mapping


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """Posts, one a row. Raises InputError when there is no column of text."""
    named = dict(pair.split("=", 1) for pair in config.column)
    unknown = sorted(named.keys() - CUSTOM.keys())
    if unknown:
        raise InputError(f"there is no field {unknown[0]!r}", remedy="Fields are: " + ", ".join(CUSTOM))
    mapping: dict[str, str] | None = None
    seen: Counter[bytes] = Counter()
    for place, row, raw in _rows(member):
        if row is None:
            yield quarantine(origin, place, "broken_row", raw)
            continue
        if mapping is None:
            mapping = _mapping(list(row), named)
            _require(mapping, list(row), member)
        yield _post(origin, place, {field: row.get(column) for field, column in mapping.items()}, config, member, seen)


def _require(mapping: dict[str, str], columns: list[str], member: Member) -> None:
    missing = sorted(f"{field}={column}" for field, column in mapping.items() if column not in columns)
    if missing or "text" not in mapping:
        raise InputError(
            f"the column of {missing[0]} is not there" if missing else "no column holds the posts' text",
            place=f"{member.name}, columns: {', '.join(map(str, columns[:20]))}",
            remedy="Name it, for example: --column text=" + (str(columns[0]) if columns else "Body"),
        )


def _rows(member: Member) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """(line or row number, the row or None when it is broken, the raw text then)."""
    with member.open() as stream:
        if ".parquet" in member.name.lower():
            number = 0
            for batch in pq.ParquetFile(stream).iter_batches(8192):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row, ""
        elif head(member, 64).lstrip(b"\xef\xbb\xbf \r\n").startswith(b"{"):
            for number, line in lines(stream):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                yield number, row if isinstance(row, dict) else None, line.decode("utf-8", errors="replace")
        else:
            yield from _csv_rows(stream, _delimiter(member))


def _csv_rows(stream: IO[bytes], delimiter: str) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
    reader = csv.reader((line.replace("\0", "") for line in text), delimiter=delimiter)
    header = next(reader, [])
    for cells in reader:
        if cells:
            fits = len(cells) == len(header)
            yield (
                reader.line_num,
                dict(zip(header, cells, strict=True)) if fits else None,
                delimiter.join(cells),
            )


def _post(
    origin: Origin, place: int, row: dict[str, Any], config: IngestConfig, member: Member, seen: Counter[bytes]
) -> Item:
    raw = row.get("text")
    if not isinstance(raw, str) or not raw.strip():
        return quarantine(origin, place, "no_text", json.dumps(row, default=str, ensure_ascii=False))
    author = row.get("author")
    if author is None and config.author_from == "file":
        author = member.stem
    author = sound(str(author)).strip() or None if author is not None else None
    created = parse_time(row.get("created_at"))
    uid = _uid(row.get("id"), (str(author), str(created[0]), raw), config.network, seen)
    if uid is None:
        return quarantine(origin, place, "strange_id", json.dumps(row, default=str, ensure_ascii=False))
    parent = _known_id(row.get("reply_to"), config.network)
    fields = {
        "uid": uid,
        "network": config.network,
        "author_id": author,
        "author_handle": author,
        "created_at_trust": "client",
        "text_raw": sound(raw),
        "text": clean(raw).strip(),
        "lang": str(row["lang"]) if row.get("lang") else None,
        "lang_source": "platform" if row.get("lang") else None,
        "reply_to": parent,
        "likes": whole_number(row.get("likes")),
        "reposts": whole_number(row.get("reposts")),
        "replies": whole_number(row.get("replies")),
        "grant_id": config.grant,
    }
    return post(origin, place, created, fields)


def _known_id(value: Any, network: str) -> str | None:
    text = "" if value is None or isinstance(value, float) else sound(str(value)).strip()
    return f"{network}:{text}" if text and len(text) <= 200 else None


def _uid(given: Any, said: tuple[str, ...], network: str, seen: Counter[bytes]) -> str | None:
    """The given id; without one a hash of author, time and text, numbered where the same was said before."""
    if given is not None and given != "":
        return _known_id(given, network)
    digest = hashlib.sha256("\0".join(said).encode("utf-8", errors="replace")).digest()[:16]
    seen[digest] += 1
    return f"{network}:{digest.hex()}" + (f"-{seen[digest]}" if seen[digest] > 1 else "")
