"""Plans that could be: a job on so many GPUs of one offer, or of several together, with interruptions counted in."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from townsquare.errors import ConfigError
from townsquare.fleet.estimate import Estimate, Job
from townsquare.fleet.failures import Kind
from townsquare.fleet.goodput import CHECKPOINT_BYTES
from townsquare.fleet.layout import Layout
from townsquare.fleet.offers import Offer, finish, same_hours
from townsquare.fleet.search import fastest
from townsquare.fleet.simulation import Conditions, daly, expected_share, spares_suffice

RESTART_SECONDS, REPAIR_SECONDS = 600.0, 86_400.0  # the defaults of GoodputConfig, which says where they come from
COUNTS, COUNTS_AROUND = 9, 4  # of GPUs that are tried of one offer, each a root of two below the next
GRADIENT_BYTES = 2  # a parameter, bf16, to the other pools; and as much back


@dataclasses.dataclass(frozen=True)
class Terms:
    """What all plans of one question share."""

    job: Job
    like: Layout
    starts: dt.datetime
    kinds: tuple[Kind, ...]
    storage_gb_s: float
    between_pools_gb_s: float
    measured_over_estimated: Mapping[str, float]
    """By GPU kind, from a run of the user's own."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A plan."""

    offers: tuple[Offer, ...]
    estimates: tuple[Estimate, ...]
    """One an offer; their batches add up to the job's."""
    gpus: tuple[int, ...]
    """Taken of each offer, nodes that stand by included."""
    step_seconds: float
    between_seconds: float
    """Of the step, for the exchange between pools."""
    useful_share: float
    conditions: Conditions
    job: Job
    finishes: dt.datetime | None
    """None: the lease ends before."""
    starts: dt.datetime

    @property
    def training_days(self) -> float:
        """In which the GPUs are taken, interruptions included."""
        return self.job.steps * self.step_seconds / self.useful_share / 86_400

    @property
    def days(self) -> float:
        """From the start to the end, closed hours included; endless where the lease ends before."""
        return (self.finishes - self.starts).total_seconds() / 86_400 if self.finishes else float("inf")

    @property
    def gpu_hours(self) -> float:
        return self.training_days * 24 * sum(self.gpus)

    @property
    def usd(self) -> float | None:
        """None where a price is unknown."""
        prices = [offer.usd_per_gpu_hour for offer in self.offers]
        hours = self.training_days * 24
        if any(price is None for price in prices):
            return None
        return sum(hours * count * (price or 0.0) for count, price in zip(self.gpus, prices, strict=True))

    def beyond(self) -> str | None:
        """What of the terms it goes beyond, or None."""
        if self.finishes is None:
            return "a lease ends before it is done"
        for offer, count in zip(self.offers, self.gpus, strict=True):
            if offer.gpu_hours_left is not None and offer.gpu_hours_left < self.training_days * 24 * count:
                return f"the budget of {offer.name} has {offer.gpu_hours_left:,.0f} GPU-hours left"
        return None


def useful(terms: Terms, gpus: int, gpus_per_node: int) -> tuple[int, float, Conditions]:
    """Nodes to stand by of so many GPUs, the useful share with them, and what was assumed.

    As many stand by as make the most of all GPUs: each idles a node, and shortens the wait for a repair.
    """
    there = Conditions(
        gpus=gpus,
        kinds=terms.kinds,
        days=30.0,
        checkpoint_seconds=CHECKPOINT_BYTES * terms.job.shape.parameters / (terms.storage_gb_s * 1e9),
        restart_seconds=RESTART_SECONDS,
        repair_seconds=REPAIR_SECONDS,
        spare_nodes=0,
    )
    choices = [
        ((1 - spares * gpus_per_node / gpus) * share, spares, share)
        for spares, share in enumerate(spares_suffice(there))
        if spares * gpus_per_node < gpus
    ]
    _, spares, enough = max(choices)
    there = dataclasses.replace(there, gpus=gpus - spares * gpus_per_node, spare_nodes=spares)
    interval = daly(there.checkpoint_seconds, there.seconds_between_failures)
    return spares, expected_share(there, interval) * enough, there


def of_one(terms: Terms, offer: Offer, gpus: int) -> Candidate:
    """The fastest layout on so many GPUs of an offer. Raises ConfigError when none fits."""
    node = offer.gpu.gpus_per_node
    spares, share, conditions = useful(terms, gpus, node)
    found = fastest(terms.job, offer.gpu, conditions.gpus, terms.like)
    taken = min(gpus, (-(-found.layout.gpus // node) + spares) * node)
    step = found.step_seconds * terms.measured_over_estimated.get(offer.gpu.name, 1.0)
    return _candidate(terms, ((offer, found, taken),), (step, 0.0), (share, conditions))


def _candidate(
    terms: Terms,
    parts: Sequence[tuple[Offer, Estimate, int]],
    step: tuple[float, float],
    interrupted: tuple[float, Conditions],
) -> Candidate:
    offers, estimates, gpus = zip(*parts, strict=True)
    share, conditions = interrupted
    seconds = terms.job.steps * sum(step) / share
    ends = [finish(offer.lease, terms.starts, seconds, RESTART_SECONDS) for offer in offers]
    done = [end for end in ends if end is not None]
    return Candidate(
        offers=offers,
        estimates=estimates,
        gpus=gpus,
        step_seconds=sum(step),
        between_seconds=step[1],
        useful_share=share,
        conditions=conditions,
        job=terms.job,
        finishes=max(done) if len(done) == len(ends) else None,
        starts=terms.starts,
    )


def of_counts(terms: Terms, offer: Offer, days: float | None) -> Iterator[Candidate]:
    """Plans on several counts of an offer's GPUs: from all of them down; of an unbounded one, around the fewest that
    are done in time. Counts on which the model does not fit are passed over."""
    node = offer.gpu.gpus_per_node
    most, tried = (offer.gpus, COUNTS) if offer.bounded else (2 * _fewest(terms, offer, days or 0.0), COUNTS_AROUND)
    seen = set()
    for step in range(tried):
        count = int(most * 2 ** (-step / 2))
        count = count - count % node if count > node else count
        if count < 1 or count in seen:
            continue
        seen.add(count)
        try:
            yield of_one(terms, offer, count)
        except ConfigError:
            return


def _fewest(terms: Terms, offer: Offer, days: float) -> int:
    """The fewest GPUs, in nodes, that are done in time; all of the offer's when not even they are."""
    node = offer.gpu.gpus_per_node
    ideal = terms.job.tokens * terms.job.shape.training_flops_per_token(terms.job.sequence_length, causal=True)
    ideal /= offer.gpu.peak_tflops[terms.like.number_type] * 1e12 * days * 86_400 * node
    low, most = int(ideal), max(offer.gpus // node, 1)  # nodes; not even at its peak do fewer suffice
    high = max(int(2 * ideal), 1)
    while high < most and not _in_time(terms, offer, high * node, days):
        low, high = high, high * 2
    high = min(high, most)
    while high - low > max(1, high // 32):
        middle = (low + high) // 2
        low, high = (low, middle) if _in_time(terms, offer, middle * node, days) else (middle, high)
    return high * node


def _in_time(terms: Terms, offer: Offer, gpus: int, days: float) -> bool:
    try:
        return of_one(terms, offer, gpus).days <= days
    except ConfigError:
        return False


def together(terms: Terms, offers: Sequence[Offer]) -> Candidate | None:
    """All offers in one run: each pool holds replicas in a layout of its own and takes a part of the batch by its
    speed; gradients go between the pools once a step, and nothing hides that. None where it cannot be."""
    if not same_hours(offers):
        return None
    counts = [offer.gpus for offer in offers]
    spares, share, conditions = useful(terms, sum(counts), max(offer.gpu.gpus_per_node for offer in offers))
    free = list(counts)
    first = counts.index(max(counts))
    free[first] -= spares * max(offer.gpu.gpus_per_node for offer in offers)
    parts = [terms.job.sequences_per_step / len(offers)] * len(offers)
    best: list[Estimate] = []
    for _ in range(4):
        batches = _whole(parts, terms.job.sequences_per_step)
        if min(batches) < 1 or free[first] < 1:
            return None
        jobs = [dataclasses.replace(terms.job, sequences_per_step=batch) for batch in batches]
        try:
            found = [fastest(j, o.gpu, n, terms.like) for j, o, n in zip(jobs, offers, free, strict=True)]
        except ConfigError:
            return None
        seconds = _seconds(terms, found)
        if not best or max(seconds) < max(_seconds(terms, best)):
            best = found
        speeds = [batch / second for batch, second in zip(batches, seconds, strict=True)]
        parts = [terms.job.sequences_per_step * speed / sum(speeds) for speed in speeds]
    between = 2 * GRADIENT_BYTES * terms.job.shape.parameters / (terms.between_pools_gb_s * 1e9)
    taken = [min(n, e.layout.gpus + n - f) for n, f, e in zip(counts, free, best, strict=True)]
    step = (max(_seconds(terms, best)), between)
    return _candidate(terms, list(zip(offers, best, taken, strict=True)), step, (share, conditions))


def _seconds(terms: Terms, found: Sequence[Estimate]) -> list[float]:
    return [one.step_seconds * terms.measured_over_estimated.get(one.gpu.name, 1.0) for one in found]


def _whole(parts: Sequence[float], total: int) -> list[int]:
    """The parts rounded, so that they still add up."""
    rounded = [round(part) for part in parts]
    rounded[rounded.index(max(rounded))] += total - sum(rounded)
    return rounded


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other beats in both days and dollars (GPU-hours where a price is unknown), the fastest first."""
    priced = all(one.usd is not None for one in candidates)

    def cost(one: Candidate) -> float:
        return (one.usd or 0.0) if priced else one.gpu_hours

    kept: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (c.days, cost(c))):
        if one.finishes is not None and (not kept or cost(one) < cost(kept[-1])):
            kept.append(one)
    return kept
