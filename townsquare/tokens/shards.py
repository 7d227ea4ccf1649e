"""Shards: Arrow IPC files of token ids, with the post uids of every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from townsquare import receipts
from townsquare.model.chat import END_OF_TEXT, TURN_END, TURN_START
from townsquare.records import shard_schema
from townsquare.square import disk_errors_explained
from townsquare.tokens.vocabulary import Encoder

BATCH = 4096
Row = dict[str, Any]


def document_rows(table: pa.Table, encoder: Encoder) -> Iterator[Row]:
    """Documents as rows: end-of-text, the text, end-of-text; every token bears loss but the first."""
    end = encoder.special_ids[END_OF_TEXT]
    for batch in table.select(["document_id", "uids", "text"]).to_batches(max_chunksize=BATCH):
        columns = batch.to_pydict()
        for name, uids, ids in zip(
            columns["document_id"], columns["uids"], encoder.encode(columns["text"]), strict=True
        ):
            mask = [False] + [True] * (len(ids) + 1)
            yield {"document_id": name, "uids": uids, "ids": [end, *ids, end], "loss_mask": mask}


def conversation_rows(table: pa.Table, encoder: Encoder) -> Iterator[Row]:
    """Conversations as ChatML; only the assistant's turns bear loss, with the token that ends them."""
    for batch in table.select(["conversation_id", "uids", "turns"]).to_batches(max_chunksize=BATCH):
        columns = batch.to_pydict()
        flat = [turn for turns in columns["turns"] for turn in turns]
        encoded = iter(encoder.encode([turn["text"] for turn in flat]))
        headers = dict(
            zip(
                roles := sorted({turn["role"] for turn in flat}), encoder.encode([r + "\n" for r in roles]), strict=True
            )
        )
        newline = encoder.encode(["\n"])[0]
        for name, uids, turns in zip(columns["conversation_id"], columns["uids"], columns["turns"], strict=True):
            parts = [(turn["role"], next(encoded)) for turn in turns]
            ids, mask = chatml(parts, headers, newline, encoder.special_ids)
            yield {"document_id": name, "uids": uids, "ids": ids, "loss_mask": mask}


def chatml(
    turns: Sequence[tuple[str, list[int]]],
    headers: dict[str, list[int]],
    newline: list[int],
    special: dict[str, int],
) -> tuple[list[int], list[bool]]:
    """Ids and loss mask of encoded turns. `headers` are the encoded "role\\n"."""
    ids: list[int] = []
    mask: list[bool] = []
    for role, body in turns:
        head = [special[TURN_START], *headers[role]]
        learned = role == "assistant"
        ids += [*head, *body, special[TURN_END], *newline]
        mask += [False] * len(head) + [learned] * (len(body) + 1) + [False] * len(newline)
    return ids, mask


def write_shards(
    rows: Iterator[Row], folder: Path, prefix: str, *, vocabulary_size: int, shard_rows: int
) -> list[dict[str, Any]]:
    """Stream rows into files `PREFIX-00000.arrow`, …; returns {"file", "rows", "tokens", "sha256"} each."""
    schema = shard_schema(vocabulary_size)
    written: list[dict[str, Any]] = []
    pending: list[Row] = []
    with disk_errors_explained(folder):
        for row in rows:
            pending.append(row)
            if len(pending) == shard_rows:
                written.append(_write_one(pending, folder / f"{prefix}-{len(written):05d}.arrow", schema))
                pending = []
        if pending:
            written.append(_write_one(pending, folder / f"{prefix}-{len(written):05d}.arrow", schema))
    return written


def _write_one(rows: list[Row], path: Path, schema: pa.Schema) -> dict[str, Any]:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, len(rows), BATCH):
            writer.write_batch(pa.RecordBatch.from_pylist(rows[start : start + BATCH], schema=schema))
    tokens = sum(len(row["ids"]) for row in rows)
    return {"file": path.name, "rows": len(rows), "tokens": tokens, "sha256": receipts.sha256_of(path)}
