"""Which GPUs, how many and in which layout: the answer of `townsquare fleet plan`."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

from townsquare.dial import parameters_of
from townsquare.errors import ConfigError
from townsquare.fleet.book import read_book
from townsquare.fleet.buying import buy_or_rent
from townsquare.fleet.calibrate import UNCALIBRATED, Calibration, calibrate
from townsquare.fleet.candidates import Candidate, Terms, front, of_counts, together, useful
from townsquare.fleet.config import PlanConfig
from townsquare.fleet.estimate import Job
from townsquare.fleet.failures import kinds_of
from townsquare.fleet.hardware import gpu
from townsquare.fleet.layout import Layout
from townsquare.fleet.limits import limits, neighbours
from townsquare.fleet.offers import Offer, offers_of
from townsquare.fleet.pools import midnight
from townsquare.fleet.search import by_dial, by_file, largest
from townsquare.fleet.simulation import daly, quantiles, simulate
from townsquare.square import Square

VOCABULARY_SIZE = 65_536
TRIALS = 40
ASSUMED = (
    "a job takes all of its GPUs or stands still; 10 minutes from an interruption to the next step, 24 hours to repair "
    "a node (see fleet goodput); prices as hardware.csv has them, or as given"
)


def plan(config: PlanConfig, square: Square | None, now: dt.datetime | None = None) -> dict[str, Any]:
    """The best plan, the front that it was chosen from, why it wins and what limits it.

    Raises ConfigError when nothing fits on what may be had.
    """
    now = now or dt.datetime.now(dt.UTC)
    starts = midnight(config.starts) if config.starts else now.replace(microsecond=0)
    days = _days(config, starts)
    book = read_book(square) if config.leases and square is not None else None
    offers = offers_of(config, book, now)
    kinds = [gpu(name) for name in config.gpu]
    calibration = calibrate(config.calibrate, square, kinds) if config.calibrate else {}
    terms = Terms(
        job=_job(config) or _nothing_yet(),
        like=Layout(number_type=config.number_type, kernels=config.software),
        starts=starts,
        kinds=kinds_of(config.failures),
        storage_gb_s=config.storage_gb_s,
        between_pools_gb_s=config.between_pools_gb_s,
        measured_over_estimated={kind: found.measured_over_estimated for kind, found in calibration.items()},
    )
    if _job(config) is None:
        assert days is not None
        terms = dataclasses.replace(terms, job=_largest(terms, offers, days))
    candidates, passed_over = _candidates(terms, offers, days)
    goal = config.goal or ("time" if days is None else "cost")
    winner = _best(candidates, days, goal)
    return {
        "asked": _asked(config, terms.job, offers, days),
        "assumed": ASSUMED,
        "in_time": None if days is None else winner.days <= days and winner.beyond() is None,
        "plan": _describe(winner, calibration),
        "why": _why(winner, candidates, days, goal),
        "front": [_row(one) for one in front([one for one in candidates if one.beyond() is None])],
        "together": _together(candidates),
        "passed_over": passed_over,
        "buy_or_rent": _buy_or_rent(winner, config),
        "calibrated": {kind: dataclasses.asdict(found) for kind, found in calibration.items()},
    }


def _days(config: PlanConfig, starts: dt.datetime) -> float | None:
    """Days that there are; None: no end."""
    if config.by is None:
        return config.days
    days = (midnight(config.by) + dt.timedelta(days=1) - starts).total_seconds() / 86_400
    if days <= 0:
        raise ConfigError(f"{config.by} is before the start, {starts.date()}", remedy="Give a later --by.")
    return days


def _job(config: PlanConfig) -> Job | None:
    """The job that is named, or None: the largest is sought."""
    tokens = float(parameters_of(config.tokens)) if config.tokens else None
    if config.model is not None:
        return by_file(config.model, tokens, config.sequence_length)
    return by_dial(config.size, VOCABULARY_SIZE, tokens)[0] if config.size else None


def _nothing_yet() -> Job:
    """A job of a usual size: what a checkpoint weighs while the largest model is sought."""
    return by_dial("70B", VOCABULARY_SIZE)[0]


def _largest(terms: Terms, offers: Sequence[Offer], days: float) -> Job:
    """The largest model that one of the offers trains in time, interruptions counted in."""
    best: Job | None = None
    problems = []
    for offer in offers:
        if not offer.bounded:
            raise ConfigError(
                "the largest model for any number of GPUs is unbounded",
                remedy="Give --gpus, --pool, --leases or --size.",
            )
        try:
            found = _largest_of(terms, offer, days)
        except ConfigError as error:
            problems.append(f"{offer.name}: {error.message}")
            continue
        if best is None or found.shape.parameters > best.shape.parameters:
            best = found
    if best is None:
        raise ConfigError("no model can be trained: " + "; ".join(problems), remedy="Give more days or GPUs.")
    return best


def _largest_of(terms: Terms, offer: Offer, days: float) -> Job:
    open_days = days * _open_share(offer, terms.starts, days)
    slower = terms.measured_over_estimated.get(offer.gpu.name, 1.0)

    def training_days(job: Job) -> float:
        _, share, _ = useful(dataclasses.replace(terms, job=job), offer.gpus, offer.gpu.gpus_per_node)
        return open_days * share / slower

    _, _, conditions = useful(terms, offer.gpus, offer.gpu.gpus_per_node)
    return largest(offer.gpu, conditions.gpus, training_days, VOCABULARY_SIZE, terms.like).job


def _open_share(offer: Offer, starts: dt.datetime, days: float) -> float:
    """Of the days, the share in which its lease lends."""
    if offer.lease is None:
        return 1.0
    end = starts + dt.timedelta(days=days)
    return offer.lease.reserved_seconds(starts, end) / offer.lease.gpus / (days * 86_400)


def _candidates(terms: Terms, offers: Sequence[Offer], days: float | None) -> tuple[list[Candidate], dict[str, str]]:
    """Every plan, and why offers have none that keeps their terms."""
    found: list[Candidate] = []
    passed_over: dict[str, str] = {}
    for offer in offers:
        ones = list(of_counts(terms, offer, days))
        reasons = [one.beyond() for one in ones]
        if not ones:
            passed_over[offer.name] = f"{terms.job.shape.parameters / 1e9:,.1f}B parameters do not fit on it"
        elif all(reasons):
            passed_over[offer.name] = str(reasons[0])
        found += ones
    if len(offers) > 1 and all(offer.bounded and offer.gpu for offer in offers):
        both = together(terms, offers)
        if both is None:
            passed_over["all together"] = "their hours differ, or a part of the model does not fit on one of them"
        else:
            found.append(both)
    if not found:
        said = "; ".join(f"{name}: {why}" for name, why in passed_over.items())
        raise ConfigError(f"nothing fits: {said}", remedy="Take more GPUs, kinds with more memory, or a smaller model.")
    return found, passed_over


def _best(candidates: Sequence[Candidate], days: float | None, goal: str) -> Candidate:
    """Of those done in time and within terms the cheapest or the fastest; when none is, the fastest of all."""
    kept = [one for one in candidates if one.beyond() is None]
    done = [one for one in kept if days is None or one.days <= days]
    if not done:
        return min(kept or candidates, key=lambda one: (one.days, one.training_days))
    if goal == "time":
        return min(done, key=lambda one: (one.days, one.usd or one.gpu_hours))
    priced = [one for one in done if one.usd is not None]
    if priced:
        return min(priced, key=lambda one: (one.usd, one.days))
    return min(done, key=lambda one: (one.gpu_hours, one.days))


def _asked(config: PlanConfig, job: Job, offers: Sequence[Offer], days: float | None) -> str:
    what = config.size or (str(config.model) if config.model else "the largest model")
    which = ", ".join(f"{o.gpus:,} {o.name}" if o.bounded else o.name for o in offers)
    when = "" if days is None else f" within {days:,.1f} days"
    return f"{what} ({job.shape.parameters / 1e9:,.1f}B parameters, {job.tokens / 1e9:,.0f}B tokens) on {which}{when}"


def _describe(one: Candidate, calibration: dict[str, Calibration]) -> dict[str, Any]:
    """The plan in full, with its range: of the estimate and of chance."""
    conditions = dataclasses.replace(one.conditions, days=max(min(one.training_days, 365.0), 0.1))
    interval = daly(conditions.checkpoint_seconds, conditions.seconds_between_failures)
    spent = simulate(conditions, min(interval, conditions.days * 86_400), TRIALS, 0)
    mean, worse, better = quantiles([trial.useful for trial in spent])
    known = [calibration.get(estimate.gpu.name, UNCALIBRATED) for estimate in one.estimates]
    low, high = min(found.low for found in known), max(found.high for found in known)
    stretch = one.days / one.training_days if one.finishes else 1.0
    return _row(one) | {
        "days_low": one.training_days * stretch * low * one.useful_share / better,
        "days_high": one.training_days * stretch * high * one.useful_share / worse,
        "training_days": one.training_days,
        "gpus_standing_by": one.conditions.spare_nodes * one.estimates[0].gpu.gpus_per_node,
        "useful_share": {"mean": mean, "p10": worse, "p90": better},
        "checkpoint_every_minutes": interval / 60,
        "parameters": one.job.shape.parameters,
        "tokens": round(one.job.tokens),
        "tokens_per_step": one.job.tokens_per_step,
        "sequences_per_step": [estimate.job.sequences_per_step for estimate in one.estimates],
        "step_seconds": one.step_seconds,
        "between_pools_seconds": one.between_seconds,
        "memory_gb": [round(estimate.memory.total_gb, 1) for estimate in one.estimates],
    }


def _row(one: Candidate) -> dict[str, Any]:
    return {
        "gpus": {offer.name: count for offer, count in zip(one.offers, one.gpus, strict=True)},
        "layout": [estimate.layout.describe() for estimate in one.estimates],
        "days": one.days if one.finishes else None,
        "finishes": one.finishes.date().isoformat() if one.finishes else None,
        "gpu_hours": one.gpu_hours,
        "usd": one.usd,
        "share_useful": one.useful_share,
    }


def _why(winner: Candidate, candidates: Sequence[Candidate], days: float | None, goal: str) -> dict[str, Any]:
    """What it was chosen for, what comes next, and, for one pool, layouts beside its own and what limits it."""
    others = [one for one in candidates if one is not winner and one.beyond() is None]
    second = _best(others, days, goal) if others else None
    said = f"least {goal} of {len(candidates)} plans" + ("" if days is None else f" within {days:,.1f} days")
    if days is not None and (winner.days > days or winner.beyond()):
        said = f"the fastest: none of {len(candidates)} plans is done in time" + (
            f"; {winner.beyond()}" if winner.beyond() else ""
        )
    found: dict[str, Any] = {"wins": said, "next": _row(second) if second else None}
    if len(winner.estimates) == 1:
        one, room = winner.estimates[0], winner.conditions.gpus
        found["saved_by_twice_the"] = limits(one, room)
        found["beside_it"] = neighbours(one, room)
    return found


def _together(candidates: Sequence[Candidate]) -> dict[str, Any] | None:
    """All pools in one run, and whether that is faster than the fastest alone; null where there is no such plan."""
    both = next((one for one in candidates if len(one.offers) > 1), None)
    if both is None:
        return None
    alone = min(one.days for one in candidates if len(one.offers) == 1)
    return _row(both) | {
        "step_seconds": both.step_seconds,
        "between_pools_seconds": both.between_seconds,
        "faster_than_alone": both.days < alone,
    }


def _buy_or_rent(winner: Candidate, config: PlanConfig) -> dict[str, Any]:
    """By GPU kind of the plan."""
    return {
        offer.gpu.name: buy_or_rent(
            offer.gpu, offer.usd_per_gpu_hour, winner.training_days, config.usd_per_kwh, config.resale_share
        )
        for offer in winner.offers
    }
