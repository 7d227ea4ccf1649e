"""Checkpoints: weights, optimizer state and step, in safetensors; atomic, checked when read, kept by policy.

They hold every tensor whole, whatever the layout of the run, so that any layout goes on from them. Rank 0 takes
a snapshot in memory, and a thread of it writes the files while training goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from townsquare import receipts
from townsquare.errors import InputError
from townsquare.fleet.meter import Meter
from townsquare.model.decoder import Decoder
from townsquare.square import disk_errors_explained, write_atomically, write_json
from townsquare.train.layout import gathered, shared_like
from townsquare.train.optimizers import Optimizers
from townsquare.train.processes import ALONE, World

SCORES = "validation.jsonl"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One finished checkpoint on disk; `step` steps are done in it."""

    path: Path
    step: int


@dataclasses.dataclass(frozen=True)
class Keep:
    """Which checkpoints stay: the newest `last`, those of each `every` steps, and the one that scored best."""

    last: int = 2
    every: int | None = None

    def removed(self, found: list[Checkpoint], best: int | None) -> list[Checkpoint]:
        """Of the finished ones, oldest first, those that go."""
        return [
            checkpoint
            for checkpoint in found[: -self.last]
            if checkpoint.step != best and (self.every is None or checkpoint.step % self.every)
        ]


def finished(folder: Path) -> list[Checkpoint]:
    """The finished checkpoints, oldest first."""
    found = [Checkpoint(path, int(path.name.removeprefix("step-"))) for path in folder.glob("step-*")]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def latest(folder: Path) -> Checkpoint | None:
    """The newest finished checkpoint, or None."""
    return next(reversed(finished(folder)), None)


def best_step(run: Path) -> int | None:
    """The step whose checkpoint scored fewest bits per byte on held-out text while the run went on; None: none did."""
    path = run / SCORES
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    best = min(lines, key=lambda line: line["bits_per_byte"], default=None)
    return None if best is None else int(best["step"])


KEEP = Keep()


class Writer:
    """Saves a run's checkpoints, one at a time. Made by `writing`; every process of the run calls its methods."""

    def __init__(self, folder: Path, keep: Keep, world: World) -> None:
        self.folder, self._keep, self._world = folder, keep, world
        self._thread = ThreadPoolExecutor(1)
        self._pending: tuple[Future[None], Meter | None, dict[str, Any]] | None = None

    def save(self, decoder: Decoder, optimizers: Optimizers, state: dict[str, Any], meter: Meter | None) -> None:
        """Take a snapshot, once the one before is written, and have it written. `state` has the step."""
        self.wait()
        tensors = {
            "model": _snapshot(_weights(decoder), self._world.leads),
            "optimizer": _snapshot(optimizers.state(), self._world.leads),
        }
        if self._world.leads:
            used = meter.so_far() if meter is not None else {}
            future = self._thread.submit(write_checkpoint, self.folder, tensors, dict(state), self._keep)
            self._pending = (future, meter, used)

    def poll(self) -> None:
        """Take note of a checkpoint that has been written meanwhile. Raises StorageError where it could not be."""
        if self._pending is not None and self._pending[0].done():
            self.wait()

    def wait(self) -> None:
        """Until the checkpoint under way is on the disk. Raises StorageError where it cannot be."""
        if self._pending is None:
            return
        (future, meter, used), self._pending = self._pending, None
        future.result()
        if meter is not None:
            meter.saved(used)


@contextmanager
def writing(folder: Path, keep: Keep, world: World) -> Iterator[Writer]:
    """A writer whose last checkpoint is on the disk when the block ends, however it ends."""
    writer = Writer(folder, keep, world)
    try:
        yield writer
    finally:
        writer.wait()
    world.told()  # now every process finds it there


def write_checkpoint(folder: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any], keep: Keep) -> None:
    """Write a checkpoint beside the others, then remove those that are not to be kept.

    Raises StorageError on a full disk, the earlier checkpoints unharmed.
    """
    final, partial = folder / f"step-{state['step']:07d}", folder / f".partial-{state['step']:07d}"
    shutil.rmtree(partial, ignore_errors=True)
    with disk_errors_explained(folder):
        try:
            partial.mkdir(parents=True)
            digests = {}
            for name in list(tensors):
                content = save(tensors.pop(name))
                write_atomically(partial / f"{name}.safetensors", content)
                digests[f"{name}.safetensors"] = hashlib.sha256(content).hexdigest()
            write_json(partial / "state.json", {**state, "sha256": digests})
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    for old in keep.removed(finished(folder), best_step(folder.parent)):
        shutil.rmtree(old.path)


def load_checkpoint(
    checkpoint: Checkpoint, decoder: Decoder, optimizers: Optimizers | None = None, world: World = ALONE
) -> dict[str, Any]:
    """Put a checkpoint's weights (and optimizer state) back, as the run is laid out now; returns its state.json.

    Raises InputError where it is damaged.
    """
    state: dict[str, Any] = world.told(_verified(checkpoint) if world.leads else None)
    parameters = dict(decoder.named_parameters())
    with torch.no_grad():
        for name, whole in _tensors(checkpoint.path / "model.safetensors"):
            parameters[name].copy_(shared_like(whole, parameters[name]))
    if optimizers is not None:
        optimizers.load_state(_tensors(checkpoint.path / "optimizer.safetensors"))
    return state


def _verified(checkpoint: Checkpoint) -> dict[str, Any]:
    """state.json, once every file has the checksum that stands in it."""
    state: dict[str, Any] = json.loads((checkpoint.path / "state.json").read_text(encoding="utf-8"))
    for name, digest in state["sha256"].items():
        if receipts.sha256_of(checkpoint.path / name) != digest:
            raise InputError(
                "the checkpoint is damaged: its checksum does not match",
                place=str(checkpoint.path / name),
                remedy=f"Remove the folder {checkpoint.path} and run again from the one before.",
            )
    return state


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """A file's tensors, read one by one."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name)


def _weights(decoder: Decoder) -> Iterator[tuple[str, Tensor]]:
    """Every weight, whole; those that are tied once, under the embedding's name."""
    return ((name, gathered(parameter.detach())) for name, parameter in decoder.named_parameters())


def _snapshot(tensors: Iterator[tuple[str, Tensor]], keeps: bool) -> dict[str, Tensor]:
    """A copy in memory that later steps do not change. All processes gather; the one that `keeps` has the result."""
    taken = {}
    for name, whole in tensors:
        if keeps:
            taken[name] = whole.to("cpu", copy=True).contiguous()
    return taken
