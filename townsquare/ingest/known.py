"""Which uids the posts table has, kept in memory over an ingest: no slab reads the whole table again."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from townsquare.ingest import store
from townsquare.square import Square


class Known:
    """64-bit hashes of the stored uids, 8 bytes each, in sorted runs of which each is longer than all after it.

    To be used within `store.writing`. What another ingest wrote in between is seen by the table's version.
    """

    def __init__(self, square: Square) -> None:
        self._square = square
        self._runs: list[np.ndarray] = []
        self._version: int | None = None

    def again(self, uids: pa.Array) -> np.ndarray:
        """For each uid (bool) whether it is stored or comes more than once; rarely true where neither holds."""
        self._look()
        hashes = _hashes(uids)
        order = np.argsort(hashes)
        ascending = hashes[order]
        found = np.zeros(len(uids), bool)
        found[1:] = ascending[1:] == ascending[:-1]
        found[:-1] |= found[1:]
        for run in self._runs:
            at = np.searchsorted(run, ascending)
            found |= run[np.minimum(at, len(run) - 1)] == ascending
        result = np.empty(len(uids), bool)
        result[order] = found
        return result

    def stored(self, uids: pa.Array | pa.ChunkedArray) -> None:
        """Tell that the table has these now, and that nobody else wrote since `again`."""
        self._add(_hashes(uids))
        self._version = store.dataset(self._square, "posts").version

    def _look(self) -> None:
        table = store.dataset(self._square, "posts")
        if table.version != self._version:
            self._runs = []
            for batch in table.to_batches(columns=["uid"], batch_size=store.BATCH_ROWS):
                self._add(_hashes(batch["uid"]))
            self._version = table.version

    def _add(self, hashes: np.ndarray) -> None:
        if not len(hashes):
            return
        run = np.sort(hashes)
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")  # which merges what is sorted
        self._runs.append(run)


def _hashes(uids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return pl.Series(pl.from_arrow(uids)).hash().to_numpy()
