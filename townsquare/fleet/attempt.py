"""One attempt of a launch: its processes run until they end, then it is clear what comes next.

A stage takes up where its last checkpoint is, so that whatever ended an attempt (SIGTERM before a time limit, a lost
process or host, a lease that ended or was recalled) is met by another attempt: in the same place, or on another pool.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from townsquare import receipts
from townsquare.fleet import launches
from townsquare.fleet.charging import charge, steps_done
from townsquare.fleet.config import AskConfig
from townsquare.fleet.launches import Launch, option_of
from townsquare.fleet.leases import ask, purpose_of, release
from townsquare.fleet.meter import RECENT_STEPS, LeaseError, read_lines
from townsquare.square import Square

Command = Sequence[str]
Children = Sequence["subprocess.Popen[bytes]"]

MOST_FRUITLESS = 3  # attempts in a row that add no step
MISTAKES = (2, 3, 4, 5, 7, 8)  # exit codes that say what a person must mend: see errors.py
HOUR = 3600.0
SPARE_STEPS = 3  # that a lease must still pay for, to be worth another attempt


def terminate(children: Children) -> None:
    """SIGTERM for each."""
    for child in children:
        child.terminate()


def attempt(
    square: Square, launch: Launch, commands: Sequence[Command], passed_on: Callable[[Children], None] = terminate
) -> Launch:
    """Run the commands of a launch beside one another; returns it with what comes next as its state.

    SIGTERM and Ctrl-C are passed on by `passed_on`, once: the stage then saves a checkpoint and ends.
    """
    launch = _begun(square, launch)
    if launch.state == "failed":
        return launch
    with _stop_passed_on(passed_on) as (children, asked):
        for command in commands:
            # A session of their own, so that Ctrl-C reaches them once, from here.
            children.append(subprocess.Popen(command, start_new_session=True))
            if asked:  # before it was in the list
                passed_on(children[-1:])
        codes = [child.wait() for child in children]
    return _ended(square, launch, max(codes, key=abs), by_hand=signal.SIGINT in asked)


def _begun(square: Square, launch: Launch) -> Launch:
    """The launch with one more attempt at work, or failed after too many that added nothing."""
    step = steps_done(square.runs / launch.run)
    fruitless = launch.fruitless + 1 if launch.began_at_step == step else 0
    began = dataclasses.replace(launch, attempts=launch.attempts + 1, began_at_step=step, fruitless=fruitless)
    if fruitless >= MOST_FRUITLESS:
        _let_go(square, launch, "the launch failed")
        why = f"{fruitless} attempts in a row added no step; its output says why"
        return launches.write(square, dataclasses.replace(began, state="failed", why=why))
    job = launch.job or f"{socket.gethostname()}:{os.getpid()}"
    return launches.write(square, dataclasses.replace(began, state="running", why=None, job=job))


def _ended(square: Square, launch: Launch, code: int, *, by_hand: bool) -> Launch:
    """What comes next, after processes that ended with `code`."""
    charge(square)
    cancelled = launches.read(square, launch.run).state == "cancelled"
    state, why = "again", f"an attempt ended with exit code {code}"
    # An exit code alone proves nothing: srun's is 0 after the loss of a host.
    if code == 0 and _has_receipt(square, launch):
        state, why = "finished", ""
    elif cancelled:
        state, why = "cancelled", "cancelled by hand"
    elif by_hand:
        state, why = "waiting", "stopped by hand; the same command goes on from its last checkpoint"
    elif code in MISTAKES:
        state, why = "failed", f"it ended with exit code {code}; its output says why"
    if state != "again":
        _let_go(square, launch, f"the launch is {state}")
        return launches.write(square, dataclasses.replace(launch, state=state, why=why or None))
    return launches.write(square, placed(square, dataclasses.replace(launch, state=state, why=why)))


def _has_receipt(square: Square, launch: Launch) -> bool:
    name = launch.run if launch.stage == "train" else None
    return receipts.read(square, launch.stage, name) is not None


def _let_go(square: Square, launch: Launch, why: str) -> None:
    if launch.config.lease is not None:
        release(square, launch.run, why)


def placed(square: Square, launch: Launch) -> Launch:
    """The launch where its lease says, a new one where the old is over; waiting, with the reasons, where none fits."""
    config = launch.config
    if config.lease is None:
        return launch
    wants = AskConfig(
        run=launch.run,
        gpus=config.gpus,
        gpu=config.gpu,
        gpu_hours=max(config.gpu_hours or 0.0, _least_hours(square, launch)) or None,
        purpose=purpose_of(option_of(launch.words, "--objective")),
        lease=None if config.lease == "any" else config.lease,
    )
    try:
        held = ask(square, wants)
    except LeaseError as error:
        if launch.attempts == 0:
            raise
        return dataclasses.replace(launch, state="waiting", why=error.message)
    return dataclasses.replace(
        launch, on=held.on, at=held.at, gpu=held.gpu, gpus_per_host=held.gpus_per_host, lease=held.lease
    )


def _least_hours(square: Square, launch: Launch) -> float:
    """GPU-hours of a few more steps, as long as the longest of the last ones."""
    recent = read_lines(square.runs / launch.run / "steps.jsonl")[-RECENT_STEPS:]
    return SPARE_STEPS * max((line["seconds"] for line in recent), default=0.0) * launch.config.gpus / HOUR


@contextmanager
def _stop_passed_on(
    passed_on: Callable[[Children], None],
) -> Iterator[tuple[list[subprocess.Popen[bytes]], list[int]]]:
    """The list for the children, and the signals that came while they ran."""
    children: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if not asked:
            passed_on(children)
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield children, asked
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield children, asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
