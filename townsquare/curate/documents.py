"""Documents: one post, or one self-thread, the chain in which an author answers themselves."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from townsquare.curate.threads import forest, tops
from townsquare.records import DOCUMENTS, SCORES


def build(posts: pl.DataFrame) -> pa.Table:
    """Documents of the posts, each post in exactly one. Where an author answers a post of theirs twice, the
    earlier answer goes on with the chain and the later one begins its own."""
    following = _following(posts)
    before = np.full(len(posts), -1, np.int64)
    goes_on = np.flatnonzero(following >= 0)
    before[following[goes_on]] = goes_on
    head, place = tops(before)
    order = np.lexsort((place, head))  # the chains by their first post, each from its first post to its last
    heads = np.flatnonzero(before < 0)
    ends = np.searchsorted(head[order], heads, side="right")
    offsets = pa.array(np.concatenate(([0], ends)), pa.int32())
    parts, first = posts[order], posts[heads]
    texts = pa.ListArray.from_arrays(offsets, parts["text"].to_arrow().cast(pa.string()))
    return pa.table(
        {
            "document_id": first["uid"].to_arrow(),
            "text": pc.binary_join(texts, "\n"),
            "uids": pa.ListArray.from_arrays(offsets, parts["uid"].to_arrow().cast(pa.string())),
            "author_id": first["author_id"].to_arrow(),
            "network": first["network"].to_arrow(),
            "created_at": first["created_at"].to_arrow(),
            "lang": first["lang"].to_arrow(),
            "split": first["split"].to_arrow(),
            "scores": _scores(first),
        }
    ).cast(DOCUMENTS)


def _scores(posts: pl.DataFrame) -> pa.ListArray:
    """How many copies there are; and, where so, that it insults and that its network marked it as sensitive."""
    flags = [posts[name].fill_null(False).to_numpy() for name in ("abusive", "sensitive")]
    told = np.stack([np.ones(len(posts), bool), *flags], axis=1)
    values = np.stack([posts["copies"].to_numpy(), *flags], axis=1).astype(np.float32)
    names = np.broadcast_to(np.array(["copies", "abusive", "sensitive"]), told.shape)
    offsets = np.concatenate(([0], told.sum(axis=1).cumsum()))
    scores = pa.StructArray.from_arrays([pa.array(names[told]), pa.array(values[told])], fields=list(SCORES.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), scores)


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
