"""One small town, made once and ingested once, that all of these tests read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from townsquare.ingest import run as ingest_run
from townsquare.ingest import tables as ingested
from townsquare.ingest.config import IngestConfig
from townsquare.receipts import Receipt
from townsquare.square import Square
from townsquare.town import tables
from townsquare.town.config import TownConfig
from townsquare.town.run import run

POSTS, SEED = 2_000, 1


@dataclasses.dataclass
class Town:
    """A square with a town; what ingest said of each source, its rows by uid, and the truth by uid."""

    square: Square
    receipt: Receipt
    ingests: dict[str, Receipt]
    rows: dict[str, dict[str, Any]]
    truth: dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    square = Square.create(Path(tmp_path_factory.mktemp("town")) / "square")
    receipt = run(square, TownConfig(posts=POSTS, seed=SEED))
    ingests = {path.name: ingest_run.run(square, IngestConfig(paths=(path,))) for path in tables.source_paths(square)}
    rows = {row["uid"]: row for row in ingested.read_posts(square).to_pylist()}
    truth = {row["uid"]: row for row in tables.read_truth(square).to_pylist()}
    return Town(square, receipt, ingests, rows, truth)
