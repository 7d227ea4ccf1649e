"""Parts of a square with a tiny exported model, and stand-ins for the town, the assistant and its engine."""

from __future__ import annotations

import dataclasses
import datetime as dt
import types
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import torch

from townsquare import receipts
from townsquare.ingest import store
from townsquare.model import huggingface
from townsquare.model.chat import NOTHING_FOUND, Turn
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.records import POSTS, shard_schema
from townsquare.serve.answers import Answer, Citation, Sentence
from townsquare.square import Square, next_version, publish, write_json
from townsquare.tokens import vocabulary
from townsquare.tokens.shards import document_rows, write_shards

TEXTS = [
    "The harbour bakery opens at 7 on Sundays, never on Mondays; tell everyone here and bring a bag for the rolls",
    "Rovers beat United 3-1 last night",
    "The library is closed on Mondays, as always in winter ☕ für alle",
]
UIDS = [f"x:90{number}" for number in range(len(TEXTS))]


@dataclasses.dataclass(frozen=True)
class Question:
    """As the town hands them out; a fact's id is its subject here."""

    id: str
    question: str
    answers: tuple[str, ...]
    evidence: tuple[str, ...]
    fact_id: str
    answerable: bool = True


QUESTIONS = [
    Question("q1", "When does the harbour bakery open on Sundays?", ("7", "seven"), (UIDS[2],), "harbour bakery"),
    Question("q2", "How did Rovers and United end?", ("3-1",), (UIDS[1],), "Rovers"),
    Question("q3", "When is the library closed?", ("Mondays", "Monday"), (UIDS[2],), "library"),
    Question("q4", "Who keeps the lighthouse?", (), (), "lighthouse", answerable=False),
]


def put_posts(square: Square) -> None:
    """TEXTS as live posts, of March, April and May."""
    store.ensure(square)
    fixed = {"network": "x", "source_id": "s", "source_sha256": "0", "text_status": "full", "visibility": "public"}
    rows = [
        dict.fromkeys(POSTS.names)
        | fixed
        | {"uid": uid, "text": text, "source_locator": uid, "state": "live"}
        | {"created_at": dt.datetime(2026, month, 5, tzinfo=dt.UTC)}
        for month, (uid, text) in enumerate(zip(UIDS, TEXTS, strict=True), start=3)
    ]
    store.upsert(square, "posts", pa.Table.from_pylist(rows, schema=POSTS))


def put_shards(square: Square) -> None:
    """The texts as the test split, with a vocabulary of their own."""
    version = next_version(square.tokens)
    version.mkdir(parents=True)
    vocabulary.train_vocabulary(TEXTS, 300, version / "vocabulary")
    table = pa.table({"document_id": UIDS, "uids": [[uid] for uid in UIDS], "text": TEXTS})
    encoder = vocabulary.Encoder(version / "vocabulary")
    written = write_shards(
        document_rows(table, encoder), version, "documents-test", schema=shard_schema(300), shard_rows=100
    )
    digest = receipts.sha256_of(version / "vocabulary" / "tokenizer.json")
    size = vocabulary.size_of(version / "vocabulary")
    manifest = {"vocabulary_size": size, "vocabulary_sha256": digest, "shards": {"documents-test": written}}
    write_json(version / "manifest.json", manifest)
    publish(version)


def put_model(square: Square) -> Decoder:
    """A random decoder of the shards' vocabulary as models/chat, with the receipt that says so."""
    vocabulary_folder = square.tokens / "v0001" / "vocabulary"
    size = vocabulary.size_of(vocabulary_folder)
    decoder = Decoder(ModelConfig(size, 32, 64, 2, 2, 1, 16, max_position_embeddings=128))
    decoder.init_weights(torch.Generator().manual_seed(5))
    huggingface.save_folder(decoder, vocabulary_folder, square.models / "chat")
    (square.models / "chat" / "model.gguf").write_bytes(b"GGUF")
    put_receipt(square, "export", "chat")
    return decoder


def put_receipt(square: Square, stage: str, name: str | None = None) -> None:
    @dataclasses.dataclass(frozen=True)
    class Nothing:
        pass

    with receipts.stage(square, stage, inputs=[], config=Nothing(), name=name):
        pass


class Assistant:
    """Answers from a table: q1 in its own words, q2 by quoting, q3 wrongly with a wrong post, q4 not at all."""

    opened = 0

    @classmethod
    def open(cls, _square: Square, config: Any) -> Assistant:
        assert config.model == "chat"
        cls.opened += 1
        return cls()

    def answer(self, turns: Sequence[Turn], _sampling: Any) -> Answer:
        question = turns[-1][1]
        if "bakery" in question:
            return said("It opens at 7.", [0], quoted=False)
        if "Rovers" in question:
            return said(TEXTS[1], [1], quoted=True)
        if "library" in question:
            answer = said("On Fridays.", [2, 0], quoted=False)
            return dataclasses.replace(
                answer, sentences=(*answer.sentences, Sentence("So they say.", (2,), True, False))
            )
        return Answer(NOTHING_FOUND, (), (), None, False, "chat")

    def close(self) -> None:
        pass


def said(text: str, posts: list[int], *, quoted: bool) -> Answer:
    """An answer of one sentence that cites TEXTS by number."""
    citations = tuple(
        Citation(number, UIDS[post], None, "x:1", None, TEXTS[post], None, "x")
        for number, post in enumerate(posts, start=1)
    )
    marks = "".join(f" [{c.number}]" for c in citations)
    sentence = Sentence(text, tuple(c.number for c in citations), True, quoted)
    return Answer(text + marks, (sentence,), citations, None, True, "chat")


class Engine:
    """A bare model that knows one answer by heart, and a whole post."""

    name = "chat"
    parallel = 1

    def stream(self, messages: Sequence[Turn], _sampling: Any) -> Iterator[str]:
        assert [role for role, _ in messages] == ["user"]
        question = messages[0][1]
        yield from ("I heard: ", TEXTS[0]) if "bakery" in question else ("no ", "idea")

    def close(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Hit:
    """What retrieval finds, as far as a task looks at it."""

    uid: str
    post: Any


def search(_square: Square, question: str, limit: int) -> list[Hit]:
    """For the bakery the match's post and then its own, for the library the bakery's ten times, else nothing."""
    places = [1, 0] if "bakery" in question else [0] * 10 + [2] if "library" in question else []
    return [Hit(UIDS[place], types.SimpleNamespace(text=TEXTS[place])) for place in places][:limit]
