"""torchrun on hosts by name: their commands to run by hand, or run over ssh. The hosts share the square's folder.

Ranks are given, not found: the first host is the rendezvous endpoint, and each host knows its node rank.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

from townsquare.fleet import launches
from townsquare.fleet.attempt import Children, attempt
from townsquare.fleet.launchers import here
from townsquare.fleet.launchers.commands import attempted, stage_module, torchrun_command
from townsquare.fleet.launches import Launch
from townsquare.square import Square

NAME = "torchrun"
PORT = 29500  # torchrun's own default

again, terminate, standing, cancel = here.again, here.terminate, here.standing, here.cancel


def start(square: Square, launch: Launch) -> Launch:
    """One attempt over ssh; without ssh the commands are printed, and the first host's attempt keeps the record."""
    if not launch.config.ssh:
        print(shown(square, launch), flush=True)
        why = "each host's command is to be run on it"
        return launches.write(square, dataclasses.replace(launch, state="waiting", why=why))
    pids = [launches.folder_of(square, launch.run) / f"{host}.pid" for host in launch.at]
    commands = [
        ["ssh", "-o", "BatchMode=yes", host, _noting_its_process(pid, command)]
        for host, pid, command in zip(launch.at, pids, _commands(square, launch), strict=True)
    ]

    def stop(_children: Children) -> None:
        for host, pid in zip(launch.at, pids, strict=True):
            line = f"kill -TERM $(cat {shlex.quote(str(pid))})"
            subprocess.run(["ssh", "-o", "BatchMode=yes", host, line], check=False)

    return attempt(square, launch, commands, stop)


def _noting_its_process(pid: Path, command: list[str]) -> str:
    """A shell line that leaves its process's number in the square, for an ssh that ends takes no process with it."""
    return f"cd {shlex.quote(os.getcwd())} && echo $$ > {shlex.quote(str(pid))} && exec {shlex.join(command)}"


def _commands(square: Square, launch: Launch) -> list[list[str]]:
    """torchrun of each host."""
    module = stage_module(str(square.root), launch)
    return [
        torchrun_command(
            launch,
            module,
            [
                f"--nnodes={launch.hosts}",
                f"--node-rank={rank}",
                f"--master-addr={launch.at[0]}",
                f"--master-port={PORT}",
            ],
            sys.executable,
        )
        for rank in range(launch.hosts)
    ]


def shown(square: Square, launch: Launch) -> str:
    """Each host's command; that of the first also keeps the record of the launch."""
    first, *others = _commands(square, launch)
    lines = [attempted(square, launch, first), *others]
    return "\n".join(f"# on {host}\n{shlex.join(line)}" for host, line in zip(launch.at, lines, strict=True))
