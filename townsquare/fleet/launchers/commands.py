"""The command lines that launchers have in common: a stage, and torchrun around it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from townsquare.fleet.launches import Launch
from townsquare.square import Square

RAY = "townsquare.fleet.ray_cluster"


def stage_module(square: str, launch: Launch) -> list[str]:
    """Module and arguments that run the stage in one process; where it works on Ray, around it its Ray cluster."""
    stage = ["townsquare.cli", *launch.words, "--square", square]
    return [RAY, *stage] if launch.stage == "curate" and "ray" in " ".join(launch.words) else stage


def stage_command(square: Square, launch: Launch) -> list[str]:
    """The stage in one process of this Python."""
    return [sys.executable, "-m", *stage_module(str(square.root), launch)]


def torchrun_command(launch: Launch, module: Sequence[str], rendezvous: Sequence[str], python: str) -> list[str]:
    """torchrun on one host: as many processes as the host has for this launch, told to end within the grace time."""
    return [
        *(python, "-m", "torch.distributed.run", *rendezvous),
        f"--nproc-per-node={launch.processes_per_host}",
        f"--shutdown-timeout={launch.config.grace_seconds}",
        "-m",
        *module,
    ]


def attempted(square: Square, launch: Launch, command: Sequence[str]) -> list[str]:
    """A command as an attempt of its launch, which keeps the record and sees to what comes next."""
    return [sys.executable, "-m", "townsquare.fleet.launchers", str(square.root), launch.run, "--", *command]
