"""Conversations: paths through reply trees, told as user and assistant.

The author of a path's last post is the assistant; everyone else is the user. Posts of one side that follow
each other become one turn. A post is learned, that is, spoken by the assistant, in at most one conversation.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from townsquare.curate.threads import Forest, forest
from townsquare.records import CONVERSATIONS, SCORES, TURN, scores_of

_MENTIONS_FIRST = r"^(?:@[\w.]+(?:@[\w.-]+)?[ ,:]+)+"


@dataclasses.dataclass(frozen=True)
class Threads:
    """Posts that may tune a model, and their trees. `learnable` is false for mere context."""

    posts: pl.DataFrame
    trees: Forest
    uids: list[str]
    texts: list[str]
    authors: list[str]
    splits: list[str]
    moments: list[dt.datetime | None]
    langs: list[str | None]
    learnable: np.ndarray
    answering: np.ndarray
    """Whether each post replies to another author's post that is at hand."""

    @classmethod
    def of(cls, posts: pl.DataFrame) -> Threads:
        """`posts` has uid, text, author, reply_to, created_at, lang, split and context."""
        authors = posts.select(pl.coalesce("author", pl.concat_str(pl.lit("unknown:"), "uid")))["author"]
        trees = forest(posts["uid"], posts["reply_to"])
        above = authors.gather(np.maximum(trees.parent, 0))
        bare = posts["text"].str.replace(_MENTIONS_FIRST, "")
        return cls(
            posts,
            trees,
            posts["uid"].to_list(),
            bare.zip_with(bare != "", posts["text"]).to_list(),
            authors.to_list(),
            posts["split"].to_list(),
            posts["created_at"].to_list(),
            posts["lang"].to_list(),
            ~posts["context"].to_numpy(),
            (trees.parent >= 0) & (authors != above).to_numpy(),
        )


def paths(threads: Threads, taken: np.ndarray, limit: int) -> list[list[int]]:
    """Paths, deepest end first, so that long exchanges are told whole; marks in `taken` what they learn.

    A path goes up until the top, `limit` posts, or a post of the same speaker that is learned elsewhere.
    """
    parent, authors = threads.trees.parent.tolist(), threads.authors
    closed = (taken | ~threads.learnable).tolist()  # lists, for Python reads arrays one by one four times as slowly
    found: list[list[int]] = []
    for end in np.argsort(-threads.trees.depth, kind="stable").tolist():
        if closed[end] or parent[end] < 0:
            continue
        path, above = [end], parent[end]
        while above >= 0 and len(path) < limit:
            if closed[above] and authors[above] == authors[end]:
                break
            path.append(above)
            above = parent[above]
        while path and authors[path[-1]] == authors[end]:
            path.pop()
        if path:
            path.reverse()
            for row in path:
                if authors[row] == authors[end]:
                    closed[row] = taken[row] = True
            found.append(path)
    return found


def turns_of(threads: Threads, path: Sequence[int]) -> list[dict[str, Any]]:
    """The path as alternating turns, user first."""
    speaker = threads.authors[path[-1]]
    turns: list[dict[str, Any]] = []
    for row in path:
        role = "assistant" if threads.authors[row] == speaker else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["text"] += "\n" + threads.texts[row]
            turns[-1]["uids"].append(threads.uids[row])
        else:
            turns.append({"role": role, "text": threads.texts[row], "uids": [threads.uids[row]]})
    return turns


def row_of(threads: Threads, end: int, turns: list[dict[str, Any]], **scores: float) -> dict[str, Any]:
    """A conversation (records.CONVERSATIONS) that stands where its last post stands."""
    return {
        "conversation_id": threads.uids[int(threads.trees.root[end])],
        "turns": turns,
        "uids": list(dict.fromkeys(uid for turn in turns for uid in turn["uids"])),
        "source": "posts",
        "created_at": threads.moments[end],
        "lang": threads.langs[end],
        "split": threads.splits[end],
        "scores": scores_of(scores),
    }


def plain(threads: Threads, taken: np.ndarray, limit: int) -> list[dict[str, Any]]:
    """All conversations of the threads, but for what is `taken`."""
    return [row_of(threads, path[-1], turns_of(threads, path), grounded=0.0) for path in paths(threads, taken, limit)]


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """The conversations by source and uids. Columns are built flat: Arrow reads nested rows three times as slowly."""
    rows = sorted(rows, key=lambda row: (row["source"], row["uids"]))
    turns = [turn for row in rows for turn in row["turns"]]
    scores = [score for row in rows for score in row["scores"]]
    told = pa.StructArray.from_arrays(
        [
            pa.array([turn["role"] for turn in turns], pa.string()),
            pa.array([turn["text"] for turn in turns], pa.string()),
            _lists([turn["uids"] for turn in turns]),
        ],
        fields=list(TURN),
    )
    nested = {
        "turns": pa.ListArray.from_arrays(_offsets([row["turns"] for row in rows]), told),
        "uids": _lists([row["uids"] for row in rows]),
        "scores": pa.ListArray.from_arrays(
            _offsets([row["scores"] for row in rows]), pa.array(scores, SCORES.value_type)
        ),
    }
    return pa.table(
        [
            nested[field.name] if field.name in nested else pa.array([row[field.name] for row in rows], field.type)
            for field in CONVERSATIONS
        ],
        schema=CONVERSATIONS,
    )


def _offsets(lists: Sequence[Sequence[Any]]) -> pa.Array:
    return pa.array(np.cumsum([0, *map(len, lists)]), pa.int32())


def _lists(lists: Sequence[Sequence[str]]) -> pa.ListArray:
    return pa.ListArray.from_arrays(_offsets(lists), pa.array(list(chain.from_iterable(lists)), pa.string()))
