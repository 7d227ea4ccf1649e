"""Real posts through every stage, to an answer that cites one of them and that a takedown then withdraws."""

from __future__ import annotations

import importlib
import tarfile
from pathlib import Path
from typing import Any

import pytest

from townsquare.consent.grants import Grant, add_grant
from townsquare.ingest import tables
from townsquare.receipts import Receipt
from townsquare.serve import terminal
from townsquare.serve.config import ServeConfig
from townsquare.square import Square

SETTINGS = """\
[tokens]
vocabulary_size = 1024
[train]
size = "400K"
steps = 8
"""
QUESTION = "What does GetCovered say about a quality ACA healthcare plan in 2023?"


@pytest.fixture
def accounts(shared_data: Path, tmp_path: Path) -> list[Path]:
    """The posts of three accounts, one CSV each."""
    wanted = ("SenDuckworth", "SenJackReed", "SenHydeSmith")
    with tarfile.open(shared_data / "senators" / "senate117.tar.gz") as archive:
        for name in wanted:
            archive.extract(f"Data/{name}.csv", tmp_path, filter="data")
    return [tmp_path / "Data" / f"{name}.csv" for name in wanted]


def run(square: Square, stage: str, config: str, **settings: Any) -> Receipt:
    """One stage, by name, as the command line runs it."""
    package = "serve" if stage == "index" else stage
    cls = getattr(importlib.import_module(f"townsquare.{package}.config"), config)
    made: Receipt = importlib.import_module(f"townsquare.{package}.run").run(
        square, square.config(stage, cls, **settings)
    )
    return made


def test_from_real_posts_to_a_cited_answer_and_back(square: Square, accounts: list[Path]) -> None:
    (square.root / "townsquare.toml").write_text(SETTINGS)
    square = Square.open(square.root)
    purposes = ("train", "tune", "retrieve", "display")
    add_grant(square, Grant(id="g", grantor="test", grantee="test", purposes=purposes, sources=("*",)))
    columns = ("text=Text", "created_at=Datetime")
    ingested = run(square, "ingest", "IngestConfig", paths=tuple(accounts), column=columns, author_from="file")
    assert ingested.counts["kept"] == ingested.counts["seen"] > 3000
    curated = run(square, "curate", "CurateConfig")
    assert curated.counts["kept"] + sum(curated.counts["dropped"].values()) == curated.counts["seen"]
    run(square, "tokens", "TokensConfig")
    run(square, "train", "TrainConfig", name="base")
    run(square, "export", "ExportConfig", run="base")
    run(square, "index", "IndexConfig")

    serving = square.config("serve", ServeConfig, model="base")
    answer = terminal.ask(square, serving, QUESTION)
    assert answer.citations
    cited = {citation.uid for citation in answer.citations}
    posts = {row["uid"]: row for row in tables.read_posts(square, columns=["uid", "text", "author_id"]).to_pylist()}
    assert cited <= posts.keys()
    assert any("ACA" in posts[uid]["text"] for uid in cited)

    authors = tuple(sorted({f"table:{posts[uid]['author_id']}" for uid in cited}))
    receipt = run(square, "takedown", "TakedownConfig", author=authors)
    assert receipt.results["left"] == 0
    assert receipt.results["runs_that_saw_them"]["base"] > 0
    again = terminal.ask(square, serving, QUESTION)
    assert not cited & {citation.uid for citation in again.citations}
