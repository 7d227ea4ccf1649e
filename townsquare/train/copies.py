"""Which runs saw a post. Weights keep traces of what they learned from; no takedown removes those."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.square import Square


def saw(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """For each run how many of `uids` its last checkpoint has read, those of the run it started from included."""
    wanted = pa.array(sorted(uids), pa.string())
    return {folder.name: len(_seen(square, folder.name, wanted)) for folder in sorted(square.runs.glob("*/"))}


def _seen(square: Square, name: str, wanted: pa.Array) -> set[str]:
    folder = square.runs / name
    done = _steps_done(folder / "checkpoints")
    if not done or not (folder / "lineage.arrow").is_file():
        return set()
    table = pa.ipc.open_file(pa.memory_map(str(folder / "lineage.arrow"))).read_all()
    read = pc.and_(pc.greater_equal(table["first_step"], 0), pc.less(table["first_step"], done))
    found = set(table.filter(pc.and_(read, pc.is_in(table["uid"], wanted)))["uid"].to_pylist())
    parent = json.loads((folder / "setup.json").read_text(encoding="utf-8")).get("start_from")
    return found | _seen(square, parent, wanted) if parent else found


def _steps_done(folder: Path) -> int:
    """Steps in the newest checkpoint. Read from its name, as `checkpoints.latest` does, so that torch need not load."""
    return max((int(path.name.removeprefix("step-")) for path in folder.glob("step-*")), default=0)
