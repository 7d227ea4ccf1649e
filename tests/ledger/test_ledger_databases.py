"""The ledger in SQLite and in PostgreSQL: one chain from many writers, whole after a kill at any statement."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger import database_server
from townsquare.consent.grants import Grant, add_grant, read_grants
from townsquare.errors import ConfigError, LockedError, ProofError
from townsquare.ledger import Ledger
from townsquare.ledger.chain import _with_driver, exists, ledger_file
from townsquare.square import Square


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A server's URL. Skips where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg", reason="the driver is not installed: pip install 'townsquare[postgres]'")
    if database_server.binary("initdb") is None or database_server.binary("pg_ctl") is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with database_server.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger's URL, of both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    found: str = request.getfixturevalue("postgres")
    change(found, "DROP TABLE IF EXISTS entries", "DROP TABLE IF EXISTS head")
    return found


def change(url: str, *statements: str) -> None:
    engine = sa.create_engine(_with_driver(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def filled(url: str, rows: int) -> None:
    with Ledger.open(url) as ledger:
        for number in range(rows):
            ledger.append(
                "event", {"number": number, "word": "é\u2028\u0000"}, key=f"k{number}" if number % 2 else None
            )


def test_a_row_comes_back_as_it_was_written(url: str) -> None:
    filled(url, 3)
    with Ledger.open(url) as ledger:
        assert [entry.body["number"] for entry in ledger.entries("event")] == [0, 1, 2]
        assert ledger.entries()[0].body["word"] == "é\u2028\u0000"
        again = ledger.append("event", {"number": 9}, key="k1")
        assert (again.seq, again.body["number"]) == (2, 1)
        last = ledger.verify()
        assert last is not None
        assert last.seq == 3


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        ("UPDATE entries SET body = replace(body, '2', '3') WHERE seq = 3", 3),
        ("UPDATE entries SET at = '2020' WHERE seq = 1", 1),
        ("DELETE FROM entries WHERE seq = 4", 4),
        ("DELETE FROM entries WHERE seq = 6", 6),
        ("UPDATE head SET seq = 5", 5),
        ("DELETE FROM head", 6),
        ("UPDATE entries SET seq = 7 WHERE seq = 6", 6),
    ],
)
def test_tampering_is_found_and_its_row_named(url: str, statement: str, row: int) -> None:
    filled(url, 6)
    change(url, statement)
    with Ledger.open(url) as ledger, pytest.raises(ProofError, match=rf"row {row} "):
        ledger.verify()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(1, 7)), st.integers(0, 6))
def test_any_order_but_the_true_one_and_any_part_but_the_whole_is_found(tmp_path_factory, order, kept) -> None:
    """Rows moved about and rows removed: verify names the first place that is not as it was written."""
    url = f"sqlite:///{tmp_path_factory.mktemp('l') / 'ledger.sqlite'}"
    filled(url, 6)
    moves = [f"UPDATE entries SET seq = {100 + new} WHERE seq = {old}" for old, new in enumerate(order, start=1)]
    change(url, *moves, "UPDATE entries SET seq = seq - 100", f"DELETE FROM entries WHERE seq > {kept}")
    wrong = next((place for place, row in enumerate(_inverse(order)[:kept], start=1) if place != row), None)
    with Ledger.open(url) as ledger:
        if wrong is None and kept == 6:
            ledger.verify()
            return
        with pytest.raises(ProofError, match=rf"row {wrong} " if wrong else r"row 6 is not the last"):
            ledger.verify()


def _inverse(order: list[int]) -> list[int]:
    """Which row stands at each place."""
    return [order.index(place) + 1 for place in range(1, len(order) + 1)]


def test_a_head_kept_elsewhere_tells_a_chain_that_was_cut_with_its_head(url: str) -> None:
    filled(url, 6)
    with Ledger.open(url) as ledger:
        told, earlier = ledger.verify(), ledger.entries()[3]
    assert told is not None
    change(url, "DELETE FROM entries WHERE seq > 5")
    change(url, "UPDATE head SET seq = 5, hash = (SELECT hash FROM entries WHERE seq = 5)")
    with Ledger.open(url) as ledger:
        ledger.verify()
        ledger.verify(earlier.hash)
        with pytest.raises(ProofError, match=f"no row with the hash {told.hash}"):
            ledger.verify(told.hash)


def test_a_decided_row_follows_from_the_rows_before_it_or_is_not_written(url: str) -> None:
    filled(url, 2)
    with Ledger.open(url) as ledger:
        entry = ledger.append_decided("counted", lambda rows: {"rows": len(rows)})
        assert (entry.seq, entry.body) == (3, {"rows": 2})

        def refuse(_rows: object) -> dict[str, int]:
            raise ConfigError("no")

        with pytest.raises(ConfigError):
            ledger.append_decided("counted", refuse)
        assert len(ledger.entries()) == 3
        ledger.verify()


WRITER = """
import sys
from townsquare.ledger import Ledger
for number in range(25):
    with Ledger.open(sys.argv[1]) as ledger:
        ledger.append("event", {"by": sys.argv[2], "number": number}, key=f"{sys.argv[2]}-{number}")
        ledger.append("shared", {"by": sys.argv[2]}, key=f"shared-{number}")
        ledger.append_decided("counted", lambda rows: {"rows": len(rows)})
"""


def test_many_writers_make_one_chain(url: str) -> None:
    names = ("a", "b", "c")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, url, name]) for name in names]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with Ledger.open(url) as ledger:
        last = ledger.verify()
        assert last is not None
        assert last.seq == 3 * 25 + 25 + 3 * 25
        assert [entry.body["rows"] for entry in ledger.entries("counted")] == [
            entry.seq - 1 for entry in ledger.entries("counted")
        ]
        for name in names:
            assert [e.body["number"] for e in ledger.entries("event") if e.body["by"] == name] == list(range(25))


CRASHER = """
import itertools, os, signal, sys
import sqlalchemy as sa
from townsquare.ledger import Ledger
url, outcomes = sys.argv[1], []
for crash_at in itertools.count(1):
    pid = os.fork()
    if pid == 0:
        calls = itertools.count(1)
        def die(*_arguments, **_named):
            if next(calls) == crash_at:
                os.kill(os.getpid(), signal.SIGKILL)
        for event in ("before_cursor_execute", "after_cursor_execute"):
            sa.event.listen(sa.Engine, event, die)
        sa.event.listen(sa.Engine, "commit", die)
        with Ledger.open(url) as ledger:
            ledger.append("event", {"crash_at": crash_at}, key=f"crash-{crash_at}")
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status):
        break
    with Ledger.open(url) as ledger:
        last = ledger.verify()
        ledger.append("event", {"after": crash_at}, key=f"after-{crash_at}")
        ledger.verify()
    outcomes.append(last.seq if last else 0)
print(crash_at, outcomes)
"""


def test_a_crash_between_any_two_statements_leaves_a_valid_chain(url: str) -> None:
    done = subprocess.run([sys.executable, "-c", CRASHER, url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    points, outcomes = done.stdout.split(" ", 1)
    assert int(points) > 12, "making the tables, locking, reading, two writes and the commit were all cut"
    assert json.loads(outcomes) == list(range(int(points) - 1)), "what was killed before its commit left nothing"
    with Ledger.open(url) as ledger:
        keys = [entry.key for entry in ledger.entries()]
    assert keys[-1] == f"crash-{points}"
    assert len(keys) == len(set(keys)) == int(points)


def test_a_square_whose_ledger_is_in_postgresql(square: Square, postgres: str) -> None:
    change(postgres, "DROP TABLE IF EXISTS entries", "DROP TABLE IF EXISTS head")
    assert not exists(square)
    (square.root / "townsquare.toml").write_text(f'[ledger]\nurl = "{postgres}"\n')
    there = Square.open(square.root)
    assert exists(there)
    add_grant(there, Grant("g", "Forum", "AI", ("train",), ("*",)))
    assert [grant.id for grant in read_grants(there)] == ["g"]
    assert not ledger_file(there).exists()
    with Ledger.open(postgres) as ledger:
        assert [entry.kind for entry in ledger.entries()] == ["grant_added"]


def test_a_lock_held_too_long_is_told(postgres: str) -> None:
    filled(postgres, 1)
    engine = sa.create_engine(_with_driver(postgres))
    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE entries IN EXCLUSIVE MODE"))
        with pytest.raises(LockedError, match="in use"), Ledger.open(postgres, wait_seconds=0.2) as ledger:
            ledger.append("event", {})
    engine.dispose()


def test_a_database_that_is_away_is_told(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    secret = "hunter2"
    with (
        pytest.raises(ConfigError, match="database is away") as caught,
        Ledger.open(f"postgresql://square:{secret}@/none?host={tmp_path}"),
    ):
        pass
    assert "[ledger]" in str(caught.value.remedy)
    assert secret not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "", "oracle+nothing://x/y"])
def test_a_url_that_cannot_be_used_is_told(square: Square, url: str) -> None:
    (square.root / "townsquare.toml").write_text(f'[ledger]\nurl = "{url}"\n')
    with pytest.raises(ConfigError, match=r"url cannot be used|needs") as caught, Ledger.open(Square.open(square.root)):
        pass
    assert caught.value.remedy


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match="needs psycopg") as caught:
        _with_driver("postgresql://square@/x")
    assert "townsquare[postgres]" in str(caught.value.remedy)


def test_rows_are_the_same_in_both(postgres: str, tmp_path: Path) -> None:
    """Every column but the times and what follows from them."""
    change(postgres, "DROP TABLE IF EXISTS entries", "DROP TABLE IF EXISTS head")
    told = []
    for url in (postgres, f"sqlite:///{tmp_path / 'l.sqlite'}"):
        filled(url, 4)
        with Ledger.open(url) as ledger:
            rows = [dataclasses.asdict(entry) for entry in ledger.entries()]
        told.append([{key: row[key] for key in ("seq", "kind", "key", "body")} for row in rows])
    assert told[0] == told[1]
