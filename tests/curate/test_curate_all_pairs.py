"""Near duplicates of a town's posts against every pair compared by the definition of Jaccard similarity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from townsquare.curate import near, normal
from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.square import Square
from townsquare.town import tables as town
from townsquare.town.config import TownConfig
from townsquare.town.run import run as make_town

SAMPLE = 20_000
SIMILAR = 0.8


def all_pairs(texts: list[str]) -> set[tuple[int, int]]:
    """Every pair of texts whose sets of five-byte shingles are similar: each text is counted against all before it,
    through lists of who has a shingle."""
    having: dict[bytes, list[int]] = {}
    sizes = np.zeros(len(texts), np.int64)
    found = set()
    for row, text in enumerate(texts):
        data = text.encode()
        own = {data[at : at + 5] for at in range(max(len(data) - 4, 1))}
        sizes[row] = len(own)
        others = [np.array(having[shingle]) for shingle in own if shingle in having]
        if others:
            shared = np.bincount(np.concatenate(others))
            union = sizes[: len(shared)] + len(own) - shared
            found |= {(other, row) for other in np.flatnonzero(shared >= SIMILAR * union).tolist()}
        for shingle in own:
            having.setdefault(shingle, []).append(row)
    return found


@pytest.mark.slow
def test_a_towns_near_duplicates_against_all_pairs(tmp_path: Path) -> None:
    square = Square.create(tmp_path / "square")
    make_town(square, TownConfig(posts=26_000))
    ingest(square, IngestConfig(paths=tuple(town.source_paths(square))))
    posts = pl.DataFrame(pl.from_arrow(tables.read_posts(square, ["text"])))
    folds = posts.select(normal.folded(pl.col("text").fill_null("")))["text"].unique().sort()
    folds = folds.filter(folds != "").sample(SAMPLE, seed=1, shuffle=True)
    expected = all_pairs(folds.to_list())
    assert len(expected) > 200, "the sample must hold pairs to find"
    left, right = near.similar_pairs(folds, SIMILAR)
    found = set(zip(left.tolist(), right.tolist(), strict=True))
    assert len(found & expected) >= 0.95 * len(expected)
    assert len(found & expected) >= 0.99 * len(found)
