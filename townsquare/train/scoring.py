"""How well a decoder does on text that it did not learn from: measured the same way in training and afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from townsquare.model.decoder import Decoder
from townsquare.progress import progress
from townsquare.train.data import Documents, read_documents, validation_batches
from townsquare.train.loop import Numbers, Plan, bits, micro_batches, token_losses
from townsquare.train.objectives import reply_log_probabilities

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


@torch.no_grad()
def log_probabilities(decoder: Decoder, pairs: Documents, row_length: int, numbers: Numbers | Plan) -> np.ndarray:
    """(pairs, 2): the log-probability, in nats, of every pair's chosen and rejected reply. No pair exceeds a row."""
    found = np.zeros((len(pairs), 2))
    with progress("Measuring replies", len(pairs), "pairs") as bar:
        for batch in validation_batches(pairs, row_length, ROWS):
            for part in micro_batches(batch, decoder.config.vocab_size):
                losses = token_losses(decoder, decoder.hidden, part, numbers)
                numbered = part.documents[part.documents >= 0]
                found[numbered] = reply_log_probabilities(losses, part).double().cpu().numpy()
                bar.advance(len(numbered))
    return found


@dataclasses.dataclass(frozen=True)
class HeldOutPairs:
    """Preference pairs that a run does not learn from, and their `log_probabilities` before it."""

    documents: Documents
    before: np.ndarray

    def preferred_share(self, decoder: Decoder, plan: Plan) -> float:
        """The share of pairs whose chosen reply the run has made likelier, set against the rejected one."""
        gained = log_probabilities(decoder, self.documents, plan.dial.sequence_length, plan) - self.before
        return float((gained[:, 0] > gained[:, 1]).mean())
