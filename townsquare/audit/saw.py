"""Which checkpoints saw a post, and which posts a checkpoint saw: from the lineage that each run wrote. Ids only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from townsquare.errors import InputError, StaleError
from townsquare.square import Square

Seen = dict[str, Any]


def who_saw(square: Square, uid: str) -> list[Seen]:
    """For each run whose weights have seen the post: by which run's lineage, from which step on, which checkpoints.

    `from_run` is the run itself or one that it started from, directly or not. `models` are exports of the run.
    """
    found = []
    for folder in runs(square):
        seen = _first_seen(square, folder.name, uid)
        if seen is None:
            continue
        step, source = seen
        kept = checkpoints(folder)
        saw = [number for number in kept if number > step or source != folder.name]
        found.append(
            {
                "run": folder.name,
                "from_run": source,
                "first_step": step + 1,
                "checkpoints": saw,
                "checkpoints_before_it": [number for number in kept if number not in saw],
                "models": models_of(square, folder.name),
            }
        )
    return found


def _first_seen(square: Square, run: str, uid: str) -> tuple[int, str] | None:
    """How many steps came before the post was read, and in which run: the run itself or the nearest before it."""
    for name in line_of(square, run):
        table = lineage(square.runs / name)
        steps = table.filter(pc.equal(table["uid"], uid))["first_step"].to_pylist()
        seen = [step for step in steps if 0 <= step < max(checkpoints(square.runs / name), default=0)]
        if seen:
            return min(seen), name
    return None


def what_saw(square: Square, checkpoint: str) -> Seen:
    """The posts that a checkpoint (RUN, RUN@STEP, a model's name, or a checkpoint's folder) has seen.

    `by_source` and `by_state` count them as the posts table has them; a post that it lacks is counted as unknown.
    Raises InputError for a checkpoint that is not there.
    """
    run, step = _named(square, checkpoint)
    uids: set[str] = set()
    for name in line_of(square, run):
        table = lineage(square.runs / name)
        done = step if name == run else max(checkpoints(square.runs / name), default=0)
        read = pc.and_(pc.greater_equal(table["first_step"], 0), pc.less(table["first_step"], done))
        uids.update(table.filter(read)["uid"].to_pylist())
    return {
        "run": run,
        "step": step,
        "started_from": line_of(square, run)[1:],
        "posts": len(uids),
        **_counted(square, uids),
        "models": models_of(square, run),
        "uids": sorted(uids),
    }


def _counted(square: Square, uids: set[str]) -> dict[str, dict[str, int]]:
    from townsquare.ingest import tables

    try:
        table = tables.posts_dataset(square).to_table(columns=["uid", "source_id", "state", "grant_id"])
    except StaleError:
        return {"by_source": {"unknown": len(uids)}, "by_state": {"unknown": len(uids)}}
    mine = table.filter(pc.is_in(table["uid"], pa.array(sorted(uids), pa.string())))
    return {
        name: {row["values"] or "unknown": row["counts"] for row in mine[column].value_counts().to_pylist()}
        | ({"unknown": len(uids) - len(mine)} if len(uids) > len(mine) else {})
        for name, column in (("by_source", "source_id"), ("by_state", "state"))
    }


def _named(square: Square, checkpoint: str) -> tuple[str, int]:
    """The run and the step that a person means."""
    run, _, wanted = checkpoint.partition("@")
    path = Path(checkpoint)
    if path.name.startswith("step-") and path.parent.name == "checkpoints":
        run, wanted = path.parent.parent.name, path.name.removeprefix("step-")
    exported = square.models / run / "export.json"
    if not (square.runs / run).is_dir() and exported.is_file():
        run = json.loads(exported.read_text(encoding="utf-8"))["run"]
    kept = checkpoints(square.runs / run)
    if not kept or not (wanted or "0").isdigit():
        known = ", ".join(folder.name for folder in runs(square)) or "none"
        raise InputError(f"there is no checkpoint {checkpoint}", remedy=f"Write RUN or RUN@STEP. Runs here: {known}")
    step = int(wanted) if wanted else max(kept)
    if step > max(kept):
        raise InputError(f"the run {run} has no step {step}", remedy=f"Its newest checkpoint is {run}@{max(kept)}.")
    return run, step


def runs(square: Square) -> list[Path]:
    """The runs' folders that hold a lineage, by name."""
    return sorted(path.parent for path in square.runs.glob("*/lineage.arrow"))


def checkpoints(folder: Path) -> list[int]:
    """Steps of the checkpoints that a run still has."""
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("checkpoints/step-*"))


def line_of(square: Square, run: str | None) -> list[str]:
    """A run, and the runs that it started from, nearest first."""
    line: list[str] = []
    while run is not None and run not in line and (square.runs / run / "setup.json").is_file():
        line.append(run)
        run = json.loads((square.runs / run / "setup.json").read_text(encoding="utf-8")).get("start_from")
    return line


def lineage(folder: Path) -> pa.Table:
    """For every post that a run reads (uid), the step (from 0) that reads it first, or -1."""
    if not (folder / "lineage.arrow").is_file():
        return pa.table({"uid": pa.array([], pa.string()), "first_step": pa.array([], pa.int64())})
    with pa.memory_map(str(folder / "lineage.arrow")) as source:
        return pa.ipc.open_file(source).read_all()


def models_of(square: Square, run: str) -> list[str]:
    """Exported models whose weights are a run's."""
    found = sorted(square.models.glob("*/export.json"))
    return [p.parent.name for p in found if json.loads(p.read_text(encoding="utf-8"))["run"] == run]
