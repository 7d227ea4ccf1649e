"""Any table: CSV, JSONL or Parquet with a column of text, its other columns named by a map or by custom."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from townsquare.errors import InputError
from townsquare.ingest import delimited
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, post, quarantine
from townsquare.ingest.text import clean, parse_time, sound, whole_number
from townsquare.ingest.x_v11 import REPOST, STATUS_LINK

NAME = "table"
TABLE = (
    ("reads", "text, and id, created_at, author, lang, likes, reposts, replies, reply_to where there are any"),
    ("reads", "for network x without ids, url: a post's own link holds its id"),
    ("never reads", "other columns"),
    ("quarantines", "rows without text, rows with more or fewer cells than the header, ids that lost their digits"),
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
LONGEST_ID = 200
_ROUNDED = re.compile(r"[+-]?\d+(\.\d*)?[eE]\+?\d+")  # 1.62692E+18: a spreadsheet rounded it, many share it

Row = tuple[int, dict[str, Any] | None, str]
"""Line or row number, the row or None when it is broken, the raw text then."""


def detect(member: Member) -> str | None:
    """Why this can be read as a table, or None."""
    suffix = next((s for s in SUFFIXES if _name(member).endswith(s)), None)
    if suffix is None:
        return None
    start = head(member, 4096)
    if suffix == ".parquet":
        return "it is Parquet" if start.startswith(b"PAR1") else None
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16: to be saved as UTF-8
        return None
    columns = _columns(member, head(member))
    if "text" in _mapping(columns, {}):
        return f"it has a column of text among: {', '.join(columns[:12])}"
    return None


def _name(member: Member) -> str:
    return member.name.lower().removesuffix(".gz").removesuffix(".bz2")


def _columns(member: Member, start: bytes) -> list[str]:
    first = (
        start.removeprefix(b"\xef\xbb\xbf").lstrip(b" \r\n").split(b"\n")[0].decode("utf-8", errors="replace").strip()
    )
    if first.startswith("{"):
        try:
            record = json.loads(first)
        except (ValueError, RecursionError):
            return []
        return list(record) if isinstance(record, dict) else []
    return next(csv.reader([first.replace("\0", "").replace("\r", " ")], delimiter=_delimiter(member)), [])


def _delimiter(member: Member) -> str:
    return "\t" if _name(member).endswith(".tsv") else ","


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
    mappings: dict[tuple[str, ...], dict[str, str]] = {}  # rows of JSONL need not have the same keys
    seen: Counter[bytes] = Counter()
    for place, row, raw in _rows(member):
        if row is None:
            yield quarantine(origin, place, "broken_row", raw)
            continue
        columns = tuple(row)
        if columns not in mappings:
            if not mappings:
                _require(_mapping(list(columns), named), list(columns), member)
            mappings[columns] = _mapping(list(columns), named)
        said = {field: row.get(column) for field, column in mappings[columns].items()}
        yield _post(origin, place, said, config, member, seen) or quarantine(origin, place, "strange_id", said)


def _require(mapping: dict[str, str], columns: list[str], member: Member) -> None:
    missing = sorted(f"{field}={column}" for field, column in mapping.items() if column not in columns)
    if missing or "text" not in mapping:
        raise InputError(
            f"the column of {missing[0]} is not there" if missing else "no column holds the posts' text",
            place=f"{member.name}, columns: {', '.join(map(str, columns[:20]))}",
            remedy="Name it, for example: --column text=" + (str(columns[0]) if columns else "Body"),
        )


def _rows(member: Member) -> Iterator[Row]:
    with member.open() as stream:
        start = head(member, 64).removeprefix(b"\xef\xbb\xbf").lstrip(b" \r\n")
        if start.startswith(b"PAR1"):
            yield from _parquet_rows(stream)
        elif start.startswith(b"{"):
            for number, line in lines(stream):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                yield number, row if isinstance(row, dict) else None, line.decode("utf-8", errors="replace")
        else:
            yield from _delimited_rows(stream, member)


def _delimited_rows(stream: IO[bytes], member: Member) -> Iterator[Row]:
    header: list[str] | None = None
    for number, cells, raw in delimited.rows(stream, _delimiter(member)):
        if header is None:
            header = cells or []
            if cells is None:
                yield number, None, raw
        else:
            fits = cells is not None and len(cells) == len(header)
            yield number, dict(zip(header, cells or [], strict=True)) if fits else None, raw


def _parquet_rows(stream: IO[bytes]) -> Iterator[Row]:
    if not stream.seekable():
        stream = pa.BufferReader(stream.read())
    number = 0
    try:
        file = pq.ParquetFile(stream)
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(f"a column's name is not UTF-8: {error}") from error
    for batch in file.iter_batches(8192):
        columns = [_cells(column) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            number += 1
            yield number, dict(zip(batch.schema.names, cells, strict=True)), ""


def _cells(column: pa.Array) -> list[Any]:
    """A column's values. Raises ArrowInvalid where damage left texts that are none inside lists or structures."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":  # no Python form; no network's times need it
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    try:
        cells: list[Any] = column.to_pylist()
    except UnicodeDecodeError as error:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise pa.ArrowInvalid(f"a text is not UTF-8: {error}") from error
        held = column.cast(pa.large_binary()).to_pylist()
        cells = [None if cell is None else cell.decode("utf-8", errors="replace") for cell in held]
    return cells


def _post(
    origin: Origin, place: int, row: dict[str, Any], config: IngestConfig, member: Member, seen: Counter[bytes]
) -> Item | None:
    """The row's post or quarantine; None when its id cannot be used."""
    raw = row.get("text")
    if not isinstance(raw, str) or not sound(raw).strip():
        return quarantine(origin, place, "no_text", row)
    author = _plain(row.get("author"))
    if author is None and config.author_from == "file":
        author = member.stem
    created = parse_time(row.get("created_at"))
    given, strange = _given_id(row, config.network)
    if strange:
        return None
    repost = REPOST.match(raw) if config.network == "x" else None
    lang = _plain(row.get("lang"))
    fields = {
        "uid": f"{config.network}:{given or _made_id((str(author), str(created[0]), raw), seen)}",
        "network": config.network,
        "author_id": author,
        "author_handle": author,
        "created_at_trust": "client",
        "text_raw": sound(raw),
        "text": clean(raw).strip(),
        "lang": lang,
        "lang_source": "platform" if lang else None,
        "reply_to": f"{config.network}:{parent}" if (parent := _plain(row.get("reply_to"))) else None,
        "repost_of_author": repost[1] if repost else None,
        "likes": whole_number(row.get("likes")),
        "reposts": whole_number(row.get("reposts")),
        "replies": whole_number(row.get("replies")),
        "grant_id": config.grant,
    }
    return post(origin, place, created, fields)


def _plain(value: Any) -> str | None:
    """A cell as short text; null for what is none, and for numbers with a fraction: ids among them lost digits."""
    if value is None or isinstance(value, (float, dict, list)):
        return None
    text = sound(str(value)).strip()
    return text if text and len(text) <= LONGEST_ID and not _ROUNDED.fullmatch(text) else None


def _given_id(row: dict[str, Any], network: str) -> tuple[str | None, bool]:
    """The row's own id, and whether it has one that cannot be used."""
    value = row.get("id")
    if value is not None and str(value).strip():
        found = _plain(value)
        return (found.removeprefix(f"{network}:") if found else None), found is None
    link = STATUS_LINK.fullmatch(str(row.get("url") or "").strip()) if network == "x" else None
    return (link[1] if link else None), False


def _made_id(said: tuple[str, ...], seen: Counter[bytes]) -> str:
    """For a row without an id a hash of author, time and text, numbered where the same was said before."""
    digest = hashlib.sha256("\0".join(said).encode("utf-8", errors="replace")).digest()[:16]
    seen[digest] += 1
    return digest.hex() + (f"-{seen[digest]}" if seen[digest] > 1 else "")
