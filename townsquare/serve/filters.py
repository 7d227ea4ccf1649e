"""Filters: which posts an answer may rest on, by who wrote them, where, in what language and when."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from townsquare.errors import ConfigError
from townsquare.records import NETWORKS

MOST_VALUES = 50
LONGEST_VALUE = 2048


@dataclasses.dataclass(frozen=True)
class Filters:
    """Of each kind any value will do; of several kinds all must hold. A post without the value fails its filter.

    Raises ConfigError, naming the field, on creation.
    """

    authors: tuple[str, ...] = ()
    """As @handle, or as NETWORK:AUTHOR_ID."""
    languages: tuple[str, ...] = ()
    """Codes such as en or pt; en also takes en-GB."""
    networks: tuple[str, ...] = ()
    since: str | None = None
    """The first day, YYYY-MM-DD, UTC."""
    until: str | None = None
    """The last day, YYYY-MM-DD, UTC."""

    def __post_init__(self) -> None:
        for name in ("authors", "languages", "networks"):
            values = getattr(self, name)
            if len(values) > MOST_VALUES or any(not 0 < len(value) <= LONGEST_VALUE for value in values):
                raise ConfigError(f"{name} cannot be so many or so long", remedy=f"Give at most {MOST_VALUES}.")
        for author in self.authors:
            if not (author.startswith("@") and author[1:]) and not all(author.partition(":")):
                raise ConfigError(
                    f"authors cannot be {author[:80]!r}", remedy="Write @handle, or NETWORK:ID such as x:2244994945."
                )
        for network in self.networks:
            if network not in NETWORKS:
                raise ConfigError(
                    f"networks cannot be {network[:80]!r}", remedy="Networks are: " + ", ".join(sorted(NETWORKS))
                )
        first, last = (_day(name, getattr(self, name)) for name in ("since", "until"))
        if first and last and first > last:
            raise ConfigError("since cannot be later than until", remedy="Exchange the two days.")

    def __bool__(self) -> bool:
        return self != NONE

    def sql(self) -> str | None:
        """The filters as a condition on the index's columns, or None when there are none."""
        parts = []
        if self.authors:
            parts.append(_any([_by(author) for author in self.authors]))
        if self.languages:
            parts.append(_any([f"lower(lang) = {one} OR starts_with(lower(lang), {_text(tag.lower() + '-')})"
                               for tag in self.languages for one in [_text(tag.lower())]]))  # fmt: skip
        if self.networks:
            parts.append(_any([f"network = {_text(network)}" for network in self.networks]))
        first, last = _day("since", self.since), _day("until", self.until)
        if first:
            parts.append(f"created_at >= {_moment(first)}")
        if last:
            parts.append(f"created_at < {_moment(last + dt.timedelta(days=1))}")
        return " AND ".join(parts) or None


def _by(author: str) -> str:
    if author.startswith("@"):
        return f"lower(author_handle) = {_text(author[1:].lower())}"
    network, _, author_id = author.partition(":")
    return f"(network = {_text(network)} AND author_id = {_text(author_id)})"


def _any(conditions: Sequence[str]) -> str:
    return "(" + " OR ".join(conditions) + ")"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _day(name: str, value: str | None) -> dt.date | None:
    if value is None:
        return None
    try:
        day = dt.date.fromisoformat(value)
    except ValueError:
        day = dt.date.max
    if not 1 < day.year < dt.MAXYEAR:
        raise ConfigError(f"{name} cannot be {value[:80]!r}", remedy="Write a day as 2026-03-31.")
    return day


def _moment(day: dt.date) -> str:
    return f"cast('{day.isoformat()}T00:00:00Z' AS timestamp)"


NONE = Filters()
