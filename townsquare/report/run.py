"""The report stage: receipts and ledger -> report.html, self-contained and without any post."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from typing import Any

from townsquare import receipts
from townsquare.consent.grants import grants_input, read_grants
from townsquare.ledger import Ledger
from townsquare.receipts import Receipt
from townsquare.report.charts import bars, curves
from townsquare.report.config import ReportConfig
from townsquare.square import Square, write_atomically

STAGES = ("town", "ingest", "curate", "tokens", "train", "export", "index", "evaluate", "takedown", "fleet")


def run(square: Square, config: ReportConfig) -> Receipt:
    """Write the page from every other receipt. A stage that has not run is named with its command."""
    found = [receipt for receipt in receipts.read_all(square) if receipt.stage != "report"]
    inputs = [receipts.as_input(receipt) for receipt in found] + [grants_input(square)]
    with receipts.stage(square, "report", inputs=inputs, config=config) as work:
        if work.done and square.report.is_file():
            return work.done
        page = render(square, config, found).encode()
        write_atomically(square.report, page)
        if work.done:
            return work.done
        work.count(seen=len(found), kept=len(found))
        work.results.update(bytes=len(page), file=square.report.name)
    return work.receipt


def render(square: Square, config: ReportConfig, found: list[Receipt]) -> str:
    """The page as text."""
    from jinja2 import Environment

    ordered = sorted(found, key=lambda r: (STAGES.index(r.stage) if r.stage in STAGES else len(STAGES), r.name or ""))
    by_stage = {stage: [receipt for receipt in ordered if receipt.stage == stage] for stage in STAGES}
    template = resources.files("townsquare.report").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(figure=figure, words=words)
    with Ledger.open(square) as ledger:
        rows = ledger.entries()
        ledger.verify()
    runs = {receipt.name or "": receipt.results for receipt in by_stage["train"]}
    return environment.from_string(template).render(
        title=config.title,
        square=square.root.name,
        receipts=ordered,
        missing=[stage for stage in STAGES if not by_stage[stage]],
        funnel=funnel(by_stage),
        funnel_chart=bars(funnel(by_stage)),
        curves=curves({name: results["curve"] for name, results in runs.items() if results.get("curve")}),
        runs=runs,
        evaluations=by_stage["evaluate"],
        takedowns=by_stage["takedown"],
        estimates=[(receipt.name or "estimate", receipt.results) for receipt in by_stage["fleet"]],
        grants=read_grants(square),
        ledger_rows=len(rows),
        ledger_head=rows[-1].hash if rows else "",
    )


def funnel(by_stage: dict[str, list[Receipt]]) -> list[tuple[str, str, int]]:
    """(stage, reason, posts): what became of every line that was read and of every post that was curated."""
    rows: list[tuple[str, str, int]] = []
    for stage, left_out in (("ingest", "quarantined"), ("curate", "dropped")):
        counts = [receipt.counts for receipt in by_stage[stage]]
        if not counts:
            continue
        rows.append((stage, "seen", sum(count.get("seen", 0) for count in counts)))
        rows.append((stage, "kept", sum(count.get("kept", 0) for count in counts)))
        if stage == "ingest":
            rows.append((stage, "events", sum(count.get("events", 0) for count in counts)))
        reasons: Counter[str] = Counter()
        for count in counts:
            reasons.update(count.get(left_out, {}))
        rows += [(stage, reason, number) for reason, number in reasons.most_common()]
    return rows


def words(name: Any) -> str:
    """A field's name as words."""
    return str(name).replace("_", " ")


def figure(value: Any) -> str:
    """A number as people read it; unknown is said, never shown as zero."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"
    if isinstance(value, (list, tuple)):
        return " to ".join(figure(item) for item in value) if len(value) == 2 else f"{len(value)} entries"
    return str(value)
