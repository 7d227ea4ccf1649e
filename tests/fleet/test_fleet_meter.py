"""What a run used: metered, killed, gone on, made anew; charged to the second and never twice."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare.fleet import meter
from townsquare.fleet.book import read_book
from townsquare.fleet.charging import charge
from townsquare.fleet.config import AskConfig
from townsquare.fleet.leases import amend, ask, asked_by, on_lease, recall
from townsquare.fleet.meter import Job, LeaseError, Meter, metered, read_lines, settle_earlier
from townsquare.fleet.pools import Lease, Pool, add
from townsquare.fleet.statements import reconcile
from townsquare.ledger import Ledger
from townsquare.square import Square, write_json

FINGERPRINT = "f" * 64


def lent(square: Square, **terms: Any) -> None:
    add(square, Pool("here", "Own Works", "CPU", 4))
    today = dt.datetime.now(dt.UTC).date()
    days = {"starts": (today - dt.timedelta(days=9)).isoformat(), "ends": (today + dt.timedelta(days=9)).isoformat()}
    add(square, Lease(**({"id": "l", "pool": "here", "gpus": 4, **days} | terms)))


class Trainer:
    """A loop that trains nothing, with the step log and checkpoints of one that does."""

    def __init__(self, square: Square, name: str = "base", fingerprint: str = FINGERPRINT) -> None:
        self.job = Job(square, name, fingerprint, "cpu")
        self.folder = self.job.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "setup.json", {"fingerprint": fingerprint})
        self.log = self.folder / "steps.jsonl"

    @property
    def done(self) -> int:
        return max((int(p.name[5:]) for p in self.folder.glob("checkpoints/step-*")), default=0)

    @contextmanager
    def session(self) -> Iterator[Meter]:
        with metered(self.job, self.done) as found:
            lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
            self.log.write_text("".join(lines[: self.done]))  # as the loop cuts its log when it goes on
            self.at = self.done
            yield found

    def step(self, of: Meter, seconds: float) -> None:
        self.at += 1
        line = {"step": self.at, "seconds": seconds} | of.step(self.at, seconds)
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def save(self, of: Meter) -> None:
        (self.folder / "checkpoints" / f"step-{self.at:07d}").mkdir(parents=True)
        of.saved(of.so_far())


class Killed(BaseException):
    """Stands for SIGKILL: nothing is written any more."""


@contextmanager
def killed(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    with monkeypatch.context() as patch, contextlib.suppress(Killed), trainer.session() as running:
        yield running
        patch.setattr(Meter, "end", lambda *_: None)
        raise Killed


def charged(square: Square) -> dict[int, tuple[float, float]]:
    """Used and lost seconds by session, as the ledger has them."""
    charge(square)
    assert charge(square) == 0, "charged once"
    found: dict[int, tuple[float, float]] = {}
    for row in read_book(square).usage.values():
        used, lost = found.get(row["session"], (0.0, 0.0))
        found[row["session"]] = (round(used + row["used_seconds"], 6), round(lost + row["lost_seconds"], 6))
    return found


def differences(square: Square) -> list[float | None]:
    """Seconds by which the ledger and each step log differ, over all days."""
    rows = reconcile(square, read_book(square), {None}, ("2000-01-01", "2999-12-31"))  # type: ignore[arg-type]
    return [row["difference_seconds"] for row in rows]


def test_a_run_that_ends_well(square: Square) -> None:
    trainer = Trainer(square)
    with trainer.session() as running:
        for seconds in (1.0, 2.0, 4.0):
            trainer.step(running, seconds)
        trainer.save(running)
    assert charged(square) == {1: (7.0, 0.0)}
    [row] = read_book(square).usage.values()
    today = dt.datetime.now(dt.UTC).date().isoformat()
    assert (row["run"], row["lease"], row["devices"], row["device"], row["steps"]) == ("base", None, 1, "cpu", 3)
    assert row["day"] == today


def test_steps_of_a_killed_run_that_no_checkpoint_holds_are_lost(square: Square, monkeypatch) -> None:
    trainer = Trainer(square)
    with killed(trainer, monkeypatch) as running:
        trainer.step(running, 1.0)
        trainer.save(running)
        trainer.step(running, 2.0)
        trainer.step(running, 4.0)
    assert charged(square) == {1: (1.0, 6.0)}, "before it goes on"
    assert differences(square) == [0.0], "lost steps stand in the step log still, and are not used"
    with trainer.session() as running:
        trainer.step(running, 8.0)
        trainer.save(running)
    assert charged(square) == {1: (1.0, 6.0), 2: (8.0, 0.0)}, "and after"
    assert differences(square) == [0.0]
    told = [line["why"] for line in read_lines(trainer.job.log) if line["what"] == "end"]
    assert told == ["killed", "finished"]


def test_a_kill_between_checkpoint_and_its_line_loses_nothing(square: Square, monkeypatch) -> None:
    trainer = Trainer(square)
    with killed(trainer, monkeypatch) as running:
        trainer.step(running, 1.0)
        (trainer.folder / "checkpoints" / "step-0000001").mkdir(parents=True)
    assert charged(square) == {1: (1.0, 0.0)}
    with trainer.session():
        pass
    assert charged(square) == {1: (1.0, 0.0)}


def test_a_damaged_checkpoint_that_is_removed_makes_used_hours_lost_ones(square: Square) -> None:
    trainer = Trainer(square)
    for seconds in (1.0, 2.0):
        with trainer.session() as running:
            trainer.step(running, seconds)
            trainer.save(running)
    assert charged(square) == {1: (1.0, 0.0), 2: (2.0, 0.0)}
    shutil.rmtree(trainer.folder / "checkpoints" / "step-0000002")
    with trainer.session() as running:
        trainer.step(running, 4.0)
        trainer.save(running)
    assert charged(square) == {1: (1.0, 0.0), 2: (0.0, 2.0), 3: (4.0, 0.0)}
    with Ledger.open(square) as ledger:
        assert len(ledger.entries("run_usage")) == 4, "the correction is a row of its own"


def test_a_run_that_is_made_anew_stays_on_the_record(square: Square, monkeypatch) -> None:
    trainer = Trainer(square)
    with killed(trainer, monkeypatch) as running:
        trainer.step(running, 1.0)
        trainer.save(running)
        trainer.step(running, 2.0)
    settle_earlier(trainer.job.log, trainer.folder, trainer.done)  # as the train stage does before it clears the folder
    shutil.rmtree(trainer.folder)
    other = Trainer(square, fingerprint="e" * 64)
    with other.session() as running:
        other.step(running, 4.0)
        other.save(running)
    charge(square)
    rows = read_book(square).usage.values()
    assert {(r["fingerprint"][0], r["used_seconds"], r["lost_seconds"]) for r in rows} == {("f", 1, 2), ("e", 4, 0)}


def test_a_line_cut_off_by_a_kill_is_left_out(square: Square) -> None:
    trainer = Trainer(square)
    with trainer.session() as running:
        trainer.step(running, 1.0)
        trainer.save(running)
    with trainer.job.log.open("a") as file:
        file.write('{"what": "sav')
    assert charged(square) == {1: (1.0, 0.0)}
    with trainer.session() as running:
        trainer.step(running, 2.0)
        trainer.save(running)
    assert charged(square) == {1: (1.0, 0.0), 2: (2.0, 0.0)}


def test_a_run_at_work_is_charged_up_to_its_checkpoint(square: Square) -> None:
    trainer = Trainer(square)
    with trainer.session() as running:
        trainer.step(running, 1.0)
        trainer.save(running)
        trainer.step(running, 2.0)
        assert charged(square) == {1: (1.0, 0.0)}
        trainer.save(running)
    assert charged(square) == {1: (3.0, 0.0)}


def test_midnight_parts_the_days(square: Square, monkeypatch) -> None:
    trainer = Trainer(square)
    with trainer.session() as running:
        for time, seconds in (("2026-12-31T23:59:58", 1.0), ("2026-12-31T23:59:59", 2.0), ("2027-01-01T00:00:03", 4.0)):
            monkeypatch.setattr(meter, "now", lambda time=time: time + ".000+00:00")
            trainer.step(running, seconds)
        trainer.save(running)
    charge(square)
    days = {row["day"]: (row["used_seconds"], row["steps"]) for row in read_book(square).usage.values()}
    assert days == {"2026-12-31": (3.0, 2), "2027-01-01": (4.0, 1)}


SESSION = st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=6)


@settings(max_examples=25)
@given(st.lists(st.tuples(SESSION, st.booleans()), max_size=5))
def test_used_and_lost_add_up_to_what_was_run(tmp_path_factory, sessions) -> None:
    """Any sessions, each saved here and there and killed or not: every second is used or lost, and once."""
    square, patch = Square.create(tmp_path_factory.mktemp("s")), pytest.MonkeyPatch()
    trainer, ran, kept = Trainer(square), 0, []
    for steps, ends_well in sessions:
        context = trainer.session() if ends_well else killed(trainer, patch)
        kept = kept[: trainer.done]
        with context as running:
            for seconds, saves in steps:
                trainer.step(running, float(seconds))
                ran += seconds
                kept.append(seconds)
                if saves:
                    trainer.save(running)
        kept = kept[: trainer.done]
        found = charged(square).values()
        assert sum(used for used, _ in found) == sum(kept)
        assert sum(used + lost for used, lost in found) == ran


def test_the_budget_stops_the_run_before_it_is_overdrawn_and_with_notice(square: Square, capsys) -> None:
    lent(square, budget_gpu_hours=10 / 3600)
    trainer, steps = Trainer(square), 0
    with on_lease(square, AskConfig("base", lease="l")), trainer.session() as running:
        while running.why_stop() is None:
            trainer.step(running, 3.0)
            steps += 1
            assert steps < 9
            if running.why_stop() is None and steps < 2:
                assert "Notice" in capsys.readouterr().err, "three steps before the end at the latest"
        assert running.why_stop() == "the budget of the lease l is used up"
        trainer.save(running)
    assert steps == 3, "a fourth step would have taken more than the ten seconds"
    assert charged(square) == {1: (9.0, 0.0)}
    assert not read_book(square).allocations
    with on_lease(square, AskConfig("base", lease="l")), pytest.raises(LeaseError, match="used up"), trainer.session():
        pass
    amend(square, "l", budget_gpu_hours=20 / 3600)
    with on_lease(square, AskConfig("base", lease="l")), trainer.session() as running:
        trainer.step(running, 3.0)
        assert running.why_stop() is None


def test_a_run_that_is_at_work_heeds_a_new_budget_and_a_recall(square: Square, capsys) -> None:
    lent(square, budget_gpu_hours=4 / 3600)
    trainer = Trainer(square)
    ask(square, AskConfig("base"))
    with trainer.session() as running:
        trainer.step(running, 3.0)
        trainer.save(running)
        assert running.why_stop() is not None
        charge(square)
        amend(square, "l", budget_gpu_hours=1.0)
        trainer.step(running, 1.0)
        assert running.why_stop() is None
        left = running._left()
        assert left == pytest.approx(3600 - 4.0)
        recall(square, "l")
        trainer.step(running, 1.0)
        assert running.why_stop() == "the lease l is recalled by its lender"
    assert "is recalled by its lender, at" in capsys.readouterr().err


def test_gpu_hours_are_not_charged_for_a_processor(square: Square) -> None:
    add(square, Pool("north", "North Works", "H100", 8))
    today = dt.datetime.now(dt.UTC).date().isoformat()
    add(square, Lease("g", "north", 8, today, today))
    ask(square, AskConfig("base"))
    with pytest.raises(LeaseError, match="lends H100 SXM, and this machine trains on cpu"), Trainer(square).session():
        pass


def _train_until_killed(root: str) -> None:
    trainer = Trainer(Square.open(root))
    with trainer.session() as running:
        for _ in range(3):
            trainer.step(running, 1.0)
        trainer.save(running)
        trainer.step(running, 2.0)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_real_kill(square: Square) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_train_until_killed, args=(str(square.root),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert charged(square) == {1: (3.0, 2.0)}


def test_rows_are_content_free(square: Square) -> None:
    trainer = Trainer(square)
    with contextlib.suppress(ValueError), trainer.session() as running:
        trainer.step(running, 1.0)
        raise ValueError("a secret in a message")
    charge(square)
    assert "secret" not in trainer.job.log.read_text()
    assert "secret" not in str([dataclasses.asdict(e) for e in _entries(square)])


def _entries(square: Square) -> list[Any]:
    with Ledger.open(square) as ledger:
        return ledger.entries()


def test_paths(square: Square) -> None:
    assert Trainer(square).job.log == Path(square.root, "usage", "base-ffffffffffff.jsonl")


def test_a_run_of_many_processes_is_charged_for_all_their_devices(square: Square, monkeypatch) -> None:
    lent(square, budget_gpu_hours=10 / 3600)
    monkeypatch.setenv("WORLD_SIZE", "4")
    config = asked_by("base", "pretrain", "l")
    assert config is not None
    with on_lease(square, config):
        trainer = Trainer(square)
        with trainer.session() as running:
            trainer.step(running, 1.0)
            trainer.save(running)
            assert running.why_stop() is None, "4 of 10 GPU-seconds are used"
            trainer.step(running, 1.0)
            assert running.why_stop() is not None, "2 are left, and a step takes 4"
            trainer.save(running)
    [row] = read_book(square).usage.values()
    assert (row["devices"], row["used_seconds"] * row["devices"]) == (4, 8.0)
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(LeaseError), on_lease(square, asked_by("base", "pretrain", "l")):
        pass
    monkeypatch.setenv("RANK", "1")
    with on_lease(square, config):
        assert read_book(square).allocations == {}, "a process that does not lead asks for nothing"
