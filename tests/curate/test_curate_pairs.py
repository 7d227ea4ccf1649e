"""Preference pairs, against all siblings compared one by one in plain Python."""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from itertools import permutations
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare.curate import pairs
from townsquare.curate.conversations import Threads
from townsquare.records import score

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
SCHEMA = {"uid": pl.String, "text": pl.String, "author": pl.String, "reply_to": pl.String, "lang": pl.String,
          "split": pl.String, "context": pl.Boolean, "likes": pl.Int64,
          "created_at": pl.Datetime("us", "UTC"), "observed_at": pl.Datetime("us", "UTC")}  # fmt: skip

reply = st.fixed_dictionaries(
    {
        "author": st.sampled_from("abcd"),
        "parent": st.integers(0, 1),
        "likes": st.sampled_from([None, 0, 0, 1, 4, 9, 30]),
        "hour": st.sampled_from([0, 1, 20, 30]),
        "seen": st.sampled_from([None, 40, 41, 90]),
        "context": st.sampled_from([False, False, False, True]),
    }
)


def threads_of(replies: list[dict[str, Any]]) -> Threads:
    """Two posts by an asker, and replies to them."""
    base = {"lang": "en", "split": "train", "observed_at": None, "reply_to": None, "likes": None, "context": False}
    rows = [base | {"uid": f"q{n}", "text": f"question {n}", "author": "asker", "created_at": START} for n in range(2)]
    rows += [
        base | {"uid": f"r{n:02d}", "text": "word " * (n + 1), "author": r["author"], "reply_to": f"q{r['parent']}",
                "likes": r["likes"], "context": r["context"], "created_at": START + dt.timedelta(hours=r["hour"]),
                "observed_at": None if r["seen"] is None else START + dt.timedelta(hours=r["seen"])}
        for n, r in enumerate(replies)
    ]  # fmt: skip
    return Threads.of(pl.DataFrame(rows, schema=SCHEMA))


def reach(replies: list[dict[str, Any]], n: int) -> float | None:
    others = [r["likes"] for m, r in enumerate(replies) if m != n and r["author"] == replies[n]["author"]]
    known = [math.log(1 + likes) for likes in others if likes is not None]
    return math.exp(sum(known) / len(known)) - 1 if len(known) >= 3 else None


def age(one: dict[str, Any]) -> float | None:
    return None if one["seen"] is None else one["seen"] - one["hour"]


def alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    low, high = sorted((one + 1, other + 1))
    return high <= 2 * low + 1e-9


def compares(replies: list[dict[str, Any]], good: int, bad: int) -> bool:
    one, other = replies[good], replies[bad]
    return (
        one["parent"] == other["parent"]
        and one["author"] != other["author"]
        and not one["context"]
        and not other["context"]
        and one["likes"] is not None
        and other["likes"] is not None
        and one["likes"] >= 2 * other["likes"] + 3
        and abs(one["hour"] - other["hour"]) <= 24
        and (one["seen"] is None) == (other["seen"] is None)
        and (one["seen"] is None or abs(one["seen"] - other["seen"]) <= 24)
        and alike(age(one), age(other))
        and alike(reach(replies, good), reach(replies, bad))
    )


@given(st.lists(reply, max_size=14))
@settings(max_examples=150)
def test_every_pair_compares_and_is_the_widest_of_its_parent(replies: list[dict[str, Any]]) -> None:
    made = pairs.build(threads_of(replies)).to_pylist()
    fitting: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for good, bad in permutations(range(len(replies)), 2):
        ranked = sorted(
            (n for n, r in enumerate(replies)
             if r["parent"] == replies[good]["parent"] and r["likes"] is not None and not r["context"]),
            key=lambda n: (-replies[n]["likes"], replies[n]["hour"], n),
        )  # fmt: skip
        if compares(replies, good, bad) and good in ranked[:3]:
            fitting[replies[good]["parent"]].append((good, bad))
    assert len(made) == len(fitting)
    for row in made:
        above, good, bad = row["uids"]
        known = fitting[int(above[1:])]
        assert (int(good[1:]), int(bad[1:])) in known
        widest = max((replies[g]["likes"] + 1) / (replies[b]["likes"] + 1) for g, b in known)
        told = (score(row["scores"], "likes_chosen") or 0) + 1, (score(row["scores"], "likes_rejected") or 0) + 1
        assert told[0] / told[1] == pytest.approx(widest)


def test_unknown_likes_are_not_none_at_all() -> None:
    popular = {"author": "a", "parent": 0, "likes": 30, "hour": 0, "seen": None, "context": False}
    unknown = popular | {"author": "b", "likes": None}
    assert len(pairs.build(threads_of([popular, unknown]))) == 0
    assert len(pairs.build(threads_of([popular, unknown | {"likes": 0}]))) == 1


@given(st.lists(reply, min_size=6, max_size=30))
@settings(max_examples=40)
def test_the_leans_are_the_correlations_that_scipy_finds(replies: list[dict[str, Any]]) -> None:
    import numpy as np
    from scipy.stats import pointbiserialr

    table = pairs.build(threads_of(replies))
    told = pairs.biases(table)
    rows = table.to_pylist()
    lengths = [len(row[side]) for side in ("chosen", "rejected") for row in rows]
    assert told["length"]["n"] == len(rows)
    assert told["author_reach"]["n"] == sum(score(row["scores"], "reach_chosen") is not None for row in rows)
    if len(rows) == 2 and len(set(lengths)) > 1:
        expected = pointbiserialr([True, True, False, False], np.log1p(lengths)).statistic
        assert told["length"]["r"] == pytest.approx(expected, abs=1e-4)
    if not rows:
        assert told["length"]["r"] is None
