"""Ingests as processes of their own, that wait, are killed, and are held against one another by what they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from townsquare.ingest import store
from townsquare.records import EVENTS, POSTS, QUARANTINE
from townsquare.square import Square

INGEST = """
import sys, time
from pathlib import Path
from townsquare.ingest import run as stage, slabs
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.sources import x_api_v2
from townsquare.square import Square

root, rows, gate, *paths = sys.argv[1:]
slabs.SLAB_ROWS, x_api_v2.BATCH_BYTES = int(rows), 50 * int(rows)
commit = stage.commit


def waiting(square, slab, known):
    # After its first commit the ingest holds until the gate is opened, so that others are surely beside it.
    commit(square, slab, known)
    if gate:
        Path(gate + ".reached").touch()
        while not Path(gate).exists():
            time.sleep(0.01)


stage.commit = waiting
stage.run(Square.open(root), IngestConfig(paths=tuple(map(Path, paths))))
"""
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120.0


def start(square: Square, paths: Sequence[Path], *, slab_rows: int, gate: Path | None = None) -> subprocess.Popen[str]:
    """An ingest at work, in commits of about `slab_rows`; with a gate it holds after each until that file exists."""
    command = [sys.executable, "-c", INGEST, str(square.root), str(slab_rows), str(gate or ""), *map(str, paths)]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def reached(gate: Path, process: subprocess.Popen[str]) -> None:
    """Wait until an ingest holds at its gate."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not Path(f"{gate}.reached").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the ingest never came to its first commit"
        time.sleep(0.01)


def ended(process: subprocess.Popen[str]) -> None:
    """Wait for a process, which must end well."""
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def killed(process: subprocess.Popen[str]) -> bool:
    """End a process by SIGKILL; whether it was still at work."""
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def stored(square: Square) -> dict[str, pa.Table]:
    """The three tables, each in an order that follows from its content."""
    found = {}
    for name, schema in (("posts", POSTS), ("events", EVENTS), ("quarantine", QUARANTINE)):
        table = store.dataset(square, name).to_table().cast(schema)
        found[name] = table.sort_by([(key, "ascending") for key in store.KEYS[name]]).combine_chunks()
    return found


def assert_alike(one: Square, other: Square) -> None:
    """Both squares hold the same rows, column by column."""
    for (name, here), there in zip(stored(one).items(), stored(other).values(), strict=True):
        assert len(here) == len(there), f"{name}: {len(here)} and {len(there)} rows"
        differing = [column for column in here.column_names if not here[column].equals(there[column])]
        assert not differing, f"{name} differ in {differing}"
