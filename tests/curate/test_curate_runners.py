"""Who judges posts by themselves makes no difference, nor how they are cut into parts."""

from __future__ import annotations

import os

import polars as pl
import pytest

from townsquare.curate import alone, runners
from townsquare.curate.config import CurateConfig
from townsquare.errors import ConfigError

TEXTS = (
    "The library on Mill Street stays open until eight.",
    "mail jane@example.org or call 202-555-0143",
    "",
    "Dit is een Nederlandse zin over het weer in Utrecht",
    "50% OFF everything, use code SAVE50, hurry, sale ends tonight!",
    "😀😀",
    "line\nbreaks and \u2028 others",
)


def posts(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"text": [f"{TEXTS[n % len(TEXTS)]} {'' if n % 3 else n}".strip() for n in range(count)]}
    ).with_columns(
        lang=pl.lit(None, pl.String), sensitive=pl.lit(None, pl.Boolean), is_latest_edit=pl.lit(None, pl.Boolean)
    )


def test_worker_processes_say_what_this_process_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, config = posts(101), CurateConfig(languages=("en", "nl"))
    expected, masked = alone.judge(asked, config)
    assert masked["email"] == masked["phone"] == 15  # every seventh of 101, from the second on
    monkeypatch.setattr(runners, "PART", 17)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    found, masked_too = runners.judge_alone(asked, config)
    assert found.equals(expected)
    assert masked_too == masked


def test_a_worker_that_dies_is_no_silent_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "PART", 17)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(alone, "settings_of", lambda _: {})  # no settings: the worker cannot answer
    with pytest.raises(RuntimeError, match="exit code 1"):
        runners.judge_alone(posts(101), CurateConfig())


def test_ray_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import ray
    except ImportError:
        with pytest.raises(ConfigError, match="cluster"):
            runners.judge_alone(posts(5), CurateConfig(runner="ray"))
        return
    monkeypatch.setattr(runners, "PART", 17)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        found, _ = runners.judge_alone(posts(101), CurateConfig(runner="ray"))
    finally:
        ray.shutdown()
    assert found.equals(alone.judge(posts(101), CurateConfig())[0])
