"""Keys: who may ask the server, for what, how often, until when. Stored as hashes; a key is shown once.

SQLite in the square, or any database that SQLAlchemy opens, by the URL in TOWNSQUARE_KEYS_URL. Everything is
read anew for each request, so that a revocation holds at once, in every process.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from townsquare.errors import ConfigError, InputError, StorageError
from townsquare.serve.config import Limits
from townsquare.square import Square

URL_VARIABLE = "TOWNSQUARE_KEYS_URL"
PREFIX = "tsq_"
DAY_MINUTES = 24 * 60

_metadata = sa.MetaData()
_keys = sa.Table(
    "keys",
    _metadata,
    sa.Column("id", sa.String(12), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("scopes", sa.String(200), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("requests_per_minute", sa.Integer, nullable=False),
    sa.Column("tokens_per_day", sa.BigInteger, nullable=False),
)
_usage = sa.Table(
    "usage",
    _metadata,
    sa.Column("key_id", sa.String(12), primary_key=True),
    sa.Column("minute", sa.BigInteger, primary_key=True),  # since 1970, UTC
    sa.Column("requests", sa.Integer, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
)


@dataclasses.dataclass(frozen=True)
class Key:
    """A key as it is stored: everything but the key itself. Times are seconds since 1970, UTC."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    requests_per_minute: int
    tokens_per_day: int

    def state(self, now: float) -> str:
        """live, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "live"


class KeyRefusedError(Exception):
    """Why a request is turned away: `why` is missing, unknown, expired, revoked, scope, requests or tokens."""

    def __init__(self, why: str, retry_seconds: int = 0) -> None:
        super().__init__(why)
        self.why, self.retry_seconds = why, retry_seconds


class Keys:
    """The keys of one square. Safe for threads and processes."""

    def __init__(self, url: str, file: Path | None = None) -> None:
        self._file = file
        self._made = file is None
        try:
            self._engine = sa.create_engine(url, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
        except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
            raise ConfigError(
                f"{URL_VARIABLE} cannot be used: {error}", remedy="Write it as postgresql+psycopg://USER@HOST/DATABASE."
            ) from None
        if url.startswith("sqlite"):
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
        if self._made:
            self._make()

    @classmethod
    def open(cls, square: Square) -> Keys:
        """The square's keys. Nothing is written before the first key is added. Raises ConfigError, StorageError."""
        url = os.environ.get(URL_VARIABLE)
        if url:
            return cls(url)
        file = square.root / "keys" / "keys.sqlite"
        return cls(f"sqlite:///{file}", file)

    def close(self) -> None:
        self._engine.dispose()

    @property
    def required(self) -> bool:
        """Whether a request needs a key: since the first was added, though all may be revoked by now."""
        if self._file is not None and not self._file.is_file():
            return False
        with self._open() as connection:
            return connection.execute(sa.select(_keys.c.id).limit(1)).first() is not None

    def add(self, name: str, limits: Limits, now: float) -> tuple[Key, str]:
        """A new key, and the text to send as the bearer token: it is stored nowhere."""
        if not 0 < len(name) <= 200:
            raise ConfigError("name cannot be empty or over 200 characters", remedy="Say who gets the key.")
        text = PREFIX + secrets.token_urlsafe(32)
        key = Key(
            id=secrets.token_hex(4),
            name=name,
            scopes=tuple(sorted(set(limits.scopes))),
            created_at=int(now),
            expires_at=int(now) + limits.days * 86_400,
            revoked_at=None,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_day=limits.tokens_per_day,
        )
        self._make()
        with self._open() as connection:
            row = {**dataclasses.asdict(key), "scopes": " ".join(key.scopes), "sha256": _hash(text)}
            connection.execute(_keys.insert().values(row))
        return key, text

    def revoke(self, key_id: str, now: float) -> None:
        """From now on nobody gets in with it. Raises InputError when there is no such key."""
        with self._open() as connection:
            change = _keys.update().where(_keys.c.id == key_id, _keys.c.revoked_at.is_(None))
            changed = connection.execute(change.values(revoked_at=int(now))).rowcount
            known = changed or connection.execute(sa.select(_keys.c.id).where(_keys.c.id == key_id)).first()
        if not known:
            raise InputError(f"there is no key {key_id!r}", remedy="See: townsquare keys list")

    def all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first."""
        if self._file is not None and not self._file.is_file():
            return []
        with self._open() as connection:
            return [_key(row) for row in connection.execute(_keys.select().order_by(_keys.c.created_at, _keys.c.id))]

    def usage(self, key_id: str) -> list[tuple[str, int, int]]:
        """(day, requests, tokens) of each day (UTC) on which the key was used, in order."""
        with self._open() as connection:
            rows = connection.execute(_usage.select().where(_usage.c.key_id == key_id).order_by(_usage.c.minute)).all()
        days: dict[str, tuple[int, int]] = {}
        for row in rows:
            day = dt.datetime.fromtimestamp(row.minute * 60, dt.UTC).date().isoformat()
            requests, tokens = days.get(day, (0, 0))
            days[day] = (requests + row.requests, tokens + row.tokens)
        return [(day, *used) for day, used in days.items()]

    def admit(self, text: str | None, scope: str, now: float, *, counts: bool) -> Key:
        """The key that a request came with; it `counts` against the limits if it asks. Raises KeyRefusedError."""
        if not text:
            raise KeyRefusedError("missing")
        minute = int(now) // 60
        with self._open() as connection:
            row = connection.execute(_keys.select().where(_keys.c.sha256 == _hash(text))).first()
            if row is None:
                raise KeyRefusedError("unknown")
            key = _key(row)
            if key.state(now) != "live":
                raise KeyRefusedError(key.state(now))
            if scope not in key.scopes:
                raise KeyRefusedError("scope")
            if counts:
                self._count(connection, key, minute, now)
        return key

    def _count(self, connection: sa.Connection, key: Key, minute: int, now: float) -> None:
        """One more request of this minute. The row is written first: two at once then wait for one another."""
        self._spend(connection, key.id, minute, 1, 0)
        mine = _usage.c.key_id == key.id
        asked = connection.execute(sa.select(_usage.c.requests).where(mine, _usage.c.minute == minute)).scalar_one()
        if asked > key.requests_per_minute:
            raise KeyRefusedError("requests", 60 - int(now) % 60)
        midnight = minute // DAY_MINUTES * DAY_MINUTES
        today = sa.select(sa.func.sum(_usage.c.tokens)).where(mine, _usage.c.minute >= midnight)
        if (connection.execute(today).scalar_one() or 0) >= key.tokens_per_day:
            raise KeyRefusedError("tokens", (midnight + DAY_MINUTES) * 60 - int(now))

    def charge(self, key_id: str, tokens: int, now: float) -> None:
        """Add what an answer took."""
        with self._open() as connection:
            self._spend(connection, key_id, int(now) // 60, 0, tokens)

    def _spend(self, connection: sa.Connection, key_id: str, minute: int, requests: int, tokens: int) -> None:
        at = (_usage.c.key_id == key_id) & (_usage.c.minute == minute)
        more = {"requests": _usage.c.requests + requests, "tokens": _usage.c.tokens + tokens}
        if connection.execute(_usage.update().where(at).values(more)).rowcount:
            return
        row = {"key_id": key_id, "minute": minute, "requests": requests, "tokens": tokens}
        try:
            with connection.begin_nested():
                connection.execute(_usage.insert().values(row))
        except sa.exc.IntegrityError:  # another process was first
            connection.execute(_usage.update().where(at).values(more))

    def _make(self) -> None:
        if self._file is not None:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._open() as connection:
            _metadata.create_all(connection)

    @contextmanager
    def _open(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as error:
            raise StorageError(
                f"the keys cannot be read: {error.orig}", place=str(self._file or URL_VARIABLE),
                remedy="Check that the database is there and may be written.",
            ) from None  # fmt: skip


def _prepare_sqlite(connection: object, _record: object) -> None:
    """Readers beside a writer; and a transaction that begins as one that writes, so that none fails half-way."""
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: sa.Row[tuple[object, ...]]) -> Key:
    values = {field.name: getattr(row, field.name) for field in dataclasses.fields(Key)}
    return Key(**{**values, "scopes": tuple(values["scopes"].split())})


def shown(keys: Sequence[Key], now: float) -> list[dict[str, Any]]:
    """Keys as JSON values, with their state."""
    return [{**dataclasses.asdict(key), "scopes": list(key.scopes), "state": key.state(now)} for key in keys]
