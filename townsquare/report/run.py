"""The report stage: receipts and ledger -> report.html."""

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
from townsquare.report import numbers
from townsquare.report.config import ReportConfig
from townsquare.report.plots import loss_curve
from townsquare.report.view import page, words
from townsquare.square import Square, write_atomically
from townsquare.status import standings


def run(square: Square, config: ReportConfig) -> Receipt:
    """Write report.html from every other receipt. A report of earlier receipts, or one that is gone, is made anew.

    Raises ProofError when the ledger's chain is broken: then no page may call it sound.
    """
    found = [standing for standing in standings(square) if standing.receipt.stage != "report"]
    inputs = [*(receipts.as_input(standing.receipt) for standing in found), grants_input(square)]
    if not square.report.is_file():
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
        data = render(page(config.title or square.root.name, found, read_grants(square), head), curves).encode()
        write_atomically(square.report, data)
        work.count(seen=len(found))
        work.results.update(
            file=square.report.name, bytes=len(data), outputs={"report": hashlib.sha256(data).hexdigest()}
        )
    return work.receipt


def render(view: dict[str, Any], curves: dict[str, str]) -> str:
    """The page. Everything but our own drawings is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
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
    template = resources.files("townsquare.report").joinpath("report.html.j2").read_text(encoding="utf-8")
    drawn = {name: Markup(svg) for name, svg in curves.items()}
    return environment.from_string(template).render(**view, curves=drawn)
