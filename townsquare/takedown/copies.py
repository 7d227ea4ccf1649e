"""The one list of who holds copies of posts. Each part erases and searches its own, in its own format."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from townsquare.progress import progress
from townsquare.square import Square
from townsquare.takedown import files
from townsquare.traces import Texts

HOLDERS = ("ingest", "curate", "tokens", "evaluate", "serve", "report")
"""Parts with a `copies` module that offers erase(square, uids, texts) and find(square, uids, texts)."""

SIDE_BY_SIDE = 2  # more would be faster on more cores, and hold more copies in memory

Counts = dict[str, int]
NONE: frozenset[str] = frozenset()


def erase_everywhere(square: Square, uids: frozenset[str], texts: Texts, cut: frozenset[str] = NONE) -> Counts:
    """Remove posts from every copy, raw table first; returns rows or places removed by copy.

    `texts` is what the posts said: an answer may repeat one without naming it.
    Of the posts in `cut`, whose own words stay in the raw table, the copies elsewhere go.
    """
    return _each("Erasing", lambda module, mine: module.erase(square, mine, texts), uids, cut)


def find_everywhere(square: Square, uids: frozenset[str], texts: Texts, cut: frozenset[str] = NONE) -> Counts:
    """Open every copy and count what is left of posts, by uid or by text."""
    found = _each("Searching every copy", lambda module, mine: module.find(square, mine, texts), uids, cut)
    return found | files.find(square, texts)


def _each(
    label: str, work: Callable[[Any, frozenset[str]], Counts], uids: frozenset[str], cut: frozenset[str]
) -> Counts:
    """The raw tables first; then the others two at a time, for each has its own folder and one core's work to do."""
    counts: Counts = {}
    modules = {part: importlib.import_module(f"townsquare.{part}.copies") for part in HOLDERS}
    others = [part for part in HOLDERS if part != "ingest"]
    with progress(label, len(HOLDERS), "parts") as bar, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        counts.update(work(modules["ingest"], uids))
        bar.advance(1, note="ingest")
        everything = uids | cut
        for part, found in zip(others, pool.map(lambda part: work(modules[part], everything), others), strict=True):
            counts.update(found)
            bar.advance(1, note=part)
    return counts


def seen_by_runs(square: Square, uids: frozenset[str]) -> Counts:
    """For each training run, how many of the posts its weights have seen. These stay; they are named."""
    from townsquare.train.copies import saw

    return {run: count for run, count in saw(square, uids).items() if count}


def models_of_runs(square: Square, runs: Counts) -> Counts:
    """The exported models among those runs' offspring, each with the number of posts that its weights have seen."""
    found: Counts = {}
    for path in sorted(square.models.glob("*/export.json")):
        run = json.loads(path.read_text(encoding="utf-8"))["run"]
        if runs.get(run):
            found[path.parent.name] = runs[run]
    return found
