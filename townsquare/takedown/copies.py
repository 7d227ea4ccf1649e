"""The one list of who holds copies of posts. Each part erases and searches its own, in its own format."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from townsquare.progress import progress
from townsquare.square import Square

HOLDERS = ("ingest", "curate", "tokens", "evaluate", "serve", "report")
"""Parts with a `copies` module that offers erase(square, uids) and find(square, uids, texts)."""

Counts = dict[str, int]


def erase_everywhere(square: Square, uids: frozenset[str]) -> Counts:
    """Remove posts from every copy, raw table first; returns rows or places removed by copy."""
    return _each("Erasing", lambda module: module.erase(square, uids))


def find_everywhere(square: Square, uids: frozenset[str], texts: Sequence[str]) -> Counts:
    """Open every copy and count what is left of posts, by uid or by text."""
    return _each("Searching every copy", lambda module: module.find(square, uids, texts))


def _each(label: str, work: Callable[..., Counts]) -> Counts:
    counts: Counts = {}
    with progress(label, len(HOLDERS), "parts") as bar:
        for part in HOLDERS:
            module = importlib.import_module(f"townsquare.{part}.copies")
            counts.update(work(module))
            bar.advance(1, note=part)
    return counts


def seen_by_runs(square: Square, uids: frozenset[str]) -> Counts:
    """For each training run, how many of the posts its weights have seen. These stay; they are named."""
    if not any(square.runs.glob("*/")):  # without runs there is no need to load torch, which takes seconds
        return {}
    from townsquare.train.copies import saw

    return saw(square, uids)
