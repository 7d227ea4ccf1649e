"""The report stage: receipts and ledger -> report.html and, where a model was evaluated, scores.html."""

from __future__ import annotations

import dataclasses
import hashlib
from importlib import resources
from typing import Any

from townsquare import receipts
from townsquare.consent.grants import read_grants
from townsquare.consent.inputs import grants_input
from townsquare.ledger import Ledger
from townsquare.receipts import Receipt
from townsquare.report import numbers, scores
from townsquare.report.config import ReportConfig
from townsquare.report.plots import loss_curve
from townsquare.report.view import page, words
from townsquare.square import Square, write_atomically
from townsquare.status import standings

SCORED = ("evaluate", "compare")


def run(square: Square, config: ReportConfig) -> Receipt:
    """Write the pages from every other receipt. Pages of earlier receipts, or one that is gone, are made anew.

    Raises ProofError when the ledger's chain is broken: then no page may call it sound.
    """
    found = [standing for standing in standings(square) if standing.receipt.stage != "report"]
    inputs = [*(receipts.as_input(standing.receipt) for standing in found), grants_input(square)]
    evaluations, comparisons = ([s.receipt for s in found if s.receipt.stage == stage] for stage in SCORED)
    if not square.report.is_file() or (evaluations and not square.scores_page.is_file()):
        receipts.receipt_path(square, "report").unlink(missing_ok=True)
    anew = dataclasses.replace(square, replace=True)
    with receipts.stage(anew, "report", inputs=inputs, config=config) as work:
        if work.done:
            return work.done
        with Ledger.open(square) as ledger:
            head = ledger.verify()
        curves = {
            standing.receipt.name or "": loss_curve(standing.receipt.name or "", standing.receipt.results["curve"])
            for standing in found
            if standing.receipt.stage == "train" and standing.receipt.results.get("curve")
        }
        title = config.title or square.root.name
        view = page(title, found, read_grants(square), head)
        pages = {square.report: render("report.html.j2", view, curves=curves)}
        if evaluations:
            drawn = scores.page(title, evaluations, comparisons)
            svgs = {plot["title"]: plot["svg"] for plot in drawn["plots"]}
            pages[square.scores_page] = render("scores.html.j2", drawn, drawings=svgs)
        for path, text in pages.items():
            write_atomically(path, text.encode())
        work.count(seen=len(found))
        work.results.update(
            files=[path.name for path in pages],
            bytes=sum(len(text.encode()) for text in pages.values()),
            outputs={path.stem: hashlib.sha256(text.encode()).hexdigest() for path, text in pages.items()},
        )
    return work.receipt


def render(template: str, view: dict[str, Any], **drawings: dict[str, str]) -> str:
    """A page. Everything but our own drawings, SVG by name, is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: resources.files("townsquare.report").joinpath(name).read_text("utf-8")
        ),
        autoescape=lambda name: name is not None and not name.endswith(".css"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=numbers.count,
        moment=numbers.moment,
        seconds=numbers.seconds,
        size=numbers.size,
        share=numbers.share,
        figure=numbers.figure,
        words=words,
    )
    marked = {kind: {name: Markup(svg) for name, svg in found.items()} for kind, found in drawings.items()}
    return environment.get_template(template).render(**view, **marked)
