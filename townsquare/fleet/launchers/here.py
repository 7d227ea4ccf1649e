"""On this machine, in the foreground: one process, or several under torchrun."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys

from townsquare.fleet.attempt import attempt, terminate
from townsquare.fleet.launchers.commands import stage_command, stage_module, torchrun_command
from townsquare.fleet.launches import Launch
from townsquare.square import Square

NAME = "here"
__all__ = ["NAME", "again", "cancel", "shown", "standing", "start", "terminate"]


def start(square: Square, launch: Launch) -> Launch:
    """One attempt."""
    return attempt(square, launch, [_command(square, launch)])


def again(_launch: Launch) -> int | None:
    """It queues nothing."""
    return None


def _command(square: Square, launch: Launch) -> list[str]:
    if launch.processes_per_host == 1:
        return stage_command(square, launch)
    return torchrun_command(launch, stage_module(str(square.root), launch), ["--standalone"], sys.executable)


def shown(square: Square, launch: Launch) -> str:
    """The command."""
    return shlex.join(_command(square, launch))


def standing(launch: Launch) -> str | None:
    """`at work` while its process lives; also where that cannot be told, since it runs on another machine."""
    host, _, process = (launch.job or "").rpartition(":")
    if not host:
        return None
    if host != socket.gethostname():
        return f"at work on {host}, as far as known here"
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return None
    return "at work"


def cancel(launch: Launch) -> bool:
    """SIGTERM for the process that runs it, which passes it on; whether it is over at once."""
    host, _, process = (launch.job or "").rpartition(":")
    if host == socket.gethostname():
        os.kill(int(process), signal.SIGTERM)
    return False
