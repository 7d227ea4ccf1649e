"""Grants: licence records. They live in the ledger as rows `grant_added` and `grant_revoked`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from townsquare.consent import countries
from townsquare.consent.config import GrantConfig
from townsquare.consent.countries import WORLDWIDE
from townsquare.errors import ConfigError, InputError
from townsquare.ledger import Entry, Ledger
from townsquare.records import NETWORKS, PURPOSES, VISIBILITIES
from townsquare.square import Square, make_config

ANY = "*"
PLURALS = {
    "purpose": "purposes",
    "source": "sources",
    "network": "networks",
    "author": "authors",
    "visibility": "visibilities",
    "terms": "terms_document",
}


@dataclasses.dataclass(frozen=True)
class Grant:
    """Who allows which posts, for which purposes, where, until when. Empty `covers` fields cover nothing."""

    id: str
    """A short name, unique in the square."""
    grantor: str
    """Who allows it: the legal entity or person that holds the rights."""
    grantee: str
    """Who may use the posts."""
    purposes: tuple[str, ...]
    """Any of train, tune, retrieve, display."""
    sources: tuple[str, ...] = ()
    """Names of ingests (as in their receipts) that it covers; "*" covers all."""
    networks: tuple[str, ...] = ()
    """Networks that it covers: x, bsky, masto, reddit, hn, table."""
    authors: tuple[str, ...] = ()
    """Authors that it covers, as NETWORK:AUTHOR_ID."""
    visibilities: tuple[str, ...] = ("public",)
    """Which visibilities it reaches; anything but public must be named here."""
    territory: tuple[str, ...] = (WORLDWIDE,)
    """Where it holds: ISO 3166 codes, EU, EEA, or worldwide. A post withheld in any of it is not allowed."""
    starts: str | None = None
    """First day (ISO date, UTC); null: it has always held."""
    ends: str | None = None
    """Last day (ISO date, UTC), inclusive; null: until revoked."""
    terms_document: str | None = None
    """The contract or licence text's file name."""
    terms_sha256: str | None = None
    """SHA-256 (hex) of that file."""
    revoked: bool = False
    """Whether it was revoked."""

    def __post_init__(self) -> None:
        check_words("purposes", self.purposes, PURPOSES)
        check_words("visibilities", self.visibilities, VISIBILITIES)
        check_words("networks", self.networks, NETWORKS)
        if not self.purposes:
            raise ConfigError(f"grant {self.id} allows no purpose", remedy="Purposes: " + ", ".join(PURPOSES))
        if not (self.sources or self.networks or self.authors):
            raise ConfigError(
                f"grant {self.id} covers nothing",
                remedy="Name --source, --network or --author; --source '*' is all.",
            )
        for name in self.territory:
            if name != WORLDWIDE and not countries.is_known(name):
                raise ConfigError(
                    f"territory cannot hold {name!r}", remedy="Write ISO 3166 codes (as DE, GB), EU, EEA or worldwide."
                )
        if not self.territory:
            raise ConfigError(f"grant {self.id} holds nowhere", remedy="Name a territory, or worldwide.")
        check_dates(f"grant {self.id}", self.starts, self.ends)

    def live(self, at: dt.date) -> bool:
        """Whether it holds on that day."""
        day = at.isoformat()
        return not self.revoked and (self.starts or day) <= day <= (self.ends or day)


def check_dates(whose: str, starts: str | None, ends: str | None) -> None:
    """Raise ConfigError unless both are ISO dates or null, in order."""
    for field, value in (("starts", starts), ("ends", ends)):
        # One way of writing only, so that dates compare as text and a grant reads the same to everyone.
        if value is not None and not _is_date(value):
            raise ConfigError(f"{field} cannot be {value!r}", remedy="Write a date as 2026-12-31.")
    if starts and ends and starts > ends:
        raise ConfigError(f"{whose} ends ({ends}) before it starts ({starts})", remedy="Mend them.")


def _is_date(value: str) -> bool:
    try:
        return dt.date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def check_words(field: str, values: Sequence[str], known: Sequence[str]) -> None:
    """Raise ConfigError for a value that is none of the known words."""
    for value in values:
        if value not in known:
            raise ConfigError(f"{field} cannot hold {value!r}", remedy="Known: " + ", ".join(known))


def dates_as_text(table: dict[str, Any]) -> dict[str, Any]:
    """TOML has dates of its own; a grant keeps them as text."""
    return {key: value.isoformat() if isinstance(value, dt.date) else value for key, value in table.items()}


def id_of(letter: str, values: dict[str, Any]) -> str:
    """An id made from the content, so that the same record again is the same."""
    return f"{letter}-{hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]}"


def from_config(config: GrantConfig) -> list[Grant]:
    """The grants that a command names: those of its file, or the one that its options spell.

    Without an id, one is made from the content, so that the same grant again is the same. Raises
    ConfigError for a missing part, InputError for a file that cannot be read.
    """
    if config.file is not None:
        return grants_from_toml(config.file)
    values = {PLURALS.get(key, key): value for key, value in dataclasses.asdict(config).items() if value}
    for part in ("grantor", "grantee"):
        if part not in values:
            raise ConfigError(f"the grant has no {part}", remedy=f"Add --{part} NAME, or --file GRANTS.toml.")
    grant = Grant(**({"id": id_of("g", values), "purposes": ()} | values))
    return [with_terms(grant, Path())]


def add_grant(square: Square, grant: Grant) -> Grant:
    """Record a grant. The same grant again changes nothing; another under the same id raises ConfigError."""
    body = dataclasses.asdict(grant)
    del body["revoked"]
    with Ledger.open(square) as ledger:
        entry = ledger.append("grant_added", body, key=f"grant_added:{grant.id}")
    if _from_dict(entry.body) != grant:
        raise ConfigError(
            f"there is a grant {grant.id} already, and it says something else",
            remedy="Give the new one another --id; revoke the old one with: townsquare grant revoke " + grant.id,
        )
    if any(known.id == grant.id and known.revoked for known in read_grants(square)):
        raise ConfigError(f"the grant {grant.id} was revoked, and stays so", remedy="Give the new one another --id.")
    return grant


def revoke_grant(square: Square, grant_id: str) -> None:
    """Revoke a grant from now on. Raises ConfigError when there is none of that id."""
    known = [grant.id for grant in read_grants(square)]
    if grant_id not in known:
        raise ConfigError(f"there is no grant {grant_id}", remedy="Grants here: " + (", ".join(known) or "none"))
    with Ledger.open(square) as ledger:
        ledger.append("grant_revoked", {"id": grant_id}, key=f"grant_revoked:{grant_id}")


def read_grants(square: Square) -> list[Grant]:
    """Every grant ever added, in order, revoked ones marked. Raises ProofError when the ledger was altered."""
    return grants_of(verified_entries(square))


def verified_entries(square: Square) -> list[Entry]:
    """The ledger's rows. Raises ProofError when it was altered: a row put in by hand must not open the gate."""
    with Ledger.open(square) as ledger:
        ledger.verify()
        return ledger.entries()


def grants_of(entries: Sequence[Entry]) -> list[Grant]:
    """The grants that the ledger's rows record."""
    grants: dict[str, Grant] = {}
    for entry in entries:
        if entry.kind == "grant_added":
            grants[entry.body["id"]] = _from_dict(entry.body)
        elif entry.kind == "grant_revoked":
            grants[entry.body["id"]] = dataclasses.replace(grants[entry.body["id"]], revoked=True)
    return list(grants.values())


def grants_from_toml(path: Path) -> list[Grant]:
    """Grants from a file of [[grant]] tables. A `terms_document` beside it is hashed. Raises InputError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("grant")
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"no grants can be read: {error}", place=str(path), remedy="Mend the file.") from error
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError("there are no grants in it", place=str(path), remedy="Write one [[grant]] table each.")
    return [with_terms(_from_dict(dates_as_text(table), place=str(path)), path.parent) for table in tables]


def with_terms(grant: Grant, folder: Path) -> Grant:
    """The grant with the SHA-256 of its terms document, read from `folder`. Raises InputError."""
    if grant.terms_document is None or grant.terms_sha256 is not None:
        return grant
    path = folder / grant.terms_document
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError("the terms document cannot be read", place=str(path), remedy="Mend the path.") from error
    return dataclasses.replace(grant, terms_document=path.name, terms_sha256=digest)


def _from_dict(values: dict[str, Any], place: str | None = None) -> Grant:
    territory = values.get("territory")
    if isinstance(territory, str):
        values = values | {"territory": [name.strip() for name in territory.split(",")]}
    return make_config(Grant, values, place=place)


def warnings_for(grant: Grant) -> list[str]:
    """What the terms of the networks that a grant reaches say of its purposes, as sentences with clause and date."""
    text = resources.files("townsquare.consent").joinpath("platform_terms.toml").read_text(encoding="utf-8")
    # Of a source the network is not known before it is ingested: then all of them are named.
    networks = {*grant.networks, *(author.split(":", 1)[0] for author in grant.authors)}
    return [
        f"{row['title']} ({row['clause']}, {row['date']}): {row['says']}"
        for row in tomllib.loads(text)["terms"]
        if (grant.sources or row["network"] in networks) and not set(row["purposes"]).isdisjoint(grant.purposes)
    ]
