"""Settings of the ledger."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class LedgerConfig:
    """Where the ledger is kept."""

    url: str | None = None
    """A database of its own for this square, such as postgresql://townsquare@db.example/square; null: a file in it.

    The password is PostgreSQL's own affair (~/.pgpass, PGPASSWORD), and need not stand here.
    """
