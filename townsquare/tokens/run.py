"""The tokens stage: corpus -> vocabulary, shards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from townsquare import receipts
from townsquare.curate import tables as corpus
from townsquare.errors import InputError
from townsquare.progress import progress
from townsquare.receipts import Input, Receipt
from townsquare.records import SPLITS, shard_schema
from townsquare.square import Square, next_version, publish, write_json
from townsquare.tokens.config import TokensConfig
from townsquare.tokens.shards import conversation_rows, document_rows, pair_rows, write_shards
from townsquare.tokens.vocabulary import Encoder, copy_vocabulary, size_of, train_vocabulary


def run(square: Square, config: TokensConfig) -> Receipt:
    """Make the vocabulary, and a new version of the shards. Raises StaleError when there is no corpus."""
    inputs = [corpus.corpus_input(square)]
    if config.base is not None:
        if not config.base.exists():
            raise InputError("there is no such base model", place=str(config.base), remedy="Mend the path.")
        inputs.append(Input("base", receipts.sha256_of(config.base)))
    with receipts.stage(square, "tokens", inputs=inputs, config=config) as work:
        if work.done:
            return work.done
        version = next_version(square.tokens)
        partial = square.tokens / ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        manifest = _build(square, config, partial)
        write_json(partial / "manifest.json", manifest)
        partial.rename(version)
        publish(version)
        work.count(seen=manifest["rows"], kept=manifest["rows"])
        work.results.update(
            version=version.name,
            vocabulary_size=manifest["vocabulary_size"],
            tokens={prefix: sum(s["tokens"] for s in shards) for prefix, shards in manifest["shards"].items()},
            bytes_per_token=manifest["bytes_per_token"],
            outputs={"shards": receipts.sha256_of(version)},
        )
    return work.receipt


def _build(square: Square, config: TokensConfig, folder: Path) -> dict[str, Any]:
    vocabulary = folder / "vocabulary"
    documents = corpus.read_documents(square)
    conversations = corpus.read_conversations(square)
    if config.base is not None:
        copy_vocabulary(config.base, vocabulary)
    else:
        train_vocabulary(_training_texts(documents, conversations), config.vocabulary_size, vocabulary)
    encoder, size = Encoder(vocabulary), size_of(vocabulary)
    kinds = (
        ("documents", documents, document_rows),
        ("conversations", conversations, conversation_rows),
        ("pairs", corpus.read_pairs(square), pair_rows),
    )
    rows = sum(len(table) for _, table, _ in kinds)
    shards: dict[str, Any] = {}
    with progress("Writing shards", rows, "rows") as bar:
        for kind, table, rows_of in kinds:
            schema = shard_schema(size, pairs=kind == "pairs")
            for split in SPLITS:
                part, prefix = table.filter(pc.equal(table["split"], split)), f"{kind}-{split}"
                shards[prefix] = write_shards(
                    rows_of(part, encoder), folder, prefix, schema=schema, shard_rows=config.shard_rows
                )
                bar.advance(len(part))
    text_bytes = pc.sum(pc.binary_length(documents["text"])).as_py() or 0
    text_tokens = sum(s["tokens"] - 2 * s["rows"] for split in SPLITS for s in shards[f"documents-{split}"])
    return {
        "vocabulary_size": size,
        "vocabulary_sha256": receipts.sha256_of(vocabulary / "tokenizer.json"),
        "rows": rows,
        "bytes_per_token": text_bytes / max(text_tokens, 1),
        "shards": shards,
    }


def _training_texts(documents: pa.Table, conversations: pa.Table) -> list[str]:
    """What the vocabulary is trained on: the training split's documents and turns."""
    texts: list[str] = documents.filter(pc.equal(documents["split"], "train"))["text"].to_pylist()
    turns = conversations.filter(pc.equal(conversations["split"], "train"))["turns"].to_pylist()
    return texts + [turn["text"] for path in turns for turn in path]
