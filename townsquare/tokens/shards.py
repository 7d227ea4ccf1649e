"""Shards: Arrow IPC files of token ids, with the post uids of every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from townsquare import receipts
from townsquare.model.chat import END_OF_TEXT, TURN_END, TURN_START, Turn
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
        talks = [[(turn["role"], turn["text"]) for turn in turns] for turns in columns["turns"]]
        for name, uids, (ids, mask) in zip(
            columns["conversation_id"], columns["uids"], chatml(talks, encoder), strict=True
        ):
            yield {"document_id": name, "uids": uids, "ids": ids, "loss_mask": mask}


def pair_rows(table: pa.Table, encoder: Encoder) -> Iterator[Row]:
    """Preference pairs: the prompt with the chosen reply, then the prompt with the rejected one.

    Only the two replies bear loss, each with the token that ends it; replies inside the prompt do not.
    """
    columns = ["pair_id", "uids", "prompt", "chosen", "rejected"]
    for batch in table.select(columns).to_batches(max_chunksize=BATCH):
        rows = batch.to_pylist()
        prompts = [[(turn["role"], turn["text"]) for turn in row["prompt"]] for row in rows]
        prompt_lengths = [len(ids) for ids, _ in chatml(prompts, encoder)]
        chosen, rejected = (
            chatml([[*p, ("assistant", row[key])] for p, row in zip(prompts, rows, strict=True)], encoder)
            for key in ("chosen", "rejected")
        )
        for row, length, (good, good_mask), (bad, bad_mask) in zip(rows, prompt_lengths, chosen, rejected, strict=True):
            silent = [False] * length
            yield {
                "document_id": row["pair_id"],
                "uids": row["uids"],
                "ids": good + bad,
                "loss_mask": silent + good_mask[length:] + silent + bad_mask[length:],
                "rejected_at": len(good),
            }


def chatml(talks: Sequence[Sequence[Turn]], encoder: Encoder) -> list[tuple[list[int], list[bool]]]:
    """Ids and loss mask of each conversation: true for the assistant's words and the token that ends them."""
    special = encoder.special_ids
    roles = sorted({role for turns in talks for role, _ in turns})
    headers = dict(zip(roles, encoder.encode([f"{role}\n" for role in roles]), strict=True))
    newline = encoder.encode(["\n"])[0]
    bodies = iter(encoder.encode([text for turns in talks for _, text in turns]))
    found = []
    for turns in talks:
        ids: list[int] = []
        mask: list[bool] = []
        for role, _ in turns:
            head, body, learned = [special[TURN_START], *headers[role]], next(bodies), role == "assistant"
            ids += [*head, *body, special[TURN_END], *newline]
            mask += [False] * len(head) + [learned] * (len(body) + 1) + [False] * len(newline)
        found.append((ids, mask))
    return found


def write_shards(
    rows: Iterator[Row], folder: Path, prefix: str, *, schema: pa.Schema, shard_rows: int
) -> list[dict[str, Any]]:
    """Stream rows into files `PREFIX-00000.arrow`, …; returns {"file", "rows", "tokens", "sha256"} each."""
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
