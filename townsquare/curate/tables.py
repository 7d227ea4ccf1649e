"""The public door: the live corpus as later stages read it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from townsquare import receipts
from townsquare.errors import StaleError
from townsquare.receipts import Input
from townsquare.records import CONVERSATIONS, DOCUMENTS, DROPPED, PAIRS
from townsquare.square import Square, current_version

SCHEMAS = {"documents": DOCUMENTS, "conversations": CONVERSATIONS, "pairs": PAIRS, "dropped": DROPPED}


def corpus_input(square: Square) -> Input:
    """The corpus as an input of a later stage. Raises StaleError when curate has not run."""
    return receipts.as_input(receipts.need(square, "curate"))


def version(square: Square) -> Path:
    """The live version's folder. Raises StaleError when there is none."""
    folder = current_version(square.corpus)
    if folder is None:
        raise StaleError("there is no corpus in this square yet", remedy="Run first: townsquare curate")
    return folder


def read_documents(square: Square) -> pa.Table:
    """Documents (records.DOCUMENTS), by document_id."""
    return read(version(square), "documents")


def read_conversations(square: Square) -> pa.Table:
    """Conversations (records.CONVERSATIONS), plain ones first, each kind by the uids it holds."""
    return read(version(square), "conversations")


def read_pairs(square: Square) -> pa.Table:
    """Preference pairs (records.PAIRS), by pair_id."""
    return read(version(square), "pairs")


def read_dropped(square: Square) -> pa.Table:
    """Posts left out (records.DROPPED), each with its first reason, by uid."""
    return read(version(square), "dropped")


def read(folder: Path, name: str) -> pa.Table:
    """One table of one version."""
    return pq.read_table(folder / f"{name}.parquet", schema=SCHEMAS[name])


def write(folder: Path, name: str, table: pa.Table) -> None:
    """One table of a version that is being made."""
    pq.write_table(table.cast(SCHEMAS[name]), folder / f"{name}.parquet", compression="zstd", row_group_size=65_536)
