"""Splits, against groups that are joined pair by pair in plain Python."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare.curate.config import CurateConfig
from townsquare.curate.splits import split_of

CONFIG = CurateConfig(test_share=0.2, validation_share=0.3)
START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
SCHEMA = {"uid": pl.String, "author": pl.String, "created_at": pl.Datetime("us", "UTC"), "reply_to": pl.String,
          "cluster": pl.Int64}  # fmt: skip

posts_made = st.lists(
    st.fixed_dictionaries(
        {
            "author": st.sampled_from(["x:1", "x:2", "x:3", "x:4", None]),
            "minute": st.none() | st.integers(0, 50),
            "parent": st.none() | st.integers(0, 30),  # also posts that are not at hand
            "cluster": st.none() | st.integers(0, 4),
        }
    ),
    max_size=24,
)


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    made = [
        {"uid": f"x:{n:02d}", "author": row["author"], "cluster": row["cluster"],
         "created_at": None if row["minute"] is None else START + dt.timedelta(minutes=row["minute"]),
         "reply_to": None if row["parent"] is None else f"x:{row['parent']:02d}"}
        for n, row in enumerate(rows)
    ]  # fmt: skip
    return pl.DataFrame(made, schema=SCHEMA)


def groups_of(rows: list[dict[str, Any]]) -> list[set[int]]:
    """Posts that a reply, a shared parent or a cluster joins, merged until nothing merges."""
    groups = [{n} for n in range(len(rows))]
    for a, one in enumerate(rows):
        for b, other in enumerate(rows):
            same = any(one[key] is not None and one[key] == other[key] for key in ("parent", "cluster"))
            if one["parent"] == b or same:
                left, right = (next(g for g in groups if n in g) for n in (a, b))
                if left is not right:
                    groups.remove(right)
                    left |= right
    return groups


@given(posts_made)
@settings(max_examples=200)
def test_by_time_by_author_and_whole(rows: list[dict[str, Any]]) -> None:
    split = split_of(frame_of(rows), CONFIG).to_list()
    groups = groups_of(rows)
    assert all(len({split[n] for n in group}) == 1 for group in groups), "threads and near duplicates stay whole"
    minutes = sorted(row["minute"] for row in rows if row["minute"] is not None)
    newest = int(len(minutes) * CONFIG.test_share)
    first_of_test = minutes[-newest] if newest else 1 << 30
    for group in groups:
        late = any((rows[n]["minute"] or 0) >= first_of_test for n in group if rows[n]["minute"] is not None)
        assert (split[min(group)] == "test") == late, "the test is the newest, and nothing as new trains"
    sides: dict[str, set[str]] = defaultdict(set)
    for group in groups:
        dated = sorted(group, key=lambda n: (rows[n]["minute"] is None, rows[n]["minute"] or 0, n))
        if (author := rows[dated[0]]["author"]) and split[dated[0]] != "test":
            sides[author].add(split[dated[0]])
    assert all(len(side) == 1 for side in sides.values()), "threads that one author began are on one side"


@given(posts_made, st.randoms())
@settings(max_examples=50)
def test_the_order_of_the_posts_does_not_matter(rows: list[dict[str, Any]], random: Any) -> None:
    frame = frame_of(rows)
    order = list(range(len(frame)))
    random.shuffle(order)
    shuffled = frame[order] if order else frame
    expected = dict(zip(frame["uid"], split_of(frame, CONFIG), strict=True))
    assert dict(zip(shuffled["uid"], split_of(shuffled, CONFIG), strict=True)) == expected


def test_about_the_shares_that_were_asked_for() -> None:
    rows = [{"author": f"x:{n % 997}", "minute": n, "parent": None, "cluster": None} for n in range(5000)]
    split = split_of(frame_of(rows), CONFIG)
    assert (split == "test").sum() == 1000
    assert 0.25 < (split == "validation").sum() / 4000 < 0.35
