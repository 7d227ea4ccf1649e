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
