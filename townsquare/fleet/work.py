"""What one training step has to do: for each part the seconds it would take at the hardware's own rates."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from townsquare.fleet.hardware import Gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.memory import held_parameters
from townsquare.fleet.shape import Shape

KERNELS_PER_PASS = 13  # of one layer: norms, projections, rotation, attention, block, residuals
KERNELS_PER_MIXTURE = 40  # routing, counting, sorting, exchanging, adding up
OPTIMIZER_BYTES = 30  # a parameter: float32 gradient, weight and two moments read, the last three written, bf16 weight
TILE = 128  # rows of a matrix product that a GPU computes at once: an expert's last tile is half empty on average
AGAIN = {"none": 0.0, "selective": 0.0, "half": 0.5, "full": 1.0}  # forward passes made anew


@dataclasses.dataclass(frozen=True)
class Work:
    """Ideal seconds on the busiest GPU, of one micro-batch where no other scope is named. Numbers, or arrays."""

    matmul_seconds: Any
    """At the best measured rate."""
    head_seconds: Any
    """The output matrix and its loss, at the best measured rate and the rated bandwidth; never made anew."""
    traffic_seconds: Any
    """Operands of the matrix products from and to memory, at the rated bandwidth."""
    forward_traffic: Any
    """Share of that in the forward pass: gradients are summed in the backward one."""
    attention_seconds: Any
    """At the best measured bf16 matrix-product rate."""
    memory_seconds: Any
    cast_seconds: Any
    """To 8 bits and back, at the rated bandwidth."""
    kernels: Any
    tensor_seconds: Any
    expert_seconds: Any
    context_seconds: Any
    stage_seconds: Any
    """Activations from one pipeline stage to the next."""
    again: Any
    """Share of the layers' forward pass that is made anew; the parts above are without it."""
    gather_seconds: Any
    """Weights gathered and gradients scattered for each micro-batch (full sharding)."""
    exchange_seconds: Any
    """Gradients and weights exchanged once a step."""
    overlap: Any
    """Micro-batches' worth of computing that the exchange can hide behind."""
    operations: Any
    """Collective operations among replicas, a step."""
    nodes: Any
    """That the replicas' operations span; 0 inside one node."""
    doublings: Any
    """Of nodes."""
    micro_batches: Any
    bubble: Any
    """Micro-batches' worth of waiting, a step: filling and emptying pass through the mean stage."""
    mean_layers: Any
    """Layers of the mean stage over those of the busiest; the output matrix likewise is `mean_head`."""
    mean_head: Any
    optimizer_seconds: Any
    """A step."""


def work(shape: Shape, layout: Layout, sequence_length: int, sequences_per_step: int, gpu: Gpu) -> Work:
    """What one step of that layout has to do."""
    tokens = layout.micro_batch * sequence_length / layout.context
    layers, heads = busiest_stage(shape, layout)
    again = AGAIN[layout.recompute]
    learns = 1.0 if layout.trains == "all" else 0.0
    bandwidth = gpu.memory_bandwidth_gb_s * 1e9
    micro_batches = layout.microbatches(sequences_per_step)
    nodes = max(layout.gpus / gpu.gpus_per_node, 1.0)
    gather, exchange, operations = _replicas(shape, layout, gpu)
    held, experts = held_parameters(shape, layout)
    shards = layout.data * layout.context if layout.sharding != "none" else 1
    forward, traffic = _traffic_bytes(shape, layout, tokens)
    per_layer = {
        "traffic_seconds": traffic / bandwidth,
        "memory_seconds": _moved_bytes(shape, layout, sequence_length) * tokens / bandwidth,
        "cast_seconds": _cast_bytes(shape, layout) * tokens / layout.tensor / bandwidth,
        "attention_seconds": _attention(shape, layout, sequence_length, gpu) * tokens / layout.tensor,
        "kernels": 3 * _kernels(shape, layout),
        "tensor_seconds": _tensor(shape, layout, gpu, tokens) * (2 + again) / 2,
        "expert_seconds": _expert(shape, layout, gpu, tokens) * (2 + again) / 2,
        "context_seconds": _context(shape, layout, gpu, tokens) * (3 + again) / 3,
    }
    scaled = {name: value * layers for name, value in per_layer.items()}
    inside, head = _matmul(shape, layout, gpu, tokens)
    logits = 16 * tokens * shape.vocabulary / layout.tensor / bandwidth
    return Work(
        matmul_seconds=inside * layers,
        head_seconds=heads * (head + logits),
        **scaled,
        forward_traffic=forward / traffic,
        stage_seconds=_stage(shape, layout, gpu, tokens),
        again=again,
        gather_seconds=gather,
        exchange_seconds=exchange * learns,
        overlap=0.0 if layout.writes_scores else 1 + (layout.pipeline - 1) / layout.interleave,
        operations=operations * (micro_batches if gather else learns),
        nodes=nodes if nodes > 1 else 0.0,
        doublings=math.log2(nodes),
        micro_batches=micro_batches,
        bubble=(layout.pipeline - 1) / layout.interleave,
        mean_layers=(shape.layers + 2 * (1 - heads)) / layout.pipeline / layers,
        mean_head=1 / layout.pipeline,
        optimizer_seconds=OPTIMIZER_BYTES * (held + experts) / shards / bandwidth * learns,
    )


def busiest_stage(shape: Shape, layout: Layout) -> tuple[float, float]:
    """Layers and output heads of the stage that takes longest.

    Layers that do not divide evenly leave room on the first and last stage for embedding and output.
    """
    if layout.pipeline == 1 or shape.layers % layout.pipeline == 0:
        return shape.layers / layout.pipeline, 1.0
    return math.ceil((shape.layers + 2) / layout.pipeline), 0.0


def _matmul(shape: Shape, layout: Layout, gpu: Gpu, tokens: float) -> tuple[float, float]:
    """Of a layer and of the output matrix: forward and both gradients, of frozen weights only one."""
    passes = 2 if layout.trains == "adapters" else 3
    experts = shape.experts_per_token * shape.block(shape.expert_width) * shape.expert_layers / shape.layers
    rest = (shape.matrices_per_token - shape.vocabulary * shape.hidden) / shape.layers - experts
    if experts:
        rows = tokens / layout.tensor * layout.expert * shape.experts_per_token / shape.experts
        experts *= 1 + TILE / 2 / rows
    inside = 2 * tokens * (rest + experts) / layout.tensor * passes
    head = 2 * passes * tokens * shape.vocabulary * shape.hidden / layout.tensor
    return inside / (gpu.matmul_tflops(layout.number_type) * 1e12), head / (gpu.matmul_tflops("bf16") * 1e12)


def _traffic_bytes(shape: Shape, layout: Layout, tokens: float) -> tuple[float, float]:
    """Of a layer, forward and in all three passes: operands and results in bf16, and gradients summed in place."""
    inner = 3 if shape.gated else 2
    keys = 2 * shape.kv_heads * shape.head_dim
    mlp: float = shape.mlp_width
    if shape.experts:
        chosen = shape.experts_per_token * shape.expert_width + shape.shared_width
        mlp = (shape.dense_layers * mlp + shape.expert_layers * chosen) / shape.layers
    activations = tokens * (3 * shape.hidden + 2 * shape.query_width + keys + inner * mlp) / layout.tensor
    dense = (shape.parameters - shape.routed_parameters - shape.embedding_parameters) / layout.tensor
    weights = (dense + shape.routed_parameters / layout.expert) / shape.layers
    forward = 2 * (activations + weights)
    return forward, 2 * forward if layout.trains == "adapters" else 3 * forward + 4 * weights


def _moved_bytes(shape: Shape, layout: Layout, sequence_length: int) -> float:
    """Of a layer a token, three passes: what kernels other than matrix products read and write, in bf16."""
    inner = 6 if shape.gated else 4
    widths: float = shape.mlp_width
    sorting = 0.0
    if shape.experts:
        mixture = shape.experts_per_token * shape.expert_width + shape.shared_width
        widths = (shape.dense_layers * shape.mlp_width + shape.expert_layers * mixture) / shape.layers
        sorting = 8.0 * shape.hidden * shape.experts_per_token  # tokens in the experts' order and back
    rotary = 4 * (shape.query_width + shape.kv_heads * shape.head_dim)
    moved = 3 * (20 * shape.hidden / layout.between + (rotary + inner * widths + sorting) / layout.tensor)
    if layout.writes_scores:  # scores are scaled, masked, normalised, dropped out: 12 bytes each a pass
        passes = 4 if layout.recompute == "selective" else 3
        moved += passes * 12 * shape.heads * sequence_length / layout.tensor
    return moved


def _cast_bytes(shape: Shape, layout: Layout) -> float:
    """Of a layer a token: each operand of a product is read in 16 bits and written in 8, as it is and turned."""
    if layout.number_type == "bf16":
        return 0.0
    widths = 2 * shape.hidden + shape.query_width
    mixture = shape.experts_per_token * (shape.expert_width + shape.hidden) if shape.experts else shape.mlp_width
    return 2 * 4 * (widths + mixture)


def _attention(shape: Shape, layout: Layout, sequence_length: int, gpu: Gpu) -> float:
    """Seconds of a layer a token: a flash kernel skips the half that causality hides, and makes scores anew."""
    widths = shape.heads * (shape.head_dim + (shape.value_dim or shape.head_dim))
    forward = 2 * sequence_length * widths  # full square
    passes = 3.5 / 2
    if layout.writes_scores:
        passes = 4.0 if layout.recompute == "selective" else 3.0
    return forward * passes / (gpu.matmul_tflops("bf16") * 1e12)


def _kernels(shape: Shape, layout: Layout) -> float:
    """Of a layer and one pass: those of a mixture sort tokens, and start each local expert's products."""
    if not shape.experts:
        return KERNELS_PER_PASS
    local = shape.experts / layout.expert
    return KERNELS_PER_PASS + (KERNELS_PER_MIXTURE + 3 * local) * shape.expert_layers / shape.layers


def _link(gpu: Gpu, ranks: float, beside: float = 1) -> float:
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
    return 4 * 2 * tokens * shape.hidden * 2 * (ranks - 1) / ranks / _link(gpu, ranks)


def _expert(shape: Shape, layout: Layout, gpu: Gpu, tokens: float) -> float:
    """A layer: tokens to their experts and back, forward and backward."""
    ranks = layout.expert
    if not shape.experts or ranks == 1:
        return 0.0
    token_bytes = tokens / layout.tensor * shape.hidden * 2
    nodes = max(ranks / gpu.gpus_per_node, 1.0)
    far = (nodes - 1) * (1 - (1 - 1 / nodes) ** shape.experts_per_token)  # other nodes that a token goes to, once each
    inside = (gpu.node_link_gb_s or gpu.network_gb_s) * 1e9
    near = shape.experts_per_token * (1 - 1 / min(ranks, gpu.gpus_per_node))
    seconds = token_bytes * max(far / (gpu.network_gb_s * 1e9), near / inside)
    return 4 * seconds * shape.expert_layers / shape.layers


def _context(shape: Shape, layout: Layout, gpu: Gpu, tokens: float) -> float:
    """A layer: keys and values once around the ring forward, they and their gradients backward."""
    ranks = layout.context
    keys = 2 * shape.kv_heads * shape.head_dim * 2 / layout.tensor
    return 3 * tokens * (ranks - 1) * keys / _link(gpu, ranks, layout.tensor)


def _stage(shape: Shape, layout: Layout, gpu: Gpu, tokens: float) -> float:
    """Activations to the next stage and gradients back, once a chunk of layers."""
    if layout.pipeline == 1:
        return 0.0
    sent = 2 * layout.interleave * tokens * shape.hidden * 2 / layout.tensor
    return sent / _link(gpu, 2, layout.tensor * layout.context * layout.data)


def _replicas(shape: Shape, layout: Layout, gpu: Gpu) -> tuple[float, float, float]:
    """Seconds of gathers a micro-batch, seconds of exchange a step, collective operations."""
    held, experts = held_parameters(shape, layout)
    ranks, beside = layout.data * layout.context, layout.tensor
    expert_ranks = max(ranks * layout.tensor // layout.expert, 1)
    if ranks == 1 and expert_ranks == 1:
        return 0.0, 0.0, 0.0
    link = _link(gpu, ranks, beside)
    if layout.writes_scores and layout.sharding == "full" and ranks * beside > gpu.gpus_per_node:
        link = gpu.network_gb_s * 1e9  # early ZeRO-3 gathered in one flat ring: one port of each node
    seconds_a_byte = held * (ranks - 1) / ranks / link
    seconds_a_byte += experts * (expert_ranks - 1) / expert_ranks / _link(gpu, expert_ranks, layout.expert)
    layers = shape.layers / layout.pipeline
    if layout.sharding == "full" and layout.pipeline == 1:
        scatters = 0 if layout.trains == "adapters" else 1
        return (2 + scatters) * 2 * seconds_a_byte, 0.0, 3 * layers  # bf16: gather forward, backward, scatter
    # Otherwise once a step; so do pipelines with full sharding, which keep gathered weights until all have passed.
    weights = 1 if layout.kernels in ("fused", "overlapped") and layout.number_type != "bf16" else 2
    return 0.0, (2 + weights) * seconds_a_byte, layers  # bf16 gradients out, weights back
