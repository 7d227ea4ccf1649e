"""Slurm: a batch file in the square, submitted by sbatch; one task a process.

SIGTERM reaches the batch script some seconds before the time limit (`--signal=B:`). The attempt in it passes the signal
on to the ranks, they save a checkpoint, and the job goes back into the queue, of another partition where the lease is
over and another pool has one. The loss of a host Slurm answers itself, with a requeue.
"""

from __future__ import annotations

import dataclasses
import math
import os
import shlex
import subprocess

from townsquare.errors import ConfigError, TownsquareError
from townsquare.fleet import launches
from townsquare.fleet.launchers.commands import attempted, stage_command
from townsquare.fleet.launches import Launch
from townsquare.square import Square, write_atomically

NAME = "slurm"
FIRST_PORT, PORTS = 20_000, 12_000  # below the ports that systems hand out

RANKS = (
    "export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS "
    'LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE; exec "$@"'
)
"""What torchrun tells a process, from what Slurm tells it."""


def batch_file(square: Square, launch: Launch) -> str:
    """The batch script of a launch."""
    options = {
        "job-name": f"townsquare-{launch.run}",
        "partition": launch.at[0],
        "nodes": launch.hosts,
        "ntasks-per-node": launch.processes_per_host,
        "gpus-per-node": math.ceil(launch.config.gpus / launch.hosts) if launch.has_gpus else None,
        "time": math.ceil(launch.config.hours * 60) if launch.config.hours else None,
        "signal": f"B:TERM@{launch.config.grace_seconds}",
        "open-mode": "append",
        "output": launches.folder_of(square, launch.run) / "slurm-%j.out",
    }
    ranks = ["srun", "--kill-on-bad-exit=1", "bash", "-c", RANKS, "rank", *stage_command(square, launch)]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None),
            "#SBATCH --requeue",
            'export MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"',
            f'export MASTER_PORT="$(({FIRST_PORT} + SLURM_JOB_ID % {PORTS}))"',
            f"exec {shlex.join(attempted(square, launch, ranks))}",
            "",
        ]
    )


def start(square: Square, launch: Launch) -> Launch:
    """Submit the batch file. Raises ConfigError where Slurm's commands are not, TownsquareError where it refuses."""
    path = launches.folder_of(square, launch.run) / "job.sbatch"
    write_atomically(path, batch_file(square, launch).encode())
    queued = launches.write(square, dataclasses.replace(launch, state="queued", job=None))
    job = _slurm("sbatch", "--parsable", str(path)).partition(";")[0]
    # The job may have begun, and written its own state; only its number is added.
    return launches.write(square, dataclasses.replace(launches.read(square, launch.run), job=job, on=queued.on))


def again(launch: Launch) -> int | None:
    """Put the job at work back into the queue; the exit code to end it with."""
    _slurm("scontrol", "requeue", str(launch.job))
    return 0


def terminate(_children: object) -> None:
    """SIGTERM for every rank of the job that this process is in: srun itself would kill them."""
    _slurm("scancel", "--signal=TERM", os.environ["SLURM_JOB_ID"])


def standing(launch: Launch) -> str | None:
    """Slurm's word for the job's state."""
    if launch.job is None:
        return None
    try:
        return _slurm("squeue", "--noheader", "--jobs", launch.job, "--format=%T") or None
    except TownsquareError:  # it has forgotten the job
        return None


def cancel(launch: Launch) -> bool:
    """Take the job out of the queue, or have it stop at a checkpoint; whether it is over at once."""
    job = str(launch.job)
    if standing(launch) == "PENDING":
        _slurm("scancel", job)
        return True
    _slurm("scancel", "--batch", "--signal=TERM", job)
    return False


def shown(square: Square, launch: Launch) -> str:
    """The batch file."""
    return batch_file(square, launch)


def _slurm(*command: str) -> str:
    """What a command of Slurm prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ConfigError(
            f"Slurm's command {command[0]} is not on this machine",
            remedy="Launch from a login node of the cluster, or write the file with --dry-run.",
        ) from None
    if done.returncode:
        raise TownsquareError(
            f"{command[0]} refused: {done.stderr.strip()}", remedy="Mend what it says, and run the same command again."
        )
    return done.stdout.strip()
