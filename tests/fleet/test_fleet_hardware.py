"""Hardware: every row of the table, every spelling, and what is said of an unknown kind."""

from __future__ import annotations

import pytest

from townsquare.errors import ConfigError
from townsquare.fleet.hardware import gpu, known


def test_every_row_has_a_source_and_a_date() -> None:
    assert len(known()) >= 15
    for kind in known():
        assert kind.source, kind.name
        assert kind.as_of[:2] == "20", kind.name
        assert kind.peak_tflops["bf16"] > 0
        for number_type, measured in kind.measured_tflops.items():
            assert measured <= kind.peak_tflops[number_type], kind.name
        if kind.price_usd_per_gpu_hour is not None:
            assert kind.price_source, kind.name


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("H100-SXM-80GB (DGX Cloud)", "H100 SXM"),
        ("NVIDIA H100-SXM5-80GB", "H100 SXM"),
        ("h100 sxm", "H100 SXM"),
        ("A100-SXM-40GB", "A100 SXM 40GB"),
        ("NVIDIA Blackwell GPU (GB200)", "GB200 NVL72"),
        ("NVIDIA Blackwell Ultra GPU (B300-SXM-270GB)", "B300 SXM"),
        ("AMD Instinct MI325X 256GB HBM3E DLC", "MI325X"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert gpu(spelling).name == name


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        gpu("Z9000")
    assert "'Z9000'" in caught.value.message
    assert "H100 SXM" in (caught.value.remedy or "")
