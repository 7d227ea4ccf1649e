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
from townsquare.train.layout import let_go
from townsquare.train.loop import Numbers, Plan, bits, micro_batches, summed, token_losses
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
    later piece, which then has nothing before it, counts on neither side. Processes share the rows.
    """
    total, text_bytes = 0.0, 0
    share = numbers.layout.share(numbers.world.rank)
    with progress("Measuring bits per byte", len(documents.ids), "tokens") as bar:
        for batch in validation_batches(documents, row_length, ROWS * share[1], share):
            total += bits(decoder, [batch], numbers)[0]
            text_bytes += int(token_bytes[batch.targets[batch.counts]].sum())
            bar.advance(int((batch.segment >= 0).sum()) * share[1])
    return total / max(summed(numbers, text_bytes)[0], 1)


@torch.no_grad()
def log_probabilities(decoder: Decoder, pairs: Documents, row_length: int, numbers: Numbers | Plan) -> np.ndarray:
    """(pairs, 2): the log-probability, in nats, of every pair's chosen and rejected reply. No pair exceeds a row.

    Processes share the rows; each has all that was found.
    """
    found = np.zeros((len(pairs), 2))
    share = numbers.layout.share(numbers.world.rank)
    with progress("Measuring replies", len(pairs), "pairs") as bar, numbers.layout.loss_context():
        for batch in validation_batches(pairs, row_length, ROWS * share[1], share):
            for part in micro_batches(batch, decoder.config.vocab_size):
                losses = token_losses(decoder, decoder.hidden, part, numbers)
                numbered = part.documents[part.documents >= 0]
                found[numbered] = reply_log_probabilities(losses, part).double().cpu().numpy()
                bar.advance(len(numbered) * share[1])
    let_go(decoder)  # or an optimizer made after this would get the gathered weights
    return np.array(summed(numbers, *found.ravel())).reshape(found.shape)


@dataclasses.dataclass(frozen=True)
class HeldOutPairs:
    """Preference pairs that a run does not learn from, and their `log_probabilities` before it."""

    documents: Documents
    before: np.ndarray

    def preferred_share(self, decoder: Decoder, plan: Plan) -> float:
        """The share of pairs whose chosen reply the run has made likelier, set against the rejected one."""
        gained = log_probabilities(decoder, self.documents, plan.dial.sequence_length, plan) - self.before
        return float((gained[:, 0] > gained[:, 1]).mean())
