"""How often what is found answers, on towns whose truth is known: `python bench/retrieval.py [SEED …]`.

Right: an accepted answer stands in the sentence that would be quoted. Of unanswerable questions, right is
to find nothing. The peer in the same run is BM25 alone: the best-scored post of the same index, quoted whole.

`python bench/retrieval.py vectors [POSTS]`: recall at 10 (one of the first ten states an accepted answer) of BM25, of
vectors, of both (reciprocal ranks summed) and of the search as it is, which also asks whether a post answers.

`python bench/retrieval.py speed SQUARE [SECONDS]`: the town's questions put to a square that exists, 20 a second
whether or not earlier ones have been answered, from two threads: how long each took from when it was due.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from townsquare.consent.grants import add_grant
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.serve import citations, index, retrieval
from townsquare.serve.config import IndexConfig
from townsquare.serve.run import run as build_index
from townsquare.serve.standing import Standing
from townsquare.serve.vectors import Vectors
from townsquare.serve.words import fold
from townsquare.square import Square
from townsquare.town import tables as town
from townsquare.town.config import TownConfig
from townsquare.town.run import run as build_town

POSTS = 20_000
DEEP = 60
QUESTIONS_A_SECOND = 20


def states(text: str, answers: tuple[str, ...]) -> bool:
    """Whether a text has one of the accepted answers, case and accents aside."""
    return any(fold(answer) in fold(text) for answer in answers)


def by_bm25(square: Square, question: str) -> str:
    """The text of the best post by BM25 alone."""
    found = index.match(index.dataset(square), question, asks=False, limit=1)
    return found[0].text if found else ""


def measure(square: Square) -> None:
    """Ask all of a town's questions and print the shares of right ones."""
    right = plain = silent = 0
    questions, standing = town.read_questions(square), Standing(square)
    answerable = [question for question in questions if question.answerable]
    started = time.perf_counter()
    for question in questions:
        hits = retrieval.search(standing, question.question, 4)
        if not question.answerable:
            silent += not hits
        elif hits:
            right += states(citations.quote(hits[0].post.text, question.question), question.answers)
    each = (time.perf_counter() - started) / len(questions)
    plain = sum(states(by_bm25(square, question.question), question.answers) for question in answerable)
    print(
        f"first post answers: {right}/{len(answerable)}; BM25 alone: {plain}/{len(answerable)}; "
        f"nothing found where nothing is: {silent}/{len(questions) - len(answerable)}; {1000 * each:.0f} ms a question"
    )


@contextlib.contextmanager
def town_of(posts: int, seed: int) -> Iterator[Square]:
    with tempfile.TemporaryDirectory() as folder:
        square = Square.create(Path(folder) / "square")
        build_town(square, TownConfig(posts=posts, seed=seed))
        for path in town.source_paths(square):
            ingest(square, IngestConfig(paths=(path,)))
        add_grant(square, town.grant(square))
        build_index(square, IndexConfig())
        yield square


def main(seeds: list[int]) -> None:
    for seed in seeds:
        with town_of(POSTS, seed) as square:
            print(f"town of {POSTS:,} posts, seed {seed}: ", end="")
            measure(square)


def recall(posts: int) -> None:
    """Recall at 10 by words, by vectors, by both, and by the search."""
    embedder = Vectors(threads=1)
    with town_of(posts, seed=3) as square:
        table, standing = index.dataset(square), Standing(square)
        held = table.to_table(columns=["uid", "text", "is_question"])
        text = dict(zip(held["uid"].to_pylist(), held["text"].to_pylist(), strict=True))
        began = time.process_time()
        vectors, _ = embedder.embed(list(text.values()))
        each = (time.process_time() - began) / len(text)
        states_something, uids = ~np.asarray(held["is_question"]), np.array(list(text))
        right: Counter[str] = Counter()
        questions = [question for question in town.read_questions(square) if question.answerable]
        for question in questions:
            words = [post.uid for post in index.match(table, question.question, asks=False, limit=DEEP)]
            near = np.where(states_something, vectors @ embedder.embed([question.question])[0][0], -1)
            ways = {"BM25": words, "vectors": uids[np.argsort(-near)[:DEEP]].tolist()}
            ways["both"] = fused(list(ways.values()))
            ways["search"] = [hit.uid for hit in retrieval.search(standing, question.question, 10)]
            for way, found in ways.items():
                right[way] += any(states(text[uid], question.answers) for uid in found[:10])
    shares = ", ".join(f"{way} {count}/{len(questions)}" for way, count in right.items())
    print(
        f"town of {posts:,} posts, {len(text):,} indexed: recall at 10: {shares}; a vector {1000 * each:.1f} ms of CPU"
    )


def fused(ranked: list[list[str]]) -> list[str]:
    """Reciprocal rank fusion (Cormack et al., 2009; k = 60)."""
    score: Counter[str] = Counter()
    for one in ranked:
        score.update({uid: 1 / (60 + place) for place, uid in enumerate(one, start=1)})
    return [uid for uid, _ in score.most_common()]


def speed(square: Square, seconds: float) -> None:
    """Open loop: a question that waits for others counts its wait."""
    standing, asked = Standing(square), [question.question for question in town.read_questions(square)]
    retrieval.search(standing, asked[0], 4)
    began = time.perf_counter()

    def ask(number: int) -> float:
        due = began + number / QUESTIONS_A_SECOND
        time.sleep(max(due - time.perf_counter(), 0))
        retrieval.search(standing, asked[number % len(asked)], 4)
        return time.perf_counter() - due

    worked = time.process_time()
    with ThreadPoolExecutor(2) as threads:
        took = sorted(threads.map(ask, range(int(seconds * QUESTIONS_A_SECOND))))
    each = (time.process_time() - worked) / len(took)
    half, most = (1000 * took[int(share * len(took))] for share in (0.5, 0.99))
    print(
        f"{index.dataset(square).count_rows():,} posts indexed, {len(took)} questions ({len(asked)} distinct), "
        f"{QUESTIONS_A_SECOND} a second: median {half:.1f} ms, 99 % {most:.1f} ms, {1000 * each:.1f} ms of CPU each; "
        f"load of the machine {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["vectors", *more]:
            recall(int(more[0]) if more else POSTS)
        case ["speed", place, *more]:
            speed(Square.open(Path(place)), float(more[0]) if more else 60.0)
        case seeds:
            main([int(seed) for seed in seeds] or [1, 2, 3])
