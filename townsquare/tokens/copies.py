"""Takedown in the shards: a new version without the rows, the old one physically gone.

The vocabulary is kept: its merges are statistics of the whole corpus, and hold no post.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from townsquare import receipts
from townsquare.square import Square, current_version, next_version, publish, write_json
from townsquare.tokens import vocabulary
from townsquare.traces import Texts, as_traces, rows_holding, rows_naming

PARTIAL = ".partial"
CHUNK_ROWS = 1 << 15


def erase(square: Square, uids: frozenset[str], texts: Texts = ()) -> dict[str, int]:
    """Drop every row that holds one of `uids`; returns how many. Other versions are removed too."""
    live, removed = current_version(square.tokens), 0
    if live is not None:
        held = {path.name: rows_naming(_read(path)["uids"], uids) for path in sorted(live.glob("*.arrow"))}
        removed = sum(int(rows.sum()) for rows in held.values())
        if removed:
            live = _rewrite(square, live, held)
        _revise(square, live)
    for old in square.tokens.glob("v[0-9]*"):
        if old != live:
            shutil.rmtree(old)
    shutil.rmtree(square.tokens / PARTIAL, ignore_errors=True)
    return {"shards": removed}


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _rewrite(square: Square, live: Path, held: dict[str, np.ndarray]) -> Path:
    """A version without the rows that are `held`, by file. Files that hold none are copied as they are."""
    partial, version = square.tokens / PARTIAL, next_version(square.tokens)
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(live / "vocabulary", partial / "vocabulary")
    manifest = json.loads((live / "manifest.json").read_text(encoding="utf-8"))
    for shards in manifest["shards"].values():
        for shard in shards:
            path, rows = partial / shard["file"], held[shard["file"]]
            if not rows.any():
                shutil.copyfile(live / shard["file"], path)
                continue
            table = _read(live / shard["file"]).filter(pa.array(~rows))
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table.combine_chunks(), max_chunksize=4096)
            tokens = pc.sum(pc.list_value_length(table["ids"])).as_py() or 0
            shard.update(rows=len(table), tokens=tokens, sha256=receipts.sha256_of(path))
    manifest["rows"] = sum(shard["rows"] for shards in manifest["shards"].values() for shard in shards)
    write_json(partial / "manifest.json", manifest)
    partial.rename(version)
    publish(version)
    return version


def _revise(square: Square, live: Path) -> None:
    """The receipt says what is there now, beside what the stage made; also where a kill came between the two."""
    receipt = receipts.read(square, "tokens")
    if receipt is None or receipt.results.get("revised", receipt.results).get("version") == live.name:
        return
    manifest = json.loads((live / "manifest.json").read_text(encoding="utf-8"))
    tokens = {prefix: sum(shard["tokens"] for shard in shards) for prefix, shards in manifest["shards"].items()}
    outputs = {"shards": receipts.sha256_of(live)}
    receipts.revise(square, receipt, version=live.name, rows=manifest["rows"], tokens=tokens, outputs=outputs)


def find(square: Square, uids: frozenset[str], texts: Texts) -> dict[str, int]:
    """Count rows, in every version on disk, that hold one of `uids` or decode to something with one of `texts`."""
    traces, hits = as_traces(texts), 0
    for folder in [*sorted(square.tokens.glob("v[0-9]*")), square.tokens / PARTIAL]:
        decoder = _Decoder(folder / "vocabulary") if len(traces) and (folder / "vocabulary").is_dir() else None
        for path in sorted(folder.glob("*.arrow")):
            try:
                table = _read(path)
            except pa.ArrowInvalid:  # cut off while it was written: no reader can get at it, and erase removes it
                continue
            rows = rows_naming(table["uids"], uids)
            for start in range(0, len(table) if decoder else 0, CHUNK_ROWS):
                part = table["ids"].slice(start, CHUNK_ROWS).combine_chunks()
                said = decoder.texts(part)  # type: ignore[union-attr]
                rows[start : start + CHUNK_ROWS] |= rows_holding(said, traces, joined=True)
            hits += int(rows.sum())
    return {"shards": hits}


class _Decoder:
    """Ids to text, whole columns at once: every token's bytes lie in one pool. Special tokens have none."""

    def __init__(self, folder: Path) -> None:
        tokens = vocabulary.token_bytes(folder)
        self.pool = np.frombuffer(b"".join(tokens) or b" ", np.uint8)
        self.lengths = np.array([len(token) for token in tokens], np.int64)
        self.begins = np.cumsum(self.lengths) - self.lengths

    def texts(self, ids: pa.ListArray) -> pa.Array:
        """One text a row. A row's bytes may be no UTF-8 at its edges; a search over bytes does not mind."""
        flat = np.asarray(ids.flatten()).astype(np.int64)
        lengths = self.lengths[flat]
        ends = np.concatenate(([0], np.cumsum(lengths)))
        data = self.pool[np.repeat(self.begins[flat] - ends[:-1], lengths) + np.arange(ends[-1])]
        offsets = ends[np.asarray(ids.offsets) - ids.offsets[0].as_py()]
        return pa.Array.from_buffers(
            pa.large_string(), len(ids), [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(data)]
        )
