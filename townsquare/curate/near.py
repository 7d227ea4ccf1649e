"""Near duplicates: MinHash and LSH find candidates, the exact Jaccard similarity of shingles decides.

Shingles are 5 bytes of folded text (UTF-8), for posts are too short for shingles of words. With 12 bands of 5 a
pair at similarity 0.8 is a candidate with probability 0.991, at 0.9 with 0.99998. Nothing hangs on the order of rows.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from townsquare.curate.threads import components

SHINGLE = 5
BANDS, ROWS = 12, 5
BATCH_BYTES = 1 << 20
CHUNK = 1 << 16  # pairs whose signatures are compared at once
ALL_PAIRS = 12  # a bucket up to this size is compared all with all, a larger one with its neighbours
FAR = 0.25  # below the threshold by this much in the signature, a candidate is not looked at closely (4 sigma)
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
    left, right = similar_pairs(distinct["fold"], threshold)
    label = components(len(distinct), left, right)
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
    alike = np.concatenate(
        [
            (signatures[left[at : at + CHUNK]] == signatures[right[at : at + CHUNK]]).mean(axis=1)
            for at in range(0, max(len(left), 1), CHUNK)
        ]
    )
    likely = alike >= threshold - FAR
    left, right = left[likely], right[likely]
    kept: dict[int, frozenset[bytes]] = {}

    def of(row: int) -> frozenset[bytes]:
        if row not in kept:
            kept[row] = shingles(encoded[row])
        return kept[row]

    near = np.fromiter(
        (jaccard(of(a), of(b)) >= threshold for a, b in zip(left.tolist(), right.tolist(), strict=True)),
        bool,
        len(left),
    )
    return left[near], right[near]


def shingles(text: bytes) -> frozenset[bytes]:
    """All runs of SHINGLE bytes; a shorter text is one shingle."""
    return frozenset(text[at : at + SHINGLE] for at in range(max(len(text) - SHINGLE + 1, 1)))


def jaccard(one: frozenset[bytes], other: frozenset[bytes]) -> float:
    """Shared shingles over all shingles."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def minhash(texts: list[bytes]) -> np.ndarray:
    """Signatures, uint32, one row a text and BANDS x ROWS columns: the least value of each hash over its shingles."""
    rng = np.random.default_rng(0)
    odd = rng.integers(0, 1 << 63, BANDS * ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shift = rng.integers(0, 1 << 63, BANDS * ROWS, dtype=np.uint64)
    out = np.empty((len(texts), BANDS * ROWS), np.uint32)
    start, size = 0, 0
    for number, text in enumerate(texts):
        size += len(text)
        if size >= BATCH_BYTES or number + 1 == len(texts):
            _sign(texts[start : number + 1], odd, shift, out[start : number + 1])
            start, size = number + 1, 0
    return out


def _sign(texts: list[bytes], odd: np.ndarray, shift: np.ndarray, out: np.ndarray) -> None:
    padded = [text if len(text) >= SHINGLE else text.ljust(SHINGLE, b"\0") for text in texts]
    counts = np.array([len(text) - SHINGLE + 1 for text in padded])
    joined = np.frombuffer(b"".join(padded), np.uint8).astype(np.uint64)
    value = np.zeros(len(joined) - SHINGLE + 1, np.uint64)
    for offset in range(SHINGLE):
        value = (value << np.uint64(8)) | joined[offset : offset + len(value)]
    begins = np.concatenate(([0], np.cumsum(counts + SHINGLE - 1)[:-1]))
    first = np.concatenate(([0], np.cumsum(counts)[:-1]))
    within = np.arange(counts.sum()) + np.repeat(begins - first, counts)  # windows that lie in one text
    base = value[within] * _MIX
    base ^= base >> np.uint64(29)
    for column in range(len(odd)):
        hashed = ((base * odd[column] + shift[column]) >> np.uint64(32)).astype(np.uint32)
        out[:, column] = np.minimum.reduceat(hashed, first)


def _candidates(signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that share a band, each once, in order."""
    found: list[np.ndarray] = []
    for band in range(BANDS):
        part = np.ascontiguousarray(signatures[:, band * ROWS : (band + 1) * ROWS])
        key = part.view([("", part.dtype)] * ROWS).ravel()
        order = np.argsort(key, kind="stable").astype(np.int64)
        same = key[order[1:]] == key[order[:-1]]
        run = np.ones(len(order), bool)
        for step in range(1, ALL_PAIRS):
            run = run[:-1] & same[step - 1 :]  # whether the row `step` places on is in the same bucket
            if not run.any():
                break
            found.append(np.stack([order[:-step][run], order[step:][run]], axis=1))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    pairs = np.sort(np.concatenate(found), axis=1)
    packed = np.unique(pairs[:, 0] * len(signatures) + pairs[:, 1])
    return packed // len(signatures), packed % len(signatures)
