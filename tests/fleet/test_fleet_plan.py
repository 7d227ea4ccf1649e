"""Plans: what must hold of the best one, by hand and against a search without its shortcuts."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
import math
from pathlib import Path

import numpy as np
import pytest
from test_fleet_run import give_receipt
from test_fleet_validate import ROW, predicted
from typer.testing import CliRunner

from townsquare.cli import app
from townsquare.dial import dial
from townsquare.errors import ConfigError
from townsquare.fleet.buying import COOLING, SERVER_POWER, buy_or_rent
from townsquare.fleet.calibrate import RUN_SPREAD, SITE_SPREAD, UNCALIBRATED, calibrate, shrunk
from townsquare.fleet.candidates import Candidate, Terms, front, of_counts, of_one, together, useful
from townsquare.fleet.config import PlanConfig
from townsquare.fleet.estimate import Job, estimate
from townsquare.fleet.failures import kinds_of
from townsquare.fleet.hardware import gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.limits import limits, neighbours
from townsquare.fleet.memory import fits
from townsquare.fleet.offers import Offer, finish, offers_of
from townsquare.fleet.plan import plan
from townsquare.fleet.pools import Lease, Pool, add, midnight
from townsquare.fleet.search import PLAIN, by_dial, fastest, layouts
from townsquare.square import Square, write_json

H100, NVL, A100 = gpu("H100 SXM"), gpu("H100 NVL"), gpu("A100 SXM 80GB")
STARTS = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
SEVEN = by_dial("7B", 65_536)[0]


def terms(job: Job = SEVEN, **changes: object) -> Terms:
    base = Terms(job, PLAIN, STARTS, kinds_of("Llama 3"), 57.5, 50.0, {})
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def offer(kind: object, gpus: int, price: float | None = 2.0, **more: object) -> Offer:
    return Offer(kind.name, kind, gpus, price, "given", **more)  # type: ignore[arg-type, attr-defined]


def test_what_ten_thousand_h100_train_in_90_days() -> None:
    found = plan(PlanConfig(gpu=("H100 SXM",), gpus=10_000, days=90), None)
    best = found["plan"]
    assert found["in_time"]
    assert 75 < best["days"] <= 90
    assert 2e11 < best["parameters"] < 6e11
    assert best["gpus"]["H100 SXM"] <= 10_000
    assert best["useful_share"]["p10"] < best["share_useful"] < best["useful_share"]["p90"]
    assert best["share_useful"] < 0.95  # without interruptions it would be 1
    assert best["days_low"] < best["days"] < best["days_high"]
    assert best["usd"] == pytest.approx(best["gpu_hours"] * 2.95)
    json.dumps(found, allow_nan=False)


def test_what_to_borrow_for_a_deadline() -> None:
    config = PlanConfig(size="7B", gpu=("H100 SXM", "A100 SXM 80GB"), starts="2026-12-01", by="2026-12-31")
    found = plan(config, None)
    assert found["in_time"]
    assert found["plan"]["finishes"] <= "2026-12-31"
    (name, count), *_ = found["plan"]["gpus"].items()
    kind = gpu(name)
    # A sixteenth fewer are not done in time: those of one node less, where they are few.
    fewer = count - max(count // 16, kind.gpus_per_node)
    assert fewer < kind.gpus_per_node or of_one(terms(), offer(kind, fewer), fewer).days > 31
    costs = [row["usd"] for row in found["front"]]
    assert costs == sorted(costs, reverse=True)


def test_the_search_takes_no_shortcut_past_the_best() -> None:
    for kind, gpus in ((H100, 64), (NVL, 48)):
        every = [estimate(SEVEN, layout, kind) for layout in layouts(SEVEN, kind, gpus, PLAIN)]
        best = min(one.step_seconds for one in every if fits(one.memory, kind))
        assert fastest(SEVEN, kind, gpus).step_seconds == pytest.approx(best)


def test_two_halves_joined_without_loss_are_the_whole() -> None:
    joined = together(terms(between_pools_gb_s=1e12), [offer(H100, 128), offer(H100, 128)])
    whole = of_one(terms(), offer(H100, 256), 256)
    assert joined is not None
    assert sum(one.job.sequences_per_step for one in joined.estimates) == SEVEN.sequences_per_step
    assert joined.step_seconds == pytest.approx(whole.step_seconds, rel=0.1)
    slow = together(terms(), [offer(H100, 128), offer(H100, 128)])
    assert slow is not None
    assert slow.between_seconds == pytest.approx(4 * SEVEN.shape.parameters / 50e9)
    assert slow.step_seconds == pytest.approx(joined.step_seconds + slow.between_seconds, rel=1e-3)


def test_unequal_pools_share_the_batch_by_their_speed() -> None:
    mixed = together(terms(between_pools_gb_s=1e9), [offer(A100, 256), offer(NVL, 256)])
    assert mixed is not None
    slow, fast = mixed.estimates
    assert slow.gpu.name == A100.name
    assert fast.job.sequences_per_step > 1.5 * slow.job.sequences_per_step
    assert slow.step_seconds == pytest.approx(fast.step_seconds, rel=0.25)
    alone = of_one(terms(), offer(NVL, 256), 256)
    assert mixed.step_seconds < alone.step_seconds


def test_mixed_pools_are_planned_and_the_link_decides() -> None:
    pools = ("A100 SXM 80GB=512@1.2", "H100 NVL=512")
    near = plan(PlanConfig(size="7B", pool=pools, between_pools_gb_s=5000), None)
    assert len(near["plan"]["gpus"]) == 2
    assert near["together"]["faster_than_alone"]
    assert sum(near["plan"]["sequences_per_step"]) * 2048 == near["plan"]["tokens_per_step"]
    far = plan(PlanConfig(size="7B", pool=pools, between_pools_gb_s=1), None)
    assert list(far["plan"]["gpus"]) == ["H100 NVL"]
    assert not far["together"]["faster_than_alone"]


def test_the_front_is_what_nothing_beats() -> None:
    ones = [one for kind in (H100, A100) for one in of_counts(terms(), offer(kind, 512), None)]
    kept = front(ones)

    def beaten(one: Candidate) -> bool:
        return any(o.days <= one.days and o.usd < one.usd for o in ones if o is not one)  # type: ignore[operator]

    assert {id(one) for one in kept} == {id(one) for one in ones if not beaten(one)}
    assert len(kept) > 2
    unpriced = front([*of_counts(terms(), offer(H100, 512, price=None), None)])
    assert unpriced
    assert unpriced[0].usd is None


def test_nodes_stand_by_where_that_pays() -> None:
    assert useful(terms(), 8, 8)[0] == 0
    spares, share, conditions = useful(terms(), 10_000, 8)
    assert 5 <= spares <= 20
    assert conditions.gpus == 10_000 - 8 * spares
    assert 0.85 < share < 0.99
    longer = dataclasses.replace(SEVEN, shape=dataclasses.replace(SEVEN.shape, layers=4 * SEVEN.shape.layers))
    assert useful(terms(longer), 10_000, 8)[1] < share  # its checkpoints are larger


def test_what_limits_and_what_lies_beside() -> None:
    best = fastest(SEVEN, H100, 512)
    saved = limits(best, 512)
    assert next(iter(saved)) == "matrix-product rate"
    assert 0.2 < saved["matrix-product rate"] < 0.5
    assert all(0 <= share < 0.5 for share in saved.values())
    rows = neighbours(best, 512)
    assert all(row["longer"] >= -1e-9 for row in rows if "longer" in row and row["instead"] != "tensor 16")
    assert any("does not fit" in row["why"] for row in rows) or best.layout.recompute == "none"
    assert {"layers recomputed", "nothing recomputed"} & {row["instead"] for row in rows}


def test_buy_or_rent_by_hand() -> None:
    found = buy_or_rent(H100, 2.95, 90, 0.08, 0.7)
    power = 0.7 * SERVER_POWER * COOLING * 0.08
    assert found["rent_usd_per_gpu"] == pytest.approx(2.95 * 24 * 90)
    assert found["buy_usd_per_gpu"] == pytest.approx(33_700 * 0.3 + power * 24 * 90)
    assert found["cheaper"] == "rent"
    even = found["buying_is_cheaper_from_days"]
    assert buy_or_rent(H100, 2.95, even * 1.01, 0.08, 0.7)["cheaper"] == "buy"
    assert buy_or_rent(H100, 2.95, even * 0.99, 0.08, 0.7)["cheaper"] == "rent"
    assert buy_or_rent(A100, 2.0, 90, 0.08, 0.7)["cheaper"] is None  # nobody's price is known
    assert buy_or_rent(H100, 0.01, 90, 0.08, 0.7)["buying_is_cheaper_from_days"] is None


NIGHTS = Lease("nights", "north", 64, "2026-12-01", "2027-01-31", ("Mon-Sun 20:00-08:00",), price_usd_per_gpu_hour=1.5)


def test_leases_their_hours_ends_and_budgets(square: Square) -> None:
    add(square, Pool("north", "North Works", "H100 SXM", 64))
    add(square, NIGHTS)
    config = PlanConfig(leases=True, size="3B", tokens="200B", starts="2026-12-01")
    found = plan(config, square, STARTS)
    best = found["plan"]
    assert best["days"] > 1.8 * best["training_days"]  # half of the hours
    assert best["usd"] == pytest.approx(1.5 * best["gpu_hours"])
    add(square, dataclasses.replace(NIGHTS, id="short", ends="2026-12-01"))
    add(square, dataclasses.replace(NIGHTS, id="poor", budget_gpu_hours=5))
    again = plan(config, square, STARTS)
    assert "a lease ends" in again["passed_over"]["short (H100 SXM of North Works)"]
    assert "5 GPU-hours left" in again["passed_over"]["poor (H100 SXM of North Works)"]
    largest = plan(PlanConfig(leases=True, days=60, starts="2026-12-01"), square, STARTS)
    assert largest["in_time"]
    with pytest.raises(ConfigError, match="no lease of this square"):
        plan(config, square, midnight("2027-06-01"))


def test_when_a_lease_of_the_nights_is_done() -> None:
    # 20 h of training from 1 December, midnight: 8 h that night, 12 the next, each night a restart of 10 minutes.
    done = finish(NIGHTS, STARTS, 20 * 3600, 600)
    # 00:00-08:00 gives 7 h 50, 20:00-08:00 gives 11 h 50: 20 minutes and a restart of the third opening are left.
    assert done == dt.datetime(2026, 12, 2, 20, 30, tzinfo=dt.UTC)
    assert finish(NIGHTS, STARTS, 1e9, 600) is None


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(ROW))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_calibration_on_ones_own_runs(tmp_path: Path) -> None:
    slow = [ROW | {"step_time_s": repr(1.3 * predicted(ROW))}] * 40
    many = calibrate(str(write(tmp_path / "own.csv", slow)), None, [])["H100 SXM"]
    assert many.measured_over_estimated == pytest.approx(1.3, rel=0.02)
    assert many.high / many.low < UNCALIBRATED.high / UNCALIBRATED.low
    one = calibrate(str(write(tmp_path / "one.csv", slow[:1])), None, [])["H100 SXM"]
    assert 1.05 < one.measured_over_estimated < 1.2  # one run says little
    question = PlanConfig(size="7B", gpu=("H100 SXM",), gpus=64)
    plain = plan(question, None)["plan"]
    own = plan(dataclasses.replace(question, calibrate=str(tmp_path / "own.csv")), None)
    assert own["plan"]["days"] / plain["days"] == pytest.approx(1.3, rel=0.03)
    assert own["calibrated"]["H100 SXM"]["runs"] == 40


@pytest.mark.parametrize("runs", [1, 4, 30])
def test_a_calibrated_range_holds_four_of_five(runs: int) -> None:
    rng = np.random.default_rng(runs)
    inside = []
    for _ in range(600):
        site = rng.normal(0, SITE_SPREAD)
        *seen, fresh = np.exp(site + rng.normal(0, RUN_SPREAD, runs + 1))
        found = shrunk(seen)
        inside.append(found.low < fresh / found.measured_over_estimated < found.high)
    assert np.mean(inside) == pytest.approx(0.8, abs=0.05)


def test_calibration_on_a_run_of_the_square(square: Square) -> None:
    settings = dial("2M", vocabulary_size=4096, available_tokens=100_000)
    shape = {"tokens_per_step": settings.tokens_per_step, "sequence_length": settings.sequence_length}
    give_receipt(square, "train", "base", device="cuda", **shape)
    give_receipt(square, "train", "here", device="cpu", **shape)
    write_json(square.runs / "base" / "model.json", dataclasses.asdict(settings.model))
    job = Job(by_dial("2M", 4096)[0].shape, 1.0, settings.sequence_length, 16)
    job = dataclasses.replace(job, sequences_per_step=settings.tokens_per_step // settings.sequence_length)
    seconds = 2 * estimate(job, Layout(), H100).step_seconds
    steps = [9.0, 5.0, 3.0, *[seconds] * 20]  # the first ones compile
    log = "".join(json.dumps({"step": n, "seconds": s}) + "\n" for n, s in enumerate(steps))
    (square.runs / "base" / "steps.jsonl").write_text(log)
    found = calibrate("base", square, [H100])["H100 SXM"]
    weight = SITE_SPREAD**2 / (SITE_SPREAD**2 + RUN_SPREAD**2)
    assert math.log(found.measured_over_estimated) == pytest.approx(weight * math.log(2), rel=1e-6)
    for name, kinds, said in (
        ("absent", [H100], "no finished run"),
        ("here", [H100], "on a CPU"),
        ("base", [], "kind is not known"),
    ):
        with pytest.raises(ConfigError, match=said):
            calibrate(name, square, kinds)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": "7B"}, "needs an end"),
        ({"tokens": "1T", "days": 3.0}, "tokens without a model"),
        ({"size": "7B", "days": 3.0, "by": "2027-01-01"}, "one end"),
        ({"size": "7B", "pool": ("H100=8",), "gpus": 8}, "--pool says how many"),
        ({"size": "7B", "days": -1.0}, "days cannot be"),
    ],
)
def test_questions_without_an_answer_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PlanConfig(**settings)  # type: ignore[arg-type]


def test_pools_are_read_and_misspelt_ones_refused() -> None:
    named = offers_of(PlanConfig(size="7B", pool=("H100 NVL=2000@1.90", "A100=16")), None, STARTS)
    assert [(o.gpu.name, o.gpus, o.usd_per_gpu_hour) for o in named] == [
        ("H100 NVL", 2000, 1.9),
        ("A100 SXM 80GB", 16, 2.29),
    ]
    twice = offers_of(PlanConfig(size="7B", pool=("H100=8", "A100=8", "H100=16")), None, STARTS)
    assert [one.name for one in twice] == ["H100 SXM (1)", "A100 SXM 80GB", "H100 SXM (2)"]
    with pytest.raises(ConfigError, match="a pool cannot be"):
        offers_of(PlanConfig(size="7B", pool=("H100",)), None, STARTS)
    with pytest.raises(ConfigError, match="nothing fits"):
        plan(PlanConfig(size="400B", pool=("H100 SXM=8",)), None)
    with pytest.raises(ConfigError, match="unbounded"):
        plan(PlanConfig(gpu=("H100 SXM",), days=30), None)


def test_the_command_prints_a_plan(tmp_path: Path) -> None:
    asked = ["fleet", "plan", "--size", "1B", "--gpu", "H100 SXM", "--gpus", "64", "--square", str(tmp_path)]
    shown = CliRunner().invoke(app, asked)  # no square is needed for this question
    assert shown.exit_code == 0, shown.output
    for part in ("fastest to cheapest", "limited by", "buy or rent", "instead:"):
        assert part in shown.stdout
    late = json.loads(CliRunner().invoke(app, [*asked, "--days", "0.001", "--json"]).stdout)
    assert late["in_time"] is False
    assert "none of" in late["why"]["wins"]
