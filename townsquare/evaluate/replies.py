"""answers.parquet: every question as it was answered, for looking at, with the posts that the answer holds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from townsquare.errors import StaleError
from townsquare.evaluate.subject import Reply
from townsquare.ingest import tables
from townsquare.square import Square

SHORTEST = 24  # characters from which a post's text tells itself apart; the takedown's search uses the same

SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("right", pa.bool_(), nullable=False),
        pa.field("cited", pa.list_(pa.string()), nullable=False),  # posts shown beside the answer
        pa.field("holds", pa.list_(pa.string()), nullable=False),  # posts whose whole text stands in the answer
    ]
)


def path(square: Square, model: str) -> Path:
    """Where one model's answers are."""
    return square.evaluations / model / "answers.parquet"


def table_of(square: Square, replies: Sequence[Reply]) -> pa.Table:
    """Replies as rows. The posts whose text an answer repeats are found by looking: a model may know one by heart."""
    holds = _repeated(square, [reply.answer for reply in replies])
    rows = [
        {name: getattr(reply, name) for name in SCHEMA.names if name != "holds"} | {"holds": uids}
        for reply, uids in zip(replies, holds, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _repeated(square: Square, answers: Sequence[str]) -> list[list[str]]:
    """For each answer, the uids of live posts whose text stands in it word for word."""
    starts: dict[str, set[int]] = {}
    for number, answer in enumerate(answers):
        for at in range(len(answer) - SHORTEST + 1):
            starts.setdefault(answer[at : at + SHORTEST], set()).add(number)
    found: list[list[str]] = [[] for _ in answers]
    if not starts:
        return found
    try:
        posts = tables.read_posts(square, columns=["uid", "text"], where="state = 'live'")
    except StaleError:
        return found
    for uid, text in zip(posts["uid"].to_pylist(), posts["text"].to_pylist(), strict=True):
        for number in starts.get((text or "")[:SHORTEST], ()):
            if text in answers[number]:
                found[number].append(uid)
    return found


def encoded(table: pa.Table) -> bytes:
    """The table as a Parquet file, uncompressed, so that even a broken file can be searched for a text."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    return sink.getvalue()
