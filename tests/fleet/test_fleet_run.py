"""The stage: its receipt, its comparison with the square's own run, and its errors."""

from __future__ import annotations

import json

import pytest

from townsquare import receipts
from townsquare.dial import dial
from townsquare.errors import ConfigError
from townsquare.fleet.config import EstimateConfig, ValidateConfig
from townsquare.fleet.run import run
from townsquare.fleet.validate import validate
from townsquare.square import Square, write_json


def give_receipt(square: Square, stage: str, name: str | None, **results: object) -> None:
    """Write the receipt that another stage would."""
    with receipts.stage(square, stage, inputs=[], config=ValidateConfig(), name=name) as work:
        work.count(kept=results.pop("kept", 0))  # type: ignore[arg-type]
        work.results.update(results)


def test_the_largest_model_of_ten_thousand_gpus(square: Square) -> None:
    results = run(square, EstimateConfig()).results
    assert "10,000 H100 SXM train in 30 days" in results["asked"]
    assert results["time"]["days"] <= 30
    assert 9_000 < results["time"]["gpus_used"] <= 10_000
    assert 5e10 < results["model"]["parameters"] < 5e11
    assert results["posts"]["posts_needed"] is None
    assert run(square, EstimateConfig()).skipped
    other = run(square, EstimateConfig(gpus=1000))  # another question is answered, never refused
    assert not other.skipped
    assert other.results["model"]["parameters"] < results["model"]["parameters"]
    json.dumps(other.to_json(), allow_nan=False)


def test_beside_the_squares_own_run(square: Square) -> None:
    settings = dial("2M", vocabulary_size=4096, available_tokens=100_000)
    give_receipt(square, "curate", None, kept=500)
    give_receipt(
        square, "tokens", None, vocabulary_size=4096, tokens={"documents-train": 9_000, "conversations-train": 7}
    )
    give_receipt(
        square,
        "train",
        "base",
        steps=settings.steps,
        tokens_per_step=settings.tokens_per_step,
        sequence_length=settings.sequence_length,
        step_seconds=12.5,
        device="cpu",
    )
    write_json(square.runs / "base" / "model.json", settings.model.to_record())
    results = run(square, EstimateConfig()).results
    own = results["own_run"]
    assert own["measured_seconds"] == 12.5
    assert own["gpus_it_can_use"] <= settings.tokens_per_step // settings.sequence_length
    assert "of 10,000 GPUs" in own["remark"]
    assert own["seconds_on_all_gpus"] <= own["seconds_on_one_gpu"]
    assert results["posts"]["tokens_per_post"] == 9_000 / 500
    assert results["posts"]["posts_needed"] == round(results["model"]["tokens"] / 18)


def test_a_size_and_tokens_that_are_given(square: Square) -> None:
    results = run(square, EstimateConfig(size="70B", tokens="15T", gpus=1024, software="fused")).results
    assert results["model"]["tokens"] == 15_000_000_000_000
    least = 6 * results["model"]["active_parameters"] * 15e12 / 989e12 / 3600  # at the peak of the hardware
    assert 1.5 < results["time"]["gpu_hours"] / least < 4
    assert results["cost"]["usd"] == pytest.approx(2.95 * results["time"]["gpu_hours"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gpus": 0}, "gpus cannot be 0"),
        ({"days": -1.0}, "days cannot be -1"),
        ({"size": "huge"}, "size cannot be 'huge'"),
        ({"size": "6M", "model": "x"}, "one model"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EstimateConfig(**settings)  # type: ignore[arg-type]


def test_an_unknown_gpu_is_refused_before_anything_is_written(square: Square) -> None:
    with pytest.raises(ConfigError, match="no GPU kind"):
        run(square, EstimateConfig(gpu="abacus"))
    assert receipts.read(square, "fleet") is None


def test_validate_wants_a_file() -> None:
    with pytest.raises(ConfigError, match="no runs"):
        validate(ValidateConfig())
