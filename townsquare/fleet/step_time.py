"""Seconds of one training step, by part.

First the work: for each part the seconds that it would take at the hardware's own rates (`work`). Then what a
training step makes of it: the constants' shares, and what hides behind what (`step_time`), element by element,
so that the same lines serve one estimate and, with arrays, the fit over many measured runs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from townsquare.fleet.constants import Constants
from townsquare.fleet.hardware import Gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.memory import held_parameters
from townsquare.fleet.shape import Shape

KERNELS_PER_LAYER = 40  # forward and backward: about 13 forward, twice as many backward
OPTIMIZER_BYTES = 30  # a parameter: float32 gradient, weight and two moments read, the last three written, bf16 weight


@dataclasses.dataclass(frozen=True)
class Work:
    """Ideal seconds at rated speed: of one micro-batch on one GPU where no other scope is named."""

    matmul_seconds: Any
    attention_seconds: Any
    memory_seconds: Any
    kernels: Any
    tensor_seconds: Any
    expert_seconds: Any
    context_seconds: Any
    gather_seconds: Any
    """Weights gathered and gradients scattered for each micro-batch (full sharding)."""
    replica_seconds: Any
    """Gradients and weights exchanged once a step."""
    replica_operations: Any
    """Collective operations among replicas, a step."""
    nodes: Any
    micro_batches: Any
    bubble: Any
    """Micro-batches' worth of waiting, a step."""
    optimizer_seconds: Any
    """A step."""


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of one step, by part; they add up to the step."""

    matmul_seconds: Any
    attention_seconds: Any
    memory_seconds: Any
    """Norms, activations, residuals, loss: kernels that only move data; and starting kernels."""
    tensor_seconds: Any
    expert_seconds: Any
    context_seconds: Any
    replica_seconds: Any
    bubble_seconds: Any
    optimizer_seconds: Any

    @property
    def total_seconds(self) -> Any:
        return sum(getattr(self, field.name) for field in dataclasses.fields(self))


def step_time(work: Work, constants: Constants) -> StepTime:
    """The step that this work makes."""
    c, m = constants, work.micro_batches
    matmul = work.matmul_seconds / c.matmul_share
    attention = work.attention_seconds / c.attention_share
    moved = work.memory_seconds / c.memory_share + work.kernels * c.kernel_seconds
    tensor = work.tensor_seconds / c.link_share * c.tensor_exposed
    expert = work.expert_seconds / c.link_share
    context = _beyond(work.context_seconds / c.link_share, attention)
    gather = work.gather_seconds / c.link_share
    exposed_gather = _beyond(gather, matmul + attention + moved) + c.replica_exposed * gather
    one = matmul + attention + moved + tensor + expert + context
    exchange = work.replica_seconds / c.link_share
    exposed_exchange = _beyond(exchange, one) + c.replica_exposed * exchange
    delay = work.replica_operations * work.nodes * c.hop_seconds
    return StepTime(
        matmul_seconds=m * matmul,
        attention_seconds=m * attention,
        memory_seconds=m * moved,
        tensor_seconds=m * tensor,
        expert_seconds=m * expert,
        context_seconds=m * context,
        replica_seconds=m * exposed_gather + exposed_exchange + delay,
        bubble_seconds=work.bubble * one,
        optimizer_seconds=work.optimizer_seconds / c.memory_share,
    )


def _beyond(a: Any, b: Any) -> Any:
    """What of `a` lasts longer than `b`: max(a - b, 0), for numbers and arrays."""
    return (a - b + abs(a - b)) / 2


def work(shape: Shape, layout: Layout, sequence_length: int, sequences_per_step: int, gpu: Gpu) -> Work:
    """What one step of that layout has to do on its busiest GPU."""
    tokens = layout.micro_batch * sequence_length / layout.context
    layers = -(-shape.layers // layout.pipeline)
    m = layout.microbatches(sequences_per_step)
    passes = 4 / 3 if layout.recompute == "full" else 1.0  # of forward and backward together
    head = 6 * tokens * shape.vocabulary * shape.hidden / layout.tensor
    inside = (shape.matrices_per_token - shape.vocabulary * shape.hidden) / shape.layers
    matmul = 6 * tokens * inside * layers / layout.tensor * passes
    widths = shape.heads * (shape.head_dim + (shape.value_dim or shape.head_dim)) / layout.tensor
    scores = 2 * tokens * sequence_length / 2 * widths * layers  # one forward pass, causal
    times = 3.5 if layout.recompute == "none" else 4.5  # backward recomputes inside its kernel: 2.5 of a forward
    bf16 = gpu.matmul_tflops("bf16") * 1e12
    inside_rate = gpu.matmul_tflops(layout.number_type) * 1e12
    bandwidth = gpu.memory_bandwidth_gb_s * 1e9
    moved = 3 * passes * moved_bytes_per_token(shape) * tokens / layout.tensor * layers
    moved += 16 * tokens * shape.vocabulary / layout.tensor
    gather, exchange, operations = _replicas(shape, layout, gpu, layers)
    held, experts = held_parameters(shape, layout)
    replicas = layout.data * layout.context if layout.sharding != "none" else 1
    return Work(
        matmul_seconds=matmul / inside_rate + head / bf16,
        attention_seconds=scores * times / bf16,
        memory_seconds=moved / bandwidth,
        kernels=KERNELS_PER_LAYER * passes * layers,
        tensor_seconds=_tensor(shape, layout, gpu, tokens) * layers * passes,
        expert_seconds=_expert(shape, layout, gpu, tokens) * layers * passes,
        context_seconds=_context(shape, layout, gpu, tokens) * layers * passes,
        gather_seconds=gather,
        replica_seconds=exchange,
        replica_operations=operations * (m if layout.sharding == "full" else 1),
        nodes=max(layout.gpus / gpu.gpus_per_node, 1) if layout.gpus > gpu.gpus_per_node else 0,
        micro_batches=m,
        bubble=(layout.pipeline - 1) / layout.interleave,
        optimizer_seconds=OPTIMIZER_BYTES * (held + experts) / replicas / bandwidth,
    )


def moved_bytes_per_token(shape: Shape) -> float:
    """Bytes that a layer's kernels other than matrix products read and write, a token, forward, in bf16."""
    inner = 6 if shape.gated else 4
    widths: float = shape.mlp_width
    inner_moves = 0
    if shape.experts:
        mixture = shape.experts_per_token * shape.expert_width + shape.shared_width
        widths = (shape.dense_layers * shape.mlp_width + shape.expert_layers * mixture) / shape.layers
        inner_moves = 8 * shape.hidden * shape.experts_per_token  # sorting tokens by expert and back
    rotary = 4 * (shape.query_width + shape.kv_heads * shape.head_dim)
    return 2 * 4 * shape.hidden + 2 * 6 * shape.hidden + rotary + inner * widths + inner_moves


def _link(gpu: Gpu, ranks: int, beside: int = 1) -> float:
    """Bytes a second of one GPU in a group of `ranks` whose members lie `beside` GPUs apart.

    Inside a node it is the fast link; beyond it, the group's members in one node share their network ports.
    """
    inside = (gpu.node_link_gb_s or gpu.network_gb_s) * 1e9
    if ranks * beside <= gpu.gpus_per_node:
        return inside
    return min(max(gpu.gpus_per_node // beside, 1) * gpu.network_gb_s * 1e9, inside)


def _tensor(shape: Shape, layout: Layout, gpu: Gpu, tokens: float) -> float:
    """A layer: four all-reduces of the residual stream, or as many pairs of gather and scatter."""
    ranks = layout.tensor
    bytes_each = 2 * tokens * shape.hidden * 2 * (ranks - 1) / ranks
    return 4 * bytes_each / _link(gpu, ranks)


def _expert(shape: Shape, layout: Layout, gpu: Gpu, tokens: float) -> float:
    """A layer: tokens to their experts and back, forward and backward."""
    ranks = layout.expert
    if not shape.experts or ranks == 1:
        return 0.0
    sent = tokens / layout.tensor * shape.experts_per_token * shape.hidden * 2
    near = min(gpu.gpus_per_node / ranks, 1.0)
    inside = (gpu.node_link_gb_s or gpu.network_gb_s) * 1e9
    seconds = max(sent * (1 - near) / (gpu.network_gb_s * 1e9), sent * (1 - 1 / ranks) / inside)
    return 4 * seconds * shape.expert_layers / shape.layers


def _context(shape: Shape, layout: Layout, gpu: Gpu, tokens: float) -> float:
    """A layer: keys and values once around the ring forward, they and their gradients backward."""
    ranks = layout.context
    keys = 2 * shape.kv_heads * shape.head_dim * 2 / layout.tensor
    return 3 * tokens * (ranks - 1) * keys / _link(gpu, ranks, layout.tensor)


def _replicas(shape: Shape, layout: Layout, gpu: Gpu, layers: int) -> tuple[float, float, float]:
    """Seconds of gathers a micro-batch, seconds of exchange a step, collective operations."""
    held, experts = held_parameters(shape, layout)
    ranks, beside = layout.data * layout.context, layout.tensor
    share = (ranks - 1) / ranks
    expert_ranks = max(ranks * layout.tensor // layout.expert, 1)
    seconds_per_byte = held * share / _link(gpu, ranks, beside)
    seconds_per_byte += experts * (expert_ranks - 1) / expert_ranks / _link(gpu, expert_ranks, layout.expert)
    if ranks == 1 and expert_ranks == 1:
        return 0.0, 0.0, 0
    if layout.sharding == "full":
        return 3 * 2 * seconds_per_byte, 0.0, 3 * layers  # gather forward and backward, scatter gradients: bf16
    return 0.0, (4 + 2) * seconds_per_byte, layers  # float32 gradients out, bf16 weights back
