"""What a run uses: one append-only log a run, written by the training loop, and the allocation it runs under.

Only the standard library is used, so that training runs on a bare GPU image. The log is
`usage/NAME-FINGERPRINT.jsonl`: a session is one start of the run's processes, which rank 0
meters for all `devices`, and its lines are

    start    session, at, step, device, devices, lease, allocation
    saved    session, at, step, seconds and steps so far: {day: n}
    notice   session, at, says
    end      session, at, step, seconds and steps so far: {day: n}, why
    lost     session (whose steps they were), at, seconds and steps: {day: n}

Seconds are those of the steps, as steps.jsonl has them too. Lost are steps that no checkpoint holds.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import fcntl
import json
import os
import sys
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from townsquare import ranks
from townsquare.errors import TownsquareError
from townsquare.square import Square

CPU = "CPU"
NOTICE_SECONDS = 900.0  # before the time at which a run must stop
RECENT_STEPS = 20  # the longest of these is what one more step is taken to need

Line = dict[str, Any]
ByDay = dict[str, float]


class LeaseError(TownsquareError):
    """No lease gives what a run asks for."""

    exit_code = 10


@dataclasses.dataclass(frozen=True)
class Allocation:
    """GPUs that a run may use, and until when. Times are ISO 8601, UTC."""

    id: str
    run: str
    lease: str
    gpu: str
    """The GPU kind, or CPU."""
    gpus: int
    granted_at: str
    seconds_left: float | None = None
    """GPU-seconds that the lease's budget had left when this was granted; null: no limit."""
    notice_seconds: float | None = None
    """Below this many GPU-seconds the run gives notice."""
    stops_at: str | None = None
    """When the run must have stopped; null: open."""
    stops_because: str | None = None
    """Why then: the lease ends, its window closes, its lender recalls it."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One run as its meter sees it. `folder` holds steps.jsonl and checkpoints/."""

    square: Square
    name: str
    fingerprint: str
    device: str

    @property
    def folder(self) -> Path:
        return self.square.runs / self.name

    @property
    def log(self) -> Path:
        return log_path(self.square, self.name, self.fingerprint)


def log_path(square: Square, name: str, fingerprint: str) -> Path:
    """The usage log of a run."""
    return square.usage / f"{name}-{fingerprint[:12]}.jsonl"


def allocation_path(square: Square, run: str) -> Path:
    """Where a run finds its allocation."""
    return square.usage / f"{run}.allocation.json"


def read_allocation(square: Square, run: str) -> Allocation | None:
    """The allocation that a run holds, or None."""
    path = allocation_path(square, run)
    return Allocation(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def read_lines(path: Path) -> list[Line]:
    """A JSONL file's lines; a last one that was cut off while it was written is left out."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def steps_beyond(folder: Path, step: int) -> list[Line]:
    """Lines of a run's step log that come after `step`: what a checkpoint at that step does not hold."""
    return [line for line in read_lines(folder / "steps.jsonl") if line["step"] > step and "session" in line]


def by_day(lines: Iterable[Line]) -> tuple[ByDay, ByDay]:
    """Seconds and number of some steps, by day (UTC)."""
    seconds: ByDay = defaultdict(float)
    steps: ByDay = defaultdict(float)
    for line in lines:
        seconds[line["at"][:10]] += line["seconds"]
        steps[line["at"][:10]] += 1
    return dict(seconds), {day: int(n) for day, n in steps.items()}


def added(one: ByDay, other: ByDay) -> ByDay:
    """Two sums by day as one."""
    return {day: one.get(day, 0) + other.get(day, 0) for day in sorted({*one, *other})}


@contextmanager
def metered(job: Job, resumes_at: int) -> Iterator[Meter]:
    """Meter a session that goes on from step `resumes_at`. Raises LeaseError where its allocation does not fit."""
    job.square.usage.mkdir(exist_ok=True)
    with job.log.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # tells others that this run is at work; the kernel drops it
        _mend(job.log)
        settle_earlier(job.log, job.folder, resumes_at)
        meter = Meter(job, file, resumes_at)
        try:
            yield meter
        except BaseException as error:
            meter.end(meter.why_stop() or f"broken off by {type(error).__name__}")
            raise
        meter.end("finished")


def _mend(path: Path) -> None:
    """Cut off a last line that a kill left unfinished."""
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def settle_earlier(log: Path, folder: Path, resumes_at: int) -> None:
    """Write down what earlier sessions left open: the end of one that was killed, and steps that are now lost."""
    lines, dropped = read_lines(log), steps_beyond(folder, resumes_at)
    with log.open("a", encoding="utf-8") as file:
        for line in [*endings(lines, folder), *losses(dropped)]:
            write_line(file, line)


def endings(lines: list[Line], folder: Path) -> list[Line]:
    """The end of the last session, where it was killed before it could write one."""
    last = max((line["session"] for line in lines if line["what"] == "start"), default=0)
    mine = [line for line in lines if line["session"] == last and line["what"] in ("start", "saved", "end")]
    if not mine or mine[-1]["what"] == "end":
        return []
    unsaved = [line for line in steps_beyond(folder, mine[-1]["step"]) if line["session"] == last]
    seconds, steps = by_day(unsaved)
    step = max((line["step"] for line in unsaved), default=mine[-1]["step"])
    return [
        {
            "what": "end",
            "session": last,
            "at": unsaved[-1]["at"] if unsaved else mine[-1]["at"],
            "step": step,
            "seconds": added(mine[-1].get("seconds", {}), seconds),
            "steps": added(mine[-1].get("steps", {}), steps),
            "why": "killed",
        }
    ]


def losses(dropped: list[Line]) -> list[Line]:
    """Steps that are to be done again, as one line for each session that had done them."""
    found = []
    for session in sorted({line["session"] for line in dropped}):
        seconds, steps = by_day(line for line in dropped if line["session"] == session)
        found.append({"what": "lost", "session": session, "at": now(), "seconds": seconds, "steps": steps})
    return found


def write_line(file: TextIO, line: Line) -> None:
    """Append a line, and see it on the disk."""
    file.write(json.dumps(line) + "\n")
    file.flush()
    os.fsync(file.fileno())


def now() -> str:
    """The time, ISO 8601, UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


class Meter:
    """One session: its seconds by day, and what its allocation still allows. Made by `metered`."""

    def __init__(self, job: Job, file: TextIO, step: int) -> None:
        self._job, self._file, self._step = job, file, step
        lines = read_lines(job.log)
        self.session = 1 + max((line["session"] for line in lines), default=0)
        self._seconds: ByDay = {}
        self._steps: ByDay = {}
        recent = read_lines(job.folder / "steps.jsonl")[-RECENT_STEPS:]
        self._recent = deque((line["seconds"] for line in recent), maxlen=RECENT_STEPS)
        self._noticed = False
        self._devices = ranks.world_size()  # a process trains on one device
        self._changed = self._read_at = -1.0
        self._allocation: Allocation | None = None
        self._read_allocation()
        self._spent_before = _spent(lines, self._allocation)
        self._check_device()
        self._write(
            "start",
            device=job.device,
            devices=self._devices,
            lease=self._allocation.lease if self._allocation else None,
            allocation=self._allocation.id if self._allocation else None,
        )
        self._give_notice()

    def step(self, step: int, seconds: float) -> Line:
        """Count a step that is done; returns what its line in the step log says besides."""
        at = now()
        self._step = step
        self._seconds = added(self._seconds, {at[:10]: seconds})
        self._steps = added(self._steps, {at[:10]: 1})
        self._recent.append(seconds)
        self._read_allocation()
        self._give_notice()
        return {"at": at, "session": self.session}

    def so_far(self) -> Line:
        """What this session has used by now."""
        return {"step": self._step, "seconds": self._seconds, "steps": self._steps}

    def saved(self, used: Line) -> None:
        """Note that a checkpoint holds all steps that `used` counts, which `so_far` gave when it was taken."""
        self._write("saved", **used)

    def end(self, why: str) -> None:
        self._write("end", **self.so_far(), why=why)

    def why_stop(self) -> str | None:
        """Why the run must stop at a checkpoint now, or None. One more step like the longest must still fit in."""
        held, left, until = self._allocation, self._left(), self._until()
        if held is not None and left is not None and left < max(self._longest * self._devices, 1e-6):
            return f"the budget of the lease {held.lease} is used up"
        if held is not None and until is not None and until < self._longest:
            return held.stops_because or f"the lease {held.lease} is over"
        return None

    @property
    def _longest(self) -> float:
        return max(self._recent, default=0.0)

    def _left(self) -> float | None:
        """GPU-seconds that the budget has left; None: no limit."""
        if self._allocation is None or self._allocation.seconds_left is None:
            return None
        spent = self._spent_before + sum(self._seconds.values()) * self._devices
        return self._allocation.seconds_left - spent

    def _until(self) -> float | None:
        """Seconds until the run must have stopped; None: open."""
        if self._allocation is None or self._allocation.stops_at is None:
            return None
        return (dt.datetime.fromisoformat(self._allocation.stops_at) - dt.datetime.now(dt.UTC)).total_seconds()

    def _read_allocation(self) -> None:
        """Read it again where it changed: a lender may recall what was allocated, an owner add to a budget."""
        path = allocation_path(self._job.square, self._job.name)
        changed = path.stat().st_mtime if path.is_file() else 0.0
        if changed == self._changed:
            return
        self._changed = changed
        found = read_allocation(self._job.square, self._job.name)
        if self._allocation is None or (found is not None and found.id == self._allocation.id):
            self._allocation, self._noticed = found, False

    def _check_device(self) -> None:
        held = self._allocation
        if held is None:
            return
        if (held.gpu == CPU) != (self._job.device == "cpu"):
            raise LeaseError(
                f"the lease {held.lease} lends {held.gpu}, and this machine trains on {self._job.device}",
                place=f"run {self._job.name}",
                remedy="Run where the lent GPUs are. For a trial here, lease a pool of the kind CPU.",
            )
        if self.why_stop():
            raise LeaseError(
                f"{self.why_stop()}",
                place=f"run {self._job.name}",
                remedy="Ask for another: townsquare fleet lease ask",
            )

    def _give_notice(self) -> None:
        held, left, until, says = self._allocation, self._left(), self._until(), None
        soon = 3 * self._longest
        if held is not None and left is not None and left < max(held.notice_seconds or 0.0, soon * self._devices):
            says = f"the budget of the lease {held.lease} has {max(left, 0.0) / 3600:,.3g} GPU-hours left"
        elif held is not None and until is not None and until < max(NOTICE_SECONDS, soon):
            says = f"{held.stops_because}, at {held.stops_at}"
        if says is not None and not self._noticed:
            self._noticed = True
            self._write("notice", says=says)
            print(f"Notice: {says}; the run {self._job.name} then stops at a checkpoint.", file=sys.stderr, flush=True)

    def _write(self, what: str, **more: Any) -> None:
        write_line(self._file, {"what": what, "session": self.session, "at": now(), "step": self._step, **more})


def _spent(lines: list[Line], allocation: Allocation | None) -> float:
    """GPU-seconds that earlier sessions under the same allocation took."""
    if allocation is None:
        return 0.0
    devices = {line["session"]: line["devices"] for line in lines if line.get("allocation") == allocation.id}
    return sum(sum(line["seconds"].values()) * devices[line["session"]] for line in lines
               if line["what"] == "end" and line["session"] in devices)  # fmt: skip
