"""Estimates against published memory, throughput and GPU-hours, and what must hold of any of them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare.errors import ConfigError
from townsquare.fleet.constants import TABLE, constants, shares
from townsquare.fleet.estimate import Job, estimate
from townsquare.fleet.hardware import gpu, known
from townsquare.fleet.korthikanti import beside_calculon
from townsquare.fleet.layout import Layout
from townsquare.fleet.memory import activation_bytes_per_token, fits, held_activations, memory
from townsquare.fleet.search import by_dial, fastest, largest
from townsquare.fleet.shape import Shape
from townsquare.fleet.step_time import step_time
from townsquare.fleet.work import work


def gpt(layers: int, hidden: int, heads: int) -> Shape:
    return Shape(layers, hidden, heads, heads, hidden // heads, 51_200, 4 * hidden, gated=False, tied=True)


GPT_22B, GPT_175B, GPT_530B, GPT_1T = (
    gpt(48, 6144, 64),
    gpt(96, 12288, 96),
    gpt(105, 20480, 128),
    gpt(128, 25600, 160),
)
LLAMA_405B = Shape(126, 16384, 128, 8, 128, 128_256, 53_248)
LLAMA_8B = Shape(32, 4096, 32, 8, 128, 128_256, 14_336)
GIB = 2**30 / 1e9
H100, A100 = gpu("H100 SXM"), gpu("A100 SXM 80GB")


def test_activations_are_those_of_korthikantis_formula() -> None:
    # arXiv 2205.05198, equation 1, by hand for 22B: s b h (34 + 5 a s / h) bytes a layer, s 2048, b 4, h 6144, a 64.
    by_hand = 2048 * 4 * 6144 * (34 + 5 * 64 * 2048 / 6144)
    old = Layout(kernels="unfused")
    assert sum(activation_bytes_per_token(GPT_22B, old, 2048)) * 2048 * 4 == pytest.approx(by_hand)
    # Equation 2: with tensor parallelism 8 and no split sequence, s b h (10 + 24 / t + 5 a s / (h t)).
    tensor = Layout(tensor=8, kernels="unfused", splits_sequence=False, micro_batch=4)
    by_hand = 48 * 2048 * 4 * 6144 * (10 + 24 / 8 + 5 * 64 * 2048 / (6144 * 8))
    assert held_activations(GPT_22B, tensor, 2048, 4) == pytest.approx(by_hand)
    # Table 2: with the sequence split and scores made anew, 34 / t.
    split = dataclasses.replace(tensor, splits_sequence=True, recompute="selective")
    assert held_activations(GPT_22B, split, 2048, 4) == pytest.approx(48 * 2048 * 4 * 6144 * 34 / 8)


class Published(NamedTuple):
    """What arXiv 2205.05198 prints of one model on A100, tensor parallelism 8, sequences of 2,048."""

    shape: Shape
    stages: int
    chunks: int
    micro_batch: int
    batch: int
    state_gib: float
    """Weights, gradients and optimizer state, figure 1."""
    kept_gib: float
    """Activations, nothing made anew."""
    saved_gib: float
    """Activations, the sequence split and scores made anew."""


KORTHIKANTI = {
    "22B": Published(GPT_22B, 1, 1, 4, 4, 45.56, 59.25, 9.56),
    "175B": Published(GPT_175B, 8, 3, 1, 64, 45.56, 66.84, 12.35),
    "530B": Published(GPT_530B, 35, 3, 1, 280, 31.64, 114.02, 23.08),
    "1T": Published(GPT_1T, 64, 1, 1, 512, 32.96, 131.25, 26.56),
}


@pytest.mark.parametrize("name", KORTHIKANTI)
def test_published_memory_of_large_models(name: str) -> None:
    known_model = KORTHIKANTI[name]
    whole = Layout(
        tensor=8,
        pipeline=known_model.stages,
        interleave=known_model.chunks,
        micro_batch=known_model.micro_batch,
        kernels="unfused",
        splits_sequence=False,
        sharding="none",
    )
    need = memory(known_model.shape, whole, 2048, known_model.batch)
    state = need.weights_gb + need.gradients_gb + need.optimizer_gb
    assert state / GIB == pytest.approx(known_model.state_gib, rel=0.09)
    assert need.activations_gb / GIB == pytest.approx(known_model.kept_gib, rel=0.03)
    saved = dataclasses.replace(whole, recompute="selective", splits_sequence=True)
    need = memory(known_model.shape, saved, 2048, known_model.batch)
    assert need.activations_gb / GIB == pytest.approx(known_model.saved_gib, rel=0.08)


def test_published_step_times_of_large_models() -> None:
    found = beside_calculon()  # the two points of 22B alone were in the fit
    assert sum(isinstance(error, float) for name, error in found.items() if " " in name) == 8
    assert found["mean_abs_error"] < 0.09
    assert found["worst_abs_error"] < 0.2


def test_llama_3_405b() -> None:
    # arXiv 2407.21783, table 4: 16,384 H100, tensor 8, pipeline 16, data 128, 16M tokens a step: 41 % of the peak.
    # Its model card: 30.84M GPU-hours for 15.6T tokens, interruptions and longer contexts included.
    job = Job(LLAMA_405B, 15.6e12, 8192, 2048)
    layout = Layout(data=128, tensor=8, pipeline=16, interleave=8)
    plain = estimate(job, layout, H100)
    vendor = estimate(job, dataclasses.replace(layout, kernels="fused"), H100)
    assert layout.gpus == 16_384
    assert plain.utilisation()["model_full_attention"] == pytest.approx(0.41, rel=0.20)
    assert vendor.utilisation()["model_full_attention"] == pytest.approx(0.41, rel=0.20)
    assert vendor.gpu_hours < plain.gpu_hours
    assert vendor.gpu_hours / 1e6 == pytest.approx(30.84, rel=0.30)
    assert plain.gpu_hours / 1e6 == pytest.approx(30.84, rel=0.15)
    assert (
        fits(plain.memory, H100) or plain.memory.total_gb < 1.25 * H100.memory_gb
    )  # their layers are balanced by hand


def test_llama_3_70b_lies_between_plain_and_vendor_software() -> None:
    # Its model card: 6.4M H100-hours for 15T tokens.
    job = Job(Shape(80, 8192, 64, 8, 128, 128_256, 28_672), 15e12, 8192, 1024)
    vendor, plain = (fastest(job, H100, 8192, Layout(kernels=k)).gpu_hours for k in ("fused", "flash"))
    assert 0.8 * 6.4e6 < vendor < 6.4e6 < plain < 1.2 * 6.4e6


def test_every_constant_has_meaning_unit_source_and_lies_within_its_bounds() -> None:
    for row in constants().values():
        assert row.low <= row.value <= row.high, row
        assert row.low <= row.prior <= row.high, row
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    assert all(",," not in line.split(",", 2)[2] for line in lines)
    for kind in known():
        for software in ("unfused", "tuned", "flash", "fused", "overlapped"):
            for number_type in kind.peak_tflops:
                shares(kind, Layout(kernels=software, number_type=number_type))


def test_parts_add_up() -> None:
    found = estimate(Job(LLAMA_8B, 1e12, 8192, 512), Layout(data=16, tensor=4), H100).to_json()
    for group in ("step_seconds", "memory_gb"):
        parts = {name: value for name, value in found[group].items() if name not in ("total", "available")}
        assert sum(parts.values()) == pytest.approx(found[group]["total"])
        assert all(value >= 0 for value in parts.values())
    assert found["cost"]["usd"] == pytest.approx(found["time"]["gpu_hours"] * found["cost"]["usd_per_gpu_hour"])
    assert found["time"]["days_low"] < found["time"]["days"] < found["time"]["days_high"]


def test_an_unknown_price_is_null_not_zero() -> None:
    cost = estimate(Job(LLAMA_8B, 1e12, 8192, 512), Layout(data=8), gpu("GB300")).to_json()["cost"]
    assert cost["usd"] is None
    assert cost["price_source"] is None
    given = estimate(Job(LLAMA_8B, 1e12, 8192, 512), Layout(data=8), gpu("GB300")).to_json(2.0)["cost"]
    assert given["price_source"] == "given"


KINDS = st.sampled_from([H100, A100, gpu("B200"), gpu("H100 NVL"), gpu("GB200"), gpu("L40S")])
JOBS = st.builds(
    Job,
    shape=st.sampled_from(
        [LLAMA_8B, GPT_22B, dataclasses.replace(LLAMA_8B, experts=8, experts_per_token=2, expert_width=4096)]
    ),
    tokens=st.just(1e12),
    sequence_length=st.sampled_from([512, 2048, 8192]),
    sequences_per_step=st.sampled_from([64, 256, 1024]),
)
LAYOUTS = st.builds(
    Layout,
    data=st.sampled_from([1, 2, 8, 64]),
    tensor=st.sampled_from([1, 2, 8]),
    pipeline=st.sampled_from([1, 2, 4]),
    micro_batch=st.sampled_from([1, 2]),
    sharding=st.sampled_from(["none", "optimizer", "full"]),
    recompute=st.sampled_from(["none", "full"]),
    kernels=st.sampled_from(["flash", "fused"]),
)


@given(JOBS, LAYOUTS, KINDS)
@settings(max_examples=150, deadline=None)
def test_what_must_hold_of_any_estimate(job: Job, layout: Layout, kind: object) -> None:
    found = estimate(job, layout, kind)  # type: ignore[arg-type]
    assert 0 < found.utilisation()["model_causal_attention"] < 1
    deeper = dataclasses.replace(job, shape=dataclasses.replace(job.shape, layers=2 * job.shape.layers))
    assert estimate(deeper, layout, found.gpu).step_seconds > found.step_seconds
    assert estimate(deeper, layout, found.gpu).memory.total_gb > found.memory.total_gb
    faster = dataclasses.replace(found.gpu, network_gb_s=2 * found.gpu.network_gb_s)
    assert estimate(job, layout, faster).step_seconds <= found.step_seconds * (1 + 1e-9)
    if layout.recompute == "none":
        anew = estimate(job, dataclasses.replace(layout, recompute="full"), found.gpu)
        assert anew.step_seconds >= found.step_seconds * (1 - 1e-9)
        assert (
            anew.memory.activations_gb <= found.memory.activations_gb * 1.26
        )  # one layer's worth beside the kept inputs
    if layout.sharding == "none":
        split = dataclasses.replace(layout, sharding="optimizer")
        assert memory(job.shape, split, job.sequence_length, 64).total_gb <= found.memory.total_gb * (1 + 1e-9)


@given(JOBS, st.sampled_from([8, 16, 100, 1000]))
@settings(max_examples=8, deadline=None)
def test_more_gpus_are_never_slower(job: Job, gpus: int) -> None:
    few, many = fastest(job, H100, gpus), fastest(job, H100, 2 * gpus)
    assert many.days <= few.days * (1 + 1e-9)
    assert few.layout.gpus <= gpus
    assert fits(few.memory, H100)


def test_arrays_and_numbers_give_the_same() -> None:
    layout = Layout(data=8, tensor=2)
    done = work(LLAMA_8B, layout, 8192, 128, H100)
    constants_here = shares(H100, layout)
    numpy = pytest.importorskip("numpy")
    stacked = type(done)(**{f.name: numpy.array([getattr(done, f.name)] * 3) for f in dataclasses.fields(done)})
    times = step_time(stacked, constants_here).total_seconds
    assert times.tolist() == pytest.approx([step_time(done, constants_here).total_seconds] * 3)


def test_what_does_not_fit_says_which_part() -> None:
    job, _ = by_dial("400B", 65_536)
    with pytest.raises(ConfigError) as caught:
        fastest(job, H100, 8)
    assert "do not fit on 8 H100 SXM" in caught.value.message
    assert "optimizer" in (caught.value.remedy or "")


def test_a_number_type_that_the_kind_lacks() -> None:
    with pytest.raises(ConfigError, match="A100 SXM 80GB has no fp8"):
        fastest(Job(LLAMA_8B, 1e12, 8192, 512), A100, 64, Layout(number_type="fp8"))


def test_the_largest_model_fills_the_days() -> None:
    found = largest(H100, 1000, 10, 65_536)
    assert 5 < found.days <= 10
    assert largest(H100, 1000, 20, 65_536).job.shape.parameters > found.job.shape.parameters
    assert found.job.tokens / found.job.shape.parameters == pytest.approx(20, rel=0.1)
    with pytest.raises(ConfigError, match="train no model"):
        largest(H100, 1, 1e-9, 65_536)


def test_a_small_model_cannot_use_many_gpus() -> None:
    job, _ = by_dial("6M", 8192)
    found = fastest(job, H100, 10_000)
    assert found.layout.gpus <= job.sequences_per_step < 10_000
