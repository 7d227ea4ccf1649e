"""How fast and how lean a town is written: posts a second, peak memory, and the ratio to writing the same bytes raw.

Usage: python bench/town.py [POSTS]. Prints one JSON object. The raw write is the measured limit: the same
files, already in memory block by block, written to the same disk with a flush to it at the end, as the town's
own files are flushed for the comparison too.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from townsquare.square import Square
from townsquare.town.config import TownConfig
from townsquare.town.run import run

BLOCK = 8 << 20


def raw_write_seconds(folder: Path, target: Path) -> tuple[float, int]:
    """Seconds to write every byte of the folder's files to one file, reading not counted; and the bytes."""
    seconds, size = 0.0, 0
    with target.open("wb") as out:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            with path.open("rb") as source:
                while block := source.read(BLOCK):
                    started = time.perf_counter()
                    out.write(block)
                    seconds += time.perf_counter() - started
                    size += len(block)
        started = time.perf_counter()
        out.flush()
        os.fsync(out.fileno())
        seconds += time.perf_counter() - started
    return seconds, size


def main() -> None:
    posts = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        square = Square.create(Path(folder) / "square")
        started = time.perf_counter()
        receipt = run(square, TownConfig(posts=posts))
        os.sync()
        seconds = time.perf_counter() - started
        raw_seconds, size = raw_write_seconds(square.town, Path(folder) / "raw")
    result = {
        "posts": posts,
        "seconds": round(seconds, 2),
        "posts_per_second": round(posts / seconds),
        "bytes": size,
        "peak_memory_bytes": receipt.peak_memory_bytes,
        "raw_write_seconds": round(raw_seconds, 2),
        "seconds_over_raw_write": round(seconds / raw_seconds, 1),
        "distinct_share": receipt.results["distinct_share"],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
