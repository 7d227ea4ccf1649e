"""Posts a second of an ingest of X API v2 pages, from the files to the committed table, for towns of several sizes.

    python bench/ingest.py --posts 100000 1000000 --folder /tmp/bench-towns    # towns are written once and kept

Each ingest runs in a process of its own, as a person starts it. The limit that it is held against in the same run: to
decode the same lines and do nothing with them, by orjson, by msgspec, and by Arrow against the same schema.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import orjson
import pyarrow as pa
import pyarrow.json as pj

from townsquare.ingest.x_page_schema import PAGE
from townsquare.square import Square
from townsquare.town.config import TownConfig

INGEST = """
import json, sys, time
from pathlib import Path
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run
from townsquare.square import Square
square = Square.create(Path(sys.argv[1]))
started, cpu = time.perf_counter(), time.process_time()
receipt = run(square, IngestConfig(paths=tuple(map(Path, sys.argv[2:]))))
print(json.dumps({
    "posts": receipt.counts["kept"],
    "seconds": time.perf_counter() - started,
    "cpu_seconds": time.process_time() - cpu,
    "peak_memory_mb": receipt.peak_memory_bytes / 1e6,
}))
"""


def pages(folder: Path, posts: int) -> list[Path]:
    """The X API v2 files of a town of that size, written where they are missing."""
    from townsquare.town import tables as town
    from townsquare.town.run import run as make_town

    root = folder / f"town-{posts}"
    if not root.is_dir():
        make_town(Square.create(root), TownConfig(posts=posts))
    return [path for path in town.source_paths(Square.open(root)) if "x_api_v2" in path.name]


def decoded_by_lines(decode: Callable[[bytes], object]) -> Callable[[list[Path]], None]:
    def decoded(paths: list[Path]) -> None:
        for path in paths:
            with path.open("rb") as file:
                for line in file:
                    with contextlib.suppress(ValueError):  # towns have a line that is cut off
                        decode(line)

    return decoded


def decoded_by_arrow(paths: list[Path]) -> None:
    options = pj.ParseOptions(explicit_schema=PAGE, unexpected_field_behavior="ignore")
    for path in paths:
        whole = b"\n".join(line for line in path.read_bytes().split(b"\n") if line.endswith(b"}"))
        pj.read_json(pa.BufferReader(whole), read_options=pj.ReadOptions(block_size=8 << 20), parse_options=options)


DECODERS: dict[str, Callable[[list[Path]], None]] = {
    "orjson": decoded_by_lines(orjson.loads),
    "msgspec": decoded_by_lines(msgspec.json.decode),
    "arrow, all cores, against the schema": decoded_by_arrow,
}


def best_of(times: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest."""
    best = float("inf")
    for _ in range(times):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def ingested(paths: list[Path], folder: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = [sys.executable, "-c", INGEST, str(Path(place) / "square"), *map(str, paths)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, nargs="+", default=[100_000], help="sizes of towns")
    parser.add_argument("--folder", type=Path, help="where towns are written and kept; a temporary one if not given")
    parser.add_argument("--repeats", type=int, default=3, help="of which the fastest counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for posts in arguments.posts:
            paths = pages(folder, posts)
            bare = {name: best_of(arguments.repeats, partial(decode, paths)) for name, decode in DECODERS.items()}
            runs = [ingested(paths, folder) for _ in range(arguments.repeats)]
            fastest = min(runs, key=lambda run: run["seconds"])
            fields = {
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                **{name: round(value, 2) for name, value in fastest.items()},
                "posts_per_second": round(fastest["posts"] / fastest["seconds"]),
                "seconds_of_all_runs": [round(run["seconds"], 2) for run in runs],
                "bare_decode_seconds": {name: round(seconds, 2) for name, seconds in bare.items()},
                "ratio_to_bare": {name: round(fastest["seconds"] / seconds, 2) for name, seconds in bare.items()},
            }
            print(json.dumps(fields, indent=1))


if __name__ == "__main__":
    main()
