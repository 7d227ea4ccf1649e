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
    plot: Path | None = None
    """Where to draw the errors by group: a .png, .svg or .pdf file."""


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


@dataclasses.dataclass(frozen=True)
class GoodputConfig:
    """A long run on many GPUs, and what interrupts it."""

    gpus: int = 10_000
    """GPUs that train."""
    gpu: str = "H100 SXM"
    """The GPU kind, a row of hardware.csv: how many stand in a node."""
    days: float = 30.0
    """How long."""
    size: str = "70B"
    """Parameters: a checkpoint holds 14 bytes of each (bf16 weights; float32 weights and two moments)."""
    failures: str = "Llama 3"
    """A fleet of failures.csv, whose kinds and rates of interruption are taken."""
    failures_per_1000_gpu_days: float | None = None
    """A rate of your own, in that fleet's mix of kinds."""
    storage_gb_s: float = 57.5
    """Rate at which a checkpoint is written while training stands still (BLOOM: 2.3 TB in 40 s)."""
    interval_minutes: float | None = None
    """Work between checkpoints; without it, the best by simulation."""
    restart_minutes: float = 10.0
    """From an interruption to the next step (MegaScale, arXiv 2402.15627: found within 10, caught up within 15)."""
    repair_hours: float = 24.0
    """Mean time until a failed node is back as a spare; an assumption, for nobody publishes it."""
    spare_nodes: int | None = None
    """Nodes that stand by; without it, as many as suffice 99.9 % of the time."""
    recalls_per_30_days: float = 0.0
    """How often the lender takes the GPUs back for a while."""
    recall_hours: float = 24.0
    """How long the lender keeps them."""
    recall_notice_hours: float = 1.0
    """Notice of a recall; long enough for a checkpoint, no work is lost."""
    trials: int = 100
    """Simulated runs."""
    seed: int = 0
    """Of the random numbers."""

    def __post_init__(self) -> None:
        above = ("gpus", "days", "storage_gb_s", "restart_minutes", "repair_hours", "trials", "interval_minutes")
        for field in (*above, "failures_per_1000_gpu_days"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise ConfigError(f"{field} cannot be {value}", remedy="Give a number above zero.")
        for field in ("recalls_per_30_days", "recall_hours", "recall_notice_hours", "spare_nodes"):
            if (getattr(self, field) or 0) < 0:
                raise ConfigError(f"{field} cannot be {getattr(self, field)}", remedy="Give 0 or more.")
        parameters_of(self.size)


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """What is to be trained, by when, and which GPUs may be had."""

    gpu: tuple[str, ...] = ()
    """A GPU kind that may be had, a row of hardware.csv; repeat for more. Without any: those that --pool names, or
    A100, H100, H100 NVL, H200 and B200."""
    gpus: int | None = None
    """How many there are of each kind; without it, as many as the time asks for."""
    pool: tuple[str, ...] = ()
    """GPUs of one lender, as "H100 NVL=2000" or with a price, "H100 NVL=2000@1.90"; repeat for more: they are tried
    alone and together."""
    leases: bool = False
    """The leases of this square, with their prices, windows, ends and budgets."""
    size: str | None = None
    """The dial: a budget of parameters such as 70B. Without it and --model, the largest model that the time allows."""
    model: Path | None = None
    """A Hugging Face config.json, or the folder that holds it, instead of --size."""
    tokens: str | None = None
    """Tokens to train on, such as 15T, instead of 20 a parameter."""
    sequence_length: int | None = None
    """Tokens a row, with --model."""
    starts: str | None = None
    """First day (ISO date, UTC); without it, today."""
    by: str | None = None
    """Last day (ISO date, UTC)."""
    days: float | None = None
    """How long they are to be had, instead of --by."""
    goal: Literal["time", "cost"] | None = None
    """What is least, of the plans that are done in time; without it, the cost, or the time where there is no end."""
    number_type: Literal["bf16", "fp8"] = "bf16"
    """Number type of the layers' matrix products."""
    software: Literal["flash", "fused"] = "flash"
    """flash: PyTorch with flash attention, as ours. fused: a vendor's fused blocks (Megatron-Core, NeMo)."""
    calibrate: str | None = None
    """A run of your own: its name in this square, or a CSV of measured runs as `fleet validate` reads it."""
    failures: str = "Llama 3"
    """A fleet of failures.csv, whose rates of interruption are taken."""
    storage_gb_s: float = 57.5
    """Rate at which checkpoints are written (BLOOM: 2.3 TB in 40 s)."""
    between_pools_gb_s: float = 50.0
    """All that two lenders' sites exchange, each way (one link of 400 Gb/s; an assumption)."""
    usd_per_kwh: float = 0.08
    """Price of power, for buying (EIA: industry in the USA, 2024, 8.1 cents)."""
    resale_share: float = 0.7
    """Of the purchase price, when sold (H100 SXM: 33,700 USD new with its server in 2023, 22,000 to 25,000 used in
    2026)."""

    def __post_init__(self) -> None:
        if self.size is not None and self.model is not None:
            raise ConfigError("a plan has one model", remedy="Give --size or --model, not both.")
        if self.by is not None and self.days is not None:
            raise ConfigError("a plan has one end", remedy="Give --by or --days, not both.")
        if self.pool and (self.gpu or self.gpus):
            raise ConfigError("--pool says how many there are of which kind", remedy="Leave --gpu and --gpus out.")
        for field in ("gpus", "days", "sequence_length", "storage_gb_s", "between_pools_gb_s", "usd_per_kwh"):
            value = getattr(self, field)
            if value is not None and not value > 0:
                raise ConfigError(f"{field} cannot be {value}", remedy="Give a number above zero.")
        if not 0 <= self.resale_share <= 1:
            raise ConfigError(f"resale_share cannot be {self.resale_share}", remedy="Give a share from 0 to 1.")
        for size in (self.size, self.tokens):
            if size is not None:
                parameters_of(size)
        fixed = self.size is not None or self.model is not None
        if self.tokens is not None and not fixed:
            raise ConfigError("tokens without a model", remedy="Give --size or --model with --tokens.")
        bounded = self.gpus is not None or self.pool or self.leases
        if not (self.by or self.days) and not (fixed and bounded):
            raise ConfigError(
                "a plan needs an end in time",
                remedy="Give --by or --days; or --size (or --model) with --gpus, --pool or --leases.",
            )
