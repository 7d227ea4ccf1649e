"""Exclusions: what one may say, how they are recorded and lifted, whom they take out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from townsquare.consent import countries, declarations, gate, regions
from townsquare.consent.config import ExclusionConfig
from townsquare.consent.exclusions import (
    Exclusion,
    add_exclusion,
    from_config,
    lift_exclusion,
    read_exclusions,
)
from townsquare.consent.grants import Grant, add_grant
from townsquare.consent.inputs import grants_input
from townsquare.errors import ConfigError, InputError, ProofError
from townsquare.ledger.chain import ledger_file
from townsquare.records import EVENTS, POSTS, PURPOSES
from townsquare.square import Square, make_config

WINTER = Exclusion(id="e1", reason="a letter", authors=("x:7",), starts="2024-05-07", ends="2024-08-01")
GRANT = Grant(id="g", grantor="A", grantee="B", purposes=PURPOSES, sources=("*",))
TABLE = "author,region\nx:1,DE\nx:2,us\nx:3,EU\nx:4, FR \nx:5,GB\nx:6,US\nx:6,IT\n"
EVERYONE = [f"x:{n}" for n in range(1, 8)]


def posts(*rows: dict[str, Any]) -> pa.Table:
    base = {
        "network": "x", "source_id": "s", "source_sha256": "0", "source_locator": "f:1", "text_status": "full",
        "visibility": "public", "state": "live", "created_at": dt.datetime(2024, 6, 1, tzinfo=dt.UTC),
    }  # fmt: skip
    return pa.Table.from_pylist([{**base, "uid": f"x:p{n}", **row} for n, row in enumerate(rows)], schema=POSTS)


def out_of(square: Square, table: pa.Table, purpose: str = "train") -> list[bool]:
    """For each post whether an exclusion is what refuses it."""
    said = gate.consent_of(square, EVENTS.empty_table(), table)
    found = gate.refusals(table, said, purpose, dt.date(2024, 9, 1)).to_pylist()
    assert set(found) <= {None, "excluded"}
    return [reason is not None for reason in found]


def exclude(square: Square, folder: Path, table: str = TABLE, **settings: Any) -> Exclusion:
    path = folder / "where.csv"
    path.write_text(table)
    values = {"reason": "told", "authors_by_region": path if "region" in settings else None, **settings}
    (made,) = from_config(square, make_config(ExclusionConfig, {k: v for k, v in values.items() if v is not None}))
    return add_exclusion(square, made)


@pytest.fixture
def granted(square: Square) -> Square:
    add_grant(square, GRANT)
    return square


@pytest.mark.parametrize(
    ("region", "unknown", "out"),
    [
        ("DE", "keep", "x:1"),
        ("DE", None, "x:1 x:3 x:7"),  # who is in the EU may be in Germany; of x:7 nothing is known
        ("EU", "keep", "x:1 x:3 x:4 x:6"),
        ("EU", None, "x:1 x:3 x:4 x:6 x:7"),
        ("eu", "keep", "x:1 x:3 x:4 x:6"),
        ("EEA", "keep", "x:1 x:3 x:4 x:6"),
        ("EEA", None, "x:1 x:3 x:4 x:6 x:7"),
        ("US", "keep", "x:2 x:6"),
        ("AQ", "keep", ""),
    ],
)
def test_authors_of_a_region_are_out(
    granted: Square, tmp_path: Path, region: str, unknown: str | None, out: str
) -> None:
    exclude(granted, tmp_path, region=(region,), **({"unknown": unknown} if unknown else {}))
    table = posts(*({"author_id": author.removeprefix("x:")} for author in EVERYONE))
    found = [author for author, gone in zip(EVERYONE, out_of(granted, table), strict=True) if gone]
    assert found == out.split()


def test_eu_authors_posts_from_7_may_to_1_august_2024(granted: Square, tmp_path: Path) -> None:
    """By hand, at the edges of the days in UTC; and a post without a day may have been made on one of them."""
    exclude(granted, tmp_path, region=("EU",), starts="2024-05-07", ends="2024-08-01", purpose=("train", "tune"))
    moments = ("2024-05-06T23:59:59", "2024-05-07T00:00:00", "2024-08-01T23:59:59", "2024-08-02T00:00:00")
    dated = [{"author_id": "1", "created_at": dt.datetime.fromisoformat(f"{when}Z")} for when in moments]
    table = posts(*dated, {"author_id": "1", "created_at": None}, {"author_id": "2"}, {"author_id": None})
    assert out_of(granted, table) == [False, True, True, False, True, False, True]
    assert out_of(granted, table, "tune") == out_of(granted, table)
    assert not any(out_of(granted, table, "retrieve"))


def test_unknown_authors_and_days_stay_where_the_owner_says_so(granted: Square, tmp_path: Path) -> None:
    exclude(granted, tmp_path, region=("EU",), starts="2024-05-07", unknown="keep")
    table = posts({"author_id": "1"}, {"author_id": "1", "created_at": None}, {"author_id": None}, {"author_id": "9"})
    assert out_of(granted, table) == [True, False, False, False]


def test_named_authors_are_out_and_who_is_not_known_may_be_one_of_them(granted: Square, tmp_path: Path) -> None:
    add_exclusion(granted, Exclusion(id="e1", reason="a letter", authors=("x:7",)))
    table = posts({"author_id": "7"}, {"author_id": "8"}, {"author_id": None}, {"author_id": None, "network": "masto"})
    assert out_of(granted, table) == [True, False, True, False]
    lift_exclusion(granted, "e1")
    assert not any(out_of(granted, table))
    add_exclusion(granted, Exclusion(id="e2", reason="a letter", authors=("x:7",), unknown="keep"))
    assert out_of(granted, table) == [True, False, False, False]


def test_days_alone_bear_on_everybody(granted: Square) -> None:
    add_exclusion(granted, Exclusion(id="e1", reason="an outage", ends="2024-06-01"))
    table = posts({"author_id": "7"}, {"created_at": dt.datetime(2024, 6, 2, tzinfo=dt.UTC)})
    assert out_of(granted, table) == [True, False]


def test_labels_of_the_owners_own(granted: Square, tmp_path: Path) -> None:
    table = "author,region\nx:1,leavers\nx:2,stayers\n"
    exclude(granted, tmp_path, table, region=("Leavers",), unknown="keep")
    assert out_of(granted, posts(*({"author_id": str(n)} for n in (1, 2, 3)))) == [True, False, False]


@pytest.mark.parametrize(
    ("table", "region", "error", "message"),
    [
        ("author,region\nx:1,Germany\n", "EU", ConfigError, "whether 'GERMANY' lies in EU is not known"),
        ("author,region\nx:1,DE\n", "Germany", ConfigError, "no author is in the region 'GERMANY'"),
        ("author,region\nsomebody,DE\n", "EU", InputError, "row 1 names no author or no region: somebody, DE"),
        ("author,region\nx:1,DE\nx:2,\n", "EU", InputError, "row 2 names no author or no region"),
        ("author,region\nx:1,DE\nx:2\n", "EU", InputError, "row 2 names no author or no region"),
        ("author;region\nx:1;DE\n", "EU", InputError, "no regions can be read"),
        ("", "EU", InputError, "no regions can be read"),
        ("author,region\nx:1,DE,more\n", "EU", InputError, "no regions can be read"),
    ],
)
def test_tables_that_leave_it_open_who_is_where(
    square: Square, tmp_path: Path, table: str, region: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        exclude(square, tmp_path, table, region=(region,))
    assert caught.value.remedy  # type: ignore[attr-defined]
    assert read_exclusions(square) == []
    with pytest.raises(InputError, match="cannot be read"):
        regions.keep(square, tmp_path / "nowhere.csv", ("EU",))


def test_another_table_than_the_recorded_one_opens_nothing(granted: Square, tmp_path: Path) -> None:
    made = exclude(granted, tmp_path, region=("EU",))
    table = posts({"author_id": "1"})
    assert out_of(granted, table) == [True]
    path = granted.consent / f"regions-{made.regions_sha256}.csv"
    path.write_text("author,region\nx:1,US\n")
    with pytest.raises(ProofError, match="not the one that an exclusion was recorded with"):
        out_of(granted, table)
    path.unlink()
    with pytest.raises(ProofError, match="not the one"):
        out_of(granted, table)
    lift_exclusion(granted, made.id)
    assert out_of(granted, table) == [False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"purposes": ("sell",)}, "purposes cannot hold 'sell'"),
        ({"purposes": ()}, "has no purpose"),
        ({"reason": ""}, "has no reason"),
        ({"authors": ("somebody",)}, "authors cannot hold 'somebody'"),
        ({"authors": ("x:",)}, "authors cannot hold 'x:'"),
        ({"authors": (), "starts": None, "ends": None}, "would take everything out"),
        ({"regions": ("EU",)}, "names regions without a table"),
        ({"regions_sha256": "0" * 64}, "names a table without regions"),
        ({"starts": "soon"}, "starts cannot be 'soon'"),
        ({"ends": "2024-01-01"}, "before it starts"),
    ],
)
def test_what_an_exclusion_cannot_say(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        dataclasses.replace(WINTER, **changes)
    assert caught.value.remedy


def test_added_lifted_and_read_back_and_later_stages_are_stale(square: Square) -> None:
    inputs = [grants_input(square).sha256]
    add_exclusion(square, WINTER)
    add_exclusion(square, WINTER)
    assert read_exclusions(square) == [WINTER]
    inputs.append(grants_input(square).sha256)
    with pytest.raises(ConfigError, match="says something else") as caught:
        add_exclusion(square, dataclasses.replace(WINTER, ends=None))
    assert "townsquare consent lift e1" in str(caught.value.remedy)
    lift_exclusion(square, "e1")
    assert read_exclusions(square) == [dataclasses.replace(WINTER, lifted=True)]
    inputs.append(grants_input(square).sha256)
    assert len(set(inputs)) == 3
    with pytest.raises(ConfigError, match="was lifted"):
        add_exclusion(square, WINTER)
    with pytest.raises(ConfigError, match="no exclusion e9"):
        lift_exclusion(square, "e9")
    assert read_exclusions(square) == [dataclasses.replace(WINTER, lifted=True)]


def test_an_exclusion_taken_out_by_hand_opens_nothing(granted: Square) -> None:
    add_exclusion(granted, WINTER)
    connection = sqlite3.connect(ledger_file(granted))
    with connection:
        connection.execute("DELETE FROM entries WHERE kind = 'exclusion_added'")
    connection.close()
    with pytest.raises(ProofError, match="row 2 is not the last"):
        out_of(granted, posts({"author_id": "7"}))


def test_exclusions_from_a_file(square: Square, tmp_path: Path) -> None:
    (tmp_path / "where.csv").write_text(TABLE)
    path = tmp_path / "exclusions.toml"
    path.write_text(
        '[[exclusion]]\nid = "eu"\nreason = "regulator"\nregions = ["EU"]\nauthors_by_region = "where.csv"\n'
        'starts = 2024-05-07\nends = "2024-08-01"\npurposes = ["train"]\n'
        '[[exclusion]]\nreason = "letter"\nauthors = ["x:7"]\nunknown = "keep"\n'
    )
    one, two = from_config(square, ExclusionConfig(file=path))
    assert (one.id, one.regions, one.starts, one.ends) == ("eu", ("EU",), "2024-05-07", "2024-08-01")
    assert (square.consent / f"regions-{one.regions_sha256}.csv").read_text() == TABLE
    assert two.id.startswith("e-")
    assert two.unknown == "keep"
    assert two.purposes == PURPOSES
    assert from_config(square, ExclusionConfig(file=path)) == [one, two]
    for content, error in (
        ("", InputError), ("[[exclusion]\n", InputError), ("exclusion = [1]\n", InputError),
        ("[[exclusion]]\nwhy = 'a'\n", ConfigError), ("[[exclusion]]\nreason = 'a'\nunknown = 'ask'\n", ConfigError),
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(error):
            from_config(square, ExclusionConfig(file=path))
    with pytest.raises(ConfigError, match="has no reason"):
        from_config(square, ExclusionConfig(author=("x:7",)))


def test_countries_and_groups() -> None:
    assert len(countries.CODES) == 249
    assert len(countries.GROUPS["EU"]) == 27
    assert countries.GROUPS["EU"] < countries.GROUPS["EEA"] < countries.CODES
    assert countries.expanded(["EU"]) == {"EU", *countries.GROUPS["EU"]}
    assert countries.expanded(["EEA"]) == {"EEA", "EU", *countries.GROUPS["EEA"]}
    assert countries.wider(["DE"]) == {"EU", "EEA"}
    assert countries.wider(["IS"]) == {"EEA"}
    assert not countries.wider(["US"])
    assert not countries.is_known("UK")


def test_declarations_of_nobody_are_no_declarations() -> None:
    assert declarations.latest(posts({"author_id": None, "consent_intent": "deny"})).is_empty()
