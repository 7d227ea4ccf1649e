"""Reply trees, self-threads and conversations, on threads drawn by hand."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare.curate import conversations, documents, pairs
from townsquare.curate.config import CurateConfig
from townsquare.curate.splits import split_of
from townsquare.curate.threads import forest, hit_rate

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
Row = tuple[str, str | None, str | None]  # uid, author, parent


def posts(rows: list[Row], **columns: Any) -> pl.DataFrame:
    """Posts as they stand before assembly; the text is the uid in words, a minute apart."""
    count = len(rows)
    base: dict[str, Any] = {
        "uid": pl.Series([row[0] for row in rows], dtype=pl.String),
        "author": pl.Series([row[1] for row in rows], dtype=pl.String),
        "author_id": pl.Series([row[1] for row in rows], dtype=pl.String),
        "network": pl.Series(["x"] * count, dtype=pl.String),
        "text": pl.Series([f"says {row[0]}" for row in rows], dtype=pl.String),
        "reply_to": pl.Series([row[2] for row in rows], dtype=pl.String),
        "created_at": pl.Series(
            [START + dt.timedelta(minutes=n) for n in range(count)], dtype=pl.Datetime("us", "UTC")
        ),
        "observed_at": pl.Series([None] * count, dtype=pl.Datetime("us", "UTC")),
        "likes": pl.Series([None] * count, dtype=pl.Int64),
        "lang": ["en"] * count,
        "split": ["train"] * count,
        "cluster": pl.Series([None] * count, dtype=pl.Int64),
        "copies": [1] * count,
        "abusive": [False] * count,
        "sensitive": pl.Series([None] * count, dtype=pl.Boolean),
        "context": pl.Series([False] * count, dtype=pl.Boolean),
    }
    return pl.DataFrame({**base, **columns})


def told(rows: list[Row], limit: int = 8, **columns: Any) -> list[list[tuple[str, list[str]]]]:
    """Conversations as [(role, uids), …], sorted."""
    threads = conversations.Threads.of(posts(rows, **columns))
    made = conversations.plain(threads, np.zeros(len(rows), bool), limit)
    return sorted([(turn["role"], turn["uids"]) for turn in row["turns"]] for row in made)


def test_a_question_and_its_answer() -> None:
    assert told([("q", "ann", None), ("a", "bob", "q")]) == [[("user", ["q"]), ("assistant", ["a"])]]


def test_a_long_exchange_is_told_whole_and_every_reply_learned_once() -> None:
    rows: list[Row] = [("1", "ann", None), ("2", "bob", "1"), ("3", "ann", "2"), ("4", "bob", "3")]
    assert told(rows) == [
        [("user", ["1"]), ("assistant", ["2"]), ("user", ["3"]), ("assistant", ["4"])],
        [("user", ["2"]), ("assistant", ["3"])],
    ]


def test_turns_merge_per_side_and_the_last_author_is_the_assistant() -> None:
    rows: list[Row] = [("1", "ann", None), ("2", "cem", "1"), ("3", "bob", "2"), ("4", "bob", "3")]
    assert [("user", ["1", "2"]), ("assistant", ["3", "4"])] in told(rows)


def test_branches_share_their_context_but_learn_apart() -> None:
    rows: list[Row] = [("q", "ann", None), ("a", "bob", "q"), ("b", "cem", "q")]
    assert told(rows) == [
        [("user", ["q"]), ("assistant", ["a"])],
        [("user", ["q"]), ("assistant", ["b"])],
    ]


def test_context_posts_are_answered_but_never_learned() -> None:
    rows: list[Row] = [("q", "ann", None), ("ok", "bob", "q"), ("a", "cem", "ok")]
    assert told(rows, context=[False, True, False]) == [[("user", ["q", "ok"]), ("assistant", ["a"])]]
    assert told(rows[:2], context=[False, True]) == []


def test_monologues_missing_parents_and_unknown_authors() -> None:
    assert told([("1", "ann", None), ("2", "ann", "1")]) == []
    assert told([("2", "bob", "gone"), ("3", "ann", "2")]) == [[("user", ["2"]), ("assistant", ["3"])]]
    assert told([("1", None, None), ("2", None, "1")]) == [[("user", ["1"]), ("assistant", ["2"])]]


def test_leading_mentions_of_replies_are_not_said() -> None:
    threads = conversations.Threads.of(posts([("q", "ann", None)], text=["@bob @cem@example.org hello @dan"]))
    assert threads.texts == ["hello @dan"]


def test_self_parents_and_cycles_are_cut_in_one_place() -> None:
    trees = forest(pl.Series(["a", "b", "c", "d"]), pl.Series(["c", "a", "b", "d"]))
    assert trees.parent.tolist() == [-1, 0, 1, -1]  # a -> c -> b -> a is cut at a; d answered itself
    assert trees.root.tolist() == [0, 0, 0, 3]
    assert trees.depth.tolist() == [0, 1, 2, 0]
    assert len(told([("a", "ann", "c"), ("b", "bob", "a"), ("c", "cem", "b")])) == 2


def test_five_thousand_deep() -> None:
    rows: list[Row] = [(f"{n:05d}", ("ann", "bob")[n % 2], f"{n - 1:05d}" if n else None) for n in range(5000)]
    made = told(rows)
    learned = [uid for turns in made for role, uids in turns if role == "assistant" for uid in uids]
    assert sorted(learned) == [row[0] for row in rows[1:]]
    assert forest(pl.Series([r[0] for r in rows]), pl.Series([r[2] for r in rows])).depth.max() == 4999
    table = documents.build(posts([(uid, "ann", parent) for uid, _, parent in rows]))
    assert len(table) == 1
    assert len(table["uids"][0]) == 5000


rows_of_any_shape = st.lists(
    st.tuples(st.integers(0, 14), st.sampled_from("abc"), st.none() | st.integers(0, 16)),
    max_size=15,
    unique_by=lambda r: r[0],
)


@given(rows_of_any_shape, st.integers(2, 6))
@settings(max_examples=200, deadline=None)
def test_any_replies_learn_each_post_at_most_once(drawn: list[Any], limit: int) -> None:
    rows: list[Row] = [(f"u{n:02d}", who, None if up is None else f"u{up:02d}") for n, who, up in sorted(drawn)]
    made = told(rows, limit)
    learned = [uid for turns in made for role, uids in turns if role == "assistant" for uid in uids]
    assert len(learned) == len(set(learned))
    by_uid = {row[0]: row for row in rows}
    for turns in made:
        assert [role for role, _ in turns] == ["user", "assistant"] * (len(turns) // 2)
        path = [uid for _, uids in turns for uid in uids]
        assert len(path) <= limit
        assert all(by_uid[below][2] == above for above, below in itertools.pairwise(path))
    # Every reply to another's post that is at hand is learned, but where a cycle had to be cut.
    trees = forest(pl.Series([r[0] for r in rows], dtype=pl.String), pl.Series([r[2] for r in rows], dtype=pl.String))
    for row, above in enumerate(trees.parent.tolist()):
        if above >= 0 and rows[above][1] != rows[row][1]:
            assert rows[row][0] in learned
    # Documents hold every post once, in chains of one author.
    table = documents.build(posts(rows))
    assert sorted(uid for uids in table["uids"].to_pylist() for uid in uids) == [row[0] for row in rows]
    assert all(len({by_uid[uid][1] for uid in uids}) == 1 for uids in table["uids"].to_pylist())


def test_self_threads_become_one_document_and_branches_their_own() -> None:
    rows: list[Row] = [("1", "ann", None), ("2", "ann", "1"), ("3", "ann", "2"), ("4", "ann", "1"), ("5", "bob", "3")]
    table = documents.build(posts(rows))
    assert table["uids"].to_pylist() == [["1", "2", "3"], ["4"], ["5"]]
    assert table["text"].to_pylist()[0] == "says 1\nsays 2\nsays 3"


def test_hit_rate() -> None:
    assert hit_rate(pl.Series(["a", "b", "c"]), pl.Series([None, "a", "gone"], dtype=pl.String)) == 0.5
    assert hit_rate(pl.Series(["a"]), pl.Series([None], dtype=pl.String)) is None


def test_pairs_need_known_and_clearly_different_likes() -> None:
    rows: list[Row] = [("q", "ann", None), ("a", "bob", "q"), ("b", "cem", "q"), ("c", "dan", "q"), ("d", "ann", "q")]

    def made(likes: list[int | None]) -> list[list[str]]:
        table = posts(rows, likes=pl.Series(likes, dtype=pl.Int64))
        found: list[list[str]] = pairs.build(conversations.Threads.of(table))["uids"].to_pylist()
        return found

    assert made([None, 9, 3, 1, None]) == [["q", "a", "c"]]
    assert made([None, 9, None, None, None]) == []  # unknown is not zero
    assert made([None, 9, 4, 8, None]) == []  # nine is not twice four and three more
    assert made([None, 9, 4, 8, 90]) == []  # the asker's own word on it is no reply
    assert made([None, 0, 2, 3, 0]) == [["q", "c", "a"]]


def test_pairs_need_a_like_age_and_time_of_counting() -> None:
    rows: list[Row] = [("q", "ann", None), ("a", "bob", "q"), ("b", "cem", "q")]
    likes = pl.Series([0, 9, 0])

    def count(**moments: list[dt.datetime | None]) -> int:
        columns = {name: pl.Series(values, dtype=pl.Datetime("us", "UTC")) for name, values in moments.items()}
        return len(pairs.build(conversations.Threads.of(posts(rows, likes=likes, **columns))))

    day = dt.timedelta(days=1)
    assert count() == 1
    assert count(created_at=[START, START, START + 2 * day]) == 0
    assert count(observed_at=[None, START, START + 2 * day]) == 0
    assert count(observed_at=[None, START, None]) == 0
    assert count(observed_at=[None, START, START]) == 1


def test_splits_by_time_and_author_with_threads_whole() -> None:
    rows: list[Row] = [(f"u{n:03d}", f"author{n % 40}", f"u{n - 1:03d}" if n % 3 else None) for n in range(300)]
    table = posts(rows)
    config = CurateConfig(test_share=0.1, validation_share=0.1)
    split = split_of(table, config).to_list()
    assert {split[n] for n in range(270, 300)} == {"test"}
    newest_learned = max(n for n in range(300) if split[n] != "test")
    assert newest_learned < 270
    assert all(len({split[n], split[n + 1], split[n + 2]}) == 1 for n in range(0, 300, 3))
    held_out = {rows[n][1] for n in range(0, 300, 3) if split[n] == "validation"}
    assert held_out
    assert not held_out & {rows[n][1] for n in range(0, 300, 3) if split[n] == "train"}
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=7)
    assert dict(zip(shuffled["uid"], split_of(shuffled, config), strict=True)) == dict(
        zip(table["uid"], split, strict=True)
    )


def test_splits_keep_clusters_and_shared_missing_parents_together() -> None:
    rows: list[Row] = [("a", "ann", "gone"), ("b", "bob", None), ("c", "cem", "gone"), ("d", "dan", None)]
    config = CurateConfig(test_share=0.25, validation_share=0)
    clusters = pl.Series([5, None, None, 5], dtype=pl.Int64)
    assert split_of(posts(rows, cluster=clusters), config).to_list() == ["test", "train", "test", "test"]
