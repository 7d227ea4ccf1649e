"""Mutated inputs of every source: no error but a TownsquareError, every row storable, nothing silently lost."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from fuzz import fuzz, taken
from fuzz_cases import CASES, ndjson, page
from fuzz_mutations import reshaped

from townsquare.ingest import merging, store
from townsquare.ingest.known import Known
from townsquare.records import POSTS
from townsquare.square import Square


@pytest.mark.parametrize("name", CASES)
def test_mutated_inputs(name: str, tmp_path: Path) -> None:
    fuzz(name, range(80), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_many_mutated_inputs(name: str, tmp_path: Path) -> None:
    fuzz(name, range(80, 10_080), tmp_path)


def test_a_post_of_every_odd_shape_can_be_merged_with_a_good_one(square: Square, tmp_path: Path) -> None:
    store.ensure(square)
    path = tmp_path / "a.jsonl"
    chance = random.Random(1)
    path.write_bytes(ndjson([page(1), *(reshaped(page(1), chance) for _ in range(300))]))
    rows = taken(path)["post"]
    table, _ = merging.merged(square, pa.Table.from_pylist(rows, schema=POSTS), Known(square))
    assert table.schema.equals(POSTS)
