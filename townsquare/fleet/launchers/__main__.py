"""One attempt of a launch, where its launcher has started it: `python -m … SQUARE RUN -- COMMAND`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from townsquare.fleet import launches
from townsquare.fleet.attempt import attempt
from townsquare.fleet.launchers import LAUNCHERS, QUEUES
from townsquare.fleet.leases import release
from townsquare.square import Square


def main(arguments: Sequence[str]) -> int:
    """Run the attempt, then have it queued again, here or on another pool; the exit code."""
    square, run, command = Square.open(arguments[0]), arguments[1], arguments[3:]
    begun = launches.read(square, run)
    if begun.state == "cancelled":
        return 0
    launcher = LAUNCHERS[begun.on]
    done = attempt(square, begun, [command], launcher.terminate)
    print(f"{done.run}: {done.state}{f', {done.why}' if done.why else ''}", flush=True)
    if done.state != "again":
        return int(done.state == "failed")
    if done.place() == begun.place() and done.on in QUEUES:
        return launcher.again(done) or 0
    if done.on in QUEUES:
        LAUNCHERS[done.on].start(square, done)
        return 0
    release(square, run, "its pool is reached from elsewhere")
    why = f"{done.why}; the same `townsquare fleet launch` goes on from its last checkpoint"
    launches.write(square, dataclasses.replace(done, state="waiting", why=why))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
