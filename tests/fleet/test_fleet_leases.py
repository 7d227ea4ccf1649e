"""Pools and leases: recorded, asked for, refused with reasons, recalled, amended; two that ask at once get no more."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from townsquare.cli import app
from townsquare.errors import ConfigError, InputError
from townsquare.fleet.book import read_book
from townsquare.fleet.config import AskConfig, LeaseConfig, PoolConfig
from townsquare.fleet.leases import amend, ask, recall, release
from townsquare.fleet.meter import LeaseError, allocation_path, read_allocation
from townsquare.fleet.pools import Lease, Pool, add, leases_of, pools_of
from townsquare.ledger import Ledger
from townsquare.square import Square

NOON = dt.datetime(2026, 12, 2, 12, tzinfo=dt.UTC)  # a Wednesday


def lent(square: Square, **terms: Any) -> Lease:
    """A lease on 8 of a pool of 16 GPUs, in December."""
    add(square, Pool("north", "North Works", "h100-sxm5-80gb", 16))
    values = {"id": "l", "pool": "north", "gpus": 8, "starts": "2026-12-01", "ends": "2026-12-31"}
    lease = Lease(**(values | terms))
    add(square, lease)
    return lease


def asked(square: Square, at: dt.datetime = NOON, **wants: Any) -> Any:
    return ask(square, AskConfig(**wants), at)


def test_a_run_gets_what_it_asks_for(square: Square) -> None:
    lent(square, budget_gpu_hours=100.0)
    got = asked(square, run="base", gpus=4, gpu="H100")
    assert (got.run, got.lease, got.gpu, got.gpus, got.seconds_left) == ("base", "l", "H100 SXM", 4, 360_000.0)
    assert (got.stops_at, got.stops_because) == ("2027-01-01T00:00:00.000+00:00", "the lease l ends")
    assert read_allocation(square, "base") == got
    assert list(read_book(square).allocations.values()) == [got]
    assert release(square, "base") == got
    assert release(square, "base") is None
    assert not allocation_path(square, "base").exists()
    assert not read_book(square).allocations


@pytest.mark.parametrize(
    ("terms", "wants", "at", "why"),
    [
        ({}, {"gpu": "A100"}, NOON, "it lends H100 SXM"),
        ({"purposes": ("tune",)}, {}, NOON, "it is lent to tune"),
        ({}, {}, NOON - dt.timedelta(days=30), "it starts on 2026-12-01"),
        ({}, {}, NOON + dt.timedelta(days=30), "it ended on 2026-12-31"),
        ({"windows": ("Mon-Fri 20:00-08:00",)}, {}, NOON, "closed until Wed 2026-12-02 20:00 UTC"),
        ({}, {"gpus": 9}, NOON, "8 of its 8 GPUs are free"),
        ({"budget_gpu_hours": 10.0}, {"gpu_hours": 11.0}, NOON, "its budget has 10 GPU-hours left"),
        ({"budget_usd": 6.0, "price_usd_per_gpu_hour": 2.0}, {"gpu_hours": 3.5}, NOON, "has 3 GPU-hours left"),
        ({"ends": "2026-12-02"}, {"gpus": 2, "gpu_hours": 25.0}, NOON, "it is open for 12 more hours"),
    ],
)
def test_a_run_that_gets_nothing_is_told_why(square: Square, terms: Any, wants: Any, at: dt.datetime, why: str) -> None:
    lent(square, **terms)
    with pytest.raises(LeaseError, match="no lease gives the run base") as caught:
        asked(square, at, run="base", **wants)
    assert why in caught.value.message
    assert caught.value.exit_code == 10
    assert caught.value.remedy
    with Ledger.open(square) as ledger:
        [row] = ledger.entries("allocation_refused")
    assert why in row.body["reasons"]["l"]
    assert not allocation_path(square, "base").exists()


def test_the_highest_priority_that_fits_and_then_the_cheapest(square: Square) -> None:
    for name, priority, price in (("dear", 1, 3.0), ("cheap", 1, 2.0), ("first", 2, 9.0)):
        lent(square, id=name, priority=priority, price_usd_per_gpu_hour=price, gpus=4)
    assert [asked(square, run=f"r{i}", gpus=4).lease for i in range(3)] == ["first", "cheap", "dear"]
    with pytest.raises(LeaseError, match="0 of its 4 GPUs are free"):
        asked(square, run="late", gpus=1)


def test_leases_cannot_give_more_than_the_pool_has(square: Square) -> None:
    for name in ("a", "b", "c"):
        lent(square, id=name)  # 24 GPUs of 16
    assert [asked(square, run=f"r{i}", gpus=8).lease for i in range(2)] == ["a", "b"]
    with pytest.raises(LeaseError, match="c: 0 of its 8 GPUs are free"):
        asked(square, run="r2", gpus=1)


def _ask_eight(root: str, name: str) -> None:
    try:
        ask(Square.open(root), AskConfig(run=name, gpus=8), NOON)
    except LeaseError:
        raise SystemExit(3) from None


def test_two_that_ask_at_once_do_not_get_the_same_gpus(square: Square) -> None:
    lent(square)
    context = multiprocessing.get_context("spawn")
    askers = [context.Process(target=_ask_eight, args=(str(square.root), f"r{i}")) for i in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(str(asker.exitcode) for asker in askers) == ["0", "3", "3"]
    assert len(read_book(square).allocations) == 1


def test_a_recall_gives_the_notice_that_was_agreed(square: Square) -> None:
    lent(square, recall_notice_hours=48.0)
    asked(square, run="base", gpus=2)
    recalled = recall(square, "l", NOON)
    assert recalled.recalled_at == "2026-12-04T12:00:00+00:00"
    assert recall(square, "l", NOON + dt.timedelta(days=1)) == recalled, "once"
    held = read_allocation(square, "base")
    assert held is not None
    assert held.stops_at == "2026-12-04T12:00:00.000+00:00"
    assert held.stops_because == "the lease l is recalled by its lender"
    assert recalled.reserved_seconds(NOON, NOON + dt.timedelta(days=9)) == 8 * 48 * 3600
    with pytest.raises(LeaseError, match="it was recalled for 2026-12-04"):
        asked(square, NOON + dt.timedelta(days=3), run="next")


def test_an_amended_budget_reaches_the_run(square: Square) -> None:
    lent(square, budget_gpu_hours=1.0)
    asked(square, run="base")
    amend(square, "l", budget_gpu_hours=3.0)
    held = read_allocation(square, "base")
    assert held is not None
    assert held.seconds_left == 3 * 3600
    for budget, why in (({}, "nothing is amended"), ({"budget_gpu_hours": -1.0}, "above zero|cannot be -1")):
        with pytest.raises(ConfigError, match=why):
            amend(square, "l", **budget)


def test_a_reserved_budget_is_spent_by_the_clock(square: Square) -> None:
    lent(square, charge="reserved", price_usd_per_gpu_hour=1.0, budget_usd=8 * 48.0)
    got = asked(square, run="base")
    assert (got.stops_at, got.stops_because) == (
        "2026-12-03T00:00:00.000+00:00",
        "the budget of the lease l is used up",
    )
    assert got.seconds_left is None
    with pytest.raises(LeaseError, match="its budget is used up"):
        asked(square, NOON + dt.timedelta(days=1), run="base")


def test_a_window_that_closes_stops_the_run(square: Square) -> None:
    lent(square, windows=("Wed 10:00-14:00",))
    got = asked(square, run="base")
    assert (got.stops_at, got.stops_because) == (
        "2026-12-02T14:00:00.000+00:00",
        "the window of the lease l closes",
    )


FLEET = """
[[pool]]
id = "north"
lender = "North Works"
gpu = "H100 NVL"
gpus = 512

[[lease]]
id = "nights"
pool = "north"
gpus = 256
starts = 2026-12-01
ends = "2027-02-28"
windows = ["Mon-Fri 20:00-08:00"]
purposes = ["train"]
in_kind = true
"""


def test_terms_from_a_file(square: Square, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(FLEET)
    for record in (*pools_of(PoolConfig(file=file)), *leases_of(LeaseConfig(file=file))):
        add(square, record)
        add(square, record)  # the same again changes nothing
    book = read_book(square)
    assert book.pools["north"] == Pool("north", "North Works", "H100 NVL", 512)
    lease = book.leases["nights"]
    assert (lease.starts, lease.windows, lease.purposes, lease.in_kind) == (
        "2026-12-01", ("Mon-Fri 20:00-08:00",), ("train",), True)  # fmt: skip
    assert book.rows == 2
    with pytest.raises(ConfigError, match="says something else"):
        add(square, dataclasses.replace(lease, gpus=1))
    file.write_text("pool = 3")
    with pytest.raises(InputError, match="there is no pool in it"):
        pools_of(PoolConfig(file=file))


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"gpus": 0}, "gpus cannot be 0"),
        ({"ends": "2026-11-01"}, "before it starts"),
        ({"starts": "1 May"}, "a day cannot be"),
        ({"budget_usd": 5.0}, "no price"),
        ({"windows": ("always",)}, "a window cannot be"),
        ({"purposes": ("profit",)}, "purposes cannot hold"),
        ({"charge": "twice"}, "charge cannot be"),
        ({"pool": "nowhere"}, "there is no pool nowhere"),
        ({"recall_notice_hours": -1.0}, "below zero"),
    ],
)
def test_terms_that_make_no_sense_are_refused(square: Square, terms: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        lent(square, **terms)


def call(square: Square, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--square", str(square.root)])


def test_the_commands(square: Square) -> None:
    assert "No pool yet" in call(square, "fleet", "pool", "list").stdout
    pool = ("--id", "p", "--lender", "North Works", "--gpu", "cpu", "--gpus", "4")
    assert "Recorded pool p: 4 CPU of North Works" in call(square, "fleet", "pool", "add", *pool).stdout
    terms = ("--id", "l", "--pool", "p", "--gpus", "2", "--starts", "2020-01-01", "--ends", "2099-12-31")
    more = ("--budget-gpu-hours", "5", "--window", "Mon-Sun 00:00-24:00", "--purpose", "train")
    assert "Recorded lease l" in call(square, "fleet", "lease", "add", *terms, *more).stdout
    said = call(square, "fleet", "lease", "ask", "--run", "base", "--gpus", "2").stdout
    assert "base has 2 CPU of the lease l, 5 GPU-hours" in said
    refused = call(square, "fleet", "lease", "ask", "--run", "other", "--purpose", "tune")
    assert (refused.exit_code, "l: it is lent to train" in refused.stderr) == (10, True)
    assert "at work: base" in call(square, "fleet", "lease", "list").stdout
    assert json.loads(call(square, "fleet", "pool", "list", "--json").stdout)[0]["allocated"] == 2
    assert "base gave back 2 CPU of l" in call(square, "fleet", "lease", "release", "--run", "base").stdout
    assert "Amended l" in call(square, "fleet", "lease", "amend", "l", "--budget-gpu-hours", "7").stdout
    assert "7 GPU-hours left" in call(square, "fleet", "lease", "list").stdout
    assert "ends at" in call(square, "fleet", "lease", "recall", "l").stdout
    assert call(square, "fleet", "lease", "recall", "nowhere").exit_code == 2
    missing = call(square, "fleet", "pool", "add", "--id", "q")
    assert (missing.exit_code, "`lender` is missing" in missing.stderr) == (2, True)
    assert "rows" in call(square, "ledger", "verify").stdout
