"""cases.parquet: what every score was counted from, case by case, so that two models can be paired.

A case adds `part` out of `whole`; the score is the sum of the parts by the sum of the wholes. Cases are named by ids
of questions or by hashes, never by what a post says.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from townsquare.square import Square

SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("case", pa.string(), nullable=False),
        pa.field("part", pa.float64(), nullable=False),
        pa.field("whole", pa.float64(), nullable=False),
    ]
)


@dataclasses.dataclass(frozen=True)
class Cases:
    """One metric's cases: ids, and for each what it adds above and below the line."""

    metric: str
    ids: tuple[str, ...]
    parts: tuple[float, ...]
    wholes: tuple[float, ...]

    @classmethod
    def of_rights(cls, metric: str, ids: Sequence[str], right: Sequence[bool | int]) -> Cases:
        """Cases that are right or wrong."""
        return cls(metric, tuple(ids), tuple(float(ok) for ok in right), (1.0,) * len(ids))


def path(square: Square, name: str) -> Path:
    """Where one model's cases are."""
    return square.evaluations / name / "cases.parquet"


def table_of(found: Sequence[tuple[str, Cases]]) -> pa.Table:
    """(task, cases) as rows."""
    rows = [
        (task, cases.metric, *row)
        for task, cases in found
        for row in zip(cases.ids, cases.parts, cases.wholes, strict=True)
    ]
    columns = zip(*rows, strict=True) if rows else ([] for _ in SCHEMA)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


def hashed(name: str) -> str:
    """A case's id that tells nothing of what it is named after."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]
