"""What runs have used, from their usage logs and step logs into the ledger: a row for each run, session and day."""

from __future__ import annotations

import fcntl
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from townsquare.fleet.book import Usage, book_of
from townsquare.fleet.meter import ByDay, Line, added, endings, losses, read_lines, steps_beyond
from townsquare.ledger import Ledger
from townsquare.square import Square


def charge(square: Square) -> int:
    """Record what is not in the ledger yet, or is there with other figures; returns the rows added. Safe to repeat.

    A later row for the same run, session and day stands in place of an earlier one.
    """
    with Ledger.open(square) as ledger:
        known = book_of(ledger.entries()).usage
        changed = [row for row in usage_now(square) if known.get(key_of(row)) != row]
        for row in changed:
            ledger.append("run_usage", row)
    return len(changed)


def usage_now(square: Square) -> list[Usage]:
    """What all runs have used so far, as their logs say; `charge` records it."""
    return [row for log in logs(square) for row in usage_of(square, log)]


def key_of(row: Usage) -> tuple[str, str, int, str]:
    """What a row is about."""
    return row["run"], row["fingerprint"], row["session"], row["day"]


def logs(square: Square) -> list[Path]:
    """The usage logs of a square, by name."""
    return sorted(square.usage.glob("*.jsonl"))


def run_of(log: Path) -> tuple[str, str]:
    """The run's name, and how its fingerprint begins."""
    name, _, fingerprint = log.stem.rpartition("-")
    return name, fingerprint


def usage_of(square: Square, log: Path) -> list[Usage]:
    """The rows of one run: for each session and day the seconds of its steps that are used, and that are lost."""
    name, fingerprint = run_of(log)
    lines = read_lines(log)
    if not _at_work(log):
        lines += _left_open(square, name, fingerprint, lines)
    done: dict[int, Line] = {}
    lost: dict[int, ByDay] = defaultdict(dict)
    starts = {line["session"]: line for line in lines if line["what"] == "start"}
    for line in lines:
        if line["what"] in ("saved", "end"):
            done[line["session"]] = line
        elif line["what"] == "lost":
            lost[line["session"]] = added(lost[line["session"]], line["seconds"])
    return [
        _row(name, fingerprint, starts[session], day, (done[session], lost[session]))
        for session in sorted(done)
        for day in sorted(done[session]["seconds"])
    ]


def _row(name: str, fingerprint: str, start: Line, day: str, figures: tuple[Line, ByDay]) -> Usage:
    done, lost = figures
    gone = min(lost.get(day, 0.0), done["seconds"][day])
    return {
        "run": name,
        "fingerprint": fingerprint,
        "session": start["session"],
        "day": day,
        **{field: start[field] for field in ("lease", "allocation", "device", "devices")},
        "steps": done["steps"][day],
        "used_seconds": round(done["seconds"][day] - gone, 6),
        "lost_seconds": round(gone, 6),
    }


def _left_open(square: Square, name: str, fingerprint: str, lines: list[Line]) -> list[Line]:
    """What a run that was killed, and has not gone on since, has not written down itself."""
    folder = square.runs / name
    if not is_of(folder, fingerprint):
        return []
    return [*endings(lines, folder), *losses(steps_beyond(folder, steps_done(folder)))]


def is_of(folder: Path, fingerprint: str) -> bool:
    """Whether a run's folder is still that of the fingerprint, and was not made anew since."""
    setup = folder / "setup.json"
    if not setup.is_file():
        return False
    record: dict[str, Any] = json.loads(setup.read_text(encoding="utf-8"))
    return str(record["fingerprint"]).startswith(fingerprint)


def steps_done(folder: Path) -> int:
    """Steps in the newest checkpoint, by its name."""
    return max((int(path.name.removeprefix("step-")) for path in folder.glob("checkpoints/step-*")), default=0)


def _at_work(log: Path) -> bool:
    """Whether a process is at work on the run: it holds its log."""
    with log.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
