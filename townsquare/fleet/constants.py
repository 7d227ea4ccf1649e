"""The few numbers that are not arithmetic: how much of the hardware's rates a training step reaches."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Constants:
    """Shares and seconds, the same for every model."""

    matmul_share: float = 0.90
    """Of the best measured matrix-product rate, inside a training step: power limits and real layouts take the rest."""
    attention_share: float = 0.50
    """Flash attention's rate over the best measured bf16 matrix product's."""
    memory_share: float = 0.75
    """Of the rated memory bandwidth, in kernels that only move data."""
    link_share: float = 0.70
    """Of a link's rated bandwidth in one direction, in collective operations."""
    tensor_exposed: float = 0.80
    """Share of tensor-parallel communication that nothing hides."""
    replica_exposed: float = 0.10
    """Share of weight and gradient communication that costs time even where computation could hide it all."""
    kernel_seconds: float = 4e-6
    """Start of one kernel."""
    hop_seconds: float = 5e-6
    """Delay that one node adds to a collective operation that spans nodes."""


CONSTANTS = Constants()
RESIDUALS = (0.80, 1.25)
"""Measured over estimated step time: the 10th and the 90th percentile over published runs, groups left out in turn."""
