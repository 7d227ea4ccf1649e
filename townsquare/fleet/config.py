"""Settings of the fleet commands."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from townsquare.dial import parameters_of
from townsquare.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class EstimateConfig:
    """What is to be trained, on what, in how long."""

    gpu: str = "H100 SXM"
    """The GPU kind, a row of hardware.csv."""
    gpus: int = 10_000
    """How many there are."""
    days: float = 30.0
    """How long they are lent: without --size or --model, the largest model that fits in is sought."""
    size: str | None = None
    """The dial: a budget of parameters such as 70B, instead of the largest that the days allow."""
    model: Path | None = None
    """A Hugging Face config.json, or the folder that holds it, instead of --size."""
    tokens: str | None = None
    """Tokens to train on, such as 15T, instead of the dial's 20 a parameter."""
    sequence_length: int | None = None
    """Tokens a row, instead of the dial's 2,048, with --model."""
    run: str | None = "base"
    """A run of this square to compare with; its vocabulary is used. Passed over when there is none."""
    number_type: Literal["bf16", "fp8"] = "bf16"
    """Number type of the layers' matrix products."""
    software: Literal["flash", "fused"] = "flash"
    """flash: PyTorch with flash attention, as ours. fused: a vendor's fused blocks (Megatron-Core, NeMo)."""
    price_usd_per_gpu_hour: float | None = None
    """Price, instead of hardware.csv's."""

    def __post_init__(self) -> None:
        if self.size is not None and self.model is not None:
            raise ConfigError("an estimate has one model", remedy="Give --size or --model, not both.")
        for field in ("gpus", "days", "sequence_length", "price_usd_per_gpu_hour"):
            value = getattr(self, field)
            if value is not None and value <= 0:
                raise ConfigError(f"{field} cannot be {value}", remedy="Give a number above zero.")
        if self.size is not None:
            parameters_of(self.size)
        if self.tokens is not None:
            parameters_of(self.tokens)


@dataclasses.dataclass(frozen=True)
class ValidateConfig:
    """Which published runs the estimates are held against."""

    runs: Path | None = None
    """A CSV of measured training runs: shape, batch, layout, GPU kind and step_time_s in columns of those names."""
    memory: Path | None = None
    """A CSV of runs whose memory was measured, mem_gib and oom (yes where it ran out) among its columns."""


PURPOSES = ("train", "tune", "evaluate", "serve")
"""What lent GPUs may be used for."""

Launcher = Literal["here", "torchrun", "slurm", "skypilot"]
"""How processes are started: each a file of launchers/."""


@dataclasses.dataclass(frozen=True)
class PoolConfig:
    """GPUs that one lender has, of one kind."""

    id: str | None = None
    """A short name for the pool."""
    lender: str | None = None
    """Who lends them: the company's name, as its statements shall say it."""
    gpu: str | None = None
    """The GPU kind, a row of hardware.csv; or CPU."""
    gpus: int | None = None
    """How many there are."""
    on: Launcher = "here"
    """How a run is launched on them: here, torchrun, slurm or skypilot."""
    at: tuple[str, ...] = ()
    """Where: hosts for torchrun (repeat), a partition for slurm, infra such as k8s or aws/us-east-1 for skypilot."""
    gpus_per_host: int | None = None
    """GPUs of one host; all of the pool's where left out."""
    file: Path | None = None
    """A TOML file of [[pool]] tables with these fields, instead of the options."""


@dataclasses.dataclass(frozen=True)
class LeaseConfig:
    """The terms on which GPUs of a pool are lent."""

    id: str | None = None
    """A short name for the lease."""
    pool: str | None = None
    """The pool."""
    gpus: int | None = None
    """How many of its GPUs."""
    starts: str | None = None
    """First day (ISO date, UTC)."""
    ends: str | None = None
    """Last day, inclusive."""
    window: tuple[str, ...] = ()
    """Hours of the week (UTC) in which they are lent, as "Mon-Fri 20:00-08:00"; repeat for more; none is always."""
    priority: int = 0
    """A run that asks is given the lease of the highest priority that fits, then the cheapest."""
    recall_notice_hours: float = 0.0
    """Hours between the lender's recall and the time at which the GPUs must be free."""
    price_usd_per_gpu_hour: float | None = None
    """Price; of a lease in kind, the value that both agreed on."""
    in_kind: bool = False
    """Lent without payment: statements show the value, and nothing due."""
    charge: Literal["reserved", "running"] = "running"
    """running: GPU-hours in training steps, lost ones included. reserved: every GPU-hour of the windows."""
    budget_gpu_hours: float | None = None
    """GPU-hours at which a run stops at a checkpoint."""
    budget_usd: float | None = None
    """Dollars at which a run stops at a checkpoint."""
    purpose: tuple[str, ...] = ()
    """What they may be used for: train, tune, evaluate or serve; repeat for more; none is all."""
    file: Path | None = None
    """A TOML file of [[lease]] tables with these fields (windows and purposes as lists), instead of the options."""


@dataclasses.dataclass(frozen=True)
class AskConfig:
    """What a run asks for."""

    run: str = "base"
    """The run's name."""
    gpus: int = 1
    """How many GPUs."""
    gpu: str | None = None
    """The GPU kind; any where left out."""
    gpu_hours: float | None = None
    """GPU-hours that it needs: a lease whose budget or time does not reach is passed over."""
    purpose: str = "train"
    """train, tune, evaluate or serve."""
    lease: str | None = None
    """One lease by its id, instead of the best that fits."""

    def __post_init__(self) -> None:
        if self.gpus < 1 or (self.gpu_hours is not None and self.gpu_hours <= 0):
            raise ConfigError("a run asks for at least one GPU and some time", remedy="Give numbers above zero.")
        if self.purpose not in PURPOSES:
            raise ConfigError(f"purpose cannot be {self.purpose!r}", remedy="Known: " + ", ".join(PURPOSES))


@dataclasses.dataclass(frozen=True)
class LaunchConfig:
    """Where a command runs, and what it needs there."""

    on: Launcher | None = None
    """here, torchrun, slurm or skypilot; with --lease, what the lent pool says."""
    at: tuple[str, ...] = ()
    """Hosts for torchrun (repeat), a partition for slurm, infra for skypilot; with --lease, what the lent pool says."""
    lease: str | None = None
    """The lease whose GPUs it uses, or `any` that fits: also a later one, when this one ends or is recalled."""
    gpus: int = 1
    """GPUs, of which each has a process of its own; processes where there is no GPU."""
    gpus_per_host: int | None = None
    """GPUs used on one host; with --lease, what the lent pool says."""
    gpu: str | None = None
    """The GPU kind; any where left out."""
    gpu_hours: float | None = None
    """GPU-hours that it needs: a lease whose budget or time does not reach is passed over."""
    hours: float | None = None
    """Time limit of one Slurm job; at its end the run saves a checkpoint and the job is queued again."""
    grace_seconds: int = 120
    """Seconds before Slurm's time limit at which a run is told to save a checkpoint, and that torchrun leaves it."""
    ssh: bool = False
    """Start torchrun on its hosts over ssh, instead of printing each host's command."""
    store: str | None = None
    """Where SkyPilot's hosts find the square: the name of a SkyPilot volume, or a bucket such as s3://NAME."""
    setup: str | None = None
    """Shell line that SkyPilot runs once on each new host, such as: pip install townsquare."""
    dry_run: bool = False
    """Write the batch or task file and show the commands; start nothing."""

    def __post_init__(self) -> None:
        for field in ("gpus", "gpus_per_host", "gpu_hours", "hours", "grace_seconds"):
            value = getattr(self, field)
            if value is not None and value <= 0:
                raise ConfigError(f"{field} cannot be {value}", remedy="Give a number above zero.")
        if self.lease is not None and (self.on or self.at or self.gpus_per_host):
            raise ConfigError(
                "a lease says itself where its GPUs are", remedy="Leave out --on, --at and --gpus-per-host, or --lease."
            )
        if self.lease is not None and self.dry_run:
            raise ConfigError("a dry run asks no lease", remedy="Give --on and --at instead of --lease.")
        if self.on in ("torchrun", "slurm") and not self.at:
            what = "a host each" if self.on == "torchrun" else "the partition"
            raise ConfigError(f"{self.on} needs to know where", remedy=f"Give --at, {what}.")


@dataclasses.dataclass(frozen=True)
class StatementConfig:
    """Whose statement, of which days."""

    lender: str | None = None
    """The lender; without it, every lender's statement is written."""
    starts: str | None = None
    """First day (ISO date, UTC); without it, the first of this month."""
    ends: str | None = None
    """Last day, inclusive; without it, today."""
