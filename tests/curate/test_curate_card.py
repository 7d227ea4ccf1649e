"""What a corpus says of itself, read by the programs that others read data with."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.curate.village import EVERYTHING, ingested, village
from townsquare import receipts
from townsquare.consent.grants import add_grant
from townsquare.curate import copies, run, tables
from townsquare.curate.config import CurateConfig
from townsquare.square import Square


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Square:
    """A corpus of a village's posts, of which the very last is the only one of its day."""
    tmp_path = tmp_path_factory.mktemp("described")
    square = Square.create(tmp_path / "square")
    add_grant(
        square, dataclasses.replace(EVERYTHING, grantor="Village Forum", ends="2999-12-31", terms_sha256="ab" * 32)
    )
    last = {
        "id": "last",
        "text": "Der Bäcker am Markt öffnet heute erst um neun Uhr, sagt mein Nachbar",
        "author": "zz",
    }
    ingested(square, [*village(120), {**last, "created_at": "2025-01-01T12:00:00Z"}], tmp_path)
    run.run(square, CurateConfig())
    return square


def card(square: Square) -> str:
    return (tables.version(square) / "README.md").read_text(encoding="utf-8")


def croissant(square: Square) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tables.version(square) / "croissant.json").read_text(encoding="utf-8"))
    return found


def counts_by_duckdb(square: Square, name: str) -> dict[str, int]:
    import duckdb

    with duckdb.connect() as database:
        rows = database.execute(
            f"SELECT split, count(*) FROM '{tables.version(square)}/{name}.parquet' GROUP BY split"
        ).fetchall()
    return dict(rows)


def row_of_card(square: Square, name: str) -> list[int]:
    (row,) = re.findall(rf"^\| {name} \| (.*) \|$", card(square), re.MULTILINE)
    return [int(cell.replace(",", "")) for cell in row.split("|")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # rdflib's, which mlcroissant reads JSON-LD with
def test_croissant_is_valid_and_its_reader_finds_the_rows(described: Square) -> None:
    import mlcroissant

    folder = tables.version(described)
    dataset = mlcroissant.Dataset(folder / "croissant.json")
    assert dataset.metadata.issues.errors == set()
    said = {issue.rsplit("Property", 1)[-1] for issue in dataset.metadata.issues.warnings}
    assert len(said) == 2, "only a day of publication and a way to cite, which a corpus has not"
    assert all("citeAs" in issue or "datePublished" in issue for issue in said)
    read = [(row["documents/document_id"].decode(), row["documents/text"].decode(), row["documents/split"].decode())
            for row in dataset.records("documents")]  # fmt: skip
    rows = tables.read_documents(described).to_pylist()
    assert read == [(row["document_id"], row["text"], row["split"]) for row in rows]
    told = {file["@id"]: file["sha256"] for file in croissant(described)["distribution"]}
    assert told == {f"{name}.parquet": receipts.sha256_of(folder / f"{name}.parquet") for name in tables.SCHEMAS}


def test_datasets_reads_it_as_it_lies(described: Square, tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    folder = str(tables.version(described))
    for name in tables.SCHEMAS:
        loaded = datasets.load_dataset(folder, name, split="corpus", cache_dir=str(tmp_path / "cache"))
        assert loaded.to_list() == tables.read(tables.version(described), name).to_pylist()
    assert datasets.load_dataset(folder, cache_dir=str(tmp_path / "cache")).keys() == {"corpus"}


def test_the_card_counts_what_duckdb_counts(described: Square) -> None:
    for name in ("documents", "conversations", "pairs"):
        counted = counts_by_duckdb(described, name)
        splits = [counted.get(split, 0) for split in ("train", "validation", "test")]
        assert row_of_card(described, name) == [*splits, sum(counted.values())]
    receipt = receipts.need(described, "curate")
    for rule, posts in receipt.counts["dropped"].items():
        assert f"| {rule} | {posts:,} |" in card(described)


def test_the_card_says_who_allows_it_and_where_the_rules_err(described: Square) -> None:
    said = card(described)
    assert "Village Forum allows b to train, tune, retrieve, display public posts of every source" in said
    assert "until 2999-12-31" in said
    assert "ab" * 32 in said
    assert f"- table: {receipts.need(described, 'curate').counts['seen']:,} posts of 1 file" in said
    assert "Dates: 2024-03-01 to 2025-01-01." in said
    assert said.count("Known errors:") == 10
    assert croissant(described)["temporalCoverage"] == "2024-03-01/2025-01-01"
    assert "Village Forum" in croissant(described)["license"][0]["name"]


def test_it_names_no_post_no_author_and_no_word_of_one(described: Square) -> None:
    both = card(described) + json.dumps(croissant(described), ensure_ascii=False)
    for row in tables.read_documents(described).to_pylist():
        assert row["text"] not in both
        assert row["document_id"] not in both
        assert not re.search(rf"\b{row['author_id']}\b", both)


def test_after_a_takedown_the_card_is_of_what_is_left(described: Square, tmp_path: Path) -> None:
    shutil.copytree(described.root, tmp_path / "square")
    described = Square.open(tmp_path / "square")
    before = row_of_card(described, "documents")
    (last,) = (row for row in tables.read_documents(described).to_pylist() if row["lang"] == "de")
    copies.erase(described, frozenset(last["uids"]))
    assert tables.version(described).name == "v0002"
    assert row_of_card(described, "documents")[3] == before[3] - 1
    said = card(described)
    assert "2025-01-01" not in said
    assert not re.search(r"\bde \d", said)
    assert "Takedowns have removed 1 row since" in said
    assert croissant(described)["inLanguage"] == ["en"]
    told = {file["@id"]: file["sha256"] for file in croissant(described)["distribution"]}
    assert told["documents.parquet"] == receipts.sha256_of(tables.version(described) / "documents.parquet")


def test_a_corpus_of_nothing_but_conversations_describes_itself_too(square: Square, tmp_path: Path) -> None:
    add_grant(square, dataclasses.replace(EVERYTHING, purposes=("tune",)))
    ingested(square, village(40), tmp_path)
    run.run(square, CurateConfig())
    assert "No date is known." in card(square)
    assert isinstance(tables.read_documents(square), pa.Table)
    assert croissant(square)["inLanguage"] == []
