"""Posts that say what an evaluation set says: left out, so that no score is a score of memory.

A post overlaps a text of a set when they share 13 words in a row; a text of 8 to 12 words has to stand whole in the
post. These are the bounds of GPT-3's analysis (Brown et al. 2020, arXiv:2005.14165, appendix C: 8 to 13 words, without
case and punctuation). A text of 4 to 7 words counts where the post says it and nothing more; a shorter one is said by
chance. Known errors: a text that is reworded or translated is not found, nor one that is spread over several posts; a
proverb or a line of a song that a set quotes takes everyone's quotation with it.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from townsquare.curate import normal
from townsquare.errors import InputError, StaleError
from townsquare.receipts import Input
from townsquare.square import Square

NAME, REASON = "decontamination", "evaluation_text"
LONGEST, SHORTEST, SHORTEST_WHOLE = 13, 8, 4  # words
ROWS_AT_ONCE = 100_000
BITS = 22  # of the table of hashes: 4 million entries
_BASE = np.uint64(0x9E3779B97F4A7C15)
READABLE = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """What a model will be asked: every text of the set, questions and answers alike."""

    name: str
    texts: tuple[str, ...]

    @property
    def as_input(self) -> Input:
        digest = hashlib.sha256("\0".join(self.texts).encode("utf-8", "surrogatepass")).hexdigest()
        return Input(f"evaluation set {self.name}", digest)


def evaluation_sets(square: Square, paths: Sequence[Path]) -> list[EvaluationSet]:
    """The town's questions, where the square has a town, and the files and folders named. Raises InputError."""
    from townsquare.town.tables import read_questions

    found = []
    with contextlib.suppress(StaleError):  # no town
        found.append(EvaluationSet("town questions", tuple(question.question for question in read_questions(square))))
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.suffix in READABLE) if path.is_dir() else [path]
        if not files:
            raise InputError("the folder holds no evaluation set", place=str(path), remedy=_REMEDY)
        found.append(EvaluationSet(path.stem, tuple(text for file in files for text in _texts(file))))
    return found


_REMEDY = "Name a file, or a folder of files, of these kinds: " + ", ".join(READABLE)


def _texts(path: Path) -> list[str]:
    if path.suffix not in READABLE:
        raise InputError("an evaluation set cannot be read", place=str(path), remedy=_REMEDY)
    try:
        return list(_strings(_values(path)))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"an evaluation set cannot be read: {error}", place=str(path), remedy="Mend the file or its path."
        ) from error


def _values(path: Path) -> Any:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        return json.loads(text)
    lines = text.splitlines()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in lines if line.strip()]
    if path.suffix in (".csv", ".tsv"):
        return list(csv.reader(lines, delimiter="," if path.suffix == ".csv" else "\t"))
    return lines


def _strings(value: Any) -> Iterator[str]:
    """Every text inside, without recursion: a file may nest as deep as it likes."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += reversed(one.values())
        elif isinstance(one, list):
            waiting += reversed(one)


@dataclasses.dataclass(frozen=True)
class Overlap:
    """The posts found (`uid`, `rule`, `reason`, `context`), and for each set what was looked for and found."""

    posts: pl.DataFrame
    told: dict[str, dict[str, int]]


def overlap(posts: pl.DataFrame, sets: Sequence[EvaluationSet]) -> Overlap:
    """Of posts with the columns uid and fold, those that overlap a text of a set. Any order of posts gives the same."""
    found, told = np.zeros(len(posts), bool), {}
    words = _words(posts["fold"]) if sets else pl.Series(dtype=pl.String)
    for one in sets:
        wanted = _Wanted.of(one.texts)
        rows, texts = _search(words, wanted)
        found |= rows
        told[one.name] = {
            "texts": len(one.texts), "too_short": wanted.too_short, "found": int(texts.sum()), "posts": int(rows.sum()),
        }  # fmt: skip
    hits = posts.filter(pl.Series(found)).select("uid", rule=pl.lit(NAME), reason=pl.lit(REASON), context=pl.lit(False))
    return Overlap(hits, told)


def _words(folds: pl.Series) -> pl.Series:
    """Folded texts as their words, one space between."""
    return folds.to_frame("fold").select(
        pl.col("fold").str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars().alias("words")
    )["words"]


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """Runs of words to look for: by length, their hashes in order and the number of the text that each is of."""

    runs: dict[int, tuple[np.ndarray, np.ndarray]]
    count: int
    too_short: int

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Wanted:
        fold = pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(fold=normal.folded(pl.col("text")))
        hashes, offsets = _hashed(_words(fold["fold"]))
        lengths = np.diff(offsets)
        runs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for size, rolled in _rolling(hashes):
            starts = offsets[:-1][lengths == size] if size < LONGEST else _starts(offsets, size)
            if size >= SHORTEST_WHOLE and len(starts):
                order = np.argsort(rolled[starts], kind="stable")
                owners = np.searchsorted(offsets, starts, "right") - 1
                runs[size] = (rolled[starts][order], owners[order])
        return cls(runs, len(texts), int((lengths < SHORTEST_WHOLE).sum()))


def _search(words: pl.Series, wanted: _Wanted) -> tuple[np.ndarray, np.ndarray]:
    """For each row of words whether it overlaps, and for each text whether any row overlaps it."""
    rows, texts = np.zeros(len(words), bool), np.zeros(wanted.count, bool)
    tables = {size: _table_of(hashes) for size, (hashes, _) in wanted.runs.items()}
    for first in range(0, len(words) if tables else 0, ROWS_AT_ONCE):
        hashes, offsets = _hashed(words.slice(first, ROWS_AT_ONCE))
        for size, rolled in _rolling(hashes):
            if size not in tables:
                continue
            whole = offsets[:-1][np.diff(offsets) == size]
            starts = whole if size < SHORTEST else _starts(offsets, size)
            likely = starts[tables[size][rolled[starts] >> np.uint64(64 - BITS)]]
            known, owners = wanted.runs[size]
            low = np.searchsorted(known, rolled[likely], "left")
            high = np.searchsorted(known, rolled[likely], "right")
            hit = high > low
            rows[first + np.searchsorted(offsets, likely[hit], "right") - 1] = True
            for start, stop in zip(low[hit].tolist(), high[hit].tolist(), strict=True):
                texts[owners[start:stop]] = True
    return rows, texts


def _hashed(words: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """A hash of every word of all rows in a line, and where each row begins in it (one more than there are rows)."""
    lists = (
        words.to_frame("words")
        .select(words=pl.when(pl.col("words") != "").then(pl.col("words").str.split(" ")))["words"]
        .fill_null([])
    )
    offsets = np.concatenate([[0], np.cumsum(lists.list.len().to_numpy().astype(np.int64))])
    return lists.list.explode(empty_as_null=False).hash(0).to_numpy(), offsets


def _rolling(hashes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """For each length up to the longest the hashes of all runs of so many words, by where they begin."""
    rolled = hashes.copy()
    for size in range(1, LONGEST + 1):
        if size > 1:
            rolled = rolled[:-1] * _BASE + hashes[size - 1 :] if len(rolled) else rolled
        yield size, rolled


def _starts(offsets: np.ndarray, size: int) -> np.ndarray:
    """Where runs of so many words begin that lie in one row."""
    counts = np.maximum(np.diff(offsets) - size + 1, 0)
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(offsets[:-1], counts) + within


def _table_of(hashes: np.ndarray) -> np.ndarray:
    table = np.zeros(1 << BITS, bool)
    table[hashes >> np.uint64(64 - BITS)] = True
    return table
