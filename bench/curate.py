"""Posts curated a second, beside a bare pass over the same Lance table in the same run.

    python bench/curate.py --rows 20000          # made-up posts, half of them in threads
    python bench/curate.py --square my-square    # the posts of a square

The limit it is held against: read the same columns from Lance and fold every text once with Polars.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import random
import tempfile
import time
from pathlib import Path

import polars as pl
import pyarrow as pa

from townsquare.consent.gate import today
from townsquare.consent.grants import Grant, add_grant
from townsquare.curate import gated, normal, run
from townsquare.curate.config import CurateConfig
from townsquare.ingest import store, tables
from townsquare.receipts import peak_memory_bytes
from townsquare.records import POSTS, PURPOSES
from townsquare.square import Square

WORDS = [f"{a}{b}{c}" for a in ("ba", "co", "di", "fu", "le", "mo") for b in ("ran", "sel", "tim", "vos", "wen")
         for c in ("", "a", "er", "ing", "ly", "s", "ton")]  # fmt: skip
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def made_up(root: Path, rows: int) -> Square:
    """A square with posts of 4 to 40 words from a small vocabulary, half of them replies to a recent post."""
    square = Square.create(root)
    add_grant(square, Grant(id="bench", grantor="bench", grantee="bench", purposes=PURPOSES, sources=("*",)))
    rng = random.Random(1)
    posts = [
        {
            "uid": f"x:{n:09d}", "network": "x", "source_id": "bench", "source_sha256": "0", "source_locator": str(n),
            "author_id": str(rng.randrange(rows // 20 + 1)), "created_at": START + dt.timedelta(seconds=91 * n),
            "text": " ".join(rng.choices(WORDS, k=rng.randint(4, 40))) + rng.choice((".", "!", "?", f" {n}")),
            "text_status": "full", "visibility": "public", "state": "live", "likes": rng.choice((None, 0, 1, 5, 20)),
            "reply_to": f"x:{rng.randrange(max(n - 50, 0), n):09d}" if n and rng.random() < 0.5 else None,
        }
        for n in range(rows)
    ]  # fmt: skip
    store.ensure(square)
    store.upsert(square, "posts", pa.Table.from_pylist(posts, schema=POSTS))
    return square


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--square", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        square = Square.open(options.square) if options.square else made_up(Path(folder) / "square", options.rows)
        started = time.perf_counter()
        columns = ["uid", *gated.COLUMNS]
        scanned = pl.DataFrame(pl.from_arrow(tables.read_posts(square, columns)))
        scanned.select(normal.folded(pl.col("text").fill_null("")))
        bare_seconds = time.perf_counter() - started
        started = time.perf_counter()
        corpus = run.build(gated.read_gated(square, today()), CurateConfig())
        seconds = time.perf_counter() - started
    seen = corpus.counts["seen"]
    print(
        json.dumps(
            {
                "machine": f"{platform.machine()}, {pl.thread_pool_size()} threads",
                "posts": seen,
                "posts_per_second": round(seen / seconds),
                "bare_scan_and_fold_posts_per_second": round(seen / bare_seconds),
                "times_the_bare_pass": round(seconds / bare_seconds, 1),
                "peak_memory_bytes": peak_memory_bytes(),
                "counts": corpus.counts,
                "grounded": corpus.results["grounded"],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
