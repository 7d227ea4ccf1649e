"""The index stage: posts -> the retrieval index."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from townsquare import receipts
from townsquare.consent import gate
from townsquare.consent.inputs import grants_input, in_force_input
from townsquare.ingest import tables
from townsquare.progress import progress
from townsquare.receipts import Receipt
from townsquare.serve import chosen, index
from townsquare.serve.config import IndexConfig
from townsquare.square import Square

BATCH = 20_000


def run(square: Square, config: IndexConfig) -> Receipt:
    """Index the posts that a grant lets be retrieved. Raises GrantError when that is none, StaleError without posts."""
    day = gate.today()
    inputs = [tables.posts_input(square), grants_input(square), in_force_input(square, day)]
    with receipts.stage(square, "index", inputs=inputs, config=config) as work:
        if work.done:
            return work.done
        posts = tables.read_posts(square, columns=chosen.NEEDED)
        reasons = chosen.reasons_to_leave_out(square, posts, config, day)
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
            sources={receipt.name: receipt.fingerprint for receipt in receipts.read_all(square, "ingest")},
            outputs={"index": index.digest(table)},
        )
    return work.receipt
