"""Settings of the train stage. What is left empty, the dial derives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from townsquare.errors import ConfigError
from townsquare.receipts import FREE


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    name: str = "base"
    """The run's name, a folder under runs/."""
    objective: Literal["pretrain", "tune", "prefer"] = "pretrain"
    """pretrain: documents. tune: the assistant's turns of conversations. prefer: the better of two replies, by DPO."""
    size: str = "6M"
    """The dial: a budget of parameters, such as 2M, 30M or 1B. Ignored when weights are given."""
    start_from: str | None = None
    """An earlier run whose last checkpoint this one starts from."""
    base: Path | None = None
    """A Hugging Face folder or a Llama-type GGUF file whose weights this run starts from."""
    adapter_rank: int | None = None
    """Train low-rank adapters of this rank beside frozen weights, such as 16, instead of the weights."""
    epochs: int = 4
    """How often the data may be seen, at most."""
    steps: int | None = None
    """Steps, instead of the dial's."""
    learning_rate: float | None = None
    """Peak learning rate, instead of the dial's."""
    sequence_length: int | None = None
    """Tokens a row, instead of the dial's; a row of preferences holds both conversations of a pair."""
    compile: bool = False
    """Compile the decoder: faster after a minute's start; needs a C++ compiler."""
    layout: str = dataclasses.field(default="", metadata=FREE)
    """How torchrun's processes share the model, such as shard=4,tensor=2 or replicate=2,shard=4; empty: all shard."""
    checkpoint_seconds: float = dataclasses.field(default=30.0, metadata=FREE)
    """Seconds between checkpoints; what is lost, at most, when the run is killed."""
    keep_last: int = dataclasses.field(default=2, metadata=FREE)
    """How many of the newest checkpoints to keep."""
    keep_every: int | None = dataclasses.field(default=None, metadata=FREE)
    """Save and keep a checkpoint every so many steps besides."""
    measure_every: int | None = dataclasses.field(default=None, metadata=FREE)
    """Measure bits per byte on held-out text every so many steps, and keep the checkpoint that scored best."""
    tensorboard: bool = dataclasses.field(default=False, metadata=FREE)
    """Write each step's figures for TensorBoard too, into the run's folder; needs the extra `track`."""
    seed: int = 1
    """Seed of the first weights and of the data's order."""

    def __post_init__(self) -> None:
        if self.start_from is not None and self.base is not None:
            raise ConfigError(
                "a run cannot start from both a run and a base", remedy="Give --start-from or --base, not both."
            )
        given = self.start_from is not None or self.base is not None
        for wish, why in ((self.objective == "prefer", "prefer"), (self.adapter_rank is not None, "adapter_rank")):
            if wish and not given:
                raise ConfigError(f"{why} needs weights to start from", remedy="Give --start-from or --base.")
        counts = ("adapter_rank", "epochs", "steps", "sequence_length", "keep_last", "keep_every", "measure_every")
        for field in (*counts, "learning_rate", "checkpoint_seconds"):
            value = getattr(self, field)
            if value is not None and value <= 0:
                raise ConfigError(f"{field} cannot be {value}", remedy="Give a number above zero.")
