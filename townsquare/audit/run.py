"""The audit stage: ledger, receipts and tables -> one signed bundle, and a page to read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from townsquare import receipts
from townsquare.audit import bundle, eu_summary, lineage
from townsquare.audit.config import AuditConfig
from townsquare.audit.items import Facts, Item, all_items
from townsquare.errors import ProofError, StaleError
from townsquare.ingest import tables
from townsquare.ingest.held_back import unescaped
from townsquare.ledger import Entry, Ledger
from townsquare.progress import progress
from townsquare.receipts import Input, Receipt
from townsquare.square import Square, write_atomically
from townsquare.traces import rows_holding

PAGE, SUMMARY = "audit.html", "eu-training-content-summary.md"
WIDEST = 9  # columns of a table that fits a page; a wider record is written one field a line
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def run(square: Square, config: AuditConfig) -> Receipt:
    """Write `audits/audit-HEAD.zip` and the page beside it. A later audit stands beside an earlier one.

    Raises ProofError when the ledger's chain is broken, or when the bundle would hold what a removed post said.
    """
    key = bundle.read_key(config.key or bundle.own_key(square))
    entries = _entries(square, bundle.public_hex(key))
    head = entries[-1]
    anew = dataclasses.replace(square, replace=True)
    with receipts.stage(anew, "audit", inputs=[Input("ledger", head.hash)], config=config) as work:
        if work.done:
            return work.done
        with progress("Auditing", 3, "parts") as bar:
            files, facts, page = _files(square, config, entries)
            bar.advance(note="fourteen items")
            _refuse_words(square, files)
            bar.advance(note="searched for what removed posts said")
            about = {
                "square": square.root.name,
                "as_of": head.at,
                "recipient": config.recipient,
                "operator": config.operator,
                "ledger": {"rows": head.seq, "head": head.hash},
                "versions": receipts.versions(),
            }
            data = bundle.pack(files, about, key)
            bar.advance(note="signed")
        path = square.audits / f"audit-{head.hash[:12]}.zip"
        write_atomically(path, data)
        write_atomically(path.with_suffix(".html"), page)
        digest = hashlib.sha256(data).hexdigest()
        ids = facts.lineage.get("posts", 0)
        with Ledger.open(square) as ledger:
            body = {"recipient": config.recipient, "operator": config.operator, "ids": ids, "sha256": digest}
            ledger.append("ids_given", body, key=f"ids_given:{digest}:{config.recipient}")
        work.count(seen=head.seq, kept=len(files))
        work.results.update(
            bundle=str(path.relative_to(square.root)),
            page=str(path.with_suffix(".html").relative_to(square.root)),
            public_key=bundle.public_hex(key),
            post_ids=ids,
            outputs={"bundle": digest},
        )
    return work.receipt


def _entries(square: Square, public_key: str) -> list[Entry]:
    """The ledger's rows, checked, the signing key among them: whoever holds the chain can check the signature."""
    with Ledger.open(square) as ledger:
        ledger.catch_up(square)
        ledger.append("audit_key", {"ed25519_public_key": public_key}, key=f"audit_key:{public_key}")
        ledger.verify()
        return ledger.entries()


def _files(square: Square, config: AuditConfig, entries: list[Entry]) -> tuple[dict[str, bytes], Facts, bytes]:
    """Everything that the bundle holds, by name; the facts that it was made from; and the page."""
    tables_made, rows = _lineage(square) if config.lineage else ({}, {})
    try:
        removed = tables.removed_uids(square)
    except StaleError:  # an audit before the first post
        removed = frozenset()
    found = [receipt for receipt in receipts.read_all(square) if receipt.stage != "audit"]
    facts = Facts(square, config, entries, found, removed, rows, entries[-1].at)
    items = all_items(facts)
    page = _page(square, facts, items)
    files = {f"items/{item.number:02d}.json": _json(dataclasses.asdict(item)) for item in items}
    files |= {f"lineage/{name}": data for name, data in tables_made.items()}
    files |= {bundle.LEDGER: bundle.ledger_lines(entries), SUMMARY: eu_summary.draft(facts).encode(), PAGE: page}
    return files, facts, page


def _lineage(square: Square) -> tuple[dict[str, bytes], dict[str, int]]:
    folder = square.audits / ".partial"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        rows = lineage.write(square, folder)
    except StaleError:
        return {}, {}
    made = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    shutil.rmtree(folder)
    return made, rows


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode()


def _refuse_words(square: Square, files: dict[str, bytes]) -> None:
    """An audit is content-free by how it is made; this shows it for what removed posts said."""
    try:
        traces = tables.traces_of_removed(square)
    except StaleError:
        return
    if not len(traces):
        return
    for name, data in files.items():
        if Path(name).suffix != ".parquet" and rows_holding([data.decode(), unescaped(data.decode())], traces).any():
            raise ProofError(
                "the audit would hold what a removed post said",
                place=name,
                remedy="Report a defect; nothing was written.",
            )


def _page(square: Square, facts: Facts, items: list[Item]) -> bytes:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = _cell
    text = resources.files("townsquare.audit").joinpath("audit.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(name=square.root.name, facts=facts, items=items, WIDEST=WIDEST).encode()


def _cell(value: Any) -> str:
    """A value as a reader wants it: long hashes cut, figures grouped, times to the second."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(one)}" for key, one in value.items())
    text = str(value)
    if MOMENT.match(text):
        return text[:19].replace("T", " ")
    return f"{text[:12]}…" if len(text) == 64 and all(c in "0123456789abcdef" for c in text) else text
