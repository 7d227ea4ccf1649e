"""Exact and near duplicates, against brute force and counts made by other means."""

from __future__ import annotations

import csv
import io
import itertools
import random
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare.curate import duplicates, near, normal

VOCABULARY = (
    "river bridge market season window garden teacher engine winter summer coffee library station corner village "
    "mountain harbour festival music football kitchen weather council school doctor bakery yellow silver quiet"
)
WORDS = tuple(VOCABULARY.split())


def varied(count: int, seed: int = 1) -> list[str]:
    """Random sentences, and for a third of them edited copies at every distance."""
    rng = random.Random(seed)
    texts: list[str] = []
    while len(texts) < count:
        words = rng.choices(WORDS, k=rng.randint(6, 24))
        texts.append(" ".join(words))
        for _ in range(rng.choice((0, 0, 1, 3))):
            copy = list(words)
            for _ in range(rng.randint(1, 3)):
                copy[rng.randrange(len(copy))] = rng.choice(WORDS)
            texts.append(" ".join(copy))
    return list(dict.fromkeys(texts))[:count]


def brute_force(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    """Every pair, by the definition of Jaccard similarity on five-byte shingles, written anew."""
    sets = []
    for text in texts:
        data = text.encode()
        sets.append({data[i : i + 5] for i in range(len(data) - 4)} or {data})
    return {
        (a, b)
        for a, b in itertools.combinations(range(len(texts)), 2)
        if len(sets[a] & sets[b]) >= threshold * len(sets[a] | sets[b])
    }


def test_near_pairs_against_brute_force() -> None:
    texts = varied(500)
    expected = brute_force(texts, 0.8)
    assert len(expected) > 30, "the sample must hold pairs to find"
    left, right = near.similar_pairs(pl.Series(texts), 0.8)
    found = set(zip(left.tolist(), right.tolist(), strict=True))
    assert found <= expected, "what is found is exact"
    assert len(found) >= 0.95 * len(expected)


def test_clusters_do_not_hang_on_order() -> None:
    texts = varied(300, seed=2)
    shuffled = random.Random(3).sample(texts, len(texts))

    def groups(order: list[str]) -> set[frozenset[str]]:
        table = pl.DataFrame({"text": order, "cluster": near.clusters(pl.Series(order), 0.8)})
        rows = table.drop_nulls().group_by("cluster").agg("text")["text"].to_list()
        return {frozenset(row) for row in rows}

    assert groups(texts) == groups(shuffled)
    assert all(len(group) > 1 for group in groups(texts))


def test_clusters_of_equal_short_and_empty_texts() -> None:
    found = near.clusters(pl.Series(["a", "", "hello there", "a", "", "hello there", "b"]), 0.8)
    assert found.to_list() == [0, None, 2, 0, None, 2, None]
    assert near.clusters(pl.Series([], dtype=pl.String), 0.8).to_list() == []


def test_what_is_passed_on_in_other_wrapping_is_one_cluster() -> None:
    said = "the old mill reopens on friday"
    passed_on = [said, f"so true: {said}", f"{said} (via a friend)", f"{said}!! 😂 😂", "the old mill closes on friday"]
    assert near.clusters(pl.Series(passed_on), 1.0).to_list() == [0, 0, 0, 0, None]
    assert near.clusters(pl.Series(["well done!", "well done."]), 1.0).to_list() == [None, None], "said by chance"


@given(st.lists(st.text(max_size=30), max_size=20))
@settings(max_examples=60, deadline=None)
def test_minhash_is_the_least_hash_of_the_shingles_alone(texts: list[str]) -> None:
    encoded = [text.encode() for text in texts if text]
    together = near.minhash(encoded)
    for row, text in enumerate(encoded):
        assert (near.minhash([text])[0] == together[row]).all()


def test_minhash_estimates_jaccard() -> None:
    one, other = (
        b"the quick brown fox jumps over the lazy dog again",
        b"the quick brown fox jumps over the lazy cat again",
    )
    signatures = near.minhash([one, other])
    exact = near.similarity([one, other], np.array([0]), np.array([1]))[0]
    assert exact == pytest.approx(38 / 52)
    assert abs((signatures[0] == signatures[1]).mean() - exact) < 0.2  # three standard deviations of 60 hashes


def copies_of(rows: list[tuple[str, str, int | None, int | None]]) -> dict[str, str]:
    """uid -> rule, of rows (uid, folded text, engagement, day)."""
    posts = pl.DataFrame(
        {
            "uid": [row[0] for row in rows],
            "fold": [row[1] for row in rows],
            "engagement": pl.Series([row[2] for row in rows], dtype=pl.Int64),
            "created_at": pl.Series([row[3] for row in rows], dtype=pl.Int64),
        }
    ).with_columns(cluster=near.clusters(pl.Series([row[1] for row in rows]), 0.8))
    found = duplicates.copies(posts)
    return dict(zip(found["uid"], found["rule"], strict=True))


def test_the_best_copy_stays() -> None:
    text, close = "the market opens at nine on saturday mornings", "the market opens at nine on saturday mornings!"
    assert copies_of([("a", text, 1, 1), ("b", text, 5, 9), ("c", text, None, 0)]) == {
        "a": "exact_duplicate", "c": "exact_duplicate"
    }  # fmt: skip
    assert copies_of([("a", text, None, 5), ("b", text, None, 2), ("c", text, None, None)]).keys() == {"a", "c"}
    assert copies_of([("b", text, 3, 3), ("a", text, 3, 3)]).keys() == {"b"}
    assert copies_of([("a", text, 1, 1), ("b", close, 2, 2)]) == {"a": "near_duplicate"}
    assert copies_of([("a", "", 1, 1), ("b", "", 2, 2)]) == {}


def test_folded_joins_what_readers_take_for_the_same() -> None:
    texts = pl.DataFrame(
        {
            "text": [
                "Hello  World https://example.org/a",
                "@you hello world",
                "ＨＥＬＬＯ\nworld https://example.org/b",
                "hello word",
            ]
        }
    )
    folds = texts.select(normal.folded(pl.col("text")))["text"].to_list()
    assert folds[0] == folds[1] == folds[2] == "hello world"
    assert folds[3] != folds[0]


def test_senators_distinct_texts(shared_data: Path) -> None:
    csv.field_size_limit(1 << 30)
    texts: list[str] = []
    with tarfile.open(shared_data / "senators" / "senate117.tar.gz") as archive:
        for member in archive:
            if member.name.endswith(".csv"):
                file = io.TextIOWrapper(archive.extractfile(member), "utf-8-sig", newline="")  # type: ignore[arg-type]
                texts += [row["Text"] for row in csv.DictReader(file)]
    table = pl.DataFrame({"text": texts})
    assert len(table) == 196_186
    assert table["text"].n_unique() == 195_556
    # Without links and case: 193,457; spacing and mentions folded too, fewer.
    assert table.select(normal.without_links(pl.col("text")).str.to_lowercase())["text"].n_unique() == 193_457
    assert 190_000 < table.select(normal.folded(pl.col("text")))["text"].n_unique() < 193_457
