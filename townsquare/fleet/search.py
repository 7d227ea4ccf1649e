"""The fastest layout that fits, and the largest model that a given time allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from townsquare.dial import Dial, dial
from townsquare.errors import ConfigError
from townsquare.fleet.estimate import Estimate, Job, estimate
from townsquare.fleet.hardware import Gpu
from townsquare.fleet.layout import Layout, Recompute, Sharding
from townsquare.fleet.memory import Memory, fits, memory
from townsquare.fleet.shape import Shape, from_model, read_huggingface

PLAIN = Layout()
LONG_SEQUENCE = 16_384  # from here on sequences may be split over GPUs
RECOMPUTES: tuple[Recompute, ...] = ("none", "full")  # a flash kernel keeps no scores that could be made anew
SEQUENCE_LENGTH = 2048  # of a shape from elsewhere
MOST_CHUNKS = 8  # of layers a stage
PLENTY = 10**18  # tokens: more than any job, so that the dial's 20 a parameter decides


def fastest(job: Job, gpu: Gpu, gpus: int, like: Layout = PLAIN) -> Estimate:
    """The estimate of the fastest layout on at most `gpus`; of equals, the one with fewest GPUs.

    `like` says what is not searched: number type, software, what is trained.
    Raises ConfigError when none fits, naming the part of memory that is too large.
    """
    if like.number_type not in gpu.peak_tflops:
        raise ConfigError(
            f"{gpu.name} has no {like.number_type}", remedy="It has " + " and ".join(gpu.peak_tflops) + "."
        )
    best: Estimate | None = None
    nearest: tuple[Layout, Memory] | None = None
    fitted: Layout | None = None
    for layout in layouts(job, gpu, gpus, like):
        if layout.recompute == "full" and fitted == dataclasses.replace(layout, recompute="none"):
            continue  # nothing need be made anew, which is faster
        need = memory(job.shape, layout, job.sequence_length, job.sequences_per_step)
        if not fits(need, gpu):
            if nearest is None or need.total_gb < nearest[1].total_gb:
                nearest = layout, need
            continue
        fitted = layout
        found = estimate(job, layout, gpu)
        if best is None or (found.step_seconds, layout.gpus) < (best.step_seconds, best.layout.gpus):
            best = found
    if best is not None:
        return best
    if nearest is None:
        raise ConfigError(f"no layout uses {gpus} GPUs", remedy="Give 1 GPU or more.")
    layout, need = nearest
    part = need.largest()
    raise ConfigError(
        f"{job.shape.parameters / 1e9:,.1f}B parameters do not fit on {gpus:,} {gpu.name}: the nearest layout "
        f"({layout.describe()}) needs {need.total_gb:,.0f} GB a GPU of {gpu.memory_gb:,.0f}",
        remedy=f"Largest are its {part}, {getattr(need, f'{part}_gb'):,.0f} GB. "
        "Take more GPUs, a kind with more memory, a smaller model or shorter sequences.",
    )


def layouts(job: Job, gpu: Gpu, gpus: int, like: Layout) -> Iterator[Layout]:
    """Layouts worth trying: tensor inside a node, stages of few layers, as many replicas as there is work."""
    shape, sequences = job.shape, job.sequences_per_step
    for tensor in (n for n in (1, 2, 4, 8) if n <= gpu.gpus_per_node and shape.heads % n == 0):
        for context in _contexts(job.sequence_length):
            for stages in _stages(shape.layers):
                room = gpus // (tensor * context * stages)
                for micro_batch in (n for n in (1, 2, 4, 8, 16) if n <= sequences):
                    data = min(room, sequences // micro_batch)
                    if data < 1:
                        continue
                    layout = dataclasses.replace(
                        like, data=data, tensor=tensor, pipeline=stages, context=context, micro_batch=micro_batch
                    )
                    yield from _variants(shape, layout)


def _variants(shape: Shape, layout: Layout) -> Iterator[Layout]:
    chunks = -(-shape.layers // layout.pipeline)
    interleaves = [n for n in range(1, MOST_CHUNKS + 1) if chunks % n == 0] if layout.pipeline > 1 else [1]
    shardings: tuple[Sharding, ...] = (
        ("optimizer", "full") if layout.pipeline == 1 and layout.data > 1 else ("optimizer",)
    )
    for expert in _experts(shape, layout):
        for interleave in interleaves:
            for sharding in shardings:
                for recompute in RECOMPUTES:
                    yield dataclasses.replace(
                        layout, expert=expert, interleave=interleave, sharding=sharding, recompute=recompute
                    )


def _stages(layers: int) -> list[int]:
    """Powers of two, and what divides the layers: stages of the same length."""
    return [n for n in range(1, min(layers, 64) + 1) if layers % n == 0 or n & (n - 1) == 0]


def _contexts(sequence_length: int) -> list[int]:
    return [n for n in (1, 2, 4, 8, 16) if n == 1 or sequence_length / n >= LONG_SEQUENCE / 2]


def _experts(shape: Shape, layout: Layout) -> list[int]:
    ranks = layout.data * layout.context * layout.tensor
    if not shape.experts:
        return [1]
    return [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= ranks and ranks % n == 0 and shape.experts % n == 0] or [1]


def by_dial(size: str, vocabulary_size: int, tokens: float | None = None) -> tuple[Job, Dial]:
    """A job of the dial's shape, batch and tokens for that size; `tokens` instead of its 20 a parameter."""
    settings = dial(size, vocabulary_size=vocabulary_size, available_tokens=int(tokens or PLENTY), epochs=1)
    return job_of(settings, tokens), settings


def by_file(path: Path, tokens: float | None = None, sequence_length: int | None = None) -> Job:
    """A job for a shape from elsewhere, a Hugging Face config.json, in batches of the dial's size."""
    shape = read_huggingface(path)
    tokens = tokens or 20.0 * shape.active_parameters
    length = sequence_length or SEQUENCE_LENGTH
    return Job(shape, tokens, length, max(round(0.58 * tokens**0.571 / length), 16))


def job_of(settings: Dial, tokens: float | None = None) -> Job:
    """The job that a dial's settings describe."""
    return Job(
        shape=from_model(settings.model),
        tokens=tokens or settings.training_tokens,
        sequence_length=settings.sequence_length,
        sequences_per_step=settings.tokens_per_step // settings.sequence_length,
    )


def largest(
    gpu: Gpu, gpus: int, days: float | Callable[[Job], float], vocabulary_size: int, like: Layout = PLAIN
) -> Estimate:
    """The largest model that the dial's rules train within `days`, found by halving the interval of sizes.

    `days` may depend on the job, such as by how often a long one is interrupted.
    Raises ConfigError when not even the smallest does.
    """
    low, high, best = 5.6, 11.7, None  # powers of ten: from 400K to 500B, what the dial builds
    for _ in range(14):
        middle = (low + high) / 2
        try:
            job, _ = by_dial(f"{10**middle / 1e6:.3f}M", vocabulary_size)
            found = fastest(job, gpu, gpus, like)
        except ConfigError:
            high = middle
            continue
        if found.days <= (days(job) if callable(days) else days):
            low, best = middle, found
        else:
            high = middle
    if best is None:
        raise ConfigError(
            f"{gpus:,} {gpu.name} train no model in that time by the dial's rules", remedy="Give more days or GPUs."
        )
    return best
