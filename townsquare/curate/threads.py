"""Reply trees as arrays: who answers whom, without recursion, whatever the data claims."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl


@dataclasses.dataclass(frozen=True)
class Forest:
    """Posts by row number. `parent` is -1 where there is none at hand; `root` is the top post; `depth` 0 at the top."""

    parent: np.ndarray
    root: np.ndarray
    depth: np.ndarray


def forest(uids: pl.Series, reply_to: pl.Series) -> Forest:
    """The trees of the posts (unique `uids`). One that answers itself answers none; a cycle is cut at its least uid."""
    rows = uids.to_frame("uid").with_row_index("row")
    found = reply_to.to_frame("uid").join(rows, on="uid", how="left", maintain_order="left")["row"]
    parent = found.cast(pl.Int64).fill_null(-1).to_numpy().copy()
    parent[parent == np.arange(len(parent))] = -1
    _cut_cycles(parent, uids)
    root, depth = tops(parent)
    return Forest(parent, root, depth)


def tops(parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root and depth of every node of a forest, by doubling: a chain of n posts takes log2(n) rounds."""
    up = np.where(parent < 0, np.arange(len(parent)), parent)
    depth = (parent >= 0).astype(np.int64)
    while True:
        farther = up[up]
        if (farther == up).all():
            return up, depth
        depth = depth + depth[up]
        up = farther


def _cut_cycles(parent: np.ndarray, uids: pl.Series) -> None:
    """Cut every cycle in place. What is left after peeling leaves (posts that none answers) are the cycles."""
    answers = np.bincount(parent[parent >= 0], minlength=len(parent))
    leaves = np.flatnonzero((answers == 0) & (parent >= 0)).tolist()
    while leaves:
        node = leaves.pop()
        above = int(parent[node])
        answers[node] = -1
        if above >= 0:
            answers[above] -= 1
            if answers[above] == 0 and parent[above] >= 0:
                leaves.append(above)
    pending = set(np.flatnonzero((answers > 0) & (parent >= 0)).tolist())
    while pending:
        node, cycle = next(iter(pending)), []  # any: the cut does not hang on where it is found
        while node in pending:
            pending.discard(node)
            cycle.append(node)
            node = int(parent[node])
        parent[min(cycle, key=lambda row: str(uids[row]))] = -1


def hit_rate(uids: pl.Series, reply_to: pl.Series) -> float | None:
    """Share of replies whose parent is at hand; null when there are no replies."""
    replies = reply_to.drop_nulls()
    return None if len(replies) == 0 else round(float(replies.is_in(uids.implode()).mean() or 0.0), 6)  # type: ignore[arg-type]


def components(size: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """For each of `size` nodes the least node that it is joined to."""
    label = np.arange(size)
    while True:
        lowest = label.copy()
        np.minimum.at(lowest, left, label[right])
        np.minimum.at(lowest, right, label[left])
        lowest = lowest[lowest]
        if (lowest == label).all():
            return label
        label = lowest
