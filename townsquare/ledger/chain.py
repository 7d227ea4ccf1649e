"""The ledger: rows that each carry the hash of the row before, in SQLite or in any database by URL.

Bodies are content-free: ids, hashes and figures, never a post's text. What the chain alone cannot see is
the loss of its last rows together with `head`, the row that counts them, or a chain made anew from its first
row; an owner who fears that keeps `head` (printed by `townsquare ledger verify`) somewhere else, and gives
it to `verify` later.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from townsquare import receipts
from townsquare.errors import ConfigError, LockedError, ProofError, StorageError
from townsquare.ledger.config import LedgerConfig
from townsquare.square import Square

Decide = Callable[["list[Entry]"], "dict[str, Any]"]
"""Makes a row's body from the rows before it; whatever it raises leaves the ledger as it was."""

GENESIS = "0" * 64
WAIT_SECONDS = 60.0

metadata = sa.MetaData()
entries_table = sa.Table(
    "entries",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("key", sa.String(200), unique=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
head_table = sa.Table(
    "head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row. `at` is when it was written (UTC, ISO 8601); `key` makes an append happen once."""

    seq: int
    at: str
    kind: str
    key: str | None
    body: dict[str, Any]
    previous: str
    hash: str


def entry_hash(seq: int, at: str, kind: str, key: str | None, body: str, previous: str) -> str:
    """SHA-256 (hex) over the canonical JSON list of a row's own columns and the hash of the row before."""
    # A column that holds no text any more, such as bytes put in by hand, is hashed as what it looks like.
    return hashlib.sha256(json.dumps([seq, at, kind, key, body, previous], default=repr).encode()).hexdigest()


class Ledger:
    """An open ledger. Appends are serialised by the database, so several processes may write at once."""

    def __init__(self, url: str, wait_seconds: float = WAIT_SECONDS) -> None:
        self._engine = sa.create_engine(_with_driver(url), connect_args=_patience(url, wait_seconds))
        if url.startswith("sqlite"):
            _let_sqlite_lock_before_reading(self._engine)
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # two that make the tables at once would collide
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('townsquare ledger'))"))
            metadata.create_all(connection)

    @classmethod
    @contextmanager
    def open(cls, where: Square | str, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[Ledger]:
        """The ledger of a square, or of any database that SQLAlchemy knows by URL.

        `wait_seconds` is how long an append waits for another writer. Raises ProofError for a file that is
        no ledger, ConfigError for a URL that cannot be used, StorageError and LockedError.
        """
        if isinstance(where, Square):
            where = url_of(where)
        with _database_errors_explained(where):
            ledger = cls(where, wait_seconds)
            try:
                yield ledger
            finally:
                ledger._engine.dispose()

    def append(self, kind: str, body: dict[str, Any], key: str | None = None) -> Entry:
        """Add a row at the end. With a `key` that a row already has, nothing is added and that row returned."""
        with self._engine.begin() as connection:
            head = self._lock_head(connection)
            if key is not None:
                row = connection.execute(sa.select(entries_table).where(entries_table.c.key == key)).first()
                if row is not None:
                    return _entry(row)
            return self._add(connection, head, kind, key, body)

    def append_decided(self, kind: str, decide: Decide) -> Entry:
        """Add a row whose body follows from the rows before it; nobody can append in between."""
        with self._engine.begin() as connection:
            head = self._lock_head(connection)
            rows = connection.execute(sa.select(entries_table).order_by(entries_table.c.seq))
            return self._add(connection, head, kind, None, decide([_entry(row) for row in rows]))

    @staticmethod
    def _add(connection: sa.Connection, head: Any, kind: str, key: str | None, body: dict[str, Any]) -> Entry:
        text = json.dumps(body, sort_keys=True, ensure_ascii=False)
        seq, previous = (head.seq + 1, head.hash) if head else (1, GENESIS)
        at = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
        digest = entry_hash(seq, at, kind, key, text, previous)
        values = {"seq": seq, "at": at, "kind": kind, "key": key, "body": text, "previous": previous}
        connection.execute(sa.insert(entries_table).values(**values, hash=digest))
        if head:
            connection.execute(sa.update(head_table).values(seq=seq, hash=digest))
        else:
            connection.execute(sa.insert(head_table).values(id=1, seq=seq, hash=digest))
        return Entry(seq, at, kind, key, body, previous, digest)

    @staticmethod
    def _lock_head(connection: sa.Connection) -> Any:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("LOCK TABLE entries IN EXCLUSIVE MODE"))
        return connection.execute(sa.select(head_table)).first()

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Every row in order, or those of one kind. Raises ProofError for a row whose body is no JSON any more."""
        query = sa.select(entries_table).order_by(entries_table.c.seq)
        if kind is not None:
            query = query.where(entries_table.c.kind == kind)
        with self._engine.connect() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def verify(self, kept_head: str | None = None) -> Entry | None:
        """Recompute the chain and return its last row. Raises ProofError naming the first row that is wrong.

        `kept_head` is a head (hex) kept elsewhere: without the row that it names, the chain was made anew or cut.
        """
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(entries_table).order_by(entries_table.c.seq)).all()
            head = connection.execute(sa.select(head_table)).first()
        previous = GENESIS
        for expected, row in enumerate(rows, start=1):
            if row.seq != expected:
                raise _broken(expected, "is missing")
            if row.previous != previous:
                raise _broken(row.seq, "does not follow the row before it")
            if row.hash != entry_hash(row.seq, row.at, row.kind, row.key, row.body, row.previous):
                raise _broken(row.seq, "was altered")
            previous = row.hash
        if (head.seq, head.hash) != (len(rows), previous) if head else rows:
            raise _broken(head.seq if head else len(rows), "is not the last row that the head of the chain names")
        if kept_head is not None and not any(row.hash == kept_head for row in rows):
            raise ProofError(
                f"the ledger has no row with the hash {kept_head}",
                remedy="The chain holds in itself, but it is not the one that this head was of: rows were cut off "
                "its end, or it was made anew. Restore the ledger from a copy.",
            )
        return _entry(rows[-1]) if rows else None

    def head(self) -> tuple[int, str] | tuple[()]:
        """(seq, hash) of the last row as the head of the chain names it; empty when there is none."""
        with self._engine.connect() as connection:
            head = connection.execute(sa.select(head_table)).first()
        return (head.seq, head.hash) if head else ()

    def catch_up(self, square: Square) -> int:
        """Record every receipt that is not in the ledger yet; returns how many were. Safe to repeat."""
        known = {entry.key for entry in self.entries("receipt")}
        added = 0
        for path in sorted(square.receipts.glob("*.json")):
            key = f"receipt:{path.stem}:{receipts.sha256_of(path)[:32]}"
            if key not in known:
                record = receipts.load(path).to_json()
                fields = ("stage", "name", "inputs", "counts", "fingerprint", "seconds", "versions", "seed")
                body = {field: record[field] for field in fields}
                body["outputs"] = record["results"].get("outputs")
                self.append("receipt", body, key=key)
                added += 1
        return added


def url_of(square: Square) -> str:
    """Where a square's ledger is: the database that its settings name, or a file in the square."""
    url = square.config("ledger", LedgerConfig).url
    if url is not None:
        return url
    square.ledger.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{ledger_file(square)}"


def state(square: Square) -> tuple[object, ...]:
    """What differs whenever the ledger has changed; of a file it is told in microseconds, without opening it."""
    if square.config("ledger", LedgerConfig).url is not None:
        with Ledger.open(square) as ledger:
            return ledger.head()
    try:
        with ledger_file(square).open("rb") as file:
            stat, header = os.fstat(file.fileno()), file.read(28)
    except FileNotFoundError:
        return ()
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns, header[24:28])  # SQLite counts its commits in these bytes


def exists(square: Square) -> bool:
    """Whether anything was ever written to a square's ledger, as far as can be told without opening it."""
    return square.config("ledger", LedgerConfig).url is not None or ledger_file(square).is_file()


def _with_driver(url: str) -> sa.URL:
    """The URL with our driver for PostgreSQL. Raises ConfigError when it is no URL or the driver is missing."""
    try:
        parsed = sa.engine.make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed.get_dialect().import_dbapi()
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise ConfigError(
            f"the ledger's url cannot be used: {error}",
            remedy="Write it as postgresql://USER@HOST/DATABASE, or leave it out for a file in the square.",
        ) from error
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the ledger's database needs {error.name}", remedy="Run: pip install 'townsquare[postgres]'"
        ) from error
    return parsed


def _patience(url: str, wait_seconds: float) -> dict[str, Any]:
    """How the driver is told to wait for another writer."""
    if url.startswith("sqlite"):
        return {"timeout": wait_seconds}
    return {"options": f"-c lock_timeout={round(wait_seconds * 1000)}", "connect_timeout": max(round(wait_seconds), 2)}


def _let_sqlite_lock_before_reading(engine: sa.Engine) -> None:
    """BEGIN IMMEDIATE for every transaction: else two writers read the same last row before either writes."""

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _entry(row: Any) -> Entry:
    try:
        return Entry(row.seq, row.at, row.kind, row.key, json.loads(row.body), row.previous, row.hash)
    except (ValueError, TypeError) as error:
        raise _broken(row.seq, "was altered") from error


SAID = {
    StorageError: ("disk is full", "readonly", "read-only", "disk I/O error", "No space left"),
    LockedError: ("locked", "lock timeout"),
    ConfigError: ("connection ", "could not translate host", "does not exist", "timeout"),
}
"""By which words a database says what is wrong; anything else means that what it holds is no ledger."""


@contextmanager
def _database_errors_explained(url: str) -> Iterator[None]:
    """A full disk, a database that is away, a lock held too long or no ledger, as errors a person can mend."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        said = str(error.orig).strip()
        place = sa.engine.make_url(url).render_as_string(hide_password=True)
        kind = next((kind for kind, words in SAID.items() if any(word in said for word in words)), ProofError)
        message, remedy = {
            StorageError: (
                f"the ledger cannot be written: {said}",
                "Free some space or mend its rights, and run the same command again.",
            ),
            LockedError: ("the ledger is in use by another command", "Run the same command again."),
            ConfigError: (f"the ledger's database is away: {said}", "Start it, or mend `url` in [ledger]."),
            ProofError: (f"the ledger cannot be read: {said}", "Restore the ledger from a copy."),
        }[kind]
        raise kind(message, place=place, remedy=remedy) from error


def _broken(seq: int, how: str) -> ProofError:
    return ProofError(
        f"the ledger's row {seq} {how}",
        remedy="Restore the ledger from a copy; rows before this one are sound, those after it are not proven.",
    )


def ledger_file(square: Square) -> Path:
    """Where a square's embedded ledger lies."""
    return square.ledger / "ledger.sqlite"
