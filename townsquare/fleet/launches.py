"""What was launched where: one record a run in the square, `launches/NAME/launch.json`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from townsquare.errors import ConfigError, InputError
from townsquare.fleet.config import LaunchConfig
from townsquare.fleet.meter import CPU
from townsquare.square import Square, make_config, write_json

ACTIVE = ("queued", "running", "again")


@dataclasses.dataclass(frozen=True)
class Launch:
    """A command of a run, and where it stands.

    `state` is queued, running, again (to be started anew), waiting (for a person or a lease), finished, failed or
    cancelled. `began_at_step` is the step that the attempt at work went on from; `fruitless` counts the attempts
    before it, one after another, that added no step.
    """

    run: str
    words: tuple[str, ...]
    """The command: what follows `townsquare`."""
    config: LaunchConfig
    on: str
    at: tuple[str, ...] = ()
    gpu: str | None = None
    """The GPU kind, CPU, or null: unknown."""
    gpus_per_host: int | None = None
    lease: str | None = None
    state: str = "queued"
    why: str | None = None
    job: str | None = None
    """The launcher's own name of it: a Slurm job's number, HOST:PROCESS."""
    attempts: int = 0
    began_at_step: int | None = None
    fruitless: int = 0

    @property
    def stage(self) -> str:
        return self.words[0]

    @property
    def hosts(self) -> int:
        """How many hosts it needs."""
        if self.on == "torchrun":
            return len(self.at)
        return math.ceil(self.config.gpus / self.gpus_per_host) if self.gpus_per_host else 1

    @property
    def processes_per_host(self) -> int:
        """One a GPU in training; one a host that spreads its work itself. Raises ConfigError."""
        if self.stage != "train":
            return 1
        if self.config.gpus % self.hosts:
            raise ConfigError(
                f"{self.config.gpus} GPUs cannot be spread evenly over {self.hosts} hosts",
                remedy=f"Ask for a multiple of {self.hosts}, or give another --gpus-per-host.",
            )
        return self.config.gpus // self.hosts

    @property
    def has_gpus(self) -> bool:
        return self.gpu != CPU

    def place(self) -> tuple[Any, ...]:
        """What makes two attempts run in the same place."""
        return self.on, self.at, self.gpu, self.gpus_per_host

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def option_of(words: Sequence[str], name: str) -> str | None:
    """What a command gives an option, as `--name base` or `--name=base`; None where it does not."""
    for word, following in zip(words, (*words[1:], ""), strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def folder_of(square: Square, run: str) -> Path:
    """Where a launch keeps its record, its batch or task file and what it prints."""
    return square.launches / run


def write(square: Square, launch: Launch) -> Launch:
    """Keep a launch as it stands now; returns it."""
    write_json(folder_of(square, launch.run) / "launch.json", launch.to_json())
    return launch


def read(square: Square, run: str) -> Launch:
    """The launch of a run. Raises InputError when there is none."""
    path = folder_of(square, run) / "launch.json"
    if not path.is_file():
        raise InputError(f"the run {run} was never launched here", remedy="See: townsquare fleet launches")
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    values["config"] = make_config(LaunchConfig, values["config"], place=str(path))
    return make_config(Launch, values, place=str(path))


def read_all(square: Square) -> list[Launch]:
    """Every launch of a square, by the run's name."""
    return [read(square, path.parent.name) for path in sorted(square.launches.glob("*/launch.json"))]
