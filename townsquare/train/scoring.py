"""Bits per byte of text that a decoder did not learn from: measured the same way in training and afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from townsquare.model.decoder import Decoder
from townsquare.progress import progress
from townsquare.train.data import Documents, read_documents, validation_batches
from townsquare.train.loop import Numbers, Plan, bits

MOST_DOCUMENTS = 1000
ROWS = 16


def held_out_documents(shards: Sequence[Path]) -> Documents:
    """The first documents of the shards, as many as a score is taken from. Raises InputError for a broken shard."""
    documents = read_documents(shards)
    return documents.only(np.arange(len(documents)) < MOST_DOCUMENTS)


def bits_per_byte(
    decoder: Decoder, documents: Documents, token_bytes: np.ndarray, row_length: int, numbers: Numbers | Plan
) -> float:
    """Bits that the decoder needs for each UTF-8 byte of the text that bears loss.

    `token_bytes` are the bytes of each id. A document longer than a row is cut, and the first token of a
    later piece, which then has nothing before it, counts on neither side.
    """
    total, text_bytes = 0.0, 0
    with progress("Measuring bits per byte", len(documents.ids), "tokens") as bar:
        for batch in validation_batches(documents, row_length, ROWS):
            total += bits(decoder, [batch], numbers)[0]
            text_bytes += int(token_bytes[batch.targets[batch.counts]].sum())
            bar.advance(int((batch.segment >= 0).sum()))
    return total / max(text_bytes, 1)
