"""What follows an attempt: how it ended, whether it added steps, whether its lease goes on."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

import pytest

from townsquare import receipts
from townsquare.errors import InputError, LockedError
from townsquare.fleet import launches
from townsquare.fleet.attempt import MOST_FRUITLESS, attempt, placed
from townsquare.fleet.book import read_book
from townsquare.fleet.config import LaunchConfig
from townsquare.fleet.launch import cancel, launch
from townsquare.fleet.launchers import here, slurm
from townsquare.fleet.launches import Launch
from townsquare.fleet.leases import recall
from townsquare.fleet.meter import LeaseError
from townsquare.fleet.pools import Lease, Pool, add
from townsquare.receipts import Input
from townsquare.square import Square

WORDS = ("train", "--name", "base")
WAITS = "trap 'exit 1' TERM; kill -{} $PPID; while :; do sleep 0.05; done"


def queued(square: Square, **settings: object) -> Launch:
    return launches.write(square, Launch("base", WORDS, LaunchConfig(**settings), "here"))  # type: ignore[arg-type]


def ends(square: Square, begun: Launch, line: str) -> Launch:
    return attempt(square, begun, [["bash", "-c", line]])


def checkpoint(square: Square, step: int, seconds: float = 1.0) -> None:
    """As if a run had got so far."""
    (square.runs / "base" / "checkpoints" / f"step-{step:07d}").mkdir(parents=True)
    with (square.runs / "base" / "steps.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "seconds": seconds}) + "\n")


def receipt(square: Square) -> None:
    config = LaunchConfig()
    with receipts.stage(square, "train", inputs=[Input("a", "b")], config=config, name="base"):
        pass


def test_it_is_finished_when_there_is_a_receipt(square: Square) -> None:
    assert ends(square, queued(square), "exit 0").state == "again", "an exit code alone proves nothing"
    receipt(square)
    done = ends(square, queued(square), "exit 0")
    assert (done.state, done.attempts) == ("finished", 1)
    assert launches.read(square, "base") == done


@pytest.mark.parametrize("code", [1, 10, 137])
def test_what_is_nobodys_mistake_is_tried_again_until_it_adds_nothing(square: Square, code: int) -> None:
    now = queued(square)
    for step in (1, 2, 3, 4):
        now = ends(square, now, f"exit {code}")
        assert (now.state, now.fruitless) == ("again", 0)
        checkpoint(square, step)
    for _ in range(MOST_FRUITLESS):
        now = ends(square, now, f"exit {code}")
        assert now.state == "again"
    now = ends(square, now, f"exit {code}")
    assert now.state == "failed"
    assert f"{MOST_FRUITLESS} attempts in a row added no step" in str(now.why)


def test_a_mistake_is_not_tried_again(square: Square) -> None:
    assert ends(square, queued(square), "exit 2").state == "failed"


def test_of_several_processes_the_worst_counts(square: Square) -> None:
    receipt(square)
    commands = [["true"], ["bash", "-c", "exit 3"]]
    assert attempt(square, queued(square), commands).state == "failed"


def test_ctrl_c_ends_it_and_sigterm_has_it_go_on(square: Square) -> None:
    assert ends(square, queued(square), WAITS.format("INT")).state == "waiting"
    assert ends(square, queued(square), WAITS.format("TERM")).state == "again"


def lent(square: Square, *names: str) -> None:
    days = (dt.datetime.now(dt.UTC).date().isoformat(),) * 2
    for priority, name in enumerate(names):
        add(square, Pool(name, f"{name} works", "CPU", 2, "slurm", (f"{name}-hosts",)))
        add(square, Lease(name, name, 2, *days, priority=priority))


def test_a_lease_that_is_recalled_is_followed_by_another(square: Square) -> None:
    lent(square, "second", "first")
    now = placed(square, queued(square, lease="any"))
    assert (now.on, now.at, now.lease) == ("slurm", ("first-hosts",), "first")
    recall(square, "first")
    moved = ends(square, launches.write(square, now), "exit 1")
    assert (moved.state, moved.at, moved.lease) == ("again", ("second-hosts",), "second")
    recall(square, "second")
    left = ends(square, moved, "exit 1")
    assert left.state == "waiting"
    assert "it was recalled" in str(left.why)
    assert not read_book(square).allocations


def test_a_lease_that_cannot_pay_for_more_steps_is_over(square: Square) -> None:
    lent(square, "rich")
    add(square, Lease("poor", "rich", 2, "2020-01-01", "2099-12-31", priority=9, budget_gpu_hours=5.0 / 3600))
    assert placed(square, queued(square, lease="any")).lease == "poor"
    checkpoint(square, 1, seconds=2.0)
    assert placed(square, queued(square, lease="any")).lease == "rich"


def test_no_lease_that_fits_is_an_error_at_first(square: Square) -> None:
    lent(square, "small")
    with pytest.raises(LeaseError, match="of its 2 GPUs are free"):
        launch(square, LaunchConfig(lease="any", gpus=3), WORDS)


def test_what_ended_gives_its_gpus_back(square: Square) -> None:
    lent(square, "here")
    for line in ("exit 2", WAITS.format("INT")):
        held = launches.write(square, placed(square, queued(square, lease="here")))
        assert read_book(square).allocations
        ends(square, held, line)
        assert not read_book(square).allocations


def test_a_launch_at_work_is_not_launched_twice(square: Square) -> None:
    now = dataclasses.replace(queued(square), state="running", job=f"{here.socket.gethostname()}:1")
    launches.write(square, now)
    with pytest.raises(LockedError, match="launched already"):
        launch(square, LaunchConfig(), WORDS)


def test_cancelled_it_is_not_tried_again(square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="never launched"):
        cancel(square, "base")
    lent(square, "here")
    held = placed(square, queued(square, lease="here"))
    launches.write(square, dataclasses.replace(held, state="running", job="7"))
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(slurm, "_slurm", lambda *command: sent.append(command) or "RUNNING")
    cancel(square, "base")
    assert sent[-1] == ("scancel", "--batch", "--signal=TERM", "7")
    assert read_book(square).allocations, "it still saves its checkpoint"
    told = {"state": "cancelled", "why": "cancelled by hand"}
    during = f"printf '%s' '{json.dumps(held.to_json() | told)}' > {launches.folder_of(square, 'base')}/launch.json"
    assert ends(square, held, f"{during}; exit 1").state == "cancelled"
    assert not read_book(square).allocations
