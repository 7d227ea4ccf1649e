"""datatrove's nearest steps on a file of posts, for bench/curate.py, which runs this in datatrove's own environment.

    PEER/bin/python bench/curate_peer.py FOLDER MODEL      # FOLDER/posts/*.jsonl with `text` and `id`; lid.176

Reading, language (the model that we use), Gopher's quality and repetition filters with bounds for short posts, e-mail
and IP addresses masked, MinHash near duplicates (14 buckets of 5 hashes, as ours), and the posts that stay written; no
threads, conversations, bots, campaigns or other personal data. One process. Its fastest honest setting: words are split
at white space, for its spaCy splitter alone takes longer than all else, and one language is asked for, not all.
Prints seconds and how many posts stay.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter, LanguageFilter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.lid import FT176LID
from datatrove.utils.word_tokenizers import WordTokenizer
from fasttext.FastText import _FastText

CONFIG = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=5)


class AtSpaces(WordTokenizer):
    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


class LocalLID(FT176LID):
    """The model from a file that is at hand, where datatrove's own would be downloaded."""

    def __init__(self, path: Path) -> None:
        super().__init__(k=1)
        self.path = path

    @property
    def model(self) -> _FastText:
        if self._model is None:
            self._model = _FastText(str(self.path))
        return self._model


def language(model: Path) -> LanguageFilter:
    step = LanguageFilter(label_only=True)
    step.model = LocalLID(model)
    return step


def steps(root: Path, model: Path) -> list[tuple[list[Any], int]]:
    """The pipelines one after another, each with its number of tasks."""

    def read() -> list[Any]:
        quality = GopherQualityFilter(
            min_doc_words=3, min_avg_word_length=2, max_avg_word_length=20, min_stop_words=0, language=AtSpaces()
        )
        repetition = GopherRepetitionFilter(top_n_grams=(), dup_n_grams=(), language=AtSpaces())  # made for long texts
        return [JsonlReader(str(root / "posts")), quality, repetition, PIIFormatter()]

    signatures, buckets, remove = root / "signatures", root / "buckets", root / "remove"
    return [
        ([*read(), language(model), MinhashDedupSignature(str(signatures), config=CONFIG, language=AtSpaces())], 1),
        ([MinhashDedupBuckets(str(signatures), str(buckets), config=CONFIG)], CONFIG.num_buckets),
        ([MinhashDedupCluster(str(buckets), str(remove), config=CONFIG)], 1),
        ([*read(), MinhashDedupFilter(str(remove)), JsonlWriter(str(root / "kept"), compression=None)], 1),
    ]


def main() -> None:
    root = Path(sys.argv[1])
    started = time.perf_counter()
    for number, (pipeline, tasks) in enumerate(steps(root, Path(sys.argv[2]))):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(root / f"logs{number}")).run()
    seconds, used = time.perf_counter() - started, os.times()
    kept = sum(path.read_bytes().count(b"\n") for path in (root / "kept").glob("*.jsonl"))
    cpu = used.user + used.system + used.children_user + used.children_system
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "kept": kept}))


if __name__ == "__main__":
    main()
