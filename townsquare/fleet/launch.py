"""The door of launching: a stage's command, on whatever machines, until it is done or needs a person."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from townsquare.errors import ConfigError, LockedError
from townsquare.fleet import launches
from townsquare.fleet.attempt import placed
from townsquare.fleet.charging import steps_done
from townsquare.fleet.config import LaunchConfig
from townsquare.fleet.launchers import LAUNCHERS
from townsquare.fleet.launches import Launch, option_of
from townsquare.fleet.leases import release
from townsquare.square import Square

STAGES = ("train", "curate")
OURS = ("--square", "-s", "--lease")


def launch(square: Square, config: LaunchConfig, words: Sequence[str]) -> Launch:
    """Start the command `townsquare WORDS`, or go on with it; where it runs here, until it needs no further attempt.

    Raises ConfigError, LeaseError where no lease gives what it asks for, LockedError when it is at work already.
    """
    asked = _asked(square, config, words)
    if config.dry_run:
        print(LAUNCHERS[asked.on].shown(square, asked), flush=True)
        return asked
    first = placed(square, asked)
    done = LAUNCHERS[first.on].start(square, launches.write(square, first))
    while done.state == "again":
        done = LAUNCHERS[done.on].start(square, done)
    return done


def _asked(square: Square, config: LaunchConfig, words: Sequence[str]) -> Launch:
    """The launch that a command asks for. Raises ConfigError, LockedError."""
    if not words or words[0] not in STAGES:
        raise ConfigError(
            f"{words[0] if words else 'nothing'} cannot be launched", remedy="Launch one of: " + ", ".join(STAGES)
        )
    for word in words:
        if word.partition("=")[0] in OURS:
            raise ConfigError(f"{word} belongs to the launch", remedy="Give it before the -- that precedes the stage.")
    run = (option_of(words, "--name") or "base") if words[0] == "train" else words[0]
    if (launches.folder_of(square, run) / "launch.json").is_file():
        before = launches.read(square, run)
        if before.state in launches.ACTIVE and LAUNCHERS[before.on].standing(before) is not None:
            raise LockedError(
                f"the run {run} is launched already: {before.job} on {before.on}",
                remedy=f"Wait, or stop it: townsquare fleet cancel {run}",
            )
    return Launch(run, tuple(words), config, config.on or "here", config.at, config.gpu, config.gpus_per_host)


def cancel(square: Square, run: str) -> Launch:
    """Stop a launch at a checkpoint, and give back what it holds. Raises InputError when there is none."""
    found = launches.read(square, run)
    at_work = found.state in launches.ACTIVE and LAUNCHERS[found.on].standing(found) is not None
    stopped = launches.write(square, dataclasses.replace(found, state="cancelled", why="cancelled by hand"))
    over = LAUNCHERS[found.on].cancel(found) if at_work else True
    if over and found.config.lease is not None:
        release(square, run, "the launch is cancelled")
    return stopped


def standing(square: Square) -> list[dict[str, Any]]:
    """Where every launch stands: its record, its steps in checkpoints, and what its launcher says of it."""
    return [
        launch.to_json()
        | {
            "steps": steps_done(square.runs / launch.run),
            "launcher_says": LAUNCHERS[launch.on].standing(launch) if launch.state in launches.ACTIVE else None,
        }
        for launch in launches.read_all(square)
    ]
