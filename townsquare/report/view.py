"""What the page shows, as plain values made of receipts, grants and the ledger's last row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from townsquare.consent.grants import Grant
from townsquare.ledger import Entry
from townsquare.receipts import Receipt
from townsquare.report.numbers import count, figure, share
from townsquare.status import Standing

STAGES = {
    "town": ("A town", "townsquare town"),
    "ingest": ("Posts come in", "townsquare ingest PATH"),
    "curate": ("Corpus", "townsquare curate"),
    "tokens": ("Shards", "townsquare tokens"),
    "train": ("Training", "townsquare train"),
    "export": ("Model", "townsquare export --run NAME"),
    "index": ("Index", "townsquare index"),
    "evaluate": ("Scores", "townsquare evaluate --model NAME"),
    "takedown": ("Takedown", "townsquare takedown --post UID"),
    "fleet": ("Fleet estimate", "townsquare fleet estimate"),
}
"""The flow: each stage's title, and the command that runs it."""

ABBREVIATIONS = {"gpu": "GPU", "gpus": "GPUs", "usd": "USD", "mwh": "MWh", "gb": "GB"}

View = dict[str, Any]


def page(title: str, found: Sequence[Standing], grants: Sequence[Grant], head: Entry | None) -> View:
    """Everything that the template needs."""
    by_stage: dict[str, list[Receipt]] = {stage: [] for stage in STAGES}
    for standing in found:
        by_stage.setdefault(standing.receipt.stage, []).append(standing.receipt)
    scores = [scores_of(receipt) for receipt in by_stage["evaluate"]]
    view = {
        "title": title,
        "commands": {stage: command for stage, (_, command) in STAGES.items()},
        "stages": [_stage(stage, found) for stage in STAGES],
        "funnel": funnel(by_stage["ingest"], by_stage["curate"]),
        "languages": languages_of(by_stage["curate"]),
        "evaluation_sets": by_stage["curate"][0].results.get("decontamination", {}) if by_stage["curate"] else {},
        "runs": by_stage["train"],
        "scores": scores,
        "truth": truth_of(by_stage["evaluate"]),
        "rules": rules_of(by_stage["evaluate"]),
        "takedowns": by_stage["takedown"],
        "estimate": groups_of(by_stage["fleet"][0].results) if by_stage["fleet"] else [],
        "grants": grants,
        "head": head,
        "receipts": [(standing.receipt, standing.stale) for standing in found],
    }
    return view | {"tiles": _tiles(view), "lead": _lead(view)}


def _stage(stage: str, found: Sequence[Standing]) -> View:
    title, command = STAGES[stage]
    mine = [standing for standing in found if standing.receipt.stage == stage]
    return {
        "stage": stage,
        "title": title,
        "command": command,
        "seconds": sum(standing.receipt.seconds for standing in mine),
        "times": len(mine),
        "stale": any(standing.stale for standing in mine),
        "said": _said(stage, [standing.receipt for standing in mine]) if mine else "",
    }


FIGURES = {
    "town": ("{} posts", ("counts", "seen")),
    "tokens": ("{} in the vocabulary", ("results", "vocabulary_size")),
    "train": ("{} parameters", ("results", "parameters")),
    "export": ("{} parameters", ("results", "parameters")),
    "index": ("{} posts", ("counts", "kept")),
    "evaluate": ("{} tasks scored", ("counts", "kept")),
    "takedown": ("{} copies left", ("results", "left")),
    "fleet": ("{} parameters", ("results", "model", "parameters")),
}
"""The one figure that tells most about a stage: the words around it, and where a receipt has it."""


def _said(stage: str, receipts: Sequence[Receipt]) -> str:
    if stage in ("ingest", "curate"):
        return f"{count(sum(receipt.counts.get('kept', 0) for receipt in receipts))} kept"
    said, path = FIGURES[stage]
    value: Any = receipts[-1].to_json()
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return "done" if value is None else said.format(figure(value))


def funnel(ingests: Sequence[Receipt], curates: Sequence[Receipt]) -> list[View]:
    """One part for ingest (all sources together) and one for curation, each with its rows and whether it adds up."""
    parts = []
    for title, receipts, left_out in (
        ("Ingest: rows of the sources", ingests, "quarantined"),
        ("Curation: posts", curates, "dropped"),
    ):
        if not receipts:
            continue
        reasons: Counter[str] = Counter()
        totals: Counter[str] = Counter()
        for receipt in receipts:
            reasons.update(receipt.counts.get(left_out, {}))
            totals.update({key: receipt.counts.get(key, 0) for key in ("seen", "kept", "events")})
        rows = [("seen", totals["seen"], "whole"), ("kept", totals["kept"], "kept")]
        rows += [("events", totals["events"], "kept")] if totals["events"] else []
        rows += [(left_out, reasons.total(), "out")]
        rows += [(words(reason), n, "reason") for reason, n in sorted(reasons.items(), key=lambda p: (-p[1], p[0]))]
        whole = max(totals["seen"], 1)
        parts.append(
            {
                "title": title,
                "rows": [{"label": a, "count": n, "share": n / whole, "kind": k} for a, n, k in rows],
                "adds_up": totals["kept"] + totals["events"] + reasons.total() == totals["seen"],
                "sources": receipts if left_out == "quarantined" else [],
            }
        )
    return parts


MOST_LANGUAGES = 6
OTHERS = "others"


def languages_of(curates: Sequence[Receipt]) -> View | None:
    """Curation's posts by rule and language: columns of the largest languages, the rest as one, and rows of counts."""
    counts = curates[0].results.get("by_language") if curates else None
    if not counts:
        return None
    order = sorted(counts, key=lambda name: (name == "unknown", -sum(counts[name].values()), name))
    known = [name for name in order if name != "unknown"]
    columns = known[:MOST_LANGUAGES] + [OTHERS] * (len(known) > MOST_LANGUAGES) + ["unknown"] * ("unknown" in counts)
    tallies: dict[str, Counter[str]] = {column: Counter() for column in columns}
    for name, by_rule in counts.items():
        tallies[name if name in tallies else OTHERS].update(by_rule)
    rules: Counter[str] = sum(tallies.values(), Counter())
    out = sorted((rule for rule in rules if rule != "kept"), key=lambda rule: (-rules[rule], rule))
    rows = [("seen", [sum(tallies[column].values()) for column in columns])]
    rows += [(words(rule), [tallies[column][rule] for column in columns]) for rule in ("kept", *out)]
    return {"columns": columns, "rows": [{"label": label, "counts": found, "all": sum(found)} for label, found in rows]}


def scores_of(receipt: Receipt) -> View:
    """One model's scores: a row a metric, those of a task together."""
    about = receipt.results.get("about", {})
    tasks = []
    for task, metrics in receipt.results.get("scores", {}).items():
        rows = [
            {"metric": words(name), "value": value, **_interval(metrics, name)}
            for name, value in metrics.items()
            if name != "n" and not name.endswith(("_low", "_high"))
        ]
        tasks.append({"task": words(task), "about": about.get(task, ""), "n": metrics.get("n"), "rows": rows})
    skipped = {words(task): reason for task, reason in receipt.results.get("skipped", {}).items()}
    return {"model": receipt.name, "tasks": tasks, "skipped": skipped, "raw": receipt.results.get("scores", {})}


def _interval(metrics: View, name: str) -> View:
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return {"low": low, "high": high, "is_share": low is not None and high is not None}


def truth_of(evaluations: Sequence[Receipt]) -> list[View]:
    """Per hidden label of the town's posts, how many there were and how many the corpus left out."""
    for receipt in evaluations:
        tallies = receipt.results.get("details", {}).get("town_filters", {}).get("by_defect", {})
        if tallies:
            rows = [
                {"label": "no defect" if label == "none" else words(label), "share": t["left_out"] / t["posts"], **t}
                for label, t in tallies.items()
                if t["posts"]
            ]
            return sorted(rows, key=lambda row: (row["label"] == "no defect", -row["share"], row["label"]))
    return []


def rules_of(evaluations: Sequence[Receipt]) -> list[View]:
    """Per rule of curation, held against the town's truth: what it left out, its precision and recall."""
    for receipt in evaluations:
        rules = receipt.results.get("details", {}).get("town_filters", {}).get("by_rule", {})
        if rules:
            return [{"rule": words(rule), **figures} for rule, figures in rules.items()]
    return []


def groups_of(results: View) -> list[View]:
    """Any stage's figures: what stands alone first, then one group for each part, values as text."""
    alone = {key: value for key, value in results.items() if not isinstance(value, (dict, list)) and key != "outputs"}
    parts = {key: value for key, value in results.items() if isinstance(value, dict) and key != "outputs"}
    groups = [{"title": "", "rows": _rows(alone)}] if alone else []
    return groups + [{"title": words(key), "rows": _rows(part)} for key, part in parts.items()]


def _rows(values: View, prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        label = f"{prefix}{words(key)}"
        if isinstance(value, dict):
            rows += _rows(value, f"{label}: ")
        elif isinstance(value, list):
            rows.append((label, ", ".join(figure(item) for item in value)))
        elif not (key.endswith(("_low", "_high")) and key.rsplit("_", 1)[0] in values):
            low, high = values.get(f"{key}_low"), values.get(f"{key}_high")
            between = f" ({figure(low)} to {figure(high)})" if low is not None and high is not None else ""
            rows.append((label, figure(value) + between))
    return rows


def words(name: str) -> str:
    """A key as words."""
    return " ".join(ABBREVIATIONS.get(word, word) for word in name.split("_"))


def _best(view: View, task: str) -> View | None:
    """The metrics of the first model that has that task."""
    return next((scores["raw"][task] for scores in view["scores"] if task in scores["raw"]), None)


def _tiles(view: View) -> list[tuple[str, str, str]]:
    """(label, value, note): the four figures at the top, those that are there."""
    tiles = []
    for part, label in zip(view["funnel"], ("posts came in", "posts in the corpus"), strict=False):
        seen, kept = part["rows"][0]["count"], part["rows"][1]["count"]
        tiles.append((label, count(kept), f"of {count(seen)} seen"))
    opened = _best(view, "town_open_book")
    if opened and "right" in opened:
        note = f"of {count(opened['n'])} questions; {share(opened['right_low'])} to {share(opened['right_high'])}"
        tiles.append(("right, with posts cited", share(opened["right"]), note))
    if view["takedowns"]:
        left = sum(receipt.results.get("left", 0) for receipt in view["takedowns"])
        removed = max(receipt.results.get("posts_removed", 0) for receipt in view["takedowns"])
        tiles.append(("copies of removed posts left", count(left), f"{count(removed)} posts removed"))
    return tiles


def _lead(view: View) -> str:
    """The story in a few sentences, as far as it has been told."""
    said = []
    live = sum(not grant.revoked for grant in view["grants"])
    if view["funnel"]:
        sources = len(view["funnel"][0]["sources"])
        said.append(
            f"Posts came in from {count(sources)} {'source' if sources == 1 else 'sources'} "
            f"under {count(live)} {'grant' if live == 1 else 'grants'}."
        )
    closed, opened = _best(view, "town_closed_book"), _best(view, "town_open_book")
    if opened and "right" in opened:
        bare = f", and {share(closed['right'])} from its weights alone" if closed and "right" in closed else ""
        said.append(f"The assistant answers {share(opened['right'])} of the questions right with posts at hand{bare}.")
    if view["takedowns"]:
        times = len(view["takedowns"])
        left = sum(receipt.results.get("left", 0) for receipt in view["takedowns"])
        gone = "the removed posts"
        outcome = f"no copy of {gone}" if not left else f"{count(left)} copies of {gone}"
        said.append(f"After {count(times)} {'takedown' if times == 1 else 'takedowns'}, a search found {outcome}.")
    return " ".join(said) or "Nothing has run in this square yet. The stages below say which command comes first."
