"""Settings of `townsquare grant add` and `townsquare consent exclude`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal


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
    territory: tuple[str, ...] = ()
    """A country (ISO code, as DE), EU or EEA where it holds; worldwide when none is named."""
    starts: str | None = None
    """First day, as 2026-01-31."""
    ends: str | None = None
    """Last day, inclusive."""
    terms: str | None = None
    """The contract's or licence's file; its SHA-256 is recorded."""
    id: str | None = None
    """A short name, unique in the square; made from the content when not given."""


@dataclasses.dataclass(frozen=True)
class ExclusionConfig:
    """Posts that stay out whatever a grant allows: of authors, of regions, of a span of days; or a file of such."""

    file: Path | None = None
    """A TOML file of [[exclusion]] tables, instead of the options below."""
    reason: str | None = None
    """Why: the law, the letter or the policy."""
    purpose: tuple[str, ...] = ()
    """What the posts stay out of: train, tune, retrieve, display; all of them when none is named."""
    author: tuple[str, ...] = ()
    """An author, as x:2244994945. May be given several times."""
    region: tuple[str, ...] = ()
    """Where the authors are: a country (ISO code, as DE), EU, EEA, or a label of the table of authors."""
    authors_by_region: Path | None = None
    """A CSV with the columns author and region, that says where authors are."""
    starts: str | None = None
    """The first day of the posts, as 2024-05-07."""
    ends: str | None = None
    """The last day of the posts, inclusive."""
    unknown: Literal["exclude", "keep"] | None = None
    """What becomes of posts whose author, region or day is not known: exclude (when not said) or keep."""
    id: str | None = None
    """A short name, unique in the square; made from the content when not given."""
