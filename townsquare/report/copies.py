"""Takedown in the report: it holds no post; should it name or say one, the page goes until it is made anew."""

from __future__ import annotations

import html
from collections.abc import Sequence

from townsquare.square import Square


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Remove the page where it names one of the posts."""
    if sum(find(square, uids, []).values()):
        square.report.unlink()
        return {"report": 1}
    return {"report": 0}


def find(square: Square, uids: frozenset[str], texts: Sequence[str]) -> dict[str, int]:
    """Count the posts that the page names by uid, and the texts that stand in it."""
    if not square.report.is_file():
        return {"report": 0}
    page = html.unescape(square.report.read_text(encoding="utf-8"))
    flat = " ".join(page.split())
    named = sum(uid in page for uid in uids)
    return {"report": named + sum(" ".join(text.split()) in flat for text in texts)}
