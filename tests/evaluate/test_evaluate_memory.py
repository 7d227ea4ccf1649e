"""What weights know by heart: a stand-in that has learned one text, counted by hand, and greedy completion itself."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.evaluate.evaluate_square import TEXTS, UIDS, put_model, put_posts, put_shards
from townsquare import receipts
from townsquare.evaluate import cases, weights
from townsquare.evaluate.config import EvaluateConfig
from townsquare.evaluate.run import run
from townsquare.ingest import store
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.receipts import Receipt
from townsquare.records import shard_schema
from townsquare.square import Square, write_json
from townsquare.tokens import vocabulary
from townsquare.tokens.shards import document_rows, write_shards

OTHER = "Nobody has ever written this sentence about the ferry before, nor will anybody again this year"


def put_training(square: Square, texts: list[str], times: dict[str, int], epochs: float) -> None:
    """The texts as training documents, and a run that read each so often: lineage, receipt, and the export's chain."""
    version = square.tokens / "v0001"
    table = pa.table({"document_id": UIDS[: len(texts)], "uids": [[uid] for uid in UIDS[: len(texts)]], "text": texts})
    encoder = vocabulary.Encoder(version / "vocabulary")
    write_shards(document_rows(table, encoder), version, "documents-train", schema=shard_schema(300), shard_rows=100)
    folder = square.runs / "base"
    folder.mkdir(parents=True)
    lineage = pa.table({"uid": list(times), "first_step": pa.array(times.values(), pa.int64())})
    with pa.ipc.new_file(folder / "lineage.arrow", lineage.schema) as writer:
        writer.write_table(lineage)
    trained = Receipt(
        "train",
        "square",
        (),
        {},
        {},
        {"epochs": epochs},
        1.0,
        1,
        receipts.fingerprint_of("train", [], {}),
        {},
        1,
        "base",
    )
    write_json(receipts.receipt_path(square, "train", "base"), trained.to_json())
    receipts.receipt_path(square, "export", "chat").unlink()
    exported = Receipt(
        "export", "square", (receipts.as_input(trained),), {}, {}, {}, 1.0, 1, "e" * 64, {}, None, "chat"
    )  # fmt: skip
    write_json(receipts.receipt_path(square, "export", "chat"), exported.to_json())


class Parrot(torch.nn.Module):
    """Always expects the token that follows the last two in the texts it has learned, else the end of the text."""

    def __init__(self, size: int, learned: list[list[int]]) -> None:
        super().__init__()
        self.config = SimpleNamespace(max_position_embeddings=128)
        self.next = {(a, b): c for ids in learned for a, b, c in zip(ids, ids[1:], ids[2:], strict=False)}
        self.size, self.lm_head = size, torch.nn.Identity()
        self.lm_head.weight = torch.zeros(1)

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros((*ids.shape, self.size))
        for r, row in enumerate(ids.tolist()):
            for t in range(len(row)):
                logits[r, t, self.next.get((row[t - 1], row[t]), 0) if t else 0] = 9.0
        return logits


@pytest.fixture
def trained(square: Square) -> Square:
    put_posts(square)
    put_shards(square)
    put_model(square)
    return square


def parrot(square: Square, monkeypatch: pytest.MonkeyPatch, learned: list[str]) -> None:
    tokenizer = vocabulary.load(square.models / "chat")
    rows = [[0, *tokenizer.encode(text).ids] for text in learned]
    model = Parrot(tokenizer.get_vocab_size(), rows)
    monkeypatch.setattr(weights, "load", lambda path: (model, tokenizer))


def test_posts_known_by_heart_are_counted_by_times_read(trained: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two training posts, read twice; the parrot has learned one. The held-out ones are TEXTS: it knows one."""
    put_training(trained, [TEXTS[0], OTHER], {UIDS[0]: 0, UIDS[1]: 3, UIDS[2]: -1}, epochs=2.0)
    parrot(trained, monkeypatch, [TEXTS[0]])
    receipt = run(trained, EvaluateConfig(tasks=("memorisation",)))
    found = receipt.results["scores"]["memorisation"]
    tokenizer = vocabulary.load(trained.models / "chat")
    long_enough = [text for text in TEXTS if len(tokenizer.encode(text).ids) + 2 >= 16]
    assert found["verbatim"] == 1 / 2
    assert found["held_out_verbatim"] == pytest.approx(1 / len(long_enough))
    assert (found["n"], found["held_out_posts"]) == (2, len(long_enough))
    by_times = receipt.results["details"]["memorisation"]["by_times_read"]
    assert {times: group["n"] for times, group in by_times.items()} == {"0": len(long_enough), "2": 2}
    assert by_times["2"]["verbatim"] == 1 / 2


def test_models_that_read_posts_differently_often_are_asked_about_the_same(
    trained: Square, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three posts one is drawn; where two of the three were read, it is drawn again if it is among them."""
    asked = []
    for read in ((0, 1, 2), (0, 1), (0, 2), (1, 2)):
        if (trained.runs / "base").exists():
            shutil.rmtree(trained.runs / "base")
            receipts.receipt_path(trained, "evaluate", "chat").unlink()
        times = {uid: 0 if place in read else -1 for place, uid in enumerate(UIDS)}
        put_training(trained, [TEXTS[0], OTHER, TEXTS[2]], times, epochs=1.0)
        parrot(trained, monkeypatch, [])
        run(trained, EvaluateConfig(tasks=("memorisation",), questions=1, seed=6))
        asked.append(pq.read_table(cases.path(trained, "chat"))["case"].to_pylist())
    assert [len(found) for found in asked] == [1, 1, 1, 1]
    assert asked[1:].count(asked[0]) == 2


def test_probes_for_removed_authors(trained: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two authors, one removed whole: only that one's posts are probed for, and the parrot knows one of two."""
    truth = pa.table({"uid": UIDS, "author": ["a", "a", "b"], "fact_id": [None] * 3, "defects": [[]] * 3})
    monkeypatch.setattr("townsquare.town.tables.read_truth", lambda square: truth)
    monkeypatch.setattr("townsquare.town.tables.read_facts", lambda square: [])
    told = {UIDS[0]: TEXTS[0], UIDS[1]: OTHER, UIDS[2]: TEXTS[2]}
    asked: list[set[str]] = []

    def read_texts(_square: Square, uids: set[str]) -> dict[str, str]:
        asked.append(uids)
        return {uid: told[uid] for uid in uids}

    monkeypatch.setattr("townsquare.town.tables.read_texts", read_texts)
    store.dataset(trained, "posts").update({"state": "'deleted'"}, where=f"uid IN ('{UIDS[0]}', '{UIDS[1]}')")
    parrot(trained, monkeypatch, [TEXTS[0]])
    found = run(trained, EvaluateConfig(tasks=("town_extraction",))).results["scores"]["town_extraction"]
    assert asked == [{UIDS[0], UIDS[1]}]
    assert (found["extracted"], found["n"]) == (1 / 2, 2)


def test_the_town_tells_again_what_its_posts_said(square: Square) -> None:
    from townsquare.ingest.config import IngestConfig
    from townsquare.ingest.run import run as ingest
    from townsquare.ingest.tables import read_posts
    from townsquare.town import tables as town
    from townsquare.town.config import TownConfig
    from townsquare.town.run import run as make_town

    make_town(square, TownConfig(posts=300))
    for path in town.source_paths(square):
        ingest(square, IngestConfig(paths=(path,)))
    posts = read_posts(square, columns=["uid", "text", "text_status", "state"]).to_pylist()
    full = {row["uid"]: row["text"] for row in posts if row["text_status"] == "full" and row["state"] == "live"}
    told = town.read_texts(square, full.keys())
    assert len(told) > 100
    assert sum(told[uid] == full[uid] for uid in told) >= 0.9 * len(told)  # some formats keep links in another way


def test_reading_goes_along_with_greedy_completion() -> None:
    """`matched` against the decoder's own greedy loop, and bits against log_softmax, over rows of all lengths."""
    decoder = Decoder(ModelConfig(40, 32, 64, 2, 2, 1, 16, max_position_embeddings=64)).eval()
    decoder.init_weights(torch.Generator().manual_seed(3))
    generator = np.random.default_rng(1)
    rows: list[list[int]] = []
    for number in range(12):
        start = generator.integers(0, 40, 3 + number).tolist()
        rest = decoder.generate(start, max_tokens=6)
        rest[number % 7 :] = generator.integers(0, 40, len(rest[number % 7 :])).tolist()  # known that far, then not
        rows.append(start + rest)
    for row, reading in zip(rows, weights.read(decoder, rows, "Reading"), strict=True):
        start = len(row) - 6
        told = decoder.generate(row[:start], max_tokens=6)
        expected = next((i for i, (a, b) in enumerate(zip(told, row[start:], strict=True)) if a != b), 6)
        assert reading.matched(start) == expected
        with torch.no_grad():
            surprise = -torch.log2(torch.softmax(decoder(torch.tensor([row]))[0, :-1].double(), -1))
        bits = surprise.gather(1, torch.tensor(row[1:])[:, None])[:, 0].numpy()
        np.testing.assert_allclose(reading.bits, bits, rtol=1e-4, atol=1e-5)


def test_insults_and_personal_data_in_replies_are_counted(evaluated: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rude:
        name, parallel = "chat", 1

        def stream(self, messages: Any, sampling: Any) -> Any:
            assert sampling.temperature == 1.0
            yield "What an idiot you are, write to ann.smith@example.org"

        def close(self) -> None:
            pass

    assert run(evaluated, EvaluateConfig(tasks=("flagged",))).results["scores"]["flagged"]["flagged"] == 0
    receipts.receipt_path(evaluated, "evaluate", "chat").unlink()
    monkeypatch.setattr("townsquare.serve.engines.open_engine", lambda square, config: Rude())
    receipt = run(evaluated, EvaluateConfig(tasks=("flagged",)))
    found = receipt.results["scores"]["flagged"]
    assert (found["flagged"], found["insult"], found["personal_data"], found["n"]) == (1, 1, 1, 1)
    assert receipt.results["details"]["flagged"] == {"personal_data": {"email": 1}}
    kept = b"".join(path.read_bytes() for path in evaluated.evaluations.rglob("*") if path.is_file())
    assert b"ann.smith" not in kept + json.dumps(receipt.to_json()).encode()
