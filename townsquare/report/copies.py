"""The report holds no post. Takedown checks that all the same, and a page that held one would go."""

from __future__ import annotations

import html
import re

from townsquare import receipts
from townsquare.square import Square
from townsquare.traces import Texts, held


def erase(square: Square, uids: frozenset[str]) -> dict[str, int]:
    """Remove the page if it names a post; `townsquare report` makes it anew. Half-written pages go too."""
    for stray in square.root.glob(f".{square.report.name}.*"):
        stray.unlink()
    named = find(square, uids, [])["report"]
    if named:
        square.report.unlink()
        receipts.receipt_path(square, "report").unlink(missing_ok=True)
    return {"report": named}


def find(square: Square, uids: frozenset[str], texts: Texts) -> dict[str, int]:
    """Count the posts that the page names, or whose text stands in it, as a reader would see it."""
    hits = 0
    for path in [square.report, *square.root.glob(f".{square.report.name}.*")]:
        if path.is_file():
            shown = html.unescape(path.read_text(encoding="utf-8", errors="replace"))
            hits += len(_named(shown) & uids) + int(held([shown], texts).sum())
    return {"report": hits}


def _named(shown: str) -> set[str]:
    """Everything in the page that could be a uid: NETWORK:… up to a space, a bracket, a quotation or punctuation."""
    found = set(re.findall(r"\b(?:x|bsky|masto|reddit|hn|table):[^\s<>\"']+", shown))
    return found | {name.rstrip(".,;:!?)]}") for name in found}
