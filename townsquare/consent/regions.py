"""Tables that say where authors are: a CSV of author and region that the owner supplies, kept under its hash."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from townsquare.consent import countries
from townsquare.errors import ConfigError, InputError, ProofError
from townsquare.records import NETWORKS
from townsquare.square import Square, write_atomically

COLUMNS = ("author", "region")


@dataclasses.dataclass(frozen=True, eq=False)
class Whereabouts:
    """Authors (NETWORK:ID) by whether they are in the wanted regions: known to be, perhaps, or known at all."""

    there: pl.Series
    perhaps: pl.Series
    """Of these the table says less than was asked, as EU where DE is wanted."""
    known: pl.Series


def keep(square: Square, path: Path, wanted: Sequence[str]) -> str:
    """Keep a table in the square and return its SHA-256 (hex). Raises InputError, and ConfigError where the
    table's words for regions and the `wanted` ones cannot be held against each other."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"the table of regions cannot be read: {error}", place=str(path), remedy="Mend it.") from error
    _check_words(_parsed(data, str(path)), _capitals(wanted), str(path))
    digest = hashlib.sha256(data).hexdigest()
    write_atomically(_path(square, digest), data)
    return digest


def whereabouts(square: Square, sha256: str, wanted: Sequence[str]) -> Whereabouts:
    """Who is where by the table of this hash. Raises ProofError when the square has no such table any more."""
    path = _path(square, sha256)
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    return _whereabouts(path, sha256, _capitals(wanted), changed)


@functools.lru_cache(maxsize=8)
def _whereabouts(path: Path, sha256: str, wanted: tuple[str, ...], _changed: int) -> Whereabouts:
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ProofError(
            "the table of where authors are is not the one that an exclusion was recorded with",
            place=str(path),
            remedy="Put the table back, or lift the exclusion: townsquare consent list",
        )
    table = _parsed(data, str(path))
    inside = countries.expanded(wanted)
    return Whereabouts(
        *(
            table.filter(pl.col("region").is_in(sorted(names)))["author"].unique()
            for names in (inside, countries.wider(wanted) - inside, table["region"].unique())
        )
    )


def _capitals(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip().upper() for name in names)


def _path(square: Square, digest: str) -> Path:
    return square.consent / f"regions-{digest}.csv"


def _parsed(data: bytes, place: str) -> pl.DataFrame:
    """The table's two columns, regions in capitals, as exclusions have them."""
    remedy = "Write a CSV with the columns author and region, an author as x:2244994945."
    try:
        table = pl.read_csv(io.BytesIO(data), infer_schema=False).select(COLUMNS)
    except pl.exceptions.PolarsError as error:
        said = str(error).splitlines()[0]
        raise InputError(f"no regions can be read: {said}", place=place, remedy=remedy) from error
    table = table.with_columns(
        pl.col("author").str.strip_chars(), pl.col("region").str.strip_chars().str.to_uppercase()
    )
    names_author = pl.col("author").str.contains(rf"^(?:{'|'.join(NETWORKS)}):.").fill_null(False)
    wrong = table.with_row_index("row", offset=1).filter(~names_author | (pl.col("region").fill_null("") == ""))
    if len(wrong):
        row, author, region = wrong.row(0)
        raise InputError(
            f"row {row} names no author or no region: {author}, {region}",
            place=place,
            remedy=remedy,
        )
    return table


def _check_words(table: pl.DataFrame, wanted: Sequence[str], place: str) -> None:
    """A word that only one side knows would let an author pass for being elsewhere."""
    said = set(table["region"])
    for name in wanted:
        if not countries.is_known(name) and name not in said:
            raise ConfigError(
                f"no author is in the region {name!r}",
                place=place,
                remedy="Name a country by its ISO code, EU, EEA, or a label of the table: "
                + ", ".join(sorted(said)[:9]),
            )
    if any(countries.is_known(name) for name in wanted):
        for label in sorted(said - set(wanted)):
            if not countries.is_known(label):
                raise ConfigError(
                    f"whether {label!r} lies in {', '.join(wanted)} is not known",
                    place=place,
                    remedy="Write ISO codes (as DE), EU or EEA; authors whose region is not known are left out.",
                )
