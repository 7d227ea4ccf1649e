"""The loop: the same for every objective, which differ in their rows and in what they make of the tokens' losses.

It runs in one process or in many, which share the rows of a step and, by their layout, the model.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from townsquare import receipts
from townsquare.dial import Dial
from townsquare.errors import TownsquareError
from townsquare.fleet.meter import Meter
from townsquare.model.cost import training_flops_per_token
from townsquare.model.decoder import Decoder
from townsquare.progress import Bar
from townsquare.train.checkpoints import (
    KEEP,
    SCORES,
    Checkpoint,
    Keep,
    Writer,
    finished,
    latest,
    load_checkpoint,
    writing,
)
from townsquare.train.data import Batch, Order
from townsquare.train.layout import ONE, Layout, at_last_micro_batch, gathered
from townsquare.train.objectives import NextToken, Objective
from townsquare.train.optimizers import Optimizers, learning_rate_at
from townsquare.train.processes import ALONE, World
from townsquare.train.tracking import tracking

CLIP_NORM = 1.0
SPIKE = 3.0  # a loss above this many times its running mean is not learned from
PATIENCE = 3  # steps in a row that are not learned from, after which the weights go back to earlier ones
MOST_ROLLBACKS = 3
LOGITS_BYTES = 1 << 28  # float32 logits held at once
MICRO_TOKENS = 1 << 14
ROWS_OF_LOGITS = 512


class Interrupted(Exception):
    """The run was asked to stop, or its lease is at an end (`lease_ended`), and has saved where it was."""

    def __init__(self, message: str, *, lease_ended: bool = False) -> None:
        super().__init__(message)
        self.lease_ended = lease_ended


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Where a decoder computes, in which number type, and with which other processes."""

    number_type: torch.dtype
    device: torch.device
    world: World = ALONE
    layout: Layout = ONE


@dataclasses.dataclass
class Plan:
    """What the loop needs to know. `matmul_flops_per_second` is the measured rate of a process, the yardstick.

    `measure` gives bits per byte on held-out text, each `measure_every` steps. Only rank 0 has a meter.
    """

    dial: Dial
    folder: Path
    number_type: torch.dtype
    device: torch.device
    matmul_flops_per_second: float
    checkpoint_seconds: float
    should_stop: Callable[[], bool]
    meter: Meter | None = None
    objective: Objective = dataclasses.field(default_factory=NextToken)
    world: World = ALONE
    layout: Layout = ONE
    keep: Keep = KEEP
    measure: Callable[[Decoder], float | None] | None = None
    measure_every: int | None = None
    track_into: Path | None = None


@dataclasses.dataclass
class Learner:
    """What a step changes. `hidden` is `decoder.hidden`, or its compiled form."""

    decoder: Decoder
    hidden: Callable[..., Tensor]
    optimizers: Optimizers


@dataclasses.dataclass
class State:
    """What a run carries from step to step besides its weights; it stands in each checkpoint."""

    step: int = 0
    """Steps done."""
    mean_loss: float | None = None
    """Running mean of the losses that were learned from."""
    skipped_steps: int = 0
    """Steps that were not learned from."""
    skipped_in_a_row: int = 0
    """Of these, those since the last one that was."""
    rollbacks: int = 0
    """How often the weights were taken back to an earlier checkpoint's."""


def train(decoder: Decoder, hidden: Callable[..., Tensor], order: Order, plan: Plan, bar: Bar) -> State:
    """Run, or go on with, all steps of `plan.dial`; returns the last checkpoint's state.

    `hidden` is `decoder.hidden`, or its compiled form. Raises Interrupted after saving, when asked to stop,
    and StorageError, the last good checkpoint unharmed, when the disk is full.
    """
    dial, world = plan.dial, plan.world
    optimizers = Optimizers(decoder, dial.learning_rate, dial.weight_decay, plan.number_type)
    learner, state = Learner(decoder, hidden, optimizers), State()
    with writing(plan.folder / "checkpoints", plan.keep, world) as writer:
        go_on(learner, plan, state)
        bar.advance(state.step)
        saved_at = time.monotonic()
        log_path, track_into = plan.folder / "steps.jsonl", plan.track_into if world.leads else None
        with open_log(log_path, state.step, world) as log, tracking(track_into, state.step) as note:
            for step in range(state.step, dial.steps):
                record = one_step(learner, order.batch(step, plan.layout.share(world.rank)), plan, step, state)
                record |= roll_back(learner, plan, writer, state)
                if plan.meter is not None:
                    record |= plan.meter.step(step + 1, record["seconds"])
                log.write(json.dumps(record) + "\n")
                note(record)
                bar.advance(1, note=f"loss {record['loss']:.3f}  {record['tokens_per_second']:,.0f} tokens/s")
                why = plan.meter.why_stop() if plan.meter is not None else None
                late = time.monotonic() - saved_at > plan.checkpoint_seconds
                stopping, late = world.either(plan.should_stop() or why is not None, late)
                writer.poll()
                if stopping or late or is_due(plan, step + 1) or "rolled_back_to" in record:
                    writer.save(decoder, optimizers, dataclasses.asdict(state), plan.meter)
                    saved_at = time.monotonic()
                if stopping and step + 1 < dial.steps:
                    raise interrupted(plan, writer, state, why)
                if plan.measure_every is not None and (step + 1) % plan.measure_every == 0:
                    measure(decoder, plan, writer, state)
    return state


def is_due(plan: Plan, step: int) -> bool:
    """Whether a checkpoint is saved at this step whatever the clock says: the last, one to keep, one to be measured."""
    every = [n for n in (plan.keep.every, plan.measure_every) if n is not None]
    return step == plan.dial.steps or any(step % n == 0 for n in every)


def interrupted(plan: Plan, writer: Writer, state: State, why: str | None) -> Interrupted:
    """The end of a run that was asked to stop, once its checkpoint is on the disk."""
    writer.wait()
    why = plan.world.told(why)
    because = f": {why}" if why else ""
    return Interrupted(f"stopped after step {state.step} of {plan.dial.steps}{because}", lease_ended=bool(why))


def go_on(learner: Learner, plan: Plan, state: State) -> None:
    """Put back the newest checkpoint, where there is one."""
    found = plan.world.told(latest(plan.folder / "checkpoints") if plan.world.leads else None)
    if found is not None:
        put_back(learner, plan, state, found)
        state.step = found.step


def put_back(learner: Learner, plan: Plan, state: State, found: Checkpoint) -> None:
    """A checkpoint's weights, optimizer state, running mean and counts."""
    kept = load_checkpoint(found, learner.decoder, learner.optimizers, plan.world)
    for field in dataclasses.fields(State):
        setattr(state, field.name, kept[field.name])


def roll_back(learner: Learner, plan: Plan, writer: Writer, state: State) -> dict[str, Any]:
    """After `PATIENCE` steps in a row that could not be learned from, take earlier weights and later rows.

    Weights that were the same at the newest checkpoint are no help: it is one from before that. The rows that were in
    the way are left behind, as in PaLM (Chowdhery et al., 2022, arXiv 2204.02311). Raises TownsquareError
    after `MOST_ROLLBACKS`. Returns what the step's record says of it.
    """
    if state.skipped_in_a_row < PATIENCE:
        return {}
    if state.rollbacks == MOST_ROLLBACKS:
        writer.wait()
        raise TownsquareError(
            f"the loss could not be learned from: {PATIENCE} steps in a row up to step {state.step}, "
            f"after {state.rollbacks} returns to earlier weights",
            place=str(plan.folder),
            remedy="Train anew with a smaller --learning-rate, with --replace; see loss in steps.jsonl.",
        )
    writer.wait()
    world, now = plan.world, dataclasses.replace(state)
    earlier = [one for one in finished(writer.folder) if one.step < state.step - PATIENCE] if world.leads else None
    found = next(reversed(world.told(earlier)), None)
    if found is not None:
        put_back(learner, plan, state, found)
    state.step, state.skipped_steps = now.step, now.skipped_steps
    state.skipped_in_a_row, state.rollbacks = 0, now.rollbacks + 1
    return {"rolled_back_to": found.step if found is not None else None}


def measure(decoder: Decoder, plan: Plan, writer: Writer, state: State) -> None:
    """Bits per byte on held-out text, noted beside the checkpoints; the one of this step is on the disk before."""
    writer.wait()
    assert plan.measure is not None
    found = plan.measure(decoder)
    if plan.world.leads and found is not None:
        with (plan.folder / SCORES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.step, "bits_per_byte": found}) + "\n")


def open_log(path: Path, steps: int, world: World = ALONE) -> TextIO:
    """steps.jsonl, cut to the first `steps` lines (later ones were lost with the run that wrote them).

    Only rank 0 writes it.
    """
    if not world.leads:
        return Path(os.devnull).open("a", encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    path.write_text("".join(lines[:steps]), encoding="utf-8")
    return path.open("a", encoding="utf-8", buffering=1)  # a killed run's last steps are known by their lines


def one_step(learner: Learner, batch: Batch, plan: Plan, step: int, state: State) -> dict[str, Any]:
    """One step: all micro-batches' gradients, then the update, unless the loss is not to be trusted.

    `batch` has this process's rows; loss, gradients and counts are those of the whole step.
    """
    started = time.monotonic()
    dial, optimizers = plan.dial, learner.optimizers
    terms, tokens = summed(plan, plan.objective.count(batch), int((batch.segment >= 0).sum()))
    total = accumulate(learner, batch, plan, max(terms, 1))
    norm = float(gathered(torch.nn.utils.clip_grad_norm_(learner.decoder.parameters(), CLIP_NORM)))
    mean = state.mean_loss
    calm = mean is None or total < SPIKE * max(mean, plan.objective.ordinary_loss)
    trusted = math.isfinite(total) and math.isfinite(norm) and calm
    rate = learning_rate_at(
        step, peak=dial.learning_rate, steps=dial.steps, warmup=dial.warmup_steps, decay=dial.decay_steps
    )
    if trusted:
        optimizers.set_learning_rate(rate)
        optimizers.step()
        state.mean_loss = total if mean is None else 0.95 * mean + 0.05 * total
        state.skipped_in_a_row = 0
    else:
        state.skipped_steps += 1
        state.skipped_in_a_row += 1
    optimizers.zero_grad()
    state.step = step + 1
    seconds = time.monotonic() - started
    size = batch.ids.size * plan.layout.share(plan.world.rank)[1]
    flops = training_flops_per_token(dial.model, batch.ids.shape[1]) * size / seconds
    return {
        "step": step + 1,
        "loss": total,
        "learning_rate": rate,
        "gradient_norm": norm,
        "skipped": not trusted,
        "tokens": int(tokens),
        "tokens_per_second": size / seconds,
        "flops_per_second": flops,
        "utilisation": flops / (plan.matmul_flops_per_second * plan.world.size),
        "peak_memory_bytes": receipts.peak_memory_bytes(),
        "seconds": seconds,
    }


def accumulate(learner: Learner, batch: Batch, plan: Plan, terms: float) -> float:
    """The gradients of a step's loss, a mean over `terms`, micro-batch by micro-batch; returns the loss."""
    total = 0.0
    parts = list(micro_batches(batch, plan.dial.model.vocab_size))
    with plan.layout.loss_context():
        for number, part in enumerate(parts, 1):
            at_last_micro_batch(learner.decoder, number == len(parts))
            losses = token_losses(learner.decoder, learner.hidden, part, plan)
            loss = plan.objective.summed_loss(losses, part) / terms
            loss.backward()
            total += loss.item()
    return summed(plan, total)[0]


def summed(numbers: Plan | Numbers, *values: float) -> list[float]:
    """Each value summed over the processes that have rows of their own."""
    return [value / numbers.layout.tensor for value in numbers.world.sums(*values)]


def micro_batches(batch: Batch, vocabulary_size: int) -> Iterable[Batch]:
    """The batch in parts of as many rows as memory should hold at once."""
    tokens = min(MICRO_TOKENS, LOGITS_BYTES // (4 * vocabulary_size))
    rows = max(tokens // batch.ids.shape[1], 1)
    return (batch.part(start, start + rows) for start in range(0, len(batch.ids), rows))


def token_losses(decoder: Decoder, hidden: Callable[..., Tensor], batch: Batch, plan: Plan | Numbers) -> Tensor:
    """(N,): cross-entropy in nats of every target that counts, row by row."""
    device = plan.device
    ids, positions, targets = (torch.from_numpy(a).to(device) for a in (batch.ids, batch.positions, batch.targets))
    counts = torch.from_numpy(batch.counts).to(device).view(-1)
    with torch.autocast(device.type, dtype=plan.number_type, enabled=plan.number_type == torch.bfloat16):
        out = hidden(ids, positions, attention_mask(batch.segment, device))
        chosen = counts.nonzero().flatten()
        # Rounded up: a shape of its own for every step fills the matrix library's cache, gigabytes in minutes.
        rows = max(-(-len(chosen) // ROWS_OF_LOGITS), 1) * ROWS_OF_LOGITS
        padded = F.pad(chosen, (0, rows - len(chosen)))
        logits = decoder.lm_head(out.flatten(0, 1)[padded])
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return gathered(F.cross_entropy(exact, targets.view(-1)[padded], reduction="none"))[: len(chosen)]


def attention_mask(segment: np.ndarray, device: torch.device) -> Tensor:
    """(B, 1, T, T), true where a position may look: backwards, inside its own piece."""
    numbers = torch.from_numpy(segment).to(device)
    same = numbers[:, :, None] == numbers[:, None, :]
    return same.tril_()[:, None]


def number_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32.

    It follows from what the machine is, not from how fast it is at the moment, so that runs repeat.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported()
    else:
        native = any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)
    return torch.bfloat16 if native else torch.float32


def measure_matmul(kind: torch.dtype, device: torch.device) -> float:
    """FLOP/s of a plain matrix product of 4096 × 1024 × 2048 on this machine: the yardstick of utilisation."""
    a = torch.randn(4096, 1024, device=device).to(kind)
    b = torch.randn(1024, 2048, device=device).to(kind)
    best = 0.0
    for _ in range(5):
        started = time.monotonic()
        for _ in range(3):
            out = a @ b
        float(out[0, 0])
        best = max(best, 3 * 2 * 4096 * 1024 * 2048 / (time.monotonic() - started))
    return best


@torch.no_grad()
def bits(decoder: Decoder, batches: Iterable[Batch], plan: Plan | Numbers) -> tuple[float, int]:
    """Total cross-entropy in bits, and how many tokens it was taken over, of the rows of all processes."""
    total, tokens = 0.0, 0
    with plan.layout.loss_context():
        for batch in batches:
            for part in micro_batches(batch, decoder.config.vocab_size):
                total += float(token_losses(decoder, decoder.hidden, part, plan).sum())
                tokens += int(part.counts.sum())
    nats, count = summed(plan, total, tokens)
    return nats / math.log(2), int(count)
