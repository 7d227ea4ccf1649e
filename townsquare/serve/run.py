"""The index stage: posts -> the retrieval index."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from townsquare import receipts
from townsquare.consent import gate
from townsquare.consent.inputs import grants_input, in_force_input
from townsquare.ingest import tables
from townsquare.progress import progress
from townsquare.receipts import Receipt
from townsquare.serve import index, words
from townsquare.serve.config import IndexConfig
from townsquare.square import Square

BATCH = 20_000
NEEDED = tuple(dict.fromkeys([*gate.COLUMNS, *index.COLUMNS, "is_latest_edit"]))


def run(square: Square, config: IndexConfig) -> Receipt:
    """Index the posts that a grant lets be retrieved. Raises GrantError when that is none, StaleError without posts."""
    day = gate.today()
    inputs = [tables.posts_input(square), grants_input(square), in_force_input(square, day)]
    with receipts.stage(square, "index", inputs=inputs, config=config) as work:
        if work.done:
            return work.done
        posts = tables.read_posts(square, columns=NEEDED)
        reasons = reasons_to_leave_out(square, posts, config, day)
        kept = posts.filter(pc.is_null(reasons))
        parts = []
        with progress("Indexing", len(kept), "posts") as bar:
            for start in range(0, len(kept), BATCH):
                parts.append(index.rows(kept.slice(start, BATCH)))
                bar.advance(len(parts[-1]))
        table = pa.concat_tables(parts) if parts else index.INDEX.empty_table()
        index.write(square, table)
        dropped = Counter(reason for reason in reasons.to_pylist() if reason)
        work.count(seen=len(posts), kept=len(table), dropped=dict(sorted(dropped.items())))
        newest = pc.max(table["created_at"]).as_py()
        work.results.update(
            questions=int(pc.sum(table["is_question"]).as_py() or 0),
            newest=newest.date().isoformat() if newest else None,
            outputs={"index": index.digest(table)},
        )
    return work.receipt


def reasons_to_leave_out(square: Square, posts: pa.Table, config: IndexConfig, at: dt.date) -> pa.Array:
    """For each post why it is not in the index, or null: the gate's reasons first, then those of the index."""
    reasons = gate.refusals(posts, tables.read_consent(square), "retrieve", at)
    gate.require_any(reasons, "retrieve")
    own = _own_reasons(posts, pc.is_null(reasons), config)
    return pc.coalesce(reasons, own)


def _own_reasons(posts: pa.Table, allowed: pa.Array, config: IndexConfig) -> pa.Array:
    """repost, superseded, short or copy. Of texts that are alike the earliest post stays."""
    order = pc.sort_indices(posts, [("created_at", "ascending"), ("uid", "ascending")])
    columns = ("text", "text_status", "repost_of", "repost_of_author", "is_latest_edit")
    row = {name: posts[name].to_pylist() for name in columns}
    may = allowed.to_pylist()
    found: list[str | None] = [None] * len(posts)
    seen: set[str] = set()
    for i in order.to_pylist():
        if not may[i]:
            continue
        print_ = words.fingerprint(row["text"][i] or "")
        if row["repost_of"][i] is not None or row["repost_of_author"][i] is not None:
            found[i] = "repost"
        elif row["is_latest_edit"][i] is False:
            found[i] = "superseded"
        elif row["text_status"][i] == "missing" or len(print_.split()) < config.shortest_words:
            found[i] = "short"
        elif print_ in seen:
            found[i] = "copy"
        else:
            seen.add(print_)
    return pa.array(found, pa.string())
