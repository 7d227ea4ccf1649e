"""What the owner's page is told: figures counted by hand from a small ledger."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import sqlalchemy as sa

from townsquare.consent.grants import Grant, add_grant
from townsquare.fleet.pools import Lease, Pool, add
from townsquare.ledger import Ledger
from townsquare.report.owner import overview
from townsquare.square import Square

AT = dt.datetime(2027, 2, 11, tzinfo=dt.UTC)


def appended(square: Square, kind: str, body: dict[str, Any], key: str | None = None) -> None:
    with Ledger.open(square) as ledger:
        ledger.append(kind, body, key)


def usage(square: Square, day: str, used: float, lost: float = 0.0) -> None:
    row = {"run": "base", "fingerprint": "f" * 12, "session": 1, "day": day, "lease": "nights", "allocation": "a1",
           "device": "cuda", "devices": 8, "steps": 10, "used_seconds": used, "lost_seconds": lost}  # fmt: skip
    appended(square, "run_usage", row)


def taken(square: Square, name: str, seconds: float, posts: int) -> None:
    appended(square, "takedown_asked", {"name": name}, f"takedown_asked:{name}")
    body = {"posts": [f"x:{n}" for n in range(posts)], "authors": [], "copies": {"index": {"erased": 3, "left": 0}},
            "latency_seconds": seconds, "received_at": "2027-02-01T00:00:00+00:00",
            "models_that_saw_them": {"chat": 2}}  # fmt: skip
    appended(square, "takedown", body, f"takedown:{name}")


@pytest.fixture
def busy(square: Square) -> Square:
    add(square, Pool("north", "North Works", "H100 SXM", 8))
    add(square, Lease("nights", "north", 8, "2027-01-01", "2027-03-31", price_usd_per_gpu_hour=2.0, budget_usd=800.0))
    add(square, Lease("later", "north", 8, "2027-06-01", "2027-06-30"))
    usage(square, "2027-01-02", 3600.0)
    usage(square, "2027-02-10", 7 * 3600.0, 3600.0)
    purposes = ("train", "display")
    add_grant(square, Grant("forum", "Forum Ltd", "us", purposes, sources=("*",), ends="2027-03-01"))
    add_grant(square, Grant("open", "Ana", "us", purposes, sources=("*",)))
    add_grant(square, Grant("old", "Ben", "us", purposes, sources=("*",), ends="2027-01-01"))
    taken(square, "a", 4.0, 1)
    taken(square, "b", 8.0, 2)
    appended(square, "takedown_asked", {"name": "c"}, "takedown_asked:c")
    counts = {"nothing_found": 1, "posts_cited": 7, "tokens_read": 900, "tokens_written": 50, "answers_by_key": {}}
    appended(square, "answers", {"since": "2027-02-10", "until": "2027-02-10T01:00:00", "answers": 5, **counts})
    return square


def test_leases_with_what_is_spent_and_how_long_the_rest_lasts(busy: Square) -> None:
    nights, later = overview(busy, AT)["leases"]
    assert (nights["lender"], nights["state"], nights["days_left"]) == ("North Works", "running", 49)
    assert (nights["used_gpu_hours"], nights["lost_gpu_hours"]) == (64.0, 8.0)
    [budget] = nights["budgets"]
    assert (budget["unit"], budget["left"], budget["share"]) == ("usd", 800 - 2 * 72, pytest.approx(0.18))
    assert nights["gpu_hours_a_day"] == pytest.approx(64 / 7)  # of the last seven days alone
    assert nights["budget_days"] == pytest.approx((400 - 72) / (64 / 7))
    assert (later["state"], later["budgets"], later["budget_days"]) == ("to come", [], None)


def test_takedowns_with_their_latency_and_those_that_did_not_end(busy: Square) -> None:
    told = overview(busy, AT)["takedowns"]
    assert (told["count"], told["median_seconds"], told["longest_seconds"], told["proof"]) == (2, 6.0, 8.0, None)
    assert [(one["posts"], one["erased"], one["models"]) for one in told["latest"]] == [
        (2, 3, ["chat"]),
        (1, 3, ["chat"]),
    ]
    assert len(told["unfinished"]) == 1
    appended(busy, "takedown_proof", {"left": 4})
    assert overview(busy, AT)["takedowns"]["proof"]["left"] == 4


def test_grants_about_to_end_and_answers(busy: Square) -> None:
    told = overview(busy, AT)
    assert [(grant["id"], grant["state"], grant["days_left"]) for grant in told["grants"]] == [
        ("forum", "ends soon", 18), ("open", "in force", None), ("old", "ended", -41)]  # fmt: skip
    assert told["answers"]["all"]["answers"] == 5
    assert told["answers"]["all"]["posts_cited"] == 7


def test_a_run_that_is_not_charged_yet_is_counted(busy: Square) -> None:
    folder = busy.runs / "base"
    folder.mkdir(parents=True)
    (folder / "setup.json").write_text(json.dumps({"fingerprint": "f" * 64}))
    (folder / "steps.jsonl").write_text("")
    [run] = overview(busy, AT)["runs"]
    assert (run["name"], run["used_gpu_hours"], run["lost_gpu_hours"], run["lenders"]) == (
        "base", 64.0, 8.0, ["North Works"])  # fmt: skip
    busy.usage.mkdir()
    lines = [{"what": "start", "session": 2, "lease": "nights", "allocation": "a1", "device": "cuda", "devices": 8},
             {"what": "saved", "session": 2, "seconds": {"2027-02-11": 450.0}, "steps": {"2027-02-11": 3}}]  # fmt: skip
    log = busy.usage / ("base-" + "f" * 12 + ".jsonl")
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "setup.json").unlink()  # so that only what the log says counts
    [run] = overview(busy, AT)["runs"]
    assert run["used_gpu_hours"] == 65.0


def test_an_altered_ledger_is_told_and_nothing_else(busy: Square) -> None:
    engine = sa.create_engine(f"sqlite:///{busy.ledger}/ledger.sqlite")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE entries SET body = '{}' WHERE seq = 3"))
    engine.dispose()
    told = overview(busy, AT)
    assert told["broken"] == "the ledger's row 3 was altered"
    assert told.keys() == {"square", "at", "broken"}


def test_an_empty_square_has_an_overview(square: Square) -> None:
    told = overview(square, AT)
    assert (told["rows"], told["head"], told["runs"], told["leases"], told["grants"]) == (0, None, [], [], [])
