"""Memory of the fullest GPU, by part."""

from __future__ import annotations

import dataclasses

from townsquare.fleet.hardware import Gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.shape import Shape

LOGIT_BYTES = {"unfused": 8, "tuned": 8, "flash": 12, "fused": 6, "overlapped": 6}
"""Bytes a logit at the peak: float32 and its gradient; PyTorch's own loss keeps the bf16 ones too."""
CONTEXT_GB = 2.5
"""CUDA context, cuBLAS workspaces and NCCL channels, in GB; they come with every process."""
FRAGMENTS = 0.08
"""Share of the tensors' memory that the caching allocator holds beyond them."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """GB (10^9 bytes) on the fullest GPU."""

    weights_gb: float
    gradients_gb: float
    optimizer_gb: float
    activations_gb: float
    temporary_gb: float
    """Logits, and weights gathered from other replicas; or a base's weights while it is loaded, where they are more."""
    context_gb: float
    """What the driver, the communication library and the allocator hold beside tensors."""

    @property
    def total_gb(self) -> float:
        return float(sum(vars(self).values()))

    def largest(self) -> str:
        """Name of the largest part."""
        parts = dataclasses.asdict(self)
        return max(parts, key=lambda name: parts[name]).removesuffix("_gb")


def memory(shape: Shape, layout: Layout, sequence_length: int, sequences_per_step: int) -> Memory:
    """What a step of that layout needs."""
    trained = 1.0 if layout.trains == "all" else 0.01  # adapters of rank 16 hold about 1 % of the parameters
    held, experts = held_parameters(shape, layout)
    everything = held + experts
    replicas = layout.data * layout.context
    expert_replicas = max(replicas * layout.tensor / layout.expert, 1)
    shared = held / replicas + experts / expert_replicas
    full = layout.sharding == "full"
    weights = shared if full and layout.pipeline == 1 else everything
    state = everything if layout.sharding == "none" else shared
    live = held_activations(shape, layout, sequence_length, sequences_per_step)
    tokens = layout.micro_batch * sequence_length / layout.context
    logits = LOGIT_BYTES[layout.kernels] * tokens * shape.vocabulary / layout.tensor
    layer = everything / max(shape.layers / layout.pipeline, 1)
    gathered = 2 * 2 * layer if full else 0.0  # this layer and the next, in bf16
    if full and layout.trains == "adapters":
        gathered = max(gathered, 2 * everything - live - logits)  # each GPU loads the whole base before it is divided
    tensors = Memory(
        weights_gb=(1 if layout.trains == "adapters" and layout.number_type != "bf16" else 2) * weights / 1e9,
        gradients_gb=4 * weights * trained / 1e9,  # float32: the sum over micro-batches
        optimizer_gb=12 * state * trained / 1e9,  # Adam: float32 weights and two moments
        activations_gb=live / 1e9,
        temporary_gb=(logits + gathered) / 1e9,
        context_gb=CONTEXT_GB,
    )
    return dataclasses.replace(tensors, context_gb=CONTEXT_GB + FRAGMENTS * (tensors.total_gb - CONTEXT_GB))


def fits(need: Memory, gpu: Gpu) -> bool:
    """Whether it fits in the GPU's memory. Makers print GB or GiB alike; GB is the safe reading."""
    return need.total_gb <= gpu.memory_gb


def held_parameters(shape: Shape, layout: Layout) -> tuple[float, float]:
    """Parameters on one GPU before sharding among replicas: outside the routed experts, and of them.

    Of the fullest stage: its layers, and the larger of embedding and output matrix.
    """
    stages = layout.pipeline
    ends = shape.embedding_parameters if stages == 1 else shape.vocabulary * shape.hidden
    outside = shape.parameters - shape.routed_parameters - shape.embedding_parameters
    slots = -(-shape.layers // stages) / shape.layers
    return (outside * slots + ends) / layout.tensor, shape.routed_parameters * slots / layout.expert


def held_activations(shape: Shape, layout: Layout, sequence_length: int, sequences_per_step: int) -> float:
    """Bytes of activations that wait for the backward pass on a pipeline's first stage, its fullest.

    A stage holds as many micro-batches as there are stages after it, and with interleaving a little more
    (Korthikanti et al., arXiv 2205.05198, section 4.2.3).
    """
    stages, tokens = layout.pipeline, layout.micro_batch * sequence_length / layout.context
    micro_batches = layout.microbatches(sequences_per_step)
    extra = (stages - 1) / (stages * layout.interleave) if layout.interleave > 1 else 0.0
    in_flight = min(micro_batches, stages * (1 + extra))
    layers = shape.layers / stages
    whole, split = activation_bytes_per_token(shape, layout, sequence_length)
    one = (whole / layout.between + split / layout.tensor) * tokens
    if layout.recompute == "full":
        return in_flight * layers * 2 * shape.hidden * tokens / layout.between + one
    return in_flight * layers * one * (0.5 if layout.recompute == "half" else 1.0)


def activation_bytes_per_token(shape: Shape, layout: Layout, sequence_length: int) -> tuple[float, float]:
    """Bytes that one layer keeps for each token, in bf16, when it is not made anew: between matrices, and within.

    Tensor ranks share the second; the first only where they split the sequence.

    The terms of Korthikanti et al. (arXiv 2205.05198, equation 1) for any widths: 34 h and 5 a s for GPT with
    dropout and kept scores. A flash kernel keeps no scores; frozen matrices need not keep what they were given.
    """
    h, keys = shape.hidden, 2 * shape.kv_heads * shape.head_dim
    whole = 4 * h + 2 * h  # inputs of the two norms and of attention
    split: float = 2 * (shape.query_width + keys) + 2 * shape.query_width  # queries, keys, values; what comes out
    inner, given = (6 if shape.gated else 4), 2 * h
    if layout.trains == "adapters":
        inner, given = inner - 2, 0
    mlp: float = inner * shape.mlp_width
    if shape.experts:
        routed = shape.experts_per_token * (given + inner * shape.expert_width)
        mlp = (mlp * shape.dense_layers + (routed + inner * shape.shared_width) * shape.expert_layers) / shape.layers
    split += mlp
    whole += given
    if layout.trains == "adapters" and layout.kernels == "flash" and shape.gated:
        whole += 16 * h  # uncompiled, as adapters' trainers run: each of two RMS norms keeps two float32 copies
        split += 2 * shape.mlp_width  # and SwiGLU both of its factors
    if layout.writes_scores:
        whole += 2 * h  # dropout's masks, after attention and after the block: a byte a value
        if layout.recompute == "none":
            split += 5 * shape.heads * sequence_length
    return whole, split
