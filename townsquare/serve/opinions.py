"""Opinions: what readers thought of answers, one JSON line each, from which preference pairs can be made.

An answer holds posts' words, so a line names the posts that it cites, and goes when one of them goes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from townsquare import lines
from townsquare.square import Square
from townsquare.traces import Texts, Traces, as_traces, rows_holding


@dataclasses.dataclass(frozen=True)
class Opinion:
    """One reader's judgement of one answer."""

    question: str
    answer: str
    """As it was shown, without marks."""
    uids: tuple[str, ...]
    """The posts that it cited."""
    verdict: Literal["good", "bad"]
    model: str


def path(square: Square) -> Path:
    return square.root / "opinions" / "opinions.jsonl"


def keep(square: Square, opinion: Opinion) -> None:
    """Add one. A later opinion of the same answer stands beside the earlier; readers of the file take the last."""
    lines.append(path(square), dataclasses.asdict(opinion))


def read(square: Square) -> list[Opinion]:
    """All opinions, oldest first."""
    return [Opinion(**{**row, "uids": tuple(row["uids"])}) for row in lines.read(path(square))]


def pairs(square: Square) -> list[tuple[str, Opinion, Opinion]]:
    """(question, better, worse) of questions whose answers were judged apart; of the same words the last counts."""
    last: dict[tuple[str, str], Opinion] = {(o.question, o.answer): o for o in read(square)}
    found = []
    for better in last.values():
        for worse in last.values():
            if (better.verdict, worse.verdict) == ("good", "bad") and better.question == worse.question:
                found.append((better.question, better, worse))
    return found


def erase(square: Square, uids: frozenset[str], texts: Texts = ()) -> int:
    """Remove the opinions that cite one of the posts, or repeat what one said; returns how many."""
    traces = as_traces(texts)
    return lines.rewrite(path(square), lambda row: None if _holds(row, uids, traces) else row)


def find(square: Square, uids: frozenset[str], texts: Texts) -> int:
    """How many there are that `erase` would remove."""
    traces = as_traces(texts)
    return sum(_holds(row, uids, traces) for row in lines.read(path(square)))


def _holds(row: lines.Row, uids: frozenset[str], traces: Traces) -> bool:
    return not uids.isdisjoint(row["uids"]) or bool(rows_holding([row["question"], row["answer"]], traces).any())
