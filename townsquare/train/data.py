"""Rows of tokens from shards: short documents packed together, none seeing another.

Which documents stand in which row of which step is a pure function of the shards, seed, epoch and step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from townsquare.errors import InputError

WHOLE = (0, 1)  # the share of rows that one process has


@dataclasses.dataclass(frozen=True)
class Documents:
    """Every document of some shards. Document i is `ids[offsets[i]:offsets[i + 1]]`; `loss` is parallel to ids.

    A preference pair is a document too: the chosen conversation, and from token `rejected_at` on the other one.
    """

    ids: np.ndarray
    loss: np.ndarray
    offsets: np.ndarray
    uids: pa.ChunkedArray
    rejected_at: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def only(self, kept: np.ndarray) -> Documents:
        """Those for which `kept` is true."""
        tokens = np.repeat(kept, self.lengths)
        offsets = np.concatenate(([0], np.cumsum(self.lengths[kept])))
        cuts = None if self.rejected_at is None else self.rejected_at[kept]
        return Documents(self.ids[tokens], self.loss[tokens], offsets, self.uids.filter(pa.array(kept)), cuts)


def read_documents(shards: Sequence[Path]) -> Documents:
    """Read Arrow IPC shards (records.SHARD), in the order given. Raises InputError for a broken one."""
    tables = []
    for shard in shards:
        try:
            tables.append(pa.ipc.open_file(pa.memory_map(str(shard))).read_all())
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(
                f"the shard cannot be read: {error}", place=str(shard), remedy="Run: townsquare tokens --replace"
            ) from error
    if not tables or not sum(len(table) for table in tables):
        empty = np.zeros(0, dtype=np.int64)
        return Documents(empty, empty.astype(bool), np.zeros(1, dtype=np.int64), pa.chunked_array([[]], pa.string()))
    table = pa.concat_tables(tables)
    lengths = np.asarray(table["ids"].combine_chunks().value_lengths(), dtype=np.int64)
    ids = np.asarray(table["ids"].combine_chunks().flatten(), dtype=np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    loss = np.ones(len(ids), dtype=bool)
    masks = table["loss_mask"].combine_chunks()
    for i in np.flatnonzero(np.asarray(masks.is_valid())):
        loss[offsets[i] : offsets[i + 1]] = np.asarray(masks[int(i)].values)
    cuts = np.asarray(table["rejected_at"]) if "rejected_at" in table.column_names else None
    return Documents(ids, loss, offsets, table["uids"], cuts)


@dataclasses.dataclass(frozen=True)
class Piece:
    """Tokens `start` to `stop` of one document, in one row."""

    document: int
    start: int
    stop: int


def pack(lengths: np.ndarray, row_length: int, rng: np.random.Generator) -> list[list[Piece]]:
    """One epoch's rows: best-fit decreasing, ties in `rng`'s order, the rows then shuffled.

    A document longer than a row is cut into pieces of a row. Every token stands in exactly one row.
    """
    pieces = [
        Piece(int(d), start, min(start + row_length, int(lengths[d])))
        for d in rng.permutation(len(lengths))
        for start in range(0, int(lengths[d]), row_length)
    ]
    pieces.sort(key=lambda piece: piece.start - piece.stop)  # longest first; the sort is stable
    rows: list[list[Piece]] = []
    with_room: list[list[int]] = [[] for _ in range(row_length + 1)]  # row numbers by free tokens
    for piece in pieces:
        length = piece.stop - piece.start
        room = next((room for room in range(length, row_length + 1) if with_room[room]), None)
        if room is None:
            room = row_length
            with_room[room].append(len(rows))
            rows.append([])
        row = with_room[room].pop()
        rows[row].append(piece)
        with_room[room - length].append(row)
    return [rows[i] for i in rng.permutation(len(rows))]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows ready for the decoder, each array (rows, row length), int64 but for `counts`.

    `segment` numbers the sequences of a row from 0, and is -1 in padding; `positions` restart in each. A piece is
    one sequence, a preference pair two. `targets` is the next token where it belongs to the same sequence; `counts`
    tells whether it bears loss. `documents` (rows, most pieces) says which document each piece is of, -1 for none.
    """

    ids: np.ndarray
    positions: np.ndarray
    segment: np.ndarray
    targets: np.ndarray
    counts: np.ndarray
    documents: np.ndarray

    def part(self, start: int, stop: int) -> Batch:
        """Some of the rows."""
        return Batch(*(getattr(self, field.name)[start:stop] for field in dataclasses.fields(self)))


def share_of(rows: list[list[Piece]], number: int, shares: int) -> list[list[Piece]]:
    """One of as many shares of the rows. All are as long, the last ones by empty rows: processes keep in step."""
    each = -(-len(rows) // shares)
    taken = rows[number * each : (number + 1) * each]
    return taken + [[]] * (each - len(taken))


def batch_of(documents: Documents, rows: Sequence[Sequence[Piece]], row_length: int) -> Batch:
    """Lay pieces out as arrays."""
    shape = (len(rows), row_length)
    ids, positions, targets = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    segment, counts = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=bool)
    placed = np.full((len(rows), max(map(len, rows), default=0)), -1, dtype=np.int64)
    for r, row in enumerate(rows):
        at = 0
        placed[r, : len(row)] = [piece.document for piece in row]
        spans = (span for piece in row for span in sequences(documents, piece))
        for number, (start, stop) in enumerate(spans):
            tokens = documents.ids[start:stop]
            end = at + len(tokens)
            ids[r, at:end] = tokens
            positions[r, at:end] = np.arange(len(tokens))
            segment[r, at:end] = number
            targets[r, at : end - 1] = tokens[1:]
            counts[r, at : end - 1] = documents.loss[start + 1 : stop]
            at = end
    return Batch(ids, positions, segment, targets, counts, placed)


def sequences(documents: Documents, piece: Piece) -> list[tuple[int, int]]:
    """Where in `documents.ids` the sequences of a piece begin and end: one, or a pair's two."""
    first = int(documents.offsets[piece.document])
    start, stop = first + piece.start, first + piece.stop
    if documents.rejected_at is None:
        return [(start, stop)]
    middle = first + int(documents.rejected_at[piece.document])
    return [(start, middle), (middle, stop)]


class Order:
    """Which rows make up which step. `rows_per_epoch` is that of the first epoch; others differ by a row or so."""

    def __init__(self, documents: Documents, row_length: int, rows_per_step: int, seed: int) -> None:
        self.documents, self.row_length, self.rows_per_step, self.seed = documents, row_length, rows_per_step, seed
        self._epochs: list[int] = []  # rows of every epoch packed so far
        self._latest: tuple[int, list[list[Piece]]] = (-1, [])
        self.rows_per_epoch = len(self.epoch(0))

    def epoch(self, number: int) -> list[list[Piece]]:
        """The rows of one epoch."""
        if self._latest[0] != number:
            rows = pack(self.documents.lengths, self.row_length, np.random.default_rng((self.seed, number)))
            self._latest = (number, rows)
            if number == len(self._epochs):
                self._epochs.append(len(rows))
        return self._latest[1]

    def step(self, step: int) -> list[list[Piece]]:
        """The rows of one step; a step may end one epoch and begin the next."""
        rows: list[list[Piece]] = []
        at, epoch = step * self.rows_per_step, 0
        while len(rows) < self.rows_per_step:
            size = self._epochs[epoch] if epoch < len(self._epochs) else len(self.epoch(epoch))
            if at < size:
                taken = self.epoch(epoch)[at : at + self.rows_per_step - len(rows)]
                rows += taken
                at += len(taken)
            at, epoch = at - size, epoch + 1
        return rows

    def batch(self, step: int, share: tuple[int, int] = WHOLE) -> Batch:
        """The arrays of one step, or those of one share of its rows: its number, and of how many."""
        return batch_of(self.documents, share_of(self.step(step), *share), self.row_length)

    def first_steps(self, steps: int) -> np.ndarray:
        """For each document the first step that reads any of it, or -1 when none of `steps` does."""
        first = np.full(len(self.documents), -1, dtype=np.int64)
        for number, row in enumerate(self.epoch(0)):
            step = number // self.rows_per_step
            for piece in row:
                if step < steps and (first[piece.document] < 0 or step < first[piece.document]):
                    first[piece.document] = step
        return first


def validation_batches(
    documents: Documents, row_length: int, rows: int, share: tuple[int, int] = WHOLE
) -> Iterator[Batch]:
    """Every document once, packed, `rows` rows at a time, in a fixed order; of these rows one share."""
    packed = pack(documents.lengths, row_length, np.random.default_rng(0))
    for start in range(0, len(packed), rows):
        yield batch_of(documents, share_of(packed[start : start + rows], *share), row_length)
