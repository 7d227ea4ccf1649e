"""The public door: where the shards are and what vocabulary made them. Reads nothing but tokens/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from townsquare import receipts
from townsquare.errors import StaleError
from townsquare.receipts import Input
from townsquare.square import Square, current_version
from townsquare.tokens import vocabulary


def tokens_input(square: Square) -> Input:
    """The shards as an input of a later stage."""
    return receipts.as_input(receipts.need(square, "tokens"))


def version(square: Square) -> Path:
    """The live version's folder. Raises StaleError when there is none."""
    folder = current_version(square.tokens)
    if folder is None:
        raise StaleError("there are no shards in this square yet", remedy="Run first: townsquare tokens")
    return folder


def manifest(square: Square) -> dict[str, Any]:
    """manifest.json: vocabulary_size, vocabulary_sha256, and for each shard rows, tokens and sha256."""
    record: dict[str, Any] = json.loads((version(square) / "manifest.json").read_text(encoding="utf-8"))
    return record


def shards(square: Square, kind: str, split: str) -> list[Path]:
    """Shard files of documents, conversations or pairs of one split, in order; none when there are no such rows."""
    return sorted(version(square).glob(f"{kind}-{split}-*.arrow"))


def vocabulary_path(square: Square) -> Path:
    """The folder with tokenizer.json."""
    return version(square) / "vocabulary"


def token_bytes(square: Square) -> np.ndarray:
    """UTF-8 bytes of each id, int64; 0 for special tokens. What bits per byte divides by."""
    return np.array(vocabulary.token_lengths(vocabulary_path(square)), dtype=np.int64)
