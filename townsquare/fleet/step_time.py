"""From work to the seconds of one training step, by part."""

from __future__ import annotations

import dataclasses
from typing import Any

from townsquare.fleet.constants import Shares
from townsquare.fleet.work import Work


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of one step, by part; they add up to the step."""

    matmul_seconds: Any
    attention_seconds: Any
    memory_seconds: Any
    """Norms, activations, residuals, loss, casts: kernels that only move data; and starting kernels."""
    tensor_seconds: Any
    expert_seconds: Any
    context_seconds: Any
    replica_seconds: Any
    bubble_seconds: Any
    optimizer_seconds: Any
    straggler_seconds: Any
    """Waiting for the slowest of many nodes."""

    @property
    def total_seconds(self) -> Any:
        return sum(getattr(self, field.name) for field in dataclasses.fields(self))


def step_time(work: Work, shares: Shares) -> StepTime:
    """The step that this work makes: elementwise, for one run or for arrays of runs."""
    c, m = shares, work.micro_batches
    matmul, traffic = work.matmul_seconds / (c.matmul_share * c.narrow_share), work.traffic_seconds / c.traffic_share
    attention = work.attention_seconds / c.attention_share
    moved = work.memory_seconds / c.memory_share + work.cast_seconds / c.cast_share
    moved = moved + _beyond(work.kernels * c.kernel_seconds, matmul + traffic + attention + moved)
    again = work.again * c.recompute_cost
    matmul = matmul * (1 + again / 3) + traffic * (1 + again * work.forward_traffic)
    head = work.head_seconds / c.matmul_share
    attention, moved = attention * (1 + again / 3.5), moved * (1 + again / 3)
    computed = matmul + attention + moved + head
    tensor = work.tensor_seconds / c.link_share * c.tensor_exposed
    expert = work.expert_seconds / c.link_share * c.expert_exposed
    context = (
        _beyond(work.context_seconds / c.link_share, attention) + work.stage_seconds / c.link_share * c.stage_exposed
    )
    one = computed + tensor + expert + context
    gather = work.gather_seconds / c.link_share
    exposed_gather = _beyond(gather, computed) + c.gather_exposed * gather
    exchange = work.exchange_seconds / c.link_share
    exposed_exchange = _beyond(exchange, one * work.overlap) + c.exchange_exposed * exchange
    replica = m * exposed_gather + exposed_exchange + work.operations * work.nodes * c.hop_seconds
    bubble = work.bubble * ((one - head) * work.mean_layers + head * work.mean_head)
    optimizer = work.optimizer_seconds / c.memory_share + c.step_seconds
    straggler = c.straggler_share * work.doublings * (m * one + replica + bubble + optimizer)
    return StepTime(
        matmul_seconds=m * (matmul + head),
        attention_seconds=m * attention,
        memory_seconds=m * moved,
        tensor_seconds=m * tensor,
        expert_seconds=m * expert,
        context_seconds=m * context,
        replica_seconds=replica,
        bubble_seconds=bubble,
        optimizer_seconds=optimizer,
        straggler_seconds=straggler,
    )


def _beyond(a: Any, b: Any) -> Any:
    """What of `a` lasts longer than `b`: max(a - b, 0), for numbers and arrays."""
    return (a - b + abs(a - b)) / 2
