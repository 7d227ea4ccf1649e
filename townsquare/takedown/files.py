"""Every file of a square that no store opens: cards, logs, receipts, the ledger, and what somebody left there.

They hold ids by design, so they are searched for words. Left out are the town's own sources (what came in is
its supplier's), and weights, which are no text: a takedown names the models that saw a post.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from townsquare.ingest.held_back import unescaped
from townsquare.square import Square
from townsquare.traces import Texts, as_traces, rows_holding

BLOCK, OVERLAP = 1 << 25, 1 << 20  # bytes of a file that are searched at once, and that the next piece begins with
WEIGHTS = (".safetensors", ".gguf")
IDS_ONLY = ("lineage.arrow",)


def find(square: Square, texts: Texts) -> dict[str, int]:
    """How many places in other files hold one of the texts: in all of them together, or by name where there are any."""
    traces = as_traces(texts)
    if not len(traces):
        return {"other_files": 0}
    found = {f"file {path.relative_to(square.root)}": _places(path, texts) for path in others(square)}
    return {"other_files": 0} | {name: count for name, count in found.items() if count}


def others(square: Square) -> Iterator[Path]:
    """The files that no store opens, in order."""
    stores = {square.posts / "removed", square.evaluations, square.town}
    for folder, inside, names in os.walk(square.root):
        here = Path(folder)
        inside[:] = sorted(name for name in inside if not _is_table(here / name) and here / name not in stores)
        versioned = here.parent in (square.corpus, square.tokens)
        for name in sorted(names):
            path = here / name
            known = versioned and path.suffix in (".parquet", ".arrow")
            known = known or (path.name.lstrip(".").startswith(square.report.name) and here == square.root)
            if not known and path.suffix not in WEIGHTS and name not in IDS_ONLY and path.is_file():
                yield path


def _is_table(path: Path) -> bool:
    return path.suffix == ".lance"


def _places(path: Path, texts: Texts) -> int:
    """Rows of a table or a database, or pieces of any other file, that hold a text."""
    with path.open("rb") as file:
        start = file.read(16)
    try:
        if start.startswith(b"PAR1"):
            return _in_table(pq.read_table(path), texts)
        if start.startswith(b"ARROW1"):
            return _in_table(pa.ipc.open_file(str(path)).read_all(), texts)
        if start.startswith(b"SQLite format 3\0"):
            return _in_database(path, texts) or _in_bytes(path, texts)  # freed pages keep what was in them
    except (pa.ArrowInvalid, sqlite3.DatabaseError):
        pass  # it only begins like one: its bytes are searched
    return _in_bytes(path, texts)


def _in_table(table: pa.Table, texts: Texts) -> int:
    said = [str(row) for row in table.to_pylist()]
    return int(rows_holding(said, texts).sum())


def _in_database(path: Path, texts: Texts) -> int:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for name in names for row in database.execute(f'SELECT * FROM "{name}"')]
    database.close()
    return _held([" ".join(value for value in row if isinstance(value, str)) for row in rows], texts)


def _in_bytes(path: Path, texts: Texts) -> int:
    if not path.stat().st_size:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        pieces = (data[at : at + BLOCK + OVERLAP] for at in range(0, len(data), BLOCK))
        return sum(_held([piece.decode("utf-8", "replace")], texts) for piece in pieces)


def _held(rows: list[str], texts: Texts) -> int:
    """Rows that hold a text as it is, or as JSON writes it."""
    return int((rows_holding(rows, texts) | rows_holding([unescaped(row) for row in rows], texts)).sum())
