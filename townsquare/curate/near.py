"""Near duplicates: MinHash and LSH find candidates, the exact Jaccard similarity of shingles decides.

Shingles are 5 bytes of folded text (UTF-8), for posts are too short for shingles of words. With 14 bands of 5 a
pair at similarity 0.8 is a candidate with probability 0.996, at 0.9 with 0.999996. Nothing hangs on the order of rows.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from townsquare.curate import normal
from townsquare.curate.threads import components
from townsquare.curate.words import runs

SHINGLE = 5
BANDS, ROWS = 14, 5
BATCH_BYTES = 1 << 16  # of text that is hashed at once, so that a core's cache holds it
CHUNK = 1 << 16  # pairs whose signatures are compared at once
ALL_PAIRS = 12  # a bucket up to this size is compared all with all, a larger one with its neighbours
FAR = 0.15  # below the threshold by this much in the signature, a candidate is not looked at closely (3 sigma)
TOGETHER = 1 << 10  # pairs whose shingles are compared at once: what a core's cache holds
CORE_BYTES = 16  # a shorter core is said by chance
_MIX = np.uint64(0x9E3779B97F4A7C15)


def clusters(folds: pl.Series, threshold: float) -> pl.Series:
    """For each folded text the row number of the first text that it is a near duplicate of, chains included.

    Null where a text is like no other. Rows with the same folded text are one cluster; empty texts are in none.
    """
    distinct = (
        folds.to_frame("fold")
        .with_row_index("row")
        .filter(pl.col("fold") != "")
        .group_by("fold")
        .agg(pl.col("row").min())
    ).sort("fold")
    alike, same = similar_pairs(distinct["fold"], threshold), same_core(distinct["fold"])
    label = components(len(distinct), *(np.concatenate(side) for side in zip(alike, same, strict=True)))
    firsts = distinct["row"].to_numpy()
    lowest = np.full(len(distinct), np.iinfo(np.int64).max)
    np.minimum.at(lowest, label, firsts)
    named = distinct.select("fold", cluster=pl.Series(lowest[label], dtype=pl.Int64))
    joined = folds.to_frame("fold").join(named, on="fold", how="left", maintain_order="left")
    alone = pl.len().over("cluster") == 1
    return joined.select(cluster=pl.when(alone).then(None).otherwise("cluster"))["cluster"]


def similar_pairs(texts: pl.Series, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (left < right) of pairs of distinct texts at least as similar as `threshold`."""
    if len(texts) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    encoded = [text.encode() for text in texts.to_list()]
    signatures = minhash(encoded)
    left, right = _candidates(signatures)
    likely = np.concatenate(
        [
            (signatures[left[at : at + CHUNK]] == signatures[right[at : at + CHUNK]]).mean(axis=1) >= threshold - FAR
            for at in range(0, max(len(left), 1), CHUNK)
        ]
    )
    left, right = left[likely], right[likely]
    if not len(left):
        return left, right
    near = similarity(encoded, left, right) >= threshold
    return left[near], right[near]


def same_core(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Each text that says in other wrapping what an earlier one says, and that one's row number (see `normal.core`).

    "So true: …", "… (via a friend)", "… 😂😂": too much for the Jaccard similarity of a short post.
    """
    rows = texts.to_frame("fold").select(core=normal.core(pl.col("fold"))).with_row_index("row")
    rows = rows.filter(pl.col("core").str.len_bytes() >= CORE_BYTES)
    pairs = rows.select("row", first=pl.col("row").min().over("core")).filter(pl.col("row") != pl.col("first"))
    return pairs["first"].to_numpy().astype(np.int64), pairs["row"].to_numpy().astype(np.int64)


def similarity(texts: list[bytes], left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Jaccard similarity of the texts' sets of shingles, exactly, for each pair: shared shingles over all shingles."""

    def compared(start: int) -> np.ndarray:
        pairs = np.stack([left[start : start + TOGETHER], right[start : start + TOGETHER]], axis=1)
        return _similarity([texts[row] for row in pairs.ravel().tolist()])

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return np.concatenate([np.empty(0), *threads.map(compared, range(0, len(left), TOGETHER))])


def _similarity(texts: list[bytes]) -> np.ndarray:
    """Of the first text and the second, the third and the fourth, and so on. Sorted by pair, shingle and text, what
    two texts share stands side by side."""
    values, counts = _windows(texts)
    text = np.repeat(np.arange(len(texts), dtype=np.uint64), counts)
    pair_at, one = np.uint64(8 * SHINGLE + 1), np.uint64(1)
    keys = np.sort(text >> one << pair_at | values << one | text & one)
    new = np.ones(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    keys = keys[new]
    pair = (keys >> pair_at).astype(np.int64)
    shared = np.bincount(pair[1:][keys[1:] ^ keys[:-1] == one], minlength=len(texts) // 2)
    return shared / (np.bincount(pair, minlength=len(texts) // 2) - shared)


def _windows(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """All runs of SHINGLE bytes as numbers, one text's after another's; and how many each text has."""
    padded = [text if len(text) >= SHINGLE else text.ljust(SHINGLE, b"\0") for text in texts]
    counts = np.array([len(text) - SHINGLE + 1 for text in padded], np.int64)
    joined = np.frombuffer(b"".join(padded), np.uint8).astype(np.uint64)
    value = np.zeros(max(len(joined) - SHINGLE + 1, 0), np.uint64)
    for offset in range(SHINGLE):
        value = (value << np.uint64(8)) | joined[offset : offset + len(value)]
    begins = np.concatenate(([0], np.cumsum(counts + SHINGLE - 1)[:-1]))
    return value[runs(begins, counts)], counts


def minhash(texts: list[bytes]) -> np.ndarray:
    """Signatures, uint32, one row a text and BANDS x ROWS columns: the least value of each hash over its shingles.

    A hash turns bits of the mixed shingle and multiplies modulo 2^32, each with numbers of its own.
    """
    own = np.random.default_rng(0).integers(0, 1 << 32, (2, BANDS * ROWS), dtype=np.uint32)
    out = np.empty((len(texts), BANDS * ROWS), np.uint32)
    ends = np.cumsum([len(text) for text in texts])
    cuts = np.searchsorted(ends, np.arange(0, ends[-1] if len(ends) else 0, BATCH_BYTES), side="left").tolist()

    def sign(start: int, end: int) -> None:
        _sign(texts[start:end], own, out[start:end])

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:  # NumPy lets go of Python's lock
        list(threads.map(sign, cuts, [*cuts[1:], len(texts)]))
    return out


def _sign(texts: list[bytes], own: np.ndarray, out: np.ndarray) -> None:
    if not texts:
        return
    values, counts = _windows(texts)
    first = np.concatenate(([0], np.cumsum(counts)[:-1]))
    mixed = values * _MIX
    mixed ^= mixed >> np.uint64(29)
    mixed = (mixed * _MIX >> np.uint64(32)).astype(np.uint32)
    for column, (turn, factor) in enumerate(own.T):
        out[:, column] = np.minimum.reduceat((mixed ^ turn) * (factor | np.uint32(1)), first)


def _candidates(signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that share a band, each once, in order.

    A band's five values become one number whose low bits give way to the row's own, so that one sort of numbers puts
    a bucket's rows side by side, in order. Bands that share what is left of the number by chance cost a look.
    """
    size = len(signatures)
    low = np.uint64(max(size - 1, 1).bit_length())
    rows = np.arange(size, dtype=np.uint64)
    found = []
    for band in range(BANDS):
        key = np.zeros(size, np.uint64)
        for column in range(band * ROWS, (band + 1) * ROWS):
            key = (key ^ signatures[:, column]) * _MIX
            key ^= key >> np.uint64(29)
        found.append(_side_by_side(((key >> low) << low) | rows, low))
    return _once(found, size)


def _side_by_side(keys: np.ndarray, low: np.uint64) -> np.ndarray:
    """Pairs of rows (2 x n) that share a bucket: the keys hold the row in their `low` bits, the bucket above them."""
    keys = np.sort(keys)
    order = (keys & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64)
    bucket = keys >> low
    run, same = np.ones(len(keys), bool), bucket[1:] == bucket[:-1]
    found = [np.empty((2, 0), np.int64)]
    for step in range(1, ALL_PAIRS):
        run = run[:-1] & same[step - 1 :]  # whether the row `step` places on is in the same bucket
        if not run.any():
            break
        found.append(np.stack([order[:-step][run], order[step:][run]]))  # rows of a bucket are in order
    return np.concatenate(found, axis=1)


def _once(found: list[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Each pair once, in order."""
    pairs = np.concatenate(found, axis=1)
    packed = np.sort(pairs[0] * size + pairs[1])
    packed = packed[np.diff(packed, prepend=-1) != 0]
    return packed // size, packed % size
