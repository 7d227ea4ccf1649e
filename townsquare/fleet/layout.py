"""How one training step is spread over GPUs, and its number types."""

from __future__ import annotations

import dataclasses
from typing import Literal

from townsquare.errors import ConfigError

Sharding = Literal["none", "optimizer", "full"]
Recompute = Literal["none", "selective", "half", "full"]
Kernels = Literal["unfused", "tuned", "flash", "fused", "overlapped"]
"""Generation of the software.

unfused: attention scores are written out (trainers before late 2022). tuned: so they are, in the GPU vendor's own
trainer on its own cluster (Megatron-LM before late 2022). flash: PyTorch with a flash attention kernel.
fused: a vendor's fused blocks and overlapped tensor communication (Transformer Engine, Megatron-Core, NeMo).
overlapped: besides, inside a rack of NVLink, the experts' exchange within the kernels (Megatron-Core from mid 2026).
"""
NumberType = Literal["bf16", "fp8", "fp4"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """A GPU's place is its data, pipeline, context and tensor rank; `gpus` is the product of the four."""

    data: int = 1
    """Replicas, each with its own part of the batch."""
    tensor: int = 1
    """GPUs that share each matrix, with the sequence split between matrices."""
    pipeline: int = 1
    """Stages of layers."""
    interleave: int = 1
    """Chunks of layers a stage."""
    context: int = 1
    """GPUs that share a sequence."""
    expert: int = 1
    """GPUs over which a layer's experts are spread; part of data x context x tensor, not beside it."""
    sharding: Sharding = "optimizer"
    """What is divided among replicas: nothing; optimizer state (ZeRO-1); weights and gradients too (FSDP, ZeRO-3)."""
    micro_batch: int = 1
    """Sequences that pass through at once."""
    recompute: Recompute = "none"
    """What the backward pass makes anew: nothing; attention scores; half of the layers; whole layers."""
    number_type: NumberType = "bf16"
    """Of the layers' matrix products. Weights are kept in bf16, optimizer state in float32."""
    kernels: Kernels = "flash"
    """Generation of the software, see `Kernels`."""
    splits_sequence: bool = True
    """Whether tensor ranks share what lies between matrices too (sequence parallelism, arXiv 2205.05198)."""
    trains: Literal["all", "adapters"] = "all"
    """Every parameter, or small adapters beside them (LoRA)."""

    def __post_init__(self) -> None:
        for field in ("data", "tensor", "pipeline", "interleave", "context", "expert", "micro_batch"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} cannot be {getattr(self, field)}", remedy="Give 1 or more.")

    @property
    def writes_scores(self) -> bool:
        """Whether attention scores go through memory, and communication is not hidden: software before late 2022."""
        return self.kernels in ("unfused", "tuned")

    @property
    def between(self) -> int:
        """GPUs that share what lies between matrices."""
        return self.tensor if self.splits_sequence else 1

    @property
    def gpus(self) -> int:
        return self.data * self.tensor * self.pipeline * self.context

    def microbatches(self, sequences_per_step: int) -> int:
        """Micro-batches that a replica passes through a step, the last one perhaps not full."""
        return -(-sequences_per_step // (self.data * self.micro_batch))

    def describe(self) -> str:
        """Short text such as "data 16 x tensor 8 x pipeline 16 (2 chunks)"."""
        parts = [f"data {self.data}" + {"none": "", "optimizer": "", "full": " fully sharded"}[self.sharding]]
        parts += [
            f"{name} {getattr(self, name)}" for name in ("tensor", "pipeline", "context") if getattr(self, name) > 1
        ]
        text = " x ".join(parts)
        if self.interleave > 1:
            text += f" ({self.interleave} chunks a stage)"
        if self.expert > 1:
            text += f", experts over {self.expert}"
        recompute = {
            "none": "",
            "selective": ", attention recomputed",
            "half": ", half recomputed",
            "full": ", layers recomputed",
        }[self.recompute]
        return f"{text}, {self.micro_batch} sequences at once{recompute}"
