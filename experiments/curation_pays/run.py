"""Does curation pay? The same model and tokens on raw and on curated posts, bits per byte on clean held-out text.

    python experiments/curation_pays/run.py SENATORS.tar.gz FOLDER [--posts 20000] [--steps 150]

Posts: a town with all its defects, and every twelfth of the senators'. Raw: every post that the gate allows, as it
came. Curated: the documents that curation makes of the same posts. Held out, with whole threads and near duplicates:
town posts whose hidden truth names no defect, and distinct senators' posts, half of the documents each.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from townsquare.consent.gate import today
from townsquare.consent.grants import Grant, add_grant
from townsquare.curate import alone, gated, near, run, splits
from townsquare.curate.config import CurateConfig
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.receipts import Input
from townsquare.records import DOCUMENTS, PURPOSES
from townsquare.square import Square
from townsquare.tokens import run as tokens
from townsquare.tokens.config import TokensConfig
from townsquare.town import tables as town
from townsquare.town.config import TownConfig
from townsquare.town.run import run as make_town
from townsquare.train.config import TrainConfig
from townsquare.train.run import run as train

SEEDS = (1, 2, 3)
HELD_OUT_OF_EACH = 500
TEST = CurateConfig(test_share=0.05, validation_share=0.05)
ALL = CurateConfig(test_share=0.0, validation_share=0.0)


@dataclasses.dataclass(frozen=True)
class Texts:
    """Stands in for the public door of curation: texts to train on, texts held out."""

    train: list[str]
    held_out: list[str]

    def corpus_input(self, _square: Square) -> Input:
        return Input("curate", hashlib.sha256("\0".join(self.train).encode()).hexdigest())

    def read_documents(self, _square: Square) -> pa.Table:
        rows = [self._row(i, t, "train") for i, t in enumerate(self.train)]
        rows += [self._row(len(rows) + i, t, "validation") for i, t in enumerate(self.held_out)]
        return pa.Table.from_pylist(rows, schema=DOCUMENTS)

    def read_conversations(self, _square: Square) -> pa.Table:
        from townsquare.records import CONVERSATIONS

        return CONVERSATIONS.empty_table()

    @staticmethod
    def _row(number: int, text: str, split: str) -> dict[str, Any]:
        uid = f"x:{number}"
        row = dict.fromkeys(DOCUMENTS.names)
        return row | {"document_id": uid, "text": text, "uids": [uid], "network": "x", "split": split}


def posts_of(folder: Path, senators: Path, count: int) -> tuple[pl.DataFrame, set[str]]:
    """The gated posts of both kinds, and the uids of the town's posts without a defect."""
    square = Square.create(folder / "posts")
    make_town(square, TownConfig(posts=count))
    add_grant(square, Grant(id="all", grantor="a", grantee="b", purposes=PURPOSES, sources=("*",)))
    for path in town.source_paths(square):
        ingest(square, IngestConfig(paths=(path,)))
    columns = ("text=Text", "created_at=Datetime")
    ingest(square, IngestConfig(paths=(senators,), column=columns, author_from="file", name="senators"))
    posts = gated.usable(gated.read_gated(square, today()))
    mine = (pl.col("network") != "table") | (pl.int_range(pl.len()) % 12 == 0)
    sound = {row["uid"] for row in town.read_truth(square).select(["uid", "defects"]).to_pylist() if not row["defects"]}
    return posts.filter(mine), sound


def sides(posts: pl.DataFrame, sound: set[str]) -> tuple[Texts, Texts]:
    """Raw and curated texts, with the same texts held out."""
    judged, _ = alone.judge(posts.select(alone.READS), TEST)
    marked = posts.with_columns(fold=judged["fold"]).with_columns(cluster=pl.lit(None, pl.Int64))
    marked = marked.with_columns(cluster=near.clusters(marked["fold"], TEST.near_duplicate))
    marked = marked.with_columns(split=splits.split_of(marked, TEST))
    out = marked.filter(pl.col("split") != "train").sort("uid")
    clean = out.filter((pl.col("fold") != "") & pl.col("uid").is_in(list(sound)))["text"].to_list()
    others = out.filter((pl.col("fold") != "") & (pl.col("network") == "table")).unique("fold", maintain_order=True)
    pairs = zip(clean[:HELD_OUT_OF_EACH], others["text"].to_list()[:HELD_OUT_OF_EACH], strict=True)
    held_out = [text for pair in pairs for text in pair]
    inside = posts.filter(marked["split"] == "train")
    raw = [text for text in inside.sort("uid")["text"].to_list() if text]
    curated = run.build(inside, ALL).tables["documents"]["text"].to_pylist()
    return Texts(raw, held_out), Texts(curated, held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("senators", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--size", default="1M")
    asked = parser.parse_args()
    scores: dict[str, list[float]] = {}
    for name, texts in zip(
        ("raw", "curated"), sides(*posts_of(asked.folder, asked.senators, asked.posts)), strict=True
    ):
        square = Square.create(asked.folder / name)
        tokens.corpus = texts  # type: ignore[assignment]
        made = tokens.run(square, TokensConfig(vocabulary_size=4096))
        for seed in SEEDS:
            config = TrainConfig(name=f"s{seed}", size=asked.size, steps=asked.steps, epochs=100, seed=seed)
            receipt = train(square, config)
            scores.setdefault(name, []).append(receipt.results["validation_bits_per_byte"])
            print(json.dumps({
                "posts": name, "seed": seed, "documents": len(texts.train), "corpus_tokens": made.results["tokens"],
                "tokens": receipt.results["tokens"], "epochs": receipt.results["epochs"],
                "bits_per_byte": receipt.results["validation_bits_per_byte"], "seconds": receipt.seconds,
            }), flush=True)  # fmt: skip
    for name, found in scores.items():
        print(f"{name}: {statistics.mean(found):.4f} bits per byte, {min(found):.4f} to {max(found):.4f}")


if __name__ == "__main__":
    main()
