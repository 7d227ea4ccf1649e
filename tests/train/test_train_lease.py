"""Training on lent devices: charged to the second, stopped by a budget at a checkpoint, gone on under another lease."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
import torch
from small_square import make_shards
from typer.testing import CliRunner, Result

from townsquare.cli import app
from townsquare.fleet.book import read_book
from townsquare.fleet.pools import Lease, Pool, add
from townsquare.ledger import Ledger
from townsquare.square import Square
from townsquare.train import loop
from townsquare.train import run as train_run

SECONDS = 3.0  # that every step is said to take


@pytest.fixture
def leased(square: Square, monkeypatch: pytest.MonkeyPatch) -> Square:
    """Shards, two leases of processors (`short` pays for four steps), and steps of known length."""
    monkeypatch.setattr(train_run, "number_type", lambda device: torch.float32)
    monkeypatch.setattr(train_run, "measure_matmul", lambda kind, device: 1e11)
    honest = loop.one_step
    monkeypatch.setattr(loop, "one_step", lambda *a: honest(*a) | {"seconds": SECONDS})
    make_shards(square, monkeypatch)
    add(square, Pool("here", "Own Works", "CPU", 2))
    today = dt.datetime.now(dt.UTC).date()
    days = {"starts": today.isoformat(), "ends": (today + dt.timedelta(days=2)).isoformat()}
    add(square, Lease("short", "here", 1, **days, budget_gpu_hours=4.5 * SECONDS / 3600, price_usd_per_gpu_hour=1.0))
    add(square, Lease("long", "here", 1, **days))
    return square


def train(square: Square, *more: str, name: str = "tiny") -> Result:
    settings = ("--name", name, "--size", "400K", "--steps", "6", "--sequence-length", "64", "--square", square.root)
    return CliRunner().invoke(app, ["train", *map(str, settings), *more])


def used(square: Square) -> dict[str | None, float]:
    found: dict[str | None, float] = {}
    for row in read_book(square).usage.values():
        found[row["lease"]] = found.get(row["lease"], 0.0) + row["used_seconds"]
    return found


def statement(square: Square) -> dict[str, Any]:
    said = CliRunner().invoke(app, ["fleet", "statement", "--json", "--square", str(square.root)])
    [made] = json.loads(said.stdout)
    return made


def test_a_budget_stops_the_run_and_another_lease_takes_it_on(leased: Square) -> None:
    stopped = train(leased, "--lease", "short")
    assert stopped.exit_code == 1
    assert "stopped after step 4 of 6: the budget of the lease short is used up" in " ".join(stopped.stderr.split())
    assert "--lease" in stopped.stderr
    assert "Notice: the budget of the lease short" in stopped.stderr
    assert (leased.runs / "tiny" / "checkpoints" / "step-0000004").is_dir()
    assert used(leased) == {"short": 4 * SECONDS}
    assert not read_book(leased).allocations, "what it held is given back"
    assert train(leased, "--lease", "short").exit_code == 10
    assert train(leased, "--lease", "any").exit_code == 0
    assert used(leased) == {"short": 4 * SECONDS, "long": 2 * SECONDS}
    made = statement(leased)
    [row] = made["reconciliation"]
    assert (row["ledger_seconds"], row["step_log_seconds"], row["difference_seconds"]) == (18.0, 18.0, 0.0)
    assert [line["value_usd"] for line in made["leases"]] == [pytest.approx(12 / 3600), None]
    with Ledger.open(leased) as ledger:
        ledger.verify()


def test_the_weights_do_not_depend_on_the_lease(leased: Square) -> None:
    train(leased, "--lease", "short")
    train(leased, "--lease", "long")
    under = json.loads((leased.receipts / "train-tiny.json").read_text())["results"]["outputs"]
    train(leased, name="alone")
    assert json.loads((leased.receipts / "train-alone.json").read_text())["results"]["outputs"] == under


def test_a_run_without_a_lease_is_on_the_record_too(leased: Square) -> None:
    assert train(leased).exit_code == 0
    assert used(leased) == {None: 6 * SECONDS}
    assert statement(leased)["runs"] == [], "and on no lender's statement"


def test_a_run_made_anew_stays_on_the_record(leased: Square) -> None:
    train(leased, "--lease", "short")
    assert train(leased, "--lease", "long", "--replace", "--seed", "2").exit_code == 0
    assert used(leased) == {"short": 4 * SECONDS, "long": 6 * SECONDS}
    by_run = {row["ledger_seconds"]: row["difference_seconds"] for row in statement(leased)["reconciliation"]}
    assert by_run == {12.0: None, 18.0: 0.0}


def test_a_lease_for_other_purposes_is_refused(leased: Square) -> None:
    add(leased, Lease("tuning", "here", 1, "2020-01-01", "2099-12-31", purposes=("tune",)))
    refused = train(leased, "--lease", "tuning")
    assert refused.exit_code == 10
    assert "it is lent to tune" in refused.stderr
    assert not (leased.runs / "tiny").exists()
