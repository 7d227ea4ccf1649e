"""Squares with a small corpus, vocabulary and shards, for the tests of what comes after curation."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import types
from collections.abc import Sequence

import pyarrow as pa
import pytest

from townsquare.receipts import Input, Receipt
from townsquare.records import CONVERSATIONS, DOCUMENTS, PAIRS
from townsquare.square import Square
from townsquare.tokens.config import TokensConfig

try:
    from townsquare.tokens import run as tokens_run
except ModuleNotFoundError:  # the curate stage is not built yet
    package, module = types.ModuleType("townsquare.curate"), types.ModuleType("townsquare.curate.tables")
    package.tables = module  # type: ignore[attr-defined]
    sys.modules |= {"townsquare.curate": package, "townsquare.curate.tables": module}
    from townsquare.tokens import run as tokens_run

Turns = Sequence[tuple[str, str]]

NAMES = ("Ada", "Bo", "Cleo", "Dev", "Eun", "Fay", "Gus", "Hana", "Ivo", "Juno")
PLACES = ("the bakery", "the library", "the pool", "the old mill", "the station", "the market")
DAYS = ("Monday", "Tuesday", "Friday", "Sunday")


class SmallCorpus:
    """Stands in for the public door of curation."""

    def __init__(
        self,
        documents: list[dict[str, object]],
        conversations: list[dict[str, object]],
        pairs: list[dict[str, object]],
    ) -> None:
        self.documents = pa.Table.from_pylist(documents, schema=DOCUMENTS)
        self.conversations = pa.Table.from_pylist(conversations, schema=CONVERSATIONS)
        self.pairs = pa.Table.from_pylist(pairs, schema=PAIRS)
        content = json.dumps([documents, conversations, pairs], default=str)
        self.sha256 = hashlib.sha256(content.encode()).hexdigest()

    def corpus_input(self, _square: Square) -> Input:
        return Input("curate", self.sha256)

    def read_documents(self, _square: Square) -> pa.Table:
        return self.documents

    def read_conversations(self, _square: Square) -> pa.Table:
        return self.conversations

    def read_pairs(self, _square: Square) -> pa.Table:
        return self.pairs


def document(number: int, text: str, split: str = "train", uids: Sequence[str] = ()) -> dict[str, object]:
    first = f"x:{number}"
    row = dict.fromkeys(DOCUMENTS.names)
    return row | {"document_id": first, "text": text, "uids": list(uids) or [first], "network": "x", "split": split}


def conversation(number: int, turns: Turns, split: str = "train") -> dict[str, object]:
    uids = [f"x:{number}0{i}" for i in range(len(turns))]
    rows = [{"role": role, "text": text, "uids": [uid]} for (role, text), uid in zip(turns, uids, strict=True)]
    row = dict.fromkeys(CONVERSATIONS.names)
    return row | {"conversation_id": uids[0], "turns": rows, "uids": uids, "source": "posts", "split": split}


def pair(number: int, prompt: str, chosen: str, rejected: str, split: str = "train") -> dict[str, object]:
    uids = [f"x:{number}p{i}" for i in range(3)]
    asked = [{"role": "user", "text": prompt, "uids": uids[:1]}]
    row = dict.fromkeys(PAIRS.names)
    return row | {
        "pair_id": f"{uids[1]}>{uids[2]}",
        "prompt": asked,
        "chosen": chosen,
        "rejected": rejected,
        "uids": uids,
        "split": split,
    }


def posts(count: int, seed: int = 0) -> list[str]:
    """Short posts of a small world, the same for the same seed."""
    rng = random.Random(seed)
    shapes = (
        "{a} opens {p} at {h} on {d} 🙂",
        "is {p} open on {d}?",
        "{d}s at {p} are {a}'s, from {h} to {g}. come by!",
        "who saw {a} at {p}? I waited till {h} and nobody came, will try {d} again",
    )
    return [
        rng.choice(shapes).format(
            a=rng.choice(NAMES), p=rng.choice(PLACES), d=rng.choice(DAYS), h=rng.randint(6, 11), g=rng.randint(12, 22)
        )
        for _ in range(count)
    ]


def make_shards(
    square: Square,
    monkeypatch: pytest.MonkeyPatch,
    *,
    texts: Sequence[str] | None = None,
    conversations: Sequence[Turns] = (),
    pairs: Sequence[tuple[str, str, str]] = (),
    config: TokensConfig | None = None,
) -> Receipt:
    """Run the tokens stage on texts; every tenth is held out."""
    texts = posts(400) if texts is None else texts
    rows = [document(i, text, "validation" if i % 10 == 9 else "train") for i, text in enumerate(texts)]
    talks = [conversation(i, turns, "validation" if i % 10 == 9 else "train") for i, turns in enumerate(conversations)]
    compared = [pair(i, *texts, "validation" if i % 10 == 9 else "train") for i, texts in enumerate(pairs)]
    monkeypatch.setattr(tokens_run, "corpus", SmallCorpus(rows, talks, compared))
    return tokens_run.run(square, config or TokensConfig(vocabulary_size=512))
