"""Settings of `townsquare grant add`."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class GrantConfig:
    """One grant in words, or a file of them. What it covers must be named: a source, network or author."""

    file: Path | None = None
    """A TOML file of [[grant]] tables, instead of the options below."""
    grantor: str | None = None
    """Who allows it: the legal entity or person that holds the rights."""
    grantee: str | None = None
    """Who may use the posts."""
    purpose: tuple[str, ...] = ()
    """train, tune, retrieve or display. May be given several times."""
    source: tuple[str, ...] = ()
    """An ingest's name that it covers, or * for all. May be given several times."""
    network: tuple[str, ...] = ()
    """A network that it covers: x, bsky, masto, reddit, hn, table."""
    author: tuple[str, ...] = ()
    """An author that it covers, as x:2244994945."""
    visibility: tuple[str, ...] = ()
    """A visibility that it reaches; public when none is named."""
    territory: str | None = None
    """Where it holds, in words; worldwide when not said."""
    starts: str | None = None
    """First day, as 2026-01-31."""
    ends: str | None = None
    """Last day, inclusive."""
    terms: str | None = None
    """The contract's or licence's file; its SHA-256 is recorded."""
    id: str | None = None
    """A short name, unique in the square; made from the content when not given."""
