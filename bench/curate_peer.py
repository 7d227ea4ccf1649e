"""datatrove's nearest steps on a file of posts, for bench/curate.py, which runs this in datatrove's own environment.

    PEER/bin/python bench/curate_peer.py FOLDER      # FOLDER/posts/*.jsonl with `text` and `id`

Reading, a filter on words, e-mail and IP addresses masked, MinHash near duplicates (14 buckets of 5 hashes, as ours),
and the posts that stay written; no language, no threads, no rules of ours. One process. Its fastest honest setting:
words are split at white space, since its spaCy splitter alone takes longer than all else. Prints seconds and counts.
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
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.word_tokenizers import WordTokenizer

CONFIG = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=5)
FEWEST_WORDS = 3


class AtSpaces(WordTokenizer):
    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def steps(root: Path) -> list[tuple[list[Any], int]]:
    """The pipelines one after another, each with its number of tasks."""

    def read() -> list[Any]:
        words = LambdaFilter(lambda document: len(document.text.split()) >= FEWEST_WORDS)
        return [JsonlReader(str(root / "posts")), words, PIIFormatter()]

    signatures, buckets, remove = root / "signatures", root / "buckets", root / "remove"
    return [
        ([*read(), MinhashDedupSignature(str(signatures), config=CONFIG, language=AtSpaces())], 1),
        ([MinhashDedupBuckets(str(signatures), str(buckets), config=CONFIG)], CONFIG.num_buckets),
        ([MinhashDedupCluster(str(buckets), str(remove), config=CONFIG)], 1),
        ([*read(), MinhashDedupFilter(str(remove)), JsonlWriter(str(root / "kept"), compression=None)], 1),
    ]


def main() -> None:
    root = Path(sys.argv[1])
    started = time.perf_counter()
    for number, (pipeline, tasks) in enumerate(steps(root)):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(root / f"logs{number}")).run()
    seconds, used = time.perf_counter() - started, os.times()
    kept = sum(path.read_bytes().count(b"\n") for path in (root / "kept").glob("*.jsonl"))
    cpu = used.user + used.system + used.children_user + used.children_system
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "kept": kept}))


if __name__ == "__main__":
    main()
