"""The useful share of a fleet's time: failures, checkpoints, restarts, spares and recalls, event by event.

Young (1974) and Daly (2006, doi 10.1016/j.future.2004.11.016) give the interval between checkpoints and the share in
closed form where a replacement is always at hand; the simulation adds spares that run out, and recalls by the lender.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Iterator, Sequence

import numpy as np

from townsquare.fleet.failures import Kind

DAY = 86_400.0
SEARCHED = tuple(2.0 ** (step / 3) for step in range(-4, 5))  # times Daly's interval
SEARCH_TRIALS = 40
ENOUGH_SPARES = 0.999  # share of the time in which spares suffice
RECALL = "recall"


@dataclasses.dataclass(frozen=True)
class Conditions:
    """A job that takes all of its GPUs or stands still, and what interrupts it."""

    gpus: int
    kinds: tuple[Kind, ...]
    days: float
    """Length of what is simulated."""
    checkpoint_seconds: float
    """Training stands still while a checkpoint is written."""
    restart_seconds: float
    """From an interruption to the next step: finding it, replacing the node, loading the checkpoint."""
    repair_seconds: float
    """Mean time until a node that failed is a spare again."""
    spare_nodes: int
    recalls_per_day: float = 0.0
    recall_seconds: float = 0.0
    """How long the lender keeps what it recalled."""
    recall_notice_seconds: float = 0.0

    @property
    def seconds_between_failures(self) -> float:
        """Mean, of those that lose work."""
        rate = sum(kind.per_gpu_day for kind in self.kinds if kind.stops != "planned")
        return DAY / (rate * self.gpus) if rate else math.inf


@dataclasses.dataclass(frozen=True)
class Spent:
    """Shares of the time; they add up to 1."""

    useful: float
    checkpoints: float
    lost: float
    """Work since the last checkpoint, done again."""
    restarts: float
    waiting: float
    """For a node, when the spares are used up."""
    recalled: float
    interruptions: float
    """How many, unexpected and planned, recalls included."""


@dataclasses.dataclass(frozen=True)
class Events:
    """What happens in one trial, in order."""

    seconds: list[float]
    kinds: list[int]
    """Place in Conditions.kinds; the number of kinds stands for a recall."""
    repairs: list[float]
    """Seconds."""


def young(checkpoint_seconds: float, between_failures: float) -> float:
    """Seconds of work between checkpoints: first order."""
    return math.sqrt(2 * checkpoint_seconds * between_failures)


def daly(checkpoint_seconds: float, between_failures: float) -> float:
    """Seconds of work between checkpoints: higher order, equation 37."""
    if checkpoint_seconds >= 2 * between_failures:
        return between_failures
    ratio = checkpoint_seconds / (2 * between_failures)
    return young(checkpoint_seconds, between_failures) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - checkpoint_seconds


def expected_share(conditions: Conditions, interval: float) -> float:
    """Useful share where spares never run out and nothing is recalled (Daly's equation 13, exact for failures
    without memory); planned interruptions cost a checkpoint and a restart each."""
    between = conditions.seconds_between_failures
    planned = sum(k.per_gpu_day for k in conditions.kinds if k.stops == "planned") * conditions.gpus / DAY
    stopped = planned * (conditions.checkpoint_seconds + conditions.restart_seconds)
    cycle = interval + conditions.checkpoint_seconds
    if math.isinf(between):
        return max(interval / cycle * (1 - stopped), 0.0)
    if cycle / between > 500 or conditions.restart_seconds / between > 500:
        return 0.0
    wall = between * math.exp(conditions.restart_seconds / between) * math.expm1(cycle / between)
    return max(interval / wall * (1 - stopped), 0.0)


def enough_spares(conditions: Conditions) -> int:
    """Spare nodes that suffice for 99.9 % of the time."""
    return next(n for n, share in enumerate(spares_suffice(conditions)) if share >= ENOUGH_SPARES)


def spares_suffice(conditions: Conditions) -> Iterator[float]:
    """Share of the time in which no more than 0, 1, 2, ... nodes are out of service; it ends at 1.

    Their number is Poisson, whatever the distribution of repairs; by logarithms, for exp(-mean) underflows.
    """
    rate = sum(kind.per_gpu_day for kind in conditions.kinds if kind.stops == "node") * conditions.gpus / DAY
    mean = rate * conditions.repair_seconds
    cumulated, count = 0.0, 0
    while cumulated < 1 - 1e-9:
        cumulated += math.exp(count * math.log(mean) - mean - math.lgamma(count + 1)) if mean else 1.0
        yield cumulated
        count += 1


def draw(conditions: Conditions, rng: np.random.Generator) -> Events:
    """The interruptions of one trial."""
    rates = [kind.per_gpu_day * conditions.gpus for kind in conditions.kinds] + [conditions.recalls_per_day]
    count = rng.poisson(sum(rates) * conditions.days)
    kinds = rng.choice(len(rates), count, p=np.array(rates) / sum(rates)) if count else np.zeros(0, int)
    return Events(
        seconds=np.sort(rng.random(count) * conditions.days * DAY).tolist(),
        kinds=kinds.tolist(),
        repairs=rng.exponential(conditions.repair_seconds, count).tolist(),
    )


def replay(conditions: Conditions, events: Events, interval: float) -> Spent:
    """Go through one trial, with a checkpoint after every `interval` seconds of work."""
    run = _Run(conditions, interval)
    for at, kind, repair in zip(events.seconds, events.kinds, events.repairs, strict=True):
        run.interrupt(at, conditions.kinds[kind].stops if kind < len(conditions.kinds) else RECALL, repair)
    return run.spent(conditions.days * DAY)


class _Run:
    """Where a job stands. Time before `now` is accounted for; it trains from `starts` on, which may lie ahead."""

    def __init__(self, conditions: Conditions, interval: float) -> None:
        self.conditions, self.interval = conditions, interval
        self.now = self.starts = self.recalled_until = 0.0
        self.spares = conditions.spare_nodes  # below zero: nodes that are missing
        self.repairs: list[float] = []
        self.useful = self.checkpoints = self.lost = self.restarts = self.waiting = self.recalled = 0.0
        self.interruptions = 0
        self.node_at = 0.0  # when the last missing node comes

    def interrupt(self, at: float, stops: str, repair: float) -> None:
        """Something happens at `at`."""
        if at < self.recalled_until:
            return  # the GPUs are with their lender
        planned = stops == "planned" or (
            stops == RECALL and self.conditions.recall_notice_seconds >= self.conditions.checkpoint_seconds
        )
        at = self._pass(at, saves=planned)
        self.interruptions += 1
        while self.repairs and self.repairs[0] <= at:
            heapq.heappop(self.repairs)
            self.spares += 1
        if stops == "node":
            self.spares -= 1
            heapq.heappush(self.repairs, at + repair)
        elif stops == RECALL:
            self.recalled_until = at + self.conditions.recall_seconds
        missing = -self.spares
        self.node_at = heapq.nsmallest(missing, self.repairs)[-1] if missing > 0 else at
        self.starts = max(self.node_at, self.recalled_until, at) + self.conditions.restart_seconds

    def _pass(self, until: float, *, saves: bool) -> float:
        """Account for the time up to an interruption; returns when it takes hold, later where it `saves` first."""
        if until <= self.starts:
            self._stand(until)
            return until
        self._stand(self.starts)
        cycle = self.interval + self.conditions.checkpoint_seconds
        whole, rest = divmod(until - self.starts, cycle)
        self.useful += whole * self.interval
        self.checkpoints += whole * self.conditions.checkpoint_seconds
        if saves:
            worked = min(rest, self.interval)
            self.useful += worked
            self.checkpoints += self.conditions.checkpoint_seconds
            until += worked - rest + self.conditions.checkpoint_seconds
        else:
            self.lost += rest
        self.now = until
        return until

    def _stand(self, until: float) -> None:
        """Account for time in which nothing is trained: first the recall, then missing nodes, then the restart."""
        recalled = max(min(self.recalled_until, until) - self.now, 0.0)
        waiting = max(min(self.node_at, until) - self.now - recalled, 0.0)
        self.recalled += recalled
        self.waiting += waiting
        self.restarts += max(until - self.now - recalled - waiting, 0.0)
        self.now = max(until, self.now)

    def spent(self, end: float) -> Spent:
        """Shares of the time up to `end`; work since the last checkpoint counts as useful."""
        if end > self.starts:
            self._stand(self.starts)
            whole, rest = divmod(end - self.starts, self.interval + self.conditions.checkpoint_seconds)
            worked = min(rest, self.interval)
            self.useful += whole * self.interval + worked
            self.checkpoints += whole * self.conditions.checkpoint_seconds + rest - worked
        else:
            self._stand(end)
        parts = ("useful", "checkpoints", "lost", "restarts", "waiting", "recalled")
        total = sum(getattr(self, part) for part in parts)
        return Spent(**{part: getattr(self, part) / total for part in parts}, interruptions=self.interruptions)


def simulate(conditions: Conditions, interval: float, trials: int, seed: int) -> list[Spent]:
    """Independent trials."""
    return [replay(conditions, events, interval) for events in _trials(conditions, trials, seed)]


def best_interval(conditions: Conditions, trials: int, seed: int) -> float:
    """Seconds of work between checkpoints with the largest useful share, of intervals around Daly's, all of them
    against the same interruptions."""
    between = min(conditions.seconds_between_failures, conditions.days * DAY)
    first = daly(conditions.checkpoint_seconds, between)
    drawn = _trials(conditions, min(trials, SEARCH_TRIALS), seed)
    shares = {f * first: sum(replay(conditions, events, f * first).useful for events in drawn) for f in SEARCHED}
    return max(shares, key=lambda interval: shares[interval])


def _trials(conditions: Conditions, trials: int, seed: int) -> list[Events]:
    return [draw(conditions, np.random.default_rng([seed, trial])) for trial in range(trials)]


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, 10th and 90th percentile."""
    return float(np.mean(values)), float(np.quantile(values, 0.1)), float(np.quantile(values, 0.9))
