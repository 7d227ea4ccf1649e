"""What the page shows: posts that curation left out, a page at a time, only such as the gate lets anyone see now."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.consent import gate
from townsquare.curate import overrules, tables
from townsquare.curate.rules import personal_data
from townsquare.ingest import tables as posts
from townsquare.records import author_key
from townsquare.square import Square

PER_PAGE = 20
COLUMNS = ("text", "lang", "author_handle")


@dataclasses.dataclass(frozen=True)
class Asked:
    """Which posts: of a rule and, where given, one of its reasons, that hold a text; and which page of them."""

    rule: str = ""
    reason: str = ""
    search: str = ""
    page: int = 1


@dataclasses.dataclass(frozen=True)
class Page:
    """Posts to show (dicts), how many fit in all, and how many of this page may not be shown."""

    posts: list[dict[str, Any]]
    total: int
    hidden: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PER_PAGE))


def reasons(square: Square) -> list[dict[str, Any]]:
    """Rules with their reasons and how many posts each left out, the largest first. The gate's have no samples."""
    dropped = tables.read_dropped(square)
    counts = Counter(zip(dropped["rule"].to_pylist(), dropped["reason"].to_pylist(), strict=True))
    may = overrules.names()
    rules: dict[str, dict[str, Any]] = {}
    for (rule, reason), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        one = rules.setdefault(rule, {"rule": rule, "count": 0, "reasons": [], "judges": rule in may})
        one["count"] += count
        one["reasons"].append((reason, count))
    return sorted(rules.values(), key=lambda one: (not one["judges"], -one["count"], one["rule"]))


def page(square: Square, asked: Asked) -> Page:
    """A page of samples, in an order that follows from the ids alone and has nothing to do with time or author."""
    chosen = pl.DataFrame(pl.from_arrow(tables.read_dropped(square))).filter(pl.col("rule") == asked.rule)
    if asked.reason:
        chosen = chosen.filter(pl.col("reason") == asked.reason)
    if asked.search:
        chosen = chosen.filter(pl.col("uid").is_in(_holding(square, asked.search).implode()))
    here = chosen.sort(pl.col("uid").hash(0), "uid").slice((asked.page - 1) * PER_PAGE, PER_PAGE)
    shown = _shown(square, here)
    return Page(shown, len(chosen), len(here) - len(shown))


def _holding(square: Square, search: str) -> pl.Series:
    """Uids of the posts whose text holds the words, in any case."""
    found = [
        batch["uid"].filter(pc.fill_null(pc.match_substring(batch["text"], search, ignore_case=True), False))
        for batch in posts.posts_dataset(square).to_batches(columns=["uid", "text"], filter="state = 'live'")
    ]
    return pl.Series(pl.from_arrow(pa.chunked_array(found, pa.string())), dtype=pl.String)


def author_of(square: Square, uid: str) -> str | None:
    """The author's key of a post, or null where there is no such post or nobody knows its author."""
    for row in _rows(square, [uid], ["network", "author_id"]).to_pylist():
        return author_key(row["network"], row["author_id"]) if row["author_id"] else None
    return None


def _rows(square: Square, uids: list[str], columns: list[str]) -> pa.Table:
    names = ", ".join("'" + uid.replace("'", "''") + "'" for uid in uids)
    return posts.read_posts(square, columns, f"uid IN ({names})")


def _shown(square: Square, chosen: pl.DataFrame) -> list[dict[str, Any]]:
    """The chosen posts as they would have been learned, personal data masked, in order."""
    if chosen.is_empty():
        return []
    table = _rows(square, chosen["uid"].to_list(), list(dict.fromkeys([*gate.COLUMNS, *COLUMNS])))
    consent, day = posts.read_consent(square), gate.today()
    refused = [gate.refusals(table, consent, purpose, day).is_valid() for purpose in gate.LEARNING]
    table = table.filter(pc.invert(pc.and_(*refused)))
    masked, _ = personal_data.mask(pl.Series(table["text"].to_pylist(), dtype=pl.String).fill_null(""))
    texts = dict(zip(table["uid"].to_pylist(), masked.to_list(), strict=True))
    rows = {
        row["uid"]: row for row in table.select(["uid", "network", "author_id", *COLUMNS, "created_at"]).to_pylist()
    }
    keys = overrules.standing(square)
    made = []
    for uid, rule, reason in chosen.select("uid", "rule", "reason").iter_rows():
        if uid in rows:
            row = rows[uid]
            author = author_key(row["network"], row["author_id"]) if row["author_id"] else None
            kept = "post" if (rule, uid, None) in keys else "author" if (rule, None, author) in keys else ""
            made.append(row | {"text": texts[uid], "rule": rule, "reason": reason, "author": author, "kept": kept})
    return made
