"""What a model's weights make of given tokens: how many bits each takes, and whether it is the likeliest next one.

One pass tells both how well text is foretold and whether a greedy completion would write it: that goes along a text
exactly as long as every token is the likeliest after those before it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from townsquare.evaluate.config import GGUF
from townsquare.progress import progress

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from townsquare.model.decoder import Decoder

TOKENS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class Reading:
    """For every token but the first of a row: its bits, and whether it was the likeliest."""

    bits: np.ndarray
    likeliest: np.ndarray

    def matched(self, start: int) -> int:
        """How many tokens a greedy completion gets right that is given the row's first `start` tokens."""
        missed = np.flatnonzero(~self.likeliest[start - 1 :])
        return int(missed[0]) if len(missed) else len(self.likeliest) - start + 1


def load(model: Path) -> tuple[Decoder, Tokenizer]:
    """An exported folder's decoder or a GGUF file's, and its vocabulary. Raises InputError."""
    from townsquare.model import gguf_files, huggingface
    from townsquare.tokens import vocabulary

    if model.suffix == GGUF:
        tokenizer = gguf_files.read_tokenizer(model)
        tokenizer.encode_special_tokens = True
        decoder = gguf_files.load(model)
    else:
        tokenizer, decoder = vocabulary.load(model), huggingface.load(model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return decoder.to(device).eval(), tokenizer


def read(decoder: Decoder, rows: Sequence[Sequence[int]], label: str) -> list[Reading]:
    """A Reading for each row of at least two ids, none longer than the decoder's longest.

    Rows of about one length are read together; what fills them up stands behind, where causal attention never looks.
    """
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    found: dict[int, Reading] = {}
    with progress(label, len(rows), "texts") as bar, torch.inference_mode():
        while order:
            longest = len(rows[order[-1]])
            batch = [order.pop() for _ in range(min(len(order), max(TOKENS_AT_ONCE // longest, 1)))]
            ids = torch.zeros((len(batch), longest), dtype=torch.int64)
            for at, row in enumerate(batch):
                ids[at, : len(rows[row])] = torch.tensor(rows[row])
            ids = ids.to(decoder.lm_head.weight.device)
            hidden = decoder.hidden(ids)
            for at, row in enumerate(batch):
                found[row] = _reading(decoder, hidden[at, : len(rows[row]) - 1], ids[at, 1 : len(rows[row])])
            bar.advance(len(batch))
    return [found[row] for row in range(len(rows))]


def _reading(decoder: Decoder, hidden: torch.Tensor, targets: torch.Tensor) -> Reading:
    """One row's; its logits alone are held, (T, vocabulary)."""
    logits = decoder.lm_head(hidden).float()
    bits = torch.nn.functional.cross_entropy(logits, targets, reduction="none") / math.log(2)
    return Reading(bits.cpu().numpy().astype(np.float64), (logits.argmax(-1) == targets).cpu().numpy())
