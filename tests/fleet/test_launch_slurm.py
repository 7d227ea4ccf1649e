"""Training under a real one-node Slurm: killed, recalled, preempted, its node lost; it ends with the same weights."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
from slurm_cluster import told, until
from small_square import make_shards
from typer.testing import CliRunner, Result

from townsquare.cli import app
from townsquare.fleet import launches
from townsquare.fleet.book import read_book
from townsquare.fleet.leases import recall
from townsquare.fleet.pools import Lease, Pool, add
from townsquare.square import Square

ROOT = str(Path(__file__).resolve().parents[2])
PROCESSES = 2
STEPS = 24


@pytest.fixture(scope="module")
def slurm() -> Iterator[Path]:
    if why := slurm_cluster.missing():
        pytest.skip(why)
    with slurm_cluster.cluster() as folder:
        yield folder


@pytest.fixture
def lent(square: Square, monkeypatch: pytest.MonkeyPatch) -> Square:
    """Shards, and leases on two pools, each a partition; the first is preferred."""
    monkeypatch.setenv("PYTHONPATH", ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    make_shards(square, monkeypatch)
    today = dt.datetime.now(dt.UTC).date()
    for priority, name in enumerate(("night", "day")):
        add(square, Pool(name, f"{name} works", "CPU", PROCESSES, "slurm", (name,), PROCESSES))
        ends = (today + dt.timedelta(days=2)).isoformat()
        add(square, Lease(name, name, PROCESSES, today.isoformat(), ends, priority=priority))
    return square


TRAIN = ("train", "--size", "400K", "--steps", str(STEPS), "--sequence-length", "64")


def call(square: Square, *words: str) -> Result:
    done = CliRunner().invoke(app, ["fleet", words[0], "--square", str(square.root), *words[1:]])
    assert done.exit_code == 0, done.output
    return done


def launch(square: Square) -> launches.Launch:
    call(square, "launch", "--lease", "any", "--gpus", str(PROCESSES), "--", *TRAIN, "--checkpoint-seconds", "0.001")
    return launches.read(square, "base")


def steps(square: Square) -> int:
    path = square.runs / "base" / "steps.jsonl"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def wait_for(square: Square, step: int, *, attempts: int) -> launches.Launch:
    """The launch, when attempt number `attempts` has passed a step."""

    def passed() -> bool:
        now = launches.read(square, "base")
        assert now.state != "failed", output(square)
        return now.attempts == attempts and steps(square) >= step

    try:
        until(passed, "no progress")
    except TimeoutError:
        queue = told("squeue", "--format=%i %T %r %S %P") + "\n" + told("sinfo", "-R") + told("sinfo")
        raise TimeoutError(f"{launches.read(square, 'base')}\n{output(square)}\n{queue}") from None
    return launches.read(square, "base")


def output(square: Square) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((square.launches / "base").glob("*.out")))


def ranks(square: Square) -> list[int]:
    """Processes that train in a square."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if words[1:4] == ["-m", "townsquare.cli", "train"] and str(square.root) in words:
            found.append(int(path.parent.name))
    return found


def finished(square: Square) -> launches.Launch:
    def over() -> bool:
        now = launches.read(square, "base")
        assert now.state != "failed", output(square)
        return now.state == "finished"

    until(over, "it does not finish")
    return launches.read(square, "base")


def weights(square: Square, run: str) -> str:
    receipt = json.loads((square.receipts / f"train-{run}.json").read_text(encoding="utf-8"))
    return str(receipt["results"]["outputs"]["model"])


def partition(job: str | None) -> str:
    return told("squeue", "--noheader", f"--jobs={job}", "--format=%P")


@pytest.mark.slow
def test_killed_and_recalled_it_ends_on_another_pool_with_the_same_weights(slurm: Path, lent: Square) -> None:
    first = launch(lent)
    assert (first.on, first.at, first.lease) == ("slurm", ("day",), "day")
    begun = wait_for(lent, 3, attempts=1)
    assert begun.job == first.job
    assert partition(begun.job) == "day"
    processes = ranks(lent)
    assert len(processes) == PROCESSES
    os.kill(processes[0], signal.SIGKILL)
    again = wait_for(lent, 8, attempts=2)
    assert again.began_at_step >= 2, "it went on from a checkpoint"
    assert again.job == first.job, "Slurm queued the same job again"
    recall(lent, "day")
    moved = wait_for(lent, 12, attempts=3)
    assert (moved.at, moved.lease, partition(moved.job)) == (("night",), "night", "night")
    done = finished(lent)
    assert done.attempts == 3
    assert not read_book(lent).allocations
    used = {row["lease"] for row in read_book(lent).usage.values()}
    assert used == {"day", "night"}
    call(lent, "launch", "--gpus", str(PROCESSES), "--", *TRAIN, "--name=unbroken")
    assert weights(lent, "base") == weights(lent, "unbroken")
