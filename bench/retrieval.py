"""How often the first post found answers, on towns whose truth is known: `python bench/retrieval.py [SEED …]`.

Right: an accepted answer stands in the sentence that would be quoted. Of unanswerable questions, right is
to find nothing. The peer in the same run is BM25 alone: the best-scored post of the same index, quoted whole.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from townsquare.consent.grants import add_grant
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.serve import citations, index, retrieval
from townsquare.serve.config import IndexConfig
from townsquare.serve.run import run as build_index
from townsquare.serve.words import fold
from townsquare.square import Square
from townsquare.town import tables as town
from townsquare.town.config import TownConfig
from townsquare.town.run import run as build_town

POSTS = 20_000


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
    questions = town.read_questions(square)
    answerable = [question for question in questions if question.answerable]
    started = time.perf_counter()
    for question in questions:
        hits = retrieval.search(square, question.question, 4)
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


def main(seeds: list[int]) -> None:
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            square = Square.create(Path(folder) / "square")
            build_town(square, TownConfig(posts=POSTS, seed=seed))
            for path in town.source_paths(square):
                ingest(square, IngestConfig(paths=(path,)))
            add_grant(square, town.grant(square))
            build_index(square, IndexConfig())
            print(f"town of {POSTS:,} posts, seed {seed}: ", end="")
            measure(square)


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [1, 2, 3])
