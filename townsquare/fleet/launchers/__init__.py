"""How a launch's processes are started: one launcher a file.

`start` begins a launch, or an attempt of it, and returns it as it then stands: launchers that queue return at once,
the others when the attempt is over. `again` has a launcher that queues start the attempt at work anew, and returns the
exit code with which it must end; None: it queues nothing. `terminate` passes SIGTERM on to an attempt's processes.
`standing` is what the launcher says of a launch's job, None when it knows no such job; `cancel` has it stop at a
checkpoint, and says whether it is over at once; `shown` is what `start` would do, for a person to read.
"""

from __future__ import annotations

from typing import Protocol

from townsquare.fleet.attempt import Children
from townsquare.fleet.launchers import here, skypilot, slurm, torchrun
from townsquare.fleet.launches import Launch
from townsquare.square import Square


class Launcher(Protocol):
    """What a launcher's file offers."""

    NAME: str

    def start(self, square: Square, launch: Launch) -> Launch: ...

    def again(self, launch: Launch) -> int | None: ...

    def terminate(self, children: Children) -> None: ...

    def standing(self, launch: Launch) -> str | None: ...

    def cancel(self, launch: Launch) -> bool: ...

    def shown(self, square: Square, launch: Launch) -> str: ...


QUEUES = ("slurm", "skypilot")
LAUNCHERS: dict[str, Launcher] = {one.NAME: one for one in (here, torchrun, slurm, skypilot)}
