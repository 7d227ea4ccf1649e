"""The ledger: the chain against an independent computation, tampering found, writers at once, appends once."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare import receipts
from townsquare.errors import LockedError, ProofError, StorageError
from townsquare.ledger import Ledger
from townsquare.ledger.chain import ledger_file
from townsquare.square import Square


def rows_of(file: Path) -> list[tuple[Any, ...]]:
    """The rows by the sqlite3 of the standard library."""
    with sqlite3.connect(file) as connection:
        rows = connection.execute(
            "SELECT seq, at, kind, key, body, previous, hash FROM entries ORDER BY seq"
        ).fetchall()
    connection.close()
    return rows


def change(file: Path, statement: str, *values: Any) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(statement, values)
    connection.close()


@pytest.fixture
def file(square: Square) -> Path:
    """A ledger of six rows."""
    with Ledger.open(square) as ledger:
        for number in range(6):
            ledger.append("event", {"number": number, "word": "é\u2028"}, key=f"k{number}" if number % 2 else None)
    return ledger_file(square)


def test_the_chain_is_what_its_definition_says(square: Square, file: Path) -> None:
    previous = "0" * 64
    for number, (seq, at, kind, key, body, before, digest) in enumerate(rows_of(file), start=1):
        assert (seq, before) == (number, previous)
        assert json.loads(body) == {"number": number - 1, "word": "é\u2028"}
        canonical = json.dumps([seq, at, kind, key, body, before], separators=(", ", ": "), ensure_ascii=True)
        previous = hashlib.sha256(canonical.encode("ascii")).hexdigest()
        assert digest == previous
    with Ledger.open(square) as ledger:
        last = ledger.verify()
        assert last is not None
        assert (last.seq, last.hash) == (6, previous)
        assert [entry.body["number"] for entry in ledger.entries("event")] == list(range(6))
        assert ledger.entries("other") == []


def test_an_empty_ledger_is_sound(square: Square) -> None:
    with Ledger.open(square) as ledger:
        assert ledger.verify() is None
        assert ledger.entries() == []


COLUMNS = ("at", "kind", "key", "body", "previous", "hash")
VALUES = st.text(max_size=5) | st.none() | st.binary(max_size=4) | st.integers(-5, 5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.sampled_from(COLUMNS), VALUES)
def test_any_altered_field_is_found_and_its_row_named(row: int, column: str, value: Any) -> None:
    file = _copy_of_six()
    before = rows_of(file)
    try:
        change(file, f"UPDATE entries SET {column} = ? WHERE seq = ?", value, row)
    except sqlite3.IntegrityError:  # NOT NULL, UNIQUE: the database refuses by itself
        return
    with Ledger.open(f"sqlite:///{file}") as ledger:
        if rows_of(file) == before:
            ledger.verify()
            return
        with pytest.raises(ProofError, match=f"row {row} ") as caught:
            ledger.verify()
    assert caught.value.exit_code == 8
    assert "Restore" in str(caught.value.remedy)


_SIX: list[Path] = []


def _copy_of_six() -> Path:
    folder = Path(tempfile.mkdtemp())
    if not _SIX:
        _SIX.append(folder / "six.sqlite")
        with Ledger.open(f"sqlite:///{_SIX[0]}") as ledger:
            for number in range(6):
                ledger.append("event", {"number": number}, key=f"k{number}" if number % 2 else None)
    return Path(shutil.copy(_SIX[0], folder / "copy.sqlite"))


@pytest.mark.parametrize("row", range(1, 7))
def test_a_removed_row_is_found(row: int) -> None:
    file = _copy_of_six()
    change(file, "DELETE FROM entries WHERE seq = ?", row)
    with Ledger.open(f"sqlite:///{file}") as ledger, pytest.raises(ProofError, match=f"row {row} is"):
        ledger.verify()


@pytest.mark.parametrize(("one", "other"), [(1, 2), (2, 5), (5, 6)])
def test_rows_in_another_order_are_found(one: int, other: int) -> None:
    file = _copy_of_six()
    for a, b in ((one, 100), (other, one), (100, other)):
        change(file, "UPDATE entries SET seq = ? WHERE seq = ?", b, a)
    with Ledger.open(f"sqlite:///{file}") as ledger, pytest.raises(ProofError, match=f"row {one} "):
        ledger.verify()


def test_a_row_added_by_hand_is_found(file: Path, square: Square) -> None:
    last = rows_of(file)[-1]
    row = (7, "now", "grant_added", None, "{}", last[6])
    forged = hashlib.sha256(json.dumps(list(row)).encode()).hexdigest()
    change(file, "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", *row, forged)
    with Ledger.open(square) as ledger, pytest.raises(ProofError, match="row 6 is not the last"):
        ledger.verify()
    change(file, "DELETE FROM head")
    with Ledger.open(square) as ledger, pytest.raises(ProofError, match="row 7 is not the last"):
        ledger.verify()


def test_a_rewritten_chain_is_found_by_its_head(file: Path, square: Square) -> None:
    """All rows hashed anew after one was changed: only the head, or a copy of it elsewhere, tells."""
    with Ledger.open(square) as ledger:
        told = ledger.verify()
    previous = "0" * 64
    for seq, at, kind, key, body, *_ in rows_of(file):
        body = body.replace("0", "9")  # noqa: PLW2901
        digest = hashlib.sha256(json.dumps([seq, at, kind, key, body, previous]).encode()).hexdigest()
        change(file, "UPDATE entries SET body = ?, previous = ?, hash = ? WHERE seq = ?", body, previous, digest, seq)
        previous = digest
    with Ledger.open(square) as ledger, pytest.raises(ProofError, match="row 6 is not the last"):
        ledger.verify()
    change(file, "UPDATE head SET hash = ?", previous)
    with Ledger.open(square) as ledger:
        last = ledger.verify()  # the chain alone cannot tell any more; the head kept elsewhere does
    assert told is not None
    assert last is not None
    assert last.hash != told.hash


def test_an_append_with_a_known_key_changes_nothing(square: Square, file: Path) -> None:
    before = rows_of(file)
    with Ledger.open(square) as ledger:
        entry = ledger.append("event", {"number": "another"}, key="k1")
    assert entry.body["number"] == 1
    assert rows_of(file) == before


def _append_many(root: str, name: str) -> None:
    for number in range(40):
        with Ledger.open(Square.open(root)) as ledger:
            ledger.append("event", {"by": name, "number": number}, key=f"{name}-{number}")
            ledger.append("shared", {"by": name}, key=f"shared-{number}")


def test_writers_at_once_make_one_chain(square: Square) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(str(square.root), name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    with Ledger.open(square) as ledger:
        last = ledger.verify()
        assert last is not None
        assert last.seq == 2 * 40 + 40
        assert len(ledger.entries("shared")) == 40
        for name in ("a", "b"):
            mine = [entry.body["number"] for entry in ledger.entries("event") if entry.body["by"] == name]
            assert mine == list(range(40))


def _receipt(square: Square, name: str) -> None:
    from townsquare.ingest.config import IngestConfig

    config = IngestConfig(paths=(Path("a"),))
    with receipts.stage(square, "ingest", inputs=[], config=config, name=name) as work:
        work.count(seen=1, kept=1)
        work.results["outputs"] = {"rows": "0" * 64}
        work.results["files"] = {"a": "what a file was called stays in the receipt"}


def test_receipts_are_recorded_once(square: Square) -> None:
    _receipt(square, "one")
    with Ledger.open(square) as ledger:
        assert ledger.catch_up(square) == 1
        assert ledger.catch_up(square) == 0
        _receipt(square, "two")
        assert ledger.catch_up(square) == 1
        one, two = ledger.entries("receipt")
        ledger.verify()
    assert (one.body["name"], two.body["name"]) == ("one", "two")
    assert one.body["counts"] == {"seen": 1, "kept": 1}
    assert one.body["outputs"] == {"rows": "0" * 64}
    assert "files" not in one.body


def test_what_is_no_ledger_is_told(square: Square) -> None:
    square.ledger.mkdir()
    ledger_file(square).write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(ProofError, match="cannot be read") as caught, Ledger.open(square):
        pass
    assert "ledger.sqlite" in str(caught.value.place)
    assert caught.value.remedy


def test_a_body_that_is_no_json_names_its_row(square: Square, file: Path) -> None:
    change(file, "UPDATE entries SET body = 'x' WHERE seq = 3")
    with Ledger.open(square) as ledger, pytest.raises(ProofError, match="row 3 was altered"):
        ledger.entries()


def test_a_full_disk_is_told_and_leaves_the_chain_whole(square: Square, file: Path) -> None:
    def fill(ledger: Ledger) -> None:
        with ledger._engine.connect() as raw:
            pages = raw.exec_driver_sql("PRAGMA page_count").scalar()
            raw.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            raw.rollback()
        for number in range(2000):
            ledger.append("event", {"number": number, "padding": "x" * 500})

    with pytest.raises(StorageError, match="disk is full") as caught, Ledger.open(square) as ledger:
        fill(ledger)
    assert "Free some space" in str(caught.value.remedy)
    with Ledger.open(square) as ledger:
        ledger.verify()
        ledger.append("event", {"after": "it"})


def test_a_lock_held_too_long_is_told(square: Square, file: Path) -> None:
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LockedError, match="in use"), Ledger.open(square, wait_seconds=0.1) as ledger:
        ledger.append("event", {})
    holder.close()
