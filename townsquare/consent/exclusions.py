"""Exclusions: posts that stay out whatever a grant allows. Ledger rows `exclusion_added` and `exclusion_lifted`.

They name authors, or regions by a table that says where authors are, and may bear on a span of days only:
"remove EU authors' posts from 7 May to 1 August 2024".
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from townsquare.consent import regions
from townsquare.consent.config import ExclusionConfig
from townsquare.consent.grants import check_dates, check_words, dates_as_text, id_of, verified_entries
from townsquare.consent.regions import Whereabouts
from townsquare.errors import ConfigError, InputError
from townsquare.ledger import Entry, Ledger
from townsquare.records import NETWORKS, PURPOSES
from townsquare.square import Square, make_config


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """Which posts stay out, for which purposes. Without authors and regions it bears on everybody."""

    id: str
    """A short name, unique in the square."""
    reason: str
    """Why, in words: a law, a regulator's or a court's letter, a policy."""
    purposes: tuple[str, ...] = PURPOSES
    """What the posts stay out of."""
    authors: tuple[str, ...] = ()
    """Authors, as NETWORK:AUTHOR_ID."""
    regions: tuple[str, ...] = ()
    """Where its authors are: an ISO 3166 code, EU, EEA, or any label that the table of authors uses."""
    regions_sha256: str | None = None
    """SHA-256 (hex) of the table (CSV: author, region) that says where authors are."""
    starts: str | None = None
    """Posts from this day on (ISO date, UTC); null: from the first."""
    ends: str | None = None
    """Posts until this day, inclusive; null: without end."""
    unknown: Literal["exclude", "keep"] = "exclude"
    """What becomes of posts of which the author, the region or the day is not known."""
    lifted: bool = False
    """Whether it was lifted."""

    def __post_init__(self) -> None:
        check_words("purposes", self.purposes, PURPOSES)
        check_dates(f"exclusion {self.id}", self.starts, self.ends)
        if not self.purposes or not self.reason:
            raise ConfigError(
                f"exclusion {self.id} has no {'reason' if self.purposes else 'purpose'}",
                remedy="Say why, and what the posts stay out of: " + ", ".join(PURPOSES),
            )
        if not (self.authors or self.regions or self.starts or self.ends):
            raise ConfigError(
                f"exclusion {self.id} would take everything out",
                remedy="Name authors, regions or days; to end a use altogether, revoke its grants.",
            )
        if bool(self.regions) != bool(self.regions_sha256):
            raise ConfigError(
                f"exclusion {self.id} names {'regions' if self.regions else 'a table'} without "
                f"{'a table of where authors are' if self.regions else 'regions'}",
                remedy="Give both: --region EU --authors-by-region FILE.csv, with the columns author and region.",
            )
        for author in self.authors:
            if author.split(":", 1)[0] not in NETWORKS or not author.split(":", 1)[-1]:
                raise ConfigError(f"authors cannot hold {author!r}", remedy="Write an author as x:2244994945.")


def from_config(square: Square, config: ExclusionConfig) -> list[Exclusion]:
    """The exclusions that a command names: those of its file, or the one that its options spell.

    The table of authors' regions is kept in the square under its hash. Raises ConfigError, InputError.
    """
    if config.file is not None:
        return _from_toml(square, config.file)
    values = {name: value for name, value in dataclasses.asdict(config).items() if value}
    plurals = {"purpose": "purposes", "author": "authors", "region": "regions"}
    values = {plurals.get(name, name): value for name, value in values.items()}
    if "reason" not in values:
        raise ConfigError("the exclusion has no reason", remedy="Add --reason TEXT, or --file EXCLUSIONS.toml.")
    return [_made(square, values, Path(), None)]


def _from_toml(square: Square, path: Path) -> list[Exclusion]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("exclusion")
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"no exclusions can be read: {error}", place=str(path), remedy="Mend the file.") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError("there are no exclusions in it", place=str(path), remedy="Write one [[exclusion]] each.")
    return [_made(square, dates_as_text(table), path.parent, str(path)) for table in tables]


def _made(square: Square, values: dict[str, Any], folder: Path, place: str | None) -> Exclusion:
    values = dict(values)
    by_region = values.pop("authors_by_region", None)
    if by_region is not None:
        values["regions_sha256"] = regions.keep(square, folder / str(by_region), values.get("regions", ()))
    return make_config(Exclusion, {"id": id_of("e", values)} | values, place=place)


def add_exclusion(square: Square, exclusion: Exclusion) -> Exclusion:
    """Record an exclusion. The same again changes nothing; another under the same id raises ConfigError."""
    body = dataclasses.asdict(exclusion)
    del body["lifted"]
    with Ledger.open(square) as ledger:
        entry = ledger.append("exclusion_added", body, key=f"exclusion_added:{exclusion.id}")
    if make_config(Exclusion, entry.body) != exclusion:
        raise ConfigError(
            f"there is an exclusion {exclusion.id} already, and it says something else",
            remedy="Give the new one another --id; lift the old one with: townsquare consent lift " + exclusion.id,
        )
    if any(known.id == exclusion.id and known.lifted for known in read_exclusions(square)):
        raise ConfigError(
            f"the exclusion {exclusion.id} was lifted, and stays so", remedy="Give the new one another --id."
        )
    return exclusion


def lift_exclusion(square: Square, exclusion_id: str) -> None:
    """Lift an exclusion from now on. Raises ConfigError when there is none of that id."""
    known = [exclusion.id for exclusion in read_exclusions(square)]
    if exclusion_id not in known:
        raise ConfigError(
            f"there is no exclusion {exclusion_id}", remedy="Exclusions here: " + (", ".join(known) or "none")
        )
    with Ledger.open(square) as ledger:
        ledger.append("exclusion_lifted", {"id": exclusion_id}, key=f"exclusion_lifted:{exclusion_id}")


def read_exclusions(square: Square) -> list[Exclusion]:
    """Every exclusion ever added, in order, lifted ones marked. Raises ProofError when the ledger was altered."""
    return exclusions_of(verified_entries(square))


def exclusions_of(entries: Sequence[Entry]) -> list[Exclusion]:
    """The exclusions that the ledger's rows record."""
    found: dict[str, Exclusion] = {}
    for entry in entries:
        if entry.kind == "exclusion_added":
            found[entry.body["id"]] = make_config(Exclusion, entry.body)
        elif entry.kind == "exclusion_lifted":
            found[entry.body["id"]] = dataclasses.replace(found[entry.body["id"]], lifted=True)
    return list(found.values())


def excluded(exclusion: Exclusion, where: Whereabouts | None, author: pl.Expr) -> pl.Expr:
    """Whether an exclusion takes a post out; `where` are its regions' authors, `author` the author's key or null."""
    unknown = pl.lit(exclusion.unknown == "exclude")
    meant = _meant(exclusion, where, author, unknown)
    if not (exclusion.starts or exclusion.ends):
        return meant
    first = dt.date.fromisoformat(exclusion.starts) if exclusion.starts else dt.date.min
    last = dt.date.fromisoformat(exclusion.ends) if exclusion.ends else dt.date.max
    return meant & pl.col("created_at").dt.date().is_between(first, last).fill_null(unknown)


def _meant(exclusion: Exclusion, where: Whereabouts | None, author: pl.Expr, unknown: pl.Expr) -> pl.Expr:
    """Whether the post is of one of those whom the exclusion names; an author who is not known may be one."""
    if not (exclusion.authors or exclusion.regions):
        return pl.lit(True)
    networks = sorted({name.split(":", 1)[0] for name in exclusion.authors})
    meant = author.is_in(list(exclusion.authors)).fill_null(pl.col("network").is_in(networks) & unknown)
    if where is not None:
        there, perhaps, known = (
            author.is_in(names.implode()).fill_null(False) for names in (where.there, where.perhaps, where.known)
        )
        meant |= there | ((perhaps | ~known) & unknown)
    return meant
