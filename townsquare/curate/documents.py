"""Documents: one post, or one self-thread, the chain in which an author answers themselves."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from townsquare.curate.threads import forest
from townsquare.records import DOCUMENTS


def build(posts: pl.DataFrame) -> pa.Table:
    """Documents of the posts, each post in exactly one. Where an author answers a post of theirs twice, the
    earlier answer goes on with the chain and the later one begins its own."""
    following = _following(posts)
    text, uids = posts["text"].to_list(), posts["uid"].to_list()
    continues = np.zeros(len(posts), bool)
    continues[following[following >= 0]] = True
    chains: list[list[int]] = []
    for start in np.flatnonzero(~continues).tolist():
        chain = [start]
        while following[chain[-1]] >= 0:
            chain.append(int(following[chain[-1]]))
        chains.append(chain)
    first = posts[[chain[0] for chain in chains]]
    return pa.table(
        {
            "document_id": first["uid"].to_arrow(),
            "text": pa.array(["\n".join(text[row] for row in chain) for chain in chains], pa.string()),
            "uids": pa.array([[uids[row] for row in chain] for chain in chains], pa.list_(pa.string())),
            "author_id": first["author_id"].to_arrow(),
            "network": first["network"].to_arrow(),
            "created_at": first["created_at"].to_arrow(),
            "lang": first["lang"].to_arrow(),
            "split": first["split"].to_arrow(),
            "scores": pa.array(
                [_scores(*row) for row in first.select("copies", "abusive", "sensitive").iter_rows()],
                pa.map_(pa.string(), pa.float32()),
            ),
        }
    ).cast(DOCUMENTS)


def _scores(copies: int, abusive: bool, sensitive: bool | None) -> list[tuple[str, float]]:
    """How many copies there are; and, where so, that it insults and that its network marked it as sensitive."""
    flags = (("abusive", abusive), ("sensitive", sensitive))
    return [("copies", copies), *((name, 1.0) for name, holds in flags if holds)]


def _following(posts: pl.DataFrame) -> np.ndarray:
    """For each row the row that goes on with its self-thread, or -1."""
    parent = forest(posts["uid"], posts["reply_to"]).parent
    above = posts["author"].gather(np.maximum(parent, 0))
    replies = (
        posts.select("uid", "author", "created_at", above=above, parent=parent)
        .with_row_index("row")
        .filter((pl.col("parent") >= 0) & (pl.col("author") == pl.col("above")))
        .sort("created_at", "uid", nulls_last=True)
        .unique("parent", keep="first", maintain_order=True)
    )
    following = np.full(len(posts), -1, np.int64)
    following[replies["parent"].to_numpy()] = replies["row"].to_numpy()
    return following
