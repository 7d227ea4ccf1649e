"""The loop: the same for every objective, which differ in their rows and in what they make of the tokens' losses."""

from __future__ import annotations

import dataclasses
import json
import math
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
from townsquare.fleet.meter import Meter
from townsquare.model.cost import training_flops_per_token
from townsquare.model.decoder import Decoder
from townsquare.progress import Bar
from townsquare.train.checkpoints import latest, load_checkpoint, save_checkpoint
from townsquare.train.data import Batch, Order
from townsquare.train.objectives import NextToken, Objective
from townsquare.train.optimizers import Optimizers, learning_rate_at

CLIP_NORM = 1.0
SPIKE = 3.0  # a loss above this many times its running mean is not learned from
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
    """Where a decoder computes, and in which number type."""

    number_type: torch.dtype
    device: torch.device


@dataclasses.dataclass
class Plan:
    """What the loop needs to know. `matmul_flops_per_second` is this machine's measured rate, the yardstick."""

    dial: Dial
    folder: Path
    number_type: torch.dtype
    device: torch.device
    matmul_flops_per_second: float
    checkpoint_seconds: float
    should_stop: Callable[[], bool]
    meter: Meter | None = None
    objective: Objective = dataclasses.field(default_factory=NextToken)


@dataclasses.dataclass
class Learner:
    """What a step changes. `hidden` is `decoder.hidden`, or its compiled form."""

    decoder: Decoder
    hidden: Callable[..., Tensor]
    optimizers: Optimizers


def train(decoder: Decoder, hidden: Callable[..., Tensor], order: Order, plan: Plan, bar: Bar) -> dict[str, Any]:
    """Run, or go on with, all steps of `plan.dial`; returns the last checkpoint's state.

    `hidden` is `decoder.hidden`, or its compiled form. Raises Interrupted after saving, when asked to stop.
    """
    dial = plan.dial
    optimizers = Optimizers(decoder, dial.learning_rate, dial.weight_decay)
    learner = Learner(decoder, hidden, optimizers)
    checkpoints = plan.folder / "checkpoints"
    start, state = 0, {"mean_loss": None, "skipped_steps": 0}
    found = latest(checkpoints)
    if found is not None:
        state = load_checkpoint(found, decoder, optimizers)
        start = found.step
        bar.advance(start)
    saved_at = time.monotonic()
    with open_log(plan.folder / "steps.jsonl", start) as log:
        for step in range(start, dial.steps):
            record = one_step(learner, order.batch(step), plan, step, state)
            if plan.meter is not None:
                record |= plan.meter.step(step + 1, record["seconds"])
            log.write(json.dumps(record) + "\n")
            bar.advance(1, note=f"loss {record['loss']:.3f}  {record['tokens_per_second']:,.0f} tokens/s")
            why = plan.meter.why_stop() if plan.meter is not None else None
            stopping = plan.should_stop() or why is not None
            due = time.monotonic() - saved_at > plan.checkpoint_seconds
            if stopping or due or step + 1 == dial.steps:
                log.flush()
                kept = {key: state[key] for key in ("mean_loss", "skipped_steps")}
                save_checkpoint(checkpoints, decoder, optimizers, step + 1, kept)
                if plan.meter is not None:
                    plan.meter.saved(step + 1)
                saved_at = time.monotonic()
            if stopping and step + 1 < dial.steps:
                because = f": {why}" if why else ""
                raise Interrupted(f"stopped after step {step + 1} of {dial.steps}{because}", lease_ended=bool(why))
    return state


def open_log(path: Path, steps: int) -> TextIO:
    """steps.jsonl, cut to the first `steps` lines (later ones were lost with the run that wrote them)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    path.write_text("".join(lines[:steps]), encoding="utf-8")
    return path.open("a", encoding="utf-8", buffering=1)  # a killed run's last steps are known by their lines


def one_step(learner: Learner, batch: Batch, plan: Plan, step: int, state: dict[str, Any]) -> dict[str, Any]:
    """One step: all micro-batches' gradients, then the update, unless the loss is not to be trusted."""
    started = time.monotonic()
    dial, decoder, optimizers = plan.dial, learner.decoder, learner.optimizers
    terms = max(plan.objective.count(batch), 1)
    total = 0.0
    for part in micro_batches(batch, dial.model.vocab_size):
        loss = plan.objective.summed_loss(token_losses(decoder, learner.hidden, part, plan), part) / terms
        loss.backward()
        total += loss.item()
    norm = float(torch.nn.utils.clip_grad_norm_(decoder.parameters(), CLIP_NORM))
    mean = state["mean_loss"]
    calm = mean is None or total < SPIKE * max(mean, plan.objective.ordinary_loss)
    trusted = math.isfinite(total) and math.isfinite(norm) and calm
    rate = learning_rate_at(
        step, peak=dial.learning_rate, steps=dial.steps, warmup=dial.warmup_steps, decay=dial.decay_steps
    )
    if trusted:
        optimizers.set_learning_rate(rate)
        optimizers.step()
        state["mean_loss"] = total if mean is None else 0.95 * mean + 0.05 * total
    else:
        state["skipped_steps"] += 1
    optimizers.zero_grad()
    seconds = time.monotonic() - started
    flops = training_flops_per_token(dial.model, batch.ids.shape[1]) * batch.ids.size / seconds
    return {
        "step": step + 1,
        "loss": total,
        "learning_rate": rate,
        "gradient_norm": norm,
        "skipped": not trusted,
        "tokens": int((batch.segment >= 0).sum()),
        "tokens_per_second": batch.ids.size / seconds,
        "flops_per_second": flops,
        "utilisation": flops / plan.matmul_flops_per_second,
        "peak_memory_bytes": receipts.peak_memory_bytes(),
        "seconds": seconds,
    }


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
    with torch.autocast(device.type, dtype=plan.number_type, enabled=plan.number_type != torch.float32):
        out = hidden(ids, positions, attention_mask(batch.segment, device))
        chosen = counts.nonzero().flatten()
        # Rounded up: a shape of its own for every step fills the matrix library's cache, gigabytes in minutes.
        padded = F.pad(chosen, (0, -len(chosen) % ROWS_OF_LOGITS))
        logits = decoder.lm_head(out.flatten(0, 1)[padded])
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(exact, targets.view(-1)[padded], reduction="none")[: len(chosen)]


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
    """Total cross-entropy in bits, and how many tokens it was taken over."""
    total, tokens = 0.0, 0
    for batch in batches:
        for part in micro_batches(batch, decoder.config.vocab_size):
            total += float(token_losses(decoder, decoder.hidden, part, plan).sum())
            tokens += int(part.counts.sum())
    return total / math.log(2), tokens
