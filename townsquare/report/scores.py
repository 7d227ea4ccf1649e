"""What the page of scores shows: every evaluated model beside the others, as plain values made of receipts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from townsquare.receipts import Receipt
from townsquare.report.numbers import count, figure, share
from townsquare.report.plots import Point, intervals
from townsquare.report.view import View, is_size, words

TILES = (
    ("town_open_book", "right", "right, with posts at hand"),
    ("town_open_book", "citation_precision", "citations that are good"),
    ("town_retrieval", "recall_at_10", "answer among ten posts found"),
    ("town_unanswerable", "refused", "refused, nothing known"),
    ("arc_easy", "accuracy_normalised", "ARC-Easy"),
    ("bits_per_byte", "bits_per_byte", "bits per byte of held-out posts"),
)
"""(task, metric, label) of the figures at the top: the first four that the first model has."""

PLOTS = (
    ("bits_per_byte", "by_month", "bits_per_byte", "Held-out posts by month", "bits per byte"),
    ("bits_per_byte", "by_network", "bits_per_byte", "Held-out posts by network", "bits per byte"),
    ("memorisation", "by_times_read", "verbatim", "Posts known by heart, by times read", "share, word for word"),
)
"""(task, part of its details, metric, title, what the axis measures)."""

ERRORS = (
    ("errors", "Wrong answers with posts at hand, by why"),
    ("citation_errors", "Answers with a citation that is not good, by why"),
)


def page(title: str, evaluations: Sequence[Receipt], comparisons: Sequence[Receipt]) -> View:
    """Everything that the template needs; `evaluations` is not empty. The model with the most scores goes first."""
    evaluations = sorted(evaluations, key=lambda receipt: -len(receipt.results.get("scores", {})))
    first = evaluations[0]
    return {
        "title": title,
        "models": [receipt.name for receipt in evaluations],
        "tiles": _tiles(first),
        "tasks": _tasks(evaluations),
        "plots": [plot for spec in PLOTS if (plot := _plot(evaluations, *spec))],
        "comparisons": [_comparison(receipt) for receipt in comparisons],
        "errors": [
            _errors(receipt, *kind) for receipt in evaluations for kind in ERRORS if _open_book(receipt, kind[0])
        ],
        "skipped": [
            {"model": receipt.name, "task": words(task), "reason": reason}
            for receipt in evaluations
            for task, reason in receipt.results.get("skipped", {}).items()
        ],
        "receipts": [(receipt, figure(receipt.seed)) for receipt in evaluations],
    }


def _tiles(receipt: Receipt) -> list[tuple[str, str, str]]:
    """(label, value, note) of the first model."""
    tiles: list[tuple[str, str, str]] = []
    for task, metric, label in TILES:
        scores = receipt.results.get("scores", {}).get(task, {})
        if metric in scores and len(tiles) < 4:
            shown = figure if is_size(metric) else share
            low, high = scores.get(f"{metric}_low"), scores.get(f"{metric}_high")
            tiles.append((label, shown(scores[metric]), f"{shown(low)} to {shown(high)}, n = {count(scores['n'])}"))
    return tiles


def _tasks(evaluations: Sequence[Receipt]) -> list[View]:
    """One part a task: its metrics, each with a row for every model that has it."""
    found = []
    for task in dict.fromkeys(name for receipt in evaluations for name in receipt.results.get("scores", {})):
        scored = [r for r in evaluations if task in r.results["scores"]]
        metrics = dict.fromkeys(name for r in scored for name in r.results["scores"][task])
        parts = [
            {
                "metric": words(metric),
                "rows": [_row(r, task, metric) for r in scored if metric in r.results["scores"][task]],
            }
            for metric in metrics
            if metric != "n" and not metric.endswith(("_low", "_high"))
        ]
        about = next((r.results["about"][task] for r in scored if task in r.results.get("about", {})), "")
        found.append({"task": words(task), "about": about, "metrics": parts})
    return found


def _row(receipt: Receipt, task: str, metric: str) -> View:
    scores = receipt.results["scores"][task]
    low, high = scores.get(f"{metric}_low"), scores.get(f"{metric}_high")
    has_interval = low is not None and high is not None
    return {
        "model": receipt.name,
        "value": scores[metric],
        "low": low,
        "high": high,
        "n": scores.get("n"),
        "is_share": has_interval and not is_size(metric),
        "has_interval": has_interval,
    }


def _plot(evaluations: Sequence[Receipt], task: str, part: str, metric: str, title: str, unit: str) -> View | None:
    """A drawing of one metric by group, a series a model; None where no model has two groups."""
    series = {r.name or "": list(_points(r, task, part, metric)) for r in evaluations}
    series = {name: points for name, points in series.items() if points}
    if max((len(points) for points in series.values()), default=0) < 2:
        return None
    return {"title": title, "models": list(series), "svg": intervals(title, series, unit, as_share=not is_size(metric))}


def _points(receipt: Receipt, task: str, part: str, metric: str) -> Iterable[Point]:
    groups = receipt.results.get("details", {}).get(task, {}).get(part, {})
    for group, scores in groups.items():
        if metric in scores:
            yield Point(group, scores[metric], scores[f"{metric}_low"], scores[f"{metric}_high"], scores["n"])


def _comparison(receipt: Receipt) -> View:
    """One comparison's rows; each says in words what the test leaves open."""
    one, other = receipt.results["models"]
    pairs = receipt.results["pairs"]
    return {"one": one, "other": other, "rows": [pair | _beside(pair, _widest(pairs, pair)) for pair in pairs]}


def _beside(pair: View, widest: float) -> View:
    """What a row shows beside its figures; where its difference stands between 0 (the widest below zero) and 1."""
    task, metric = words(pair["task"]), words(pair["metric"])
    places = {f"at_{end}": 0.5 + pair[f"difference{end}"] / (2 * widest or 1.0) for end in ("", "_low", "_high")}
    label = task if task == metric else f"{task}: {metric}"
    return {"label": label, "is_share": not is_size(pair["metric"]), "said": _said(pair), **places}


def _widest(pairs: Sequence[View], like: View) -> float:
    """The end of an interval that is farthest from zero, of the pairs in the same unit."""
    mine = [pair for pair in pairs if is_size(pair["metric"]) == is_size(like["metric"])]
    return max(max(abs(pair["difference_low"]), abs(pair["difference_high"])) for pair in mine)


def _said(pair: dict[str, Any]) -> str:
    """What the test says: McNemar's p where there is one, else whether the interval leaves zero out."""
    if "p" in pair:
        p = "p < 0.001" if pair["p"] < 0.001 else f"p = {pair['p']:.3f}"
        return f"{p}; {count(pair['only_this'])} right here alone, {count(pair['only_other'])} there alone"
    apart = pair["difference_low"] > 0 or pair["difference_high"] < 0
    return "the interval leaves zero out" if apart else "the interval holds zero"


def _open_book(receipt: Receipt, kind: str) -> dict[str, int]:
    found: dict[str, int] = receipt.results.get("details", {}).get("town_open_book", {}).get(kind, {})
    return found


def _errors(receipt: Receipt, kind: str, title: str) -> View:
    classes = _open_book(receipt, kind)
    whole = sum(classes.values())
    rows = [{"label": label, "count": n, "share": n / whole} for label, n in classes.items()]
    return {"title": title, "model": receipt.name, "rows": rows}
