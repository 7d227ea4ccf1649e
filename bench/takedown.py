"""Seconds from a request to its proof, through every copy: some posts, and one author, out of a town's posts.

    python bench/takedown.py --posts 100000 --square /tmp/bench-square    # the square is built once and kept

Each takedown works on a fresh copy of that square (town, ingest, curation with near duplicates, shards, index; no
training). The limit it is held against in the same run: read all columns of every copy once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from townsquare.consent.grants import add_grant
from townsquare.curate.config import CurateConfig
from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.serve.config import IndexConfig
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.tokens.config import TokensConfig
from townsquare.town.config import TownConfig


def build(root: Path, posts: int) -> Square:
    """A square with every copy that a takedown must reach; what is there already is skipped."""
    from townsquare.curate.run import run as curate
    from townsquare.ingest.run import run as ingest
    from townsquare.serve.run import run as index
    from townsquare.tokens.run import run as tokens
    from townsquare.town import tables as town
    from townsquare.town.run import run as make_town

    square = Square.create(root)
    make_town(square, TownConfig(posts=posts))
    add_grant(square, town.grant(square))
    for path in town.source_paths(square):
        ingest(square, IngestConfig(paths=(path,)))
    for name, run, config in (
        ("curate", curate, CurateConfig()),
        ("tokens", tokens, TokensConfig(vocabulary_size=4096)),
        ("index", index, IndexConfig()),
    ):
        print(name, round(run(square, config).seconds, 1), "s", file=sys.stderr)  # type: ignore[operator]
    return square


def bare_read_seconds(square: Square) -> float:
    """Every row of every copy read once, by Lance and Arrow, and nothing done with it."""
    import lance
    import pyarrow as pa
    import pyarrow.parquet as pq

    started = time.perf_counter()
    for path in sorted(square.root.rglob("*.lance")):
        if path.is_dir():
            for _ in lance.dataset(path).to_batches():
                pass
    for path in square.corpus.rglob("*.parquet"):
        pq.read_table(path)
    for path in square.tokens.rglob("*.arrow"):
        pa.ipc.open_file(str(path)).read_all()
    return time.perf_counter() - started


def timed(root: Path, config: TakedownConfig) -> dict[str, object]:
    """One takedown on a copy of the square, in its own process as a person runs it."""
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        copy = Path(folder) / "square"
        shutil.copytree(root, copy)
        code = (
            "import sys, json; from townsquare.square import Square, make_config;"
            "from townsquare.takedown.run import run; from townsquare.takedown.config import TakedownConfig;"
            "from townsquare.receipts import peak_memory_bytes;"
            "r = run(Square.open(sys.argv[1]), TakedownConfig(post=tuple(json.loads(sys.stdin.read())),"
            "author=tuple(sys.argv[2:]))); print(json.dumps(r.to_json()))"
        )
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, str(copy), *config.author],
            input=json.dumps(config.post),
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(done.stderr)
        receipt = json.loads(done.stdout)
        bare = bare_read_seconds(Square.open(copy))
    results = receipt["results"]
    return {
        "seconds": round(seconds, 1),
        "times_a_bare_read": round(seconds / bare, 1),
        "posts_removed": results["posts_removed"],
        "posts_newly_removed": results["posts_newly_removed"],
        "left": results["left"],
        "copies": results["copies"],
        "seconds_by_step": results.get("seconds_by_step"),
        "peak_memory_bytes": receipt["peak_memory_bytes"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--remove", type=int, default=1_000)
    parser.add_argument("--square", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        square = build(options.square or Path(folder) / "square", options.posts)
        live = tables.read_posts(square, ["uid", "network", "author_id"], where="state = 'live'").to_pylist()
        uids = random.Random(1).sample([row["uid"] for row in live], options.remove)
        counts: dict[str, int] = {}
        for row in live:
            if row["author_id"]:
                name = f"{row['network']}:{row['author_id']}"
                counts[name] = counts.get(name, 0) + 1
        busiest = max(counts, key=lambda name: (counts[name], name))
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "live_posts": len(live),
            f"{options.remove} posts": timed(square.root, TakedownConfig(post=tuple(uids))),
            "the busiest author": timed(square.root, TakedownConfig(author=(busiest,))),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
