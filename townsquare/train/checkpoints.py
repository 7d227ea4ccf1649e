"""Checkpoints: weights, optimizer state and step, in safetensors; atomic, checked when read, the last few kept."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from townsquare import receipts
from townsquare.errors import InputError
from townsquare.model.decoder import Decoder
from townsquare.square import disk_errors_explained, write_atomically, write_json
from townsquare.train.optimizers import Optimizers

KEEP = 2


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One finished checkpoint on disk; `step` steps are done in it."""

    path: Path
    step: int


def latest(folder: Path) -> Checkpoint | None:
    """The newest finished checkpoint, or None."""
    found = [Checkpoint(path, int(path.name.removeprefix("step-"))) for path in folder.glob("step-*")]
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)


def save_checkpoint(folder: Path, decoder: Decoder, optimizers: Optimizers, step: int, extra: dict[str, Any]) -> None:
    """Write a checkpoint beside the others, then remove all but the newest few.

    Raises StorageError on a full disk, the earlier checkpoints unharmed.
    """
    final, partial = folder / f"step-{step:07d}", folder / f".partial-{step:07d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with disk_errors_explained(folder):
        try:
            weights = _untied(decoder)
            for name, tensors in (("model", weights), ("optimizer", optimizers.state())):
                write_atomically(partial / f"{name}.safetensors", save(tensors))
            digests = {path.name: receipts.sha256_of(path) for path in sorted(partial.glob("*.safetensors"))}
            write_json(partial / "state.json", {"step": step, "sha256": digests, **extra})
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old)


def load_checkpoint(checkpoint: Checkpoint, decoder: Decoder, optimizers: Optimizers | None = None) -> dict[str, Any]:
    """Put a checkpoint's weights (and optimizer state) back; returns its state.json. Raises InputError."""
    state: dict[str, Any] = json.loads((checkpoint.path / "state.json").read_text(encoding="utf-8"))
    for name, digest in state["sha256"].items():
        if receipts.sha256_of(checkpoint.path / name) != digest:
            raise InputError(
                "the checkpoint is damaged: its checksum does not match",
                place=str(checkpoint.path / name),
                remedy=f"Remove the folder {checkpoint.path} and run again from the one before.",
            )
    weights = load_file(checkpoint.path / "model.safetensors")
    if decoder.config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    decoder.load_state_dict(weights)
    if optimizers is not None:
        optimizers.load_state(load_file(checkpoint.path / "optimizer.safetensors"))
    return state


def _untied(decoder: Decoder) -> dict[str, Tensor]:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in decoder.state_dict().items()}
    if decoder.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    return weights
