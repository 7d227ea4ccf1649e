"""What of a fleet's time trains: the answer of `townsquare fleet goodput`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from townsquare.dial import parameters_of
from townsquare.fleet.config import GoodputConfig
from townsquare.fleet.failures import disagreements, fleets, kinds_of, mean_hours_between, scaled, total_rate
from townsquare.fleet.hardware import gpu
from townsquare.fleet.simulation import (
    DAY,
    Conditions,
    Spent,
    best_interval,
    daly,
    enough_spares,
    expected_share,
    quantiles,
    simulate,
    young,
)

CHECKPOINT_BYTES = 14  # a parameter: bf16 weights; float32 weights and Adam's two moments


def conditions_of(config: GoodputConfig) -> Conditions:
    """The config in seconds. Raises ConfigError for an unknown GPU kind or fleet."""
    kinds = kinds_of(config.failures)
    if config.failures_per_1000_gpu_days is not None:
        kinds = scaled(kinds, config.failures_per_1000_gpu_days / 1000)
    found = Conditions(
        gpus=config.gpus,
        kinds=kinds,
        days=config.days,
        checkpoint_seconds=CHECKPOINT_BYTES * parameters_of(config.size) / (config.storage_gb_s * 1e9),
        restart_seconds=config.restart_minutes * 60,
        repair_seconds=config.repair_hours * 3600,
        spare_nodes=config.spare_nodes or 0,
        recalls_per_day=config.recalls_per_30_days / 30,
        recall_seconds=config.recall_hours * 3600,
        recall_notice_seconds=config.recall_notice_hours * 3600,
    )
    return dataclasses.replace(found, spare_nodes=enough_spares(found)) if config.spare_nodes is None else found


def goodput(config: GoodputConfig) -> dict[str, Any]:
    """The useful share with its range, the interval between checkpoints, and what takes the rest."""
    conditions = conditions_of(config)
    between = min(conditions.seconds_between_failures, conditions.days * DAY)
    interval = 60 * config.interval_minutes if config.interval_minutes else None
    interval = interval or best_interval(conditions, config.trials, config.seed)
    spent = simulate(conditions, interval, config.trials, config.seed)
    useful, low, high = quantiles([one.useful for one in spent])
    nodes = gpu(config.gpu).gpus_per_node
    return {
        "asked": f"{config.size} on {config.gpus:,} {gpu(config.gpu).name} for {config.days:g} days, interrupted as "
        f"{config.failures} was" + (", at a rate of your own" if config.failures_per_1000_gpu_days else ""),
        "useful_share": {"mean": useful, "p10": low, "p90": high},
        "time": _shares(spent),
        "interruptions": dict(
            zip(("mean", "p10", "p90"), quantiles([one.interruptions for one in spent]), strict=True)
        ),
        "hours_between_unexpected_interruptions": mean_hours_between(conditions.kinds, conditions.gpus),
        "checkpoint": {
            "seconds_to_write": conditions.checkpoint_seconds,
            "minutes_between": interval / 60,
            "chosen_by": "given" if config.interval_minutes else "simulation",
            "minutes_between_by_young": young(conditions.checkpoint_seconds, between) / 60,
            "minutes_between_by_daly": daly(conditions.checkpoint_seconds, between) / 60,
        },
        "spares": {
            "nodes": conditions.spare_nodes,
            "gpus": conditions.spare_nodes * nodes,
            "enough_99.9_percent_of_the_time": enough_spares(conditions),
        },
        "useful_share_with_spares_at_hand_by_fleet": _by_fleet(conditions),
        "published_figures_that_disagree": disagreements(),
    }


def _shares(spent: Sequence[Spent]) -> dict[str, float]:
    """Means of the parts; they add up to 1."""
    names = [field.name for field in dataclasses.fields(Spent) if field.name != "interruptions"]
    return {name: quantiles([getattr(one, name) for one in spent])[0] for name in names}


def _by_fleet(conditions: Conditions) -> dict[str, float]:
    """Daly's share at each published rate, in the mix of kinds asked for: what the rate alone decides."""
    found = {}
    for name in sorted(fleets(), key=lambda fleet: total_rate(kinds_of(fleet))):
        there = dataclasses.replace(conditions, kinds=scaled(conditions.kinds, total_rate(kinds_of(name))))
        interval = daly(there.checkpoint_seconds, there.seconds_between_failures)
        found[name] = expected_share(there, interval)
    return found
