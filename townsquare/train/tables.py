"""The public door: a run's model at its last checkpoint, and its vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

from townsquare.errors import StaleError
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.square import Square
from townsquare.train.checkpoints import latest, load_checkpoint


def load_run(square: Square, name: str) -> Decoder:
    """The decoder at a run's last checkpoint. Raises StaleError when it has none, InputError for a damaged one."""
    checkpoint = latest(square.runs / name / "checkpoints")
    if checkpoint is None:
        raise StaleError(f"the run {name} has no checkpoint", remedy=f"Run first: townsquare train --name {name}")
    record = json.loads((square.runs / name / "model.json").read_text(encoding="utf-8"))
    decoder = Decoder(ModelConfig.from_record(record))
    load_checkpoint(checkpoint, decoder)
    return decoder


def vocabulary_path(square: Square, name: str) -> Path:
    """The folder with the tokenizer.json that the run's model reads."""
    return square.runs / name / "vocabulary"
