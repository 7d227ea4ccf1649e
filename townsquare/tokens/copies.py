"""Takedown in the shards: a new version without the rows, the old one physically gone.

The vocabulary is kept: its merges are statistics of the whole corpus, and hold no post.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from townsquare import receipts
from townsquare.records import shard_schema
from townsquare.square import Square, current_version, next_version, publish, write_json
from townsquare.tokens import vocabulary


def _holding(table: pa.Table, uids: frozenset[str]) -> pa.Array:
    """True for the rows that hold any of `uids`."""
    lists = table["uids"].combine_chunks()
    hits = pc.is_in(lists.flatten(), pa.array(sorted(uids), pa.string()))
    parents = pc.list_parent_indices(lists).filter(hits)
    return pc.is_in(pa.array(range(len(table)), pa.int64()), pc.unique(parents))


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path), "rb") as source:
        return pa.ipc.open_file(source).read_all()


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Drop every row that holds one of `uids`; returns how many. Other versions are removed too."""
    live = current_version(square.tokens)
    if live is None:
        return {"shards": 0}
    removed = {path: int(pc.sum(_holding(_read(path), uids)).as_py() or 0) for path in live.glob("*.arrow")}
    if sum(removed.values()):
        live = _rewrite(square, live, uids)
    for old in square.tokens.glob("v[0-9]*"):
        if old != live:
            shutil.rmtree(old)
    shutil.rmtree(square.tokens / ".partial", ignore_errors=True)
    return {"shards": sum(removed.values())}


def _rewrite(square: Square, live: Path, uids: frozenset[str]) -> Path:
    partial, version = square.tokens / ".partial", next_version(square.tokens)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(live / "vocabulary", partial / "vocabulary")
    manifest = json.loads((live / "manifest.json").read_text(encoding="utf-8"))
    schema = shard_schema(manifest["vocabulary_size"])
    for shards in manifest["shards"].values():
        for shard in shards:
            table = _read(live / shard["file"])
            table = table.filter(pc.invert(_holding(table, uids)))
            path = partial / shard["file"]
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                writer.write_table(table, max_chunksize=4096)
            tokens = pc.sum(pc.list_value_length(table["ids"])).as_py() or 0
            shard.update(rows=len(table), tokens=tokens, sha256=receipts.sha256_of(path))
    manifest["rows"] = sum(shard["rows"] for shards in manifest["shards"].values() for shard in shards)
    write_json(partial / "manifest.json", manifest)
    partial.rename(version)
    publish(version)
    return version


def find(square: Square, uids: frozenset[str], texts: Sequence[str]) -> dict[str, int]:
    """Count rows, in every version on disk, that hold one of `uids` or decode to something with one of `texts`."""
    hits = 0
    for path in sorted(square.tokens.glob("v*/*.arrow")):
        table = _read(path)
        by_uid = _holding(table, uids)
        hits += int(pc.sum(by_uid).as_py() or 0)
        if texts:
            tokenizer = vocabulary.load(path.parent / "vocabulary")
            decoded = tokenizer.decode_batch(table["ids"].to_pylist(), skip_special_tokens=True)
            flags = by_uid.to_pylist()
            hits += sum(not flag and any(t in text for t in texts) for flag, text in zip(flags, decoded, strict=True))
    return {"shards": hits}
