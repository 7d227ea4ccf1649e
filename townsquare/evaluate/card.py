"""The scores in the model's card: one section, made anew at every evaluation, the rest of the card as it was."""

from __future__ import annotations

import re
from typing import Any

HEADING = "## Scores"
BEFORE = "## Limits"
NOTE = "Brackets hold 95 % bootstrap intervals. How each is measured stands in the receipt's `about`."
_SECTION = re.compile(rf"^{HEADING}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def with_scores(card: str, results: dict[str, Any]) -> str:
    """The card with what `results`, of an evaluation's receipt, says; before the limits, or at its end."""
    section = f"{HEADING}\n\n{_rows(results)}\n\n{NOTE}\n\n"
    card = _SECTION.sub("", card)
    head, found, rest = card.partition(f"{BEFORE}\n")
    return head + section + found + rest if found else f"{card.rstrip()}\n\n{section}"


def _rows(results: dict[str, Any]) -> str:
    rows = ["| task | metric | score | n |", "| --- | --- | --- | --- |"]
    for task, scores in results["scores"].items():
        for metric, value in scores.items():
            low, high = scores.get(f"{metric}_low"), scores.get(f"{metric}_high")
            if low is not None and high is not None:
                score = f"{value:.3f} ({low:.3f} to {high:.3f})"
                rows.append(f"| {task} | {metric.replace('_', ' ')} | {score} | {scores['n']:,} |")
    return "\n".join(rows)
