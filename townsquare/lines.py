"""Files of JSON lines that people's words are kept in: added to one line at a time, rewritten when a takedown asks.

Writers wait for each other. A line that a kill cut off is none, and what is added after it begins a line of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from townsquare.square import disk_errors_explained, write_atomically

Row = dict[str, Any]


def append(path: Path, row: Row) -> None:
    """Add one line; it is on the disk when this returns. Raises StorageError for a disk that cannot take it."""
    with disk_errors_explained(path), _alone(path), path.open("ab+") as file:
        file.write((b"" if _ends_a_line(path) else b"\n") + _line(row))
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Iterator[Row]:
    """The lines, oldest first; none where there is no file."""
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def rewrite(path: Path, change: Callable[[Row], Row | None]) -> int:
    """Put what `change` gives in the place of each line, None for nothing; returns how many lines it changed."""
    if not path.is_file():
        return 0
    with _alone(path):
        rows = list(read(path))
        changed = [change(row) for row in rows]
        count = sum(one != other for one, other in zip(rows, changed, strict=True))
        if count:
            write_atomically(path, b"".join(_line(row) for row in changed if row is not None))
    return count


def _line(row: Row) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _ends_a_line(path: Path) -> bool:
    size = path.stat().st_size
    if not size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (path.parent / ".writing").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
