"""A person's word against a rule's: what it changes on the next run, and what it never does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pytest

from tests.curate.village import EVERYTHING, ingested, village
from townsquare.consent.grants import add_grant
from townsquare.curate import copies, overrules, run, tables
from townsquare.curate.config import CurateConfig
from townsquare.curate.overrules import Overrule
from townsquare.errors import InputError, StaleError
from townsquare.ingest import tables as posts_tables
from townsquare.records import EVENTS
from townsquare.square import Square

AT = "2026-11-26T08:00:00+00:00"
SELLS = "HOT DEAL phone for only $12{n}! Hurry, 6{n} left, order now https://shop.example/{n}"


@pytest.fixture
def shop(square: Square, tmp_path: Path) -> Square:
    """A village in which two people sell things, the first of them thrice."""
    add_grant(square, EVERYTHING)
    sales = [{"id": f"s{n}", "text": SELLS.format(n=n), "author": "one" if n < 3 else "two"} for n in range(4)]
    ingested(square, [*village(40), *sales], tmp_path)
    run.run(square, CurateConfig())
    assert by_promotion(square) == {f"s{n}" for n in range(4)}
    return square


def by_promotion(square: Square) -> set[str]:
    rows = tables.read_dropped(square).to_pylist()
    return {row["uid"].rsplit(":", 1)[-1] for row in rows if row["rule"] == "promotion"}


def uid_of(square: Square, name: str) -> str:
    (uid,) = (u for u in posts_tables.read_posts(square, ["uid"])["uid"].to_pylist() if u.endswith(name))
    return str(uid)


def again(square: Square) -> None:
    run.run(dataclasses.replace(square, replace=True), CurateConfig())


def test_a_post_is_kept_and_the_next_run_has_to_know(shop: Square) -> None:
    overrules.add(shop, Overrule(AT, "mara", "promotion", uid_of(shop, "s1"), None, "a joke"))
    with pytest.raises(StaleError, match="overrules"):
        run.run(shop, CurateConfig())
    again(shop)
    assert by_promotion(shop) == {"s0", "s2", "s3"}
    assert uid_of(shop, "s1") in {uid for uids in tables.read_documents(shop)["uids"].to_pylist() for uid in uids}
    overrules.add(shop, Overrule(AT, "mara", "promotion", uid_of(shop, "s1"), None, "no joke", keep=False))
    again(shop)
    assert by_promotion(shop) == {"s0", "s1", "s2", "s3"}
    assert [(one.by, one.why, one.keep) for one in overrules.read(shop)] == [
        ("mara", "a joke", True),
        ("mara", "no joke", False),
    ]


def test_an_author_is_kept_from_that_rule_alone(shop: Square) -> None:
    overrules.add(shop, Overrule(AT, "mara", "promotion", None, "table:one", ""))
    overrules.add(shop, Overrule(AT, "mara", "bot", None, "table:two", ""))
    again(shop)
    assert by_promotion(shop) == {"s3"}


def test_who_opted_out_still_loses(shop: Square) -> None:
    overrules.add(shop, Overrule(AT, "mara", "promotion", None, "table:one", ""))
    event = {"event_id": "1", "kind": "opt_out", "target_author": "table:one", "scope": "all", "reversible": True,
             "source_id": "s", "source_sha256": "0", "source_locator": "0"}  # fmt: skip
    posts_tables.upsert_events(shop, pa.Table.from_pylist([event], schema=EVENTS))
    again(shop)
    told = {row["uid"]: row["rule"] for row in tables.read_dropped(shop).to_pylist()}
    assert {told[uid_of(shop, f"s{n}")] for n in range(3)} == {"gate"}


def test_a_takedown_takes_the_line_and_makes_nothing_stale(shop: Square) -> None:
    uid, other = uid_of(shop, "s1"), uid_of(shop, "s3")
    for post in (uid, other):
        overrules.add(shop, Overrule(AT, "mara", "promotion", post, None, f"about {post}"))
    overrules.add(shop, Overrule(AT, "mara", "abuse", uid, None, "taken back", keep=False))
    before = overrules.as_input(shop)
    again(shop)
    assert copies.find(shop, frozenset({uid}), [])["overrules"] == 2
    assert copies.erase(shop, frozenset({uid}))["overrules"] == 2
    assert copies.find(shop, frozenset({uid}), [])["overrules"] == 0
    assert uid not in overrules.path(shop).read_text(encoding="utf-8")
    assert [one.post for one in overrules.read(shop)] == [other]
    assert overrules.as_input(shop) == before
    assert copies.erase(shop, frozenset({uid}))["overrules"] == 0


@pytest.mark.parametrize("rule", ["gate", "exact_duplicate", "decontamination", "nonsense"])
def test_what_is_no_judgement_cannot_be_overruled(square: Square, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        overrules.add(square, Overrule(AT, "mara", rule, "x:1", None, ""))
    assert not overrules.path(square).exists()


def test_a_near_copy_may_be_kept_and_a_broken_line_is_none(square: Square) -> None:
    overrules.add(square, Overrule(AT, "mara", "near_duplicate", "x:1", None, "w" * 999))
    with overrules.path(square).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"at": AT})[:-3])
    (one,) = overrules.read(square)
    assert len(one.why) == overrules.LONGEST_WHY
    assert overrules.standing(square) == {("near_duplicate", "x:1", None)}
