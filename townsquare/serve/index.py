"""The index: a Lance table of posts that may be retrieved, with a full-text index over their text (BM25)."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.errors import StaleError
from townsquare.records import UTC
from townsquare.serve import meaning
from townsquare.serve.words import sentences
from townsquare.square import Square

if TYPE_CHECKING:
    from lance import LanceDataset

COLUMNS = (
    "uid", "network", "author_id", "author_handle", "created_at", "lang", "likes", "reply_to", "text",
)  # fmt: skip
"""The columns of records.POSTS that the index holds as they are."""

INDEX = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("network", pa.string(), nullable=False),
        pa.field("author_id", pa.string()),
        pa.field("author_handle", pa.string()),
        pa.field("created_at", UTC),
        pa.field("lang", pa.string()),
        pa.field("likes", pa.int64()),
        pa.field("reply_to", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("is_question", pa.bool_(), nullable=False),
        pa.field("url", pa.string()),
    ]
)


def path(square: Square) -> Path:
    return square.index / "posts.lance"


def dataset(square: Square) -> LanceDataset:
    """The live index. Raises StaleError when there is none."""
    import lance

    if not path(square).is_dir():
        raise StaleError("there is no index in this square yet", remedy="Run first: townsquare index")
    return lance.dataset(path(square))


def url_of(uid: str, network: str, handle: str | None) -> str | None:
    """Where the network shows a post, or None where a uid does not tell."""
    rest = uid.removeprefix(f"{network}:")
    if network == "x" and rest.isdigit():
        return f"https://x.com/{quote(handle or 'i', safe='')}/status/{rest}"
    if network == "bsky" and rest.count("/") == 4 and "/app.bsky.feed.post/" in rest:
        did, _, key = rest.removeprefix("at://").split("/")
        return f"https://bsky.app/profile/{quote(did, safe=':')}/post/{quote(key, safe='')}"
    if network == "hn" and rest.isdigit():
        return f"https://news.ycombinator.com/item?id={rest}"
    if network == "masto" and rest.startswith("https://"):
        return quote(rest, safe=":/@?=&%~+,;!-._")
    return None


def rows(posts: pa.Table) -> pa.Table:
    """Index rows (INDEX) of posts (COLUMNS of records.POSTS), sorted by uid."""
    table = posts.select(list(COLUMNS)).sort_by("uid")
    texts = table["text"].to_pylist()
    places = zip(
        table["uid"].to_pylist(), table["network"].to_pylist(), table["author_handle"].to_pylist(), strict=True
    )
    table = table.append_column(
        "is_question", pa.array([any(map(meaning.asks, sentences(text))) for text in texts], pa.bool_())
    )
    table = table.append_column("url", pa.array([url_of(*place) for place in places], pa.string()))
    return table.select(INDEX.names).cast(INDEX)


def digest(table: pa.Table) -> str:
    """SHA-256 (hex) of the rows by uid: the same posts give the same digest, however Lance lays them out."""
    sha = hashlib.sha256()
    for row in table.select(INDEX.names).sort_by("uid").to_pylist():
        sha.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return sha.hexdigest()


def write(square: Square, table: pa.Table) -> None:
    """Put a new index of these rows in the place of the old one, whole or not at all."""
    import lance

    partial = square.index / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    lance.write_dataset(table, partial / "posts.lance", schema=INDEX)
    add_search(lance.dataset(partial / "posts.lance"))
    shutil.rmtree(path(square), ignore_errors=True)
    (partial / "posts.lance").rename(path(square))
    partial.rmdir()


def add_search(table: LanceDataset) -> None:
    """Build the full-text index anew, and drop every older version of the table and of the index.

    A full-text index has a dictionary of all words: after rows have left, only a new one is without theirs.
    """
    if table.count_rows():
        table.create_scalar_index(
            "text",
            "INVERTED",
            name="text",
            replace=True,
            base_tokenizer="simple",
            stem=True,
            lower_case=True,
            ascii_folding=True,
            remove_stop_words=False,
            with_position=False,
        )
        # Without these two every search would pass over all rows: at 1M posts 15 and 30 ms, with them 1 and 2.
        table.create_scalar_index("is_question", "BITMAP", name="is_question", replace=True)
        table.create_scalar_index("reply_to", "BTREE", name="reply_to", replace=True)
    table.cleanup_old_versions(older_than=dt.timedelta(0), delete_unverified=True)


@dataclasses.dataclass(frozen=True)
class Match:
    """A post of the index that holds a word of the query, or replies to one that does; as it was indexed."""

    uid: str
    text: str
    reply_to: str | None


MATCH = ["uid", "text", "reply_to"]


def match(table: LanceDataset, query: str, *, asks: bool, limit: int, where: str | None = None) -> list[Match]:
    """The posts that hold any word of the query, by BM25, best first; those that only ask, or the others.

    `where` is a further SQL condition on columns, or None.
    """
    from lance.query import MatchQuery

    found = table.scanner(
        columns=[*MATCH, "_score"],
        full_text_query=MatchQuery(query, "text"),
        filter=_both(f"is_question = {str(asks).lower()}", where),
        prefilter=True,
        limit=limit,
    ).to_table()
    return _matches(found.sort_by([("_score", "descending"), ("uid", "ascending")]))


def count(table: LanceDataset, word: str) -> int:
    """How many posts hold a word, by the index's own stems."""
    from lance.query import MatchQuery

    scanner = table.scanner(columns=["_score"], with_row_id=True, full_text_query=MatchQuery(word, "text"))
    return int(scanner.count_rows())


def near(table: LanceDataset, word: str, limit: int = 20) -> list[str]:
    """Texts that hold a word one letter off."""
    from lance.query import MatchQuery

    query = MatchQuery(word, "text", fuzziness=1, max_expansions=20)
    found: list[str] = (
        table.scanner(columns=["text", "_score"], full_text_query=query, limit=limit).to_table()["text"].to_pylist()
    )
    return found


def replies(table: LanceDataset, parents: Sequence[str], *, limit: int, where: str | None = None) -> list[Match]:
    """The posts that reply to any of these, by uid; `where` as for match."""
    if not parents:
        return []
    condition = _both(f"reply_to IN ({quoted(parents)})", where)
    return _matches(table.scanner(columns=MATCH, filter=condition, limit=limit).to_table().sort_by("uid"))


def _matches(found: pa.Table) -> list[Match]:
    return [Match(*row) for row in zip(*(found[name].to_pylist() for name in MATCH), strict=True)]


def _both(condition: str, where: str | None) -> str:
    return f"{condition} AND {where}" if where else condition


def newest(table: LanceDataset) -> dt.datetime | None:
    """When the newest post was written."""
    found: dt.datetime | None = pc.max(table.to_table(columns=["created_at"])["created_at"]).as_py()
    return found


def quoted(uids: Sequence[str]) -> str:
    """Uids as the inside of an SQL list."""
    return ", ".join("'" + uid.replace("'", "''") + "'" for uid in uids)
