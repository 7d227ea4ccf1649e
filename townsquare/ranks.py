"""Which of a run's processes this one is, as torchrun says it. Outside torchrun there is one, of rank 0.

Only the standard library is used. Rank 0 leads: it alone writes receipts, logs, ledger rows and progress.
"""

from __future__ import annotations

import os


def rank() -> int:
    """This process's number among the run's."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes the run has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process writes and speaks for the others."""
    return rank() == 0
