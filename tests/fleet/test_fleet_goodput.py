"""Goodput: the simulation against closed forms, against a second-by-second one, and against published runs."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from townsquare.cli import app
from townsquare.errors import ConfigError
from townsquare.fleet.config import GoodputConfig
from townsquare.fleet.failures import (
    Kind,
    disagreements,
    figures,
    fleets,
    kinds_of,
    mean_hours_between,
    scaled,
    total_rate,
)
from townsquare.fleet.goodput import conditions_of, goodput
from townsquare.fleet.simulation import (
    DAY,
    Conditions,
    Events,
    best_interval,
    daly,
    draw,
    enough_spares,
    expected_share,
    replay,
    simulate,
    young,
)

LLAMA = GoodputConfig(gpus=16_384, days=54, size="405B", storage_gb_s=2000)  # 2 TB/s: arXiv 2407.21783, section 3.3.1


def test_llama_3s_54_days() -> None:
    found = goodput(LLAMA)
    unexpected = 54 * 24 / found["hours_between_unexpected_interruptions"]
    assert unexpected == pytest.approx(419, abs=0.5)
    assert found["interruptions"]["p10"] < 466 < found["interruptions"]["p90"]  # the planned ones with them
    assert found["useful_share"]["p10"] > 0.90
    assert found["hours_between_unexpected_interruptions"] == pytest.approx(3.09, abs=0.01)


def test_metas_mean_time_to_failure_by_job_size() -> None:
    # arXiv 2410.21680: projections of 1.8 h on 16,384 and 0.23 h on 131,072 GPUs, from 6.5 in 1,000 node-days.
    rsc = kinds_of("Meta RSC-1")
    assert round(mean_hours_between(rsc, 16_384), 1) == 1.8
    assert round(mean_hours_between(rsc, 131_072), 2) == 0.23
    # Measured: 47.7 days on one node, so 7.9 h on 128 nodes within 15 %; their rate of failures says 28.8.
    measured = (Kind("All", 1 / 47.7 / 8, "node"),)
    assert mean_hours_between(measured, 1024) == pytest.approx(7.9, rel=0.15)
    assert mean_hours_between(rsc, 1024) == pytest.approx(28.8, abs=0.1)


def test_published_figures_that_disagree_are_found() -> None:
    said = disagreements()
    assert any("Faulty GPU is printed as 30.1 %, and 148 of 419 are 35.3 %" in one for one in said)
    assert any("58.7 %" in one and "64.0 %" in one for one in said)
    assert any("7.9 hours" in one and "28.8" in one for one in said)
    assert any("GLM-130B" in one and "OPT-175B" in one for one in said)
    assert not any("Crusoe: 14" in one for one in said)  # 14 h and 205 in four months agree
    assert not any("NIC" in one for one in said)


def test_every_figure_has_a_source_and_the_causes_add_up() -> None:
    assert all(row.source and row.unit and row.gpus for row in figures())
    causes = [row for row in figures() if row.fleet == "Llama 3" and row.figure == "cause" and row.stops != "planned"]
    assert sum(row.value for row in causes) == 419
    for name in fleets():
        assert 1e-4 < total_rate(kinds_of(name)) < 2e-3
    with pytest.raises(ConfigError, match="no interruptions of a fleet 'abacus'"):
        kinds_of("abacus")


def steady(**changes: object) -> Conditions:
    base = Conditions(
        gpus=4096,
        kinds=(Kind("All", 1e-3, "job"),),
        days=400,
        checkpoint_seconds=60,
        restart_seconds=900,
        repair_seconds=DAY,
        spare_nodes=0,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("interval", [300, 1600, 12_000])
def test_the_simulation_agrees_with_dalys_closed_form(interval: float) -> None:
    useful = [one.useful for one in simulate(steady(), interval, 40, 1)]
    error = np.std(useful) / math.sqrt(len(useful))
    assert np.mean(useful) == pytest.approx(expected_share(steady(), interval), abs=4 * error + 1e-4)


def test_young_and_daly_by_hand() -> None:
    assert young(60, 30_000) == pytest.approx(math.sqrt(2 * 60 * 30_000))
    ratio = 60 / 60_000
    by_hand = math.sqrt(3.6e6) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - 60
    assert daly(60, 30_000) == pytest.approx(by_hand)
    assert daly(500, 200) == 200
    shares = {interval: expected_share(steady(), interval) for interval in range(300, 6000, 10)}
    exact = max(shares, key=lambda one: shares[one])
    assert daly(60, steady().seconds_between_failures) == pytest.approx(exact, rel=0.02)


def test_the_best_interval_by_simulation_is_near_dalys() -> None:
    found = best_interval(steady(), 40, 3)
    first = daly(60, steady().seconds_between_failures)
    assert first / 1.6 <= found <= first * 1.6
    assert expected_share(steady(), found) > 0.995 * expected_share(steady(), first)


def test_one_failure_by_hand() -> None:
    here = steady(
        days=1, checkpoint_seconds=100, restart_seconds=500, spare_nodes=1, kinds=(Kind("All", 1e-3, "node"),)
    )
    # Cycles of 1,000 s. A failure at 10,450 s: 10 x 900 s done, 10 checkpoints, 450 s lost, then 500 s to restart.
    spent = replay(here, Events([10_450.0], [0], [3600.0]), 900)
    assert spent.lost * DAY == pytest.approx(450)
    assert spent.restarts * DAY == pytest.approx(500)
    assert spent.waiting == 0
    cycles, rest = divmod(DAY - 10_950, 1000)
    assert spent.useful * DAY == pytest.approx(9000 + cycles * 900 + min(rest, 900))
    # Without a spare the job waits for the repair.
    spent = replay(dataclasses.replace(here, spare_nodes=0), Events([10_450.0], [0], [3600.0]), 900)
    assert spent.waiting * DAY == pytest.approx(3600)
    # Two failures, one spare: the second, while restarting, waits for the first repair of the two to end.
    spent = replay(here, Events([10_450.0, 10_600.0], [0, 0], [5000.0, 1000.0]), 900)
    assert spent.waiting * DAY == pytest.approx(1000)
    assert spent.restarts * DAY == pytest.approx(150 + 500)
    assert spent.interruptions == 2


def test_a_recall_with_notice_loses_no_work() -> None:
    here = steady(days=1, recalls_per_day=1, recall_seconds=7200, recall_notice_seconds=3600)
    recall = Events([10_450.0], [1], [0.0])
    spent = replay(here, recall, 900)
    assert spent.lost == 0
    assert spent.recalled * DAY == pytest.approx(7200)
    sudden = replay(dataclasses.replace(here, recall_notice_seconds=0), recall, 900)
    assert sudden.lost * DAY == pytest.approx(10_450 % 960)
    during = replay(here, Events([10_450.0, 12_000.0], [1, 0], [0.0, 0.0]), 900)
    assert during == spent  # what fails while the lender has them is the lender's


@given(
    gpus=st.integers(8, 60_000),
    spares=st.integers(0, 20),
    interval=st.floats(60, 20_000),
    recalls=st.floats(0, 1),
    notice=st.sampled_from([0.0, 3600.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_shares_are_shares(gpus: int, spares: int, interval: float, recalls: float, notice: float, seed: int) -> None:
    here = dataclasses.replace(
        conditions_of(GoodputConfig(gpus=gpus, days=10, spare_nodes=spares)),
        recalls_per_day=recalls,
        recall_seconds=5000,
        recall_notice_seconds=notice,
    )
    events = draw(here, np.random.default_rng(seed))
    spent = replay(here, events, interval)
    parts = [value for name, value in dataclasses.asdict(spent).items() if name != "interruptions"]
    assert sum(parts) == pytest.approx(1)
    assert min(parts) >= 0
    more = replay(dataclasses.replace(here, spare_nodes=spares + 5), events, interval)
    assert more.waiting <= spent.waiting + 1e-12


def test_enough_spares_leave_no_waiting() -> None:
    here = conditions_of(GoodputConfig(gpus=16_384, days=200))
    assert 10 < here.spare_nodes == enough_spares(here) < 30
    waiting = np.mean([one.waiting for one in simulate(here, 600, 60, 0)])
    assert 0.0001 < waiting < 0.002  # 0.1 % by Poisson
    none = simulate(dataclasses.replace(here, spare_nodes=0), 600, 5, 0)
    assert min(one.waiting for one in none) > 0.3
    assert enough_spares(dataclasses.replace(here, repair_seconds=1e9)) > 1000


def test_a_hundred_thousand_gpus() -> None:
    found = goodput(GoodputConfig(gpus=100_000, days=90, size="1T", storage_gb_s=2000, trials=10))
    assert found["interruptions"]["mean"] > 4000
    assert 0.5 < found["useful_share"]["p10"] < found["useful_share"]["mean"] < 0.9
    by_fleet = list(found["useful_share_with_spares_at_hand_by_fleet"].values())
    assert by_fleet == sorted(by_fleet, reverse=True)


def test_a_rate_of_ones_own_keeps_the_mix() -> None:
    mix = scaled(kinds_of("Llama 3"), 1e-3)
    assert total_rate(mix) == pytest.approx(1e-3)
    faulty = next(kind for kind in mix if kind.name == "Faulty GPU")
    assert faulty.per_gpu_day / 1e-3 == pytest.approx(148 / 419)
    assert all(kind.stops != "planned" for kind in mix)


def test_the_command_prints_and_refuses() -> None:
    few = ["fleet", "goodput", "--gpus", "64", "--days", "3", "--trials", "5"]
    result = CliRunner().invoke(app, few)
    assert result.exit_code == 0
    assert "useful share" in result.stdout
    assert "Published figures that disagree" in result.stdout
    found = json.loads(CliRunner().invoke(app, [*few, "--json", "--interval-minutes", "30"]).stdout)
    assert found["checkpoint"]["minutes_between"] == 30
    assert found["checkpoint"]["chosen_by"] == "given"
    refused = CliRunner().invoke(app, [*few, "--restart-minutes", "0"])
    assert refused.exit_code == 2
    assert "restart_minutes" in refused.stderr
