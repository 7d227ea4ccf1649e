"""Opinions: what readers thought of answers, one JSON line each, from which preference pairs can be made.

An answer holds posts' words, so a line names the posts that it cites, and goes when one of them goes.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from townsquare.square import Square, disk_errors_explained, write_atomically


@dataclasses.dataclass(frozen=True)
class Opinion:
    """One reader's judgement of one answer."""

    question: str
    answer: str
    """As it was shown, without marks."""
    uids: tuple[str, ...]
    """The posts that it cited."""
    verdict: Literal["good", "bad"]
    model: str


def path(square: Square) -> Path:
    return square.root / "opinions" / "opinions.jsonl"


def keep(square: Square, opinion: Opinion) -> None:
    """Add one. A later opinion of the same answer stands beside the earlier; readers of the file take the last."""
    line = json.dumps(dataclasses.asdict(opinion), ensure_ascii=False) + "\n"
    with disk_errors_explained(path(square)), _alone(square), path(square).open("ab") as file:
        file.write(line.encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())


def read(square: Square) -> list[Opinion]:
    """All opinions, oldest first; a line that a kill cut off is not one."""
    return [Opinion(**{**row, "uids": tuple(row["uids"])}) for row in _rows(square)]


def pairs(square: Square) -> list[tuple[str, Opinion, Opinion]]:
    """(question, better, worse) of questions whose answers were judged apart; of the same words the last counts."""
    last: dict[tuple[str, str], Opinion] = {(o.question, o.answer): o for o in read(square)}
    found = []
    for better in last.values():
        for worse in last.values():
            if (better.verdict, worse.verdict) == ("good", "bad") and better.question == worse.question:
                found.append((better.question, better, worse))
    return found


def erase(square: Square, uids: frozenset[str]) -> int:
    """Remove the lines that cite any of the posts; returns how many."""
    if not path(square).is_file():
        return 0
    with _alone(square):
        rows = list(_rows(square))
        kept = [row for row in rows if uids.isdisjoint(row["uids"])]
        if len(kept) < len(rows):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
            write_atomically(path(square), text.encode("utf-8", "backslashreplace"))
    return len(rows) - len(kept)


def _rows(square: Square) -> Iterator[dict[str, Any]]:
    if not path(square).is_file():
        return
    for line in path(square).read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


@contextmanager
def _alone(square: Square) -> Iterator[None]:
    path(square).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (path(square).parent / ".writing").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
