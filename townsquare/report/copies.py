"""The report's pages hold no post. Takedown checks that all the same, and a page that held one would go."""

from __future__ import annotations

import html
import re
from pathlib import Path

from townsquare import receipts
from townsquare.square import Square
from townsquare.traces import Texts, held


def erase(square: Square, uids: frozenset[str], texts: Texts = ()) -> dict[str, int]:
    """Remove a page if it names a post; `townsquare report` makes it anew. Half-written pages go too."""
    for stray in _files(square):
        if stray not in _pages(square):
            stray.unlink()
    named = 0
    for path in _files(square):
        found = _hits(path, uids, [])
        named += found
        if found:
            path.unlink()
            receipts.receipt_path(square, "report").unlink(missing_ok=True)
    return {"report": named}


def find(square: Square, uids: frozenset[str], texts: Texts) -> dict[str, int]:
    """Count the posts that a page names, or whose text stands in it, as a reader would see it."""
    return {"report": sum(_hits(path, uids, texts) for path in _files(square))}


def _pages(square: Square) -> list[Path]:
    return [square.report, square.scores_page]


def _files(square: Square) -> list[Path]:
    """The pages that are there, and what was left of half-written ones."""
    strays = (stray for page in _pages(square) for stray in square.root.glob(f".{page.name}.*"))
    return [path for path in [*_pages(square), *strays] if path.is_file()]


def _hits(path: Path, uids: frozenset[str], texts: Texts) -> int:
    shown = html.unescape(path.read_text(encoding="utf-8", errors="replace"))
    return len(_named(shown) & uids) + int(held([shown], texts).sum())


def _named(shown: str) -> set[str]:
    """Everything in the page that could be a uid: NETWORK:… up to a space, a bracket, a quotation or punctuation."""
    found = set(re.findall(r"\b(?:x|bsky|masto|reddit|hn|table):[^\s<>\"']+", shown))
    return found | {name.rstrip(".,;:!?)]}") for name in found}
