"""The public door: a run's model at its last checkpoint, and its vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from townsquare.errors import StaleError
from townsquare.model import adapters
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.square import Square
from townsquare.train.checkpoints import latest, load_checkpoint


def load_run(square: Square, name: str) -> Decoder:
    """The decoder at a run's last checkpoint, adapters merged into it.

    Raises StaleError when there is no checkpoint, InputError for a damaged one.
    """
    decoder = load_adapted(square, name)
    adapters.merge(decoder)
    return decoder


def adapter_of(square: Square, name: str) -> dict[str, Any] | None:
    """{"rank", "base"} of the adapters that a run trained: their rank, what they adapt; None for a run without."""
    path = square.runs / name / "adapter.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def load_adapted(square: Square, name: str) -> Decoder:
    """As `load_run`, with the adapters that the run trained, where it did, still beside the weights."""
    checkpoint = latest(square.runs / name / "checkpoints")
    if checkpoint is None:
        raise StaleError(f"the run {name} has no checkpoint", remedy=f"Run first: townsquare train --name {name}")
    record = json.loads((square.runs / name / "model.json").read_text(encoding="utf-8"))
    decoder = Decoder(ModelConfig.from_record(record))
    adapter = adapter_of(square, name)
    if adapter is not None:
        adapters.adapt(decoder, adapter["rank"])
    load_checkpoint(checkpoint, decoder)
    return decoder


def vocabulary_path(square: Square, name: str) -> Path:
    """The folder with the tokenizer.json that the run's model reads."""
    return square.runs / name / "vocabulary"


def first_steps(square: Square, name: str) -> dict[str, int]:
    """For every post of the run's shards the first step that reads it, -1 where none does.

    Raises StaleError when the run has no lineage.
    """
    path = square.runs / name / "lineage.arrow"
    if not path.is_file():
        raise StaleError(f"the run {name} is gone", remedy=f"Run first: townsquare train --name {name}")
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    return dict(zip(table["uid"].to_pylist(), table["first_step"].to_pylist(), strict=True))
