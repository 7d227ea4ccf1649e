"""Lineage of every post, as tables of ids: what curation decided, which document, which tokens, which step of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from townsquare.audit.saw import lineage as run_lineage
from townsquare.audit.saw import runs
from townsquare.ingest import tables
from townsquare.square import Square, current_version

POST_COLUMNS = ["uid", "network", "source_id", "source_sha256", "visibility", "state", "state_event_id", "grant_id"]


def write(square: Square, folder: Path) -> dict[str, int]:
    """Write posts, decisions, documents, shards and runs as Parquet files into `folder`; returns the rows of each."""
    folder.mkdir(parents=True)
    parts = {
        "posts": tables.read_posts(square, POST_COLUMNS),
        "decisions": _decisions(square),
        "documents": _documents(square),
        "shards": _shards(square),
        "runs": _runs(square),
    }
    for name, table in parts.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    return {name: len(table) for name, table in parts.items()}


def _decisions(square: Square) -> pa.Table:
    """Posts that curation left out: uid, rule, reason, score; and the corpus version that says so."""
    version = current_version(square.corpus)
    if version is None:
        return pa.table({"uid": pa.array([], pa.string())})
    table = pq.read_table(version / "dropped.parquet")
    return table.append_column("corpus", pa.array([version.name] * len(table), pa.string()))


def _documents(square: Square) -> pa.Table:
    """One row for each post in a document, conversation or pair: uid, kind, id, split, corpus version."""
    version, found = current_version(square.corpus), []
    for kind, name in (("documents", "document_id"), ("conversations", "conversation_id"), ("pairs", "pair_id")):
        if version is None:
            continue
        table = pq.read_table(version / f"{kind}.parquet", columns=[name, "uids", "split"])
        uids, rows = _flat(table["uids"])
        columns = {"uid": uids, "id": table[name].take(rows), "split": table["split"].take(rows)}
        labels = {"kind": [kind] * len(uids), "corpus": [version.name] * len(uids)}
        found.append(pa.table({**columns, **{k: pa.array(v, pa.string()) for k, v in labels.items()}}))
    return pa.concat_tables(found) if found else pa.table({"uid": pa.array([], pa.string())})


def _flat(column: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Every element of a column of lists, and the row that each stands in."""
    lists = column.combine_chunks()
    lengths = np.asarray(lists.value_lengths().fill_null(0))
    return lists.flatten(), pa.array(np.repeat(np.arange(len(lists)), lengths))


def _shards(square: Square) -> pa.Table:
    """One row for each post in a shard's row: uid, shard, row, and the file's tokens that the row takes (half open)."""
    version, found = current_version(square.tokens), []
    for path in sorted(version.glob("*.arrow")) if version is not None else ():
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
            ends = np.cumsum(np.asarray(table["ids"].combine_chunks().value_lengths(), np.int64))
            uids, rows = _flat(table["uids"])
        at = np.asarray(rows)
        begins = np.concatenate(([0], ends[:-1])) if len(ends) else ends
        names = pa.array([f"{path.parent.name}/{path.name}"] * len(at), pa.string())
        places = {"row": rows, "token_start": pa.array(begins[at]), "token_stop": pa.array(ends[at])}
        found.append(pa.table({"uid": uids, "shard": names, **places}))
    return pa.concat_tables(found) if found else pa.table({"uid": pa.array([], pa.string())})


def _runs(square: Square) -> pa.Table:
    """For each run and post the step (from 0) that reads it first; posts that no step reads are left out."""
    found = []
    for folder in runs(square):
        table = run_lineage(folder)
        table = table.filter(pc.greater_equal(table["first_step"], 0))
        found.append(table.append_column("run", pa.array([folder.name] * len(table), pa.string())))
    return pa.concat_tables(found) if found else pa.table({"uid": pa.array([], pa.string())})
