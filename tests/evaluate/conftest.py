"""A square with all that the tasks need: tiny, and with stand-ins for the town, the assistant and its engine."""

from __future__ import annotations

import sys
import types

import pyarrow as pa
import pytest

from tests.evaluate.evaluate_square import (
    QUESTIONS,
    UIDS,
    Assistant,
    Engine,
    put_model,
    put_posts,
    put_receipt,
    put_shards,
)
from townsquare.records import SCORES, scores_of
from townsquare.square import Square


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The town, the corpus, the assistant and its engine, replaced."""
    truth = pa.table({"uid": [*UIDS, "x:999"], "defects": [[], ["spam"], ["spam", "bot"], ["spam"]]})
    facts = [{"fact_id": question.fact_id, "subject": question.fact_id} for question in QUESTIONS]
    town = types.SimpleNamespace(
        read_questions=lambda square: QUESTIONS, read_truth=lambda square: truth, read_facts=lambda square: facts
    )
    corpus = types.SimpleNamespace(
        read_documents=lambda square: pa.table(
            {
                "uids": [[UIDS[0]], [UIDS[2]]],
                "scores": pa.array([scores_of({"copies": 1}), scores_of({"copies": 2})], SCORES),
            }
        ),
        read_dropped=lambda square: pa.table({"uid": [UIDS[1]], "rule": ["promotion"]}),
        read_conversations=lambda square: pa.table({"uids": [[UIDS[2], UIDS[0]]]}),
    )
    monkeypatch.setitem(sys.modules, "townsquare.town", types.SimpleNamespace(tables=town))
    monkeypatch.setitem(sys.modules, "townsquare.curate", types.SimpleNamespace(tables=corpus))
    monkeypatch.setitem(sys.modules, "townsquare.serve.assistant", types.SimpleNamespace(Assistant=Assistant))
    monkeypatch.setattr("townsquare.serve.engines.open_engine", lambda square, config: Engine())
    monkeypatch.setattr(Assistant, "opened", 0)


@pytest.fixture
def evaluated(square: Square, stand_ins: None) -> Square:
    """Everything that the tasks need."""
    put_posts(square)
    put_shards(square)
    put_model(square)
    put_receipt(square, "index")
    return square
