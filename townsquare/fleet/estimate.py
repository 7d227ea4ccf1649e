"""From a model, a batch, a layout and a GPU kind to memory, time, money and energy."""

from __future__ import annotations

import dataclasses
from typing import Any

from townsquare.fleet.constants import RESIDUALS, shares
from townsquare.fleet.hardware import Gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.memory import Memory, memory
from townsquare.fleet.shape import Shape
from townsquare.fleet.step_time import StepTime, step_time
from townsquare.fleet.work import work


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be trained, and in which batches."""

    shape: Shape
    tokens: float
    sequence_length: int
    sequences_per_step: int

    @property
    def tokens_per_step(self) -> int:
        return self.sequence_length * self.sequences_per_step

    @property
    def steps(self) -> float:
        return self.tokens / self.tokens_per_step


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a job takes on one GPU kind in one layout, without interruptions."""

    job: Job
    layout: Layout
    gpu: Gpu
    memory: Memory
    step: StepTime

    @property
    def step_seconds(self) -> float:
        return float(self.step.total_seconds)

    @property
    def days(self) -> float:
        return self.job.steps * self.step_seconds / 86400

    @property
    def gpu_hours(self) -> float:
        return self.days * 24 * self.layout.gpus

    @property
    def tokens_per_second(self) -> float:
        return self.job.tokens_per_step / self.step_seconds

    def utilisation(self) -> dict[str, float]:
        """Share of the dense peak of the number type, under each convention in use."""
        shape, length = self.job.shape, self.job.sequence_length
        peak = self.gpu.peak_tflops[self.layout.number_type] * 1e12 * self.layout.gpus
        again = 4 / 3 if self.layout.recompute == "full" else 1.0
        full = self.tokens_per_second * shape.training_flops_per_token(length) / peak
        causal = self.tokens_per_second * shape.training_flops_per_token(length, causal=True) / peak
        return {"model_full_attention": full, "model_causal_attention": causal, "hardware_full_attention": full * again}

    def to_json(self, price_usd_per_gpu_hour: float | None = None) -> dict[str, Any]:
        """Every figure in groups, with its unit in its name; unknown ones are null."""
        price = price_usd_per_gpu_hour or self.gpu.price_usd_per_gpu_hour
        watts, low, high = self.gpu.power_watts, *RESIDUALS
        job = self.job
        return {
            "model": {
                "parameters": job.shape.parameters,
                "active_parameters": job.shape.active_parameters,
                "tokens": round(job.tokens),
                "tokens_per_step": job.tokens_per_step,
                "sequence_length": job.sequence_length,
                "steps": round(job.steps),
            },
            "layout": f"{self.layout.describe()}; {self.layout.number_type}",
            "time": {
                "days": self.days,
                "days_low": self.days * low,
                "days_high": self.days * high,
                "gpus_used": self.layout.gpus,
                "gpu_hours": self.gpu_hours,
                "tokens_per_second": self.tokens_per_second,
                "tokens_per_second_per_gpu": self.tokens_per_second / self.layout.gpus,
            },
            "cost": {
                "usd": None if price is None else self.gpu_hours * price,
                "usd_per_gpu_hour": price,
                "price_source": "given" if price_usd_per_gpu_hour else self.gpu.price_source or None,
                "gpu_energy_mwh_at_rated_power": None if watts is None else self.gpu_hours * watts / 1e6,
            },
            "utilisation": self.utilisation(),
            "step_seconds": _parts(self.step, "_seconds") | {"total": self.step_seconds},
            "memory_gb": _parts(self.memory, "_gb") | {"total": self.memory.total_gb, "available": self.gpu.memory_gb},
        }


def estimate(job: Job, layout: Layout, gpu: Gpu) -> Estimate:
    """What the job takes in that layout, whether or not it fits in memory."""
    length, sequences = job.sequence_length, job.sequences_per_step
    return Estimate(
        job=job,
        layout=layout,
        gpu=gpu,
        memory=memory(job.shape, layout, length, sequences),
        step=step_time(work(job.shape, layout, length, sequences, gpu), shares(gpu, layout)),
    )


def _parts(record: Any, suffix: str) -> dict[str, float]:
    return {field.name.removesuffix(suffix): getattr(record, field.name) for field in dataclasses.fields(record)}
