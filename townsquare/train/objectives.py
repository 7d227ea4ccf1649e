"""What a run learns, each objective a way to make one loss of the losses of single tokens.

The loop is the same for all: it takes rows of an objective's shards, has the decoder give the cross-entropy of
every token that bears loss, and learns from what the objective makes of them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from townsquare.train.data import Batch

SHARDS = {"pretrain": "documents", "tune": "conversations", "prefer": "pairs"}
"""The kind of shards that each objective reads."""

BETA = 0.1  # how far from its first weights a run may go for a preference: arXiv 2305.18290, appendix B


class Objective(Protocol):
    """What the loop asks of an objective."""

    @property
    def ordinary_loss(self) -> float:
        """A loss up to which no step is taken for a spike, whatever the losses before it were."""

    def count(self, batch: Batch) -> int:
        """How many terms the batch has: what its summed loss is divided by."""

    def summed_loss(self, losses: Tensor, batch: Batch) -> Tensor:
        """The sum of the batch's terms. `losses` (N,) are the tokens' cross-entropies in nats, in `counts`' order."""


@dataclasses.dataclass(frozen=True)
class NextToken:
    """Every token that bears loss is a term: pretraining, continued pretraining, supervised tuning."""

    ordinary_loss: float = 0.0

    def count(self, batch: Batch) -> int:
        """Tokens that bear loss."""
        return int(batch.counts.sum())

    def summed_loss(self, losses: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy in nats."""
        return losses.sum()


@dataclasses.dataclass(frozen=True)
class Preference:
    """Direct preference optimization: every pair is a term (Rafailov et al., 2023, arXiv 2305.18290, equation 7).

    -ln sigmoid(beta ((ln p(chosen) - ln p0(chosen)) - (ln p(rejected) - ln p0(rejected)))), where p0 is the decoder
    as it was before the run. `reference` (pairs, 2) holds ln p0, the chosen reply's first, by number of the pair.
    """

    reference: np.ndarray
    beta: float = BETA
    ordinary_loss: float = math.log(2)  # the loss of a decoder that has learned nothing yet

    def count(self, batch: Batch) -> int:
        """Pairs."""
        return int((batch.documents >= 0).sum())

    def summed_loss(self, losses: Tensor, batch: Batch) -> Tensor:
        """The loss of the formula."""
        return -F.logsigmoid(self.beta * self.margins(losses, batch)).sum()

    def margins(self, losses: Tensor, batch: Batch) -> Tensor:
        """(pairs of the batch,): how much more the decoder prefers the chosen reply than it first did, in nats."""
        pairs = batch.documents[batch.documents >= 0]
        first = torch.from_numpy(self.reference[pairs]).to(losses.device, losses.dtype)
        gained = reply_log_probabilities(losses, batch) - first
        return gained[:, 0] - gained[:, 1]


def reply_log_probabilities(losses: Tensor, batch: Batch) -> Tensor:
    """(pairs of the batch, 2): the log-probability of each chosen and rejected reply, in the order of `documents`."""
    rows, most = batch.documents.shape
    replies = np.nonzero(batch.counts)[0] * 2 * most + batch.segment[batch.counts]
    lengths = torch.from_numpy(np.bincount(replies, minlength=rows * 2 * most)).to(losses.device)
    sums = torch.segment_reduce(-losses, "sum", lengths=lengths, initial=0.0)  # in order: the same bits every time
    return sums.view(rows, most, 2)[torch.from_numpy(batch.documents >= 0).to(losses.device)]
