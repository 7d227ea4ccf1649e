"""Statements: figures by hand, reconciled to the step logs, the three files saying the same, and the page safe."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from townsquare.cli import app
from townsquare.errors import ConfigError, ProofError
from townsquare.fleet.config import StatementConfig
from townsquare.fleet.pools import Lease, Pool, add
from townsquare.fleet.statements import as_page, write_statements
from townsquare.ledger import Ledger
from townsquare.square import Square, write_json

AT = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
HOSTILE = "<script>alert(1)</script>\"'& Co"


def usage(square: Square, lease: str, day: str, used: float, lost: float = 0.0, **more: Any) -> None:
    row = {"run": "base", "fingerprint": "f" * 12, "session": 1, "day": day, "lease": lease, "allocation": "a1",
           "device": "cuda", "devices": 8, "steps": 10, "used_seconds": used, "lost_seconds": lost}  # fmt: skip
    with Ledger.open(square) as ledger:
        ledger.append("run_usage", row | more)


@pytest.fixture
def fleet(square: Square) -> Square:
    """Nights on 90 GPUs, 10 in kind without a price, 4 of another lender; usage on both sides of a month's end."""
    add(square, Pool("north", "North Works", "H100 SXM", 100))
    add(square, Pool("south", "South & Sons", "L40S", 4))
    terms = {"starts": "2027-01-01", "ends": "2027-03-31"}
    nights = ("Mon-Sun 20:00-08:00",)
    add(square, Lease("nights", "north", 90, **terms, windows=nights, price_usd_per_gpu_hour=2.0, budget_usd=5000.0))
    add(square, Lease("kind", "north", 10, **terms, in_kind=True, budget_gpu_hours=400.0))
    add(square, Lease("open", "south", 4, **terms))
    usage(square, "nights", "2027-01-31", 3600.0)
    usage(square, "nights", "2027-02-01", 7200.0, 1800.0)
    usage(square, "kind", "2027-02-02", 36_000.0, session=2)
    usage(square, "open", "2027-02-03", 450.0, session=3, devices=4)
    usage(square, "nights", "2027-02-01", 7200.0, 900.0)  # the row before is corrected
    return square


def february(square: Square, lender: str = "North Works") -> dict[str, Any]:
    [made] = write_statements(square, StatementConfig(lender, "2027-02-01", "2027-02-28"), AT)
    return made


def test_the_figures_by_hand(fleet: Square) -> None:
    made = february(fleet)
    nights, kind = made["leases"]
    assert nights["reserved_gpu_hours"] == 90 * 28 * 12
    assert (nights["used_gpu_hours"], nights["lost_gpu_hours"]) == (16.0, 2.0)
    assert nights["idle_gpu_hours"] == 90 * 28 * 12 - 18
    assert (nights["value_usd"], nights["due_usd"]) == (36.0, 36.0)
    assert nights["budget_left_usd"] == 5000 - 2 * (8 + 16 + 2), "January's hours count towards the budget"
    assert kind["reserved_gpu_hours"] == 10 * 28 * 24
    assert (kind["used_gpu_hours"], kind["value_usd"], kind["due_usd"]) == (80.0, 80 * 2.95, 0.0)
    assert kind["price_source"] == "skypilot-catalog v8: Nebius"
    assert kind["budget_left_gpu_hours"] == 320.0
    totals = made["totals"]
    assert (
        totals["reserved_gpu_hours"] == totals["used_gpu_hours"] + totals["lost_gpu_hours"] + totals["idle_gpu_hours"]
    )
    assert (totals["value_usd"], totals["due_usd"]) == (36.0 + 80 * 2.95, 36.0)
    assert [run["used_gpu_hours"] for run in made["runs"]] == [16.0, 80.0]


def test_what_is_unknown_is_never_zero(fleet: Square) -> None:
    made = february(fleet, "South & Sons")
    assert (made["leases"][0]["used_gpu_hours"], made["leases"][0]["value_usd"]) == (0.5, None)
    assert (made["totals"]["value_usd"], made["totals"]["due_usd"]) == (None, None)
    assert "unknown" in as_page(made)


def test_reserved_hours_are_counted_until_now_and_until_a_recall(fleet: Square) -> None:
    at = dt.datetime(2027, 2, 2, 6, tzinfo=dt.UTC)
    [made] = write_statements(fleet, StatementConfig("South & Sons", "2027-02-01", "2027-02-28"), at)
    assert made["leases"][0]["reserved_gpu_hours"] == 4 * 30
    with Ledger.open(fleet) as ledger:
        ledger.append("lease_recalled", {"id": "open", "recalled_at": "2027-02-11T00:00:00+00:00"})
    assert february(fleet, "South & Sons")["leases"][0]["reserved_gpu_hours"] == 4 * 240


def test_a_reserved_lease_charges_its_windows(square: Square) -> None:
    add(square, Pool("p", "Own Works", "L40S", 2))
    terms = {"price_usd_per_gpu_hour": 0.5, "charge": "reserved", "budget_usd": 100.0}
    add(square, Lease("l", "p", 2, "2027-02-27", "2027-03-31", **terms))
    [line] = february(square, "Own Works")["leases"]
    assert (line["charged_gpu_hours"], line["due_usd"], line["budget_left_usd"]) == (96.0, 48.0, 52.0)


def step_log(square: Square, *steps: tuple[str, float, int]) -> None:
    folder = square.runs / "base"
    (folder / "checkpoints" / f"step-{len(steps):07d}").mkdir(parents=True)
    write_json(folder / "setup.json", {"fingerprint": "f" * 64})
    lines = [
        json.dumps({"step": i, "at": f"{day}T12:00:00.000+00:00", "seconds": seconds, "session": session})
        for i, (day, seconds, session) in enumerate(steps, start=1)
    ]
    (folder / "steps.jsonl").write_text("".join(line + "\n" for line in lines))
    square.usage.mkdir()
    (square.usage / ("base-" + "f" * 12 + ".jsonl")).write_text("")


def test_the_ledger_is_held_against_the_step_log(fleet: Square) -> None:
    step_log(fleet, ("2027-01-31", 3600.0, 1), ("2027-02-01", 7200.0, 1), ("2027-02-02", 35_990.5, 2))
    [row] = february(fleet)["reconciliation"]
    assert (row["ledger_seconds"], row["step_log_seconds"], row["difference_seconds"]) == (43200.0, 43190.5, 9.5)
    said = CliRunner().invoke(app, ["fleet", "statement", "--starts", "2027-02-01", "--ends", "2027-02-28",
                                    "--square", str(fleet.root)]).stdout  # fmt: skip
    assert "step log 43,190.500 s, difference 9.500 s" in said


def test_the_three_files_say_the_same_and_are_recorded(fleet: Square) -> None:
    made = february(fleet)
    stem = fleet.statements / "north-works_2027-02-01_2027-02-28"
    assert sorted(made["files"]) == [f"{stem.name}.{kind}" for kind in ("csv", "html", "json")]
    assert json.loads(stem.with_suffix(".json").read_text())["totals"] == made["totals"]
    rows = list(csv.DictReader(io.StringIO(stem.with_suffix(".csv").read_text())))
    assert [row["line"] for row in rows] == ["lease", "lease", "run", "run", "total"]
    for field in ("reserved_gpu_hours", "used_gpu_hours", "lost_gpu_hours", "idle_gpu_hours", "value_usd"):
        assert float(rows[-1][field]) == made["totals"][field]
    used = [float(row["used_gpu_hours"]) for row in rows]
    assert used[0] + used[1] == used[2] + used[3] == used[4]
    page = stem.with_suffix(".html").read_text()
    for text in ("North Works", "$272.00", "1 February 2027 to 28 February 2027", "5,000.00"):
        assert text in page
    with Ledger.open(fleet) as ledger:
        [row] = ledger.entries("statement_issued")
        ledger.verify()
    assert row.body["totals"] == made["totals"]
    assert set(row.body["sha256"]) == {"csv", "html", "json"}


def test_a_lenders_name_cannot_break_the_page(square: Square) -> None:
    add(square, Pool("p", HOSTILE, "CPU", 1))
    page = as_page(february(square, HOSTILE))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert sorted(path.suffix for path in square.statements.iterdir()) == [".csv", ".html", ".json"]


def test_mistakes_are_told(fleet: Square) -> None:
    with pytest.raises(ConfigError, match="nobody called 'East'"):
        february(fleet, "East")
    with pytest.raises(ConfigError, match="before it starts"):
        write_statements(fleet, StatementConfig(None, "2027-02-02", "2027-02-01"), AT)
    assert len(write_statements(fleet, StatementConfig(), AT)) == 2, "without a name, every lender's"


def test_an_altered_ledger_makes_no_statement(fleet: Square) -> None:
    import sqlite3

    with sqlite3.connect(fleet.ledger / "ledger.sqlite") as connection:
        connection.execute("UPDATE entries SET body = replace(body, '7200.0', '72.0')")
    connection.close()
    with pytest.raises(ProofError, match="was altered"):
        february(fleet)
