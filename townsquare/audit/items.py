"""The fourteen items of an audit, each made from the ledger, the receipts and the tables; never a post's words."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from townsquare.audit import models
from townsquare.audit.config import AuditConfig
from townsquare.consent.exclusions import exclusions_of
from townsquare.consent.grants import ANY, Grant, grants_of
from townsquare.ledger import Entry
from townsquare.receipts import Receipt, sha256_of
from townsquare.square import Square

Rows = list[dict[str, Any]]
DAYS_COUNTED = 30


@dataclasses.dataclass(frozen=True)
class Item:
    """One item: sentences for a reader, tables of ids and figures, and what the square has no record of."""

    number: int
    title: str
    says: tuple[str, ...]
    tables: dict[str, Rows] = dataclasses.field(default_factory=dict)
    lacks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the items are made from. `as_of` is when the ledger's last row was written (ISO 8601, UTC)."""

    square: Square
    config: AuditConfig
    entries: Sequence[Entry]
    receipts: Sequence[Receipt]
    removed: frozenset[str]
    lineage: dict[str, int]
    """Rows of each table of item 4."""
    as_of: str

    def of(self, kind: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == kind]

    def ran(self, stage: str) -> list[Receipt]:
        return [receipt for receipt in self.receipts if receipt.stage == stage]


def all_items(facts: Facts) -> list[Item]:
    """The items in order."""
    return [make(facts) for make in ITEMS]


def licences(facts: Facts) -> Item:
    grants, exclusions = grants_of(facts.entries), exclusions_of(facts.entries)
    told = {entry.body["id"]: entry for entry in facts.of("grant_added")}
    ended = {entry.body["id"]: entry.at for entry in facts.of("grant_revoked")}
    rows = [
        {**_record(grant), "recorded_at": told[grant.id].at, "ledger_row": told[grant.id].seq,
         "revoked_at": ended.get(grant.id)}
        for grant in grants
    ]  # fmt: skip
    live = sum(not grant.revoked for grant in grants)
    return Item(
        1,
        "Licence and contract register",
        (f"{live:,} of {len(grants):,} grants are not revoked; {len(exclusions):,} exclusions are recorded.",),
        {"grants": rows, "exclusions": [_record(exclusion) for exclusion in exclusions]},
    )


def _record(record: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(record).items()}


def sources(facts: Facts) -> Item:
    grants = grants_of(facts.entries)
    when = {entry.body["fingerprint"]: entry.at for entry in facts.of("receipt")}
    rows = [
        {
            "source": receipt.name,
            "recorded_at": when.get(receipt.fingerprint),
            "files_sha256": [item.sha256 for item in receipt.inputs],
            **{name: receipt.counts.get(name) for name in ("seen", "kept", "events")},
            "quarantined": sum(receipt.counts.get("quarantined", {}).values()),
            "grants": [grant.id for grant in grants if _covers(grant, receipt.name or "")],
            "terms_sha256": [g.terms_sha256 for g in grants if g.terms_sha256 and _covers(g, receipt.name or "")],
        }
        for receipt in facts.ran("ingest")
    ]
    lacking = [row["source"] for row in rows if not row["grants"]]
    return Item(
        2,
        "Manifest of every source",
        (f"{len(rows):,} ingests brought {sum(row['kept'] or 0 for row in rows):,} posts.",),
        {"sources": rows},
        tuple(f"No grant names the source {name}; grants by network or author may cover it." for name in lacking),
    )


def _covers(grant: Grant, source: str) -> bool:
    return ANY in grant.sources or source in grant.sources


def lawful_basis(facts: Facts) -> Item:
    rows: Rows = [{"document": path.name, "sha256": sha256_of(path)} for path in facts.config.document]
    rows += [{"document": g.terms_document, "sha256": g.terms_sha256} for g in grants_of(facts.entries)
             if g.terms_sha256]  # fmt: skip
    lacks = () if facts.config.document else ("No document was named with --document, such as a balancing test.",)
    return Item(
        3, "Lawful basis and balancing test, by hash", (f"{len(rows):,} documents.",), {"documents": rows}, lacks
    )


def lineage(facts: Facts) -> Item:
    rows = [{"table": name, "rows": count} for name, count in facts.lineage.items()]
    said = "Each post's uid leads to what curation decided, to its document, to shard, row and tokens, and to the step"
    return Item(
        4,
        "Lineage of every row",
        (f"{said} of each run that read it first (lineage/*.parquet).",),
        {"tables": rows},
        () if facts.config.lineage else ("The tables were left out of this bundle (--no-lineage).",),
    )


TAKEDOWN = ("received_at", "applied_at", "latency_seconds", "removed_count", "left")


def events(facts: Facts) -> Item:
    rows: Rows = [
        {"ledger_row": entry.seq, **{name: entry.body.get(name) for name in TAKEDOWN},
         "copies_affected": sorted(c for c, n in entry.body["copies"].items() if n["erased"])}
        for entry in facts.of("takedown")
    ]  # fmt: skip
    slowest = max((row["latency_seconds"] for row in rows), default=None)
    said = f"{len(rows):,} takedowns" + (f"; the slowest took {slowest:,.1f} s." if slowest is not None else ".")
    return Item(
        5,
        "Event log",
        (said, "Every row stands in the hash-chained ledger (ledger.jsonl)."),
        {"takedowns": rows},
        ("The ledger does not record which person ran a command.",) if rows else (),
    )


def completeness(facts: Facts) -> Item:
    checks = sorted([*facts.of("takedown"), *facts.of("takedown_proof")], key=lambda entry: entry.seq)
    rows = [
        {"ledger_row": e.seq, "at": e.at, "kind": e.kind, "left": e.body["left"],
         "removed_count": e.body["removed_count"], "texts_searched": e.body["texts_searched"],
         "copies": len(e.body["copies"])}
        for e in checks
    ]  # fmt: skip
    last = f"The last one, at {rows[-1]['at'][:19]}, left {rows[-1]['left']:,}." if rows else ""
    return Item(
        6,
        "Completeness of removals",
        tuple(filter(None, (f"Every store was scanned {len(rows):,} times.", last))),
        {"scans": rows},
        () if rows else ("No takedown was made and no scan run: townsquare takedown prove.",),
    )


def found_nothing(facts: Facts) -> Item:
    rows = [
        {"check": f"ingest {r.name}", "files_sha256": [i.sha256 for i in r.inputs], "outputs": r.results.get("outputs"),
         "events": r.counts.get("events")}
        for r in facts.ran("ingest")
        if not r.counts.get("kept")
    ]  # fmt: skip
    rows += [{"check": f"takedown prove, ledger row {e.seq}", "at": e.at, "left": 0} for e in facts.of("takedown_proof")
             if not e.body["left"]]  # fmt: skip
    return Item(
        7,
        "Checks that found nothing",
        (f"{len(rows):,} compliance files and scans brought no post or found no copy.",),
        {"checks": rows},
        ("Identifiers of a platform's batch jobs are not recorded; the hashes of their files are.",),
    )


def register(facts: Facts) -> Item:
    rows = models.register(facts.square, facts.receipts, facts.removed)
    touched = [row["model"] for row in rows if row["removed_posts_seen"]]
    says = [f"{len(rows):,} models; {len(facts.removed):,} posts are removed or suppressed."]
    if touched:
        says.append(
            f"{', '.join(touched)} learned from posts that were removed since. That is not undone: retrieval refuses "
            "them at once, and the next training leaves them out."
        )
    digest = hashlib.sha256("\n".join(sorted(facts.removed)).encode()).hexdigest()
    excluded = [{"removed_count": len(facts.removed), "removed_sha256": digest}]
    return Item(8, "Register of models", tuple(says), {"models": rows, "excluded": excluded})


def memorisation(facts: Facts) -> Item:
    rows = [
        {"model": receipt.name, "task": task, **figures}
        for receipt in facts.ran("evaluate")
        for task, figures in receipt.results.get("scores", {}).items()
        if "memor" in task or "extract" in task
    ]
    lacks = () if rows else ("No test of memorisation or extraction was run on any model here.",)
    return Item(9, "Memorisation and extraction", (f"{len(rows):,} results.",), {"tests": rows}, lacks)


def suppression(facts: Facts) -> Item:
    from townsquare.serve import copies

    held = copies.find(facts.square, facts.removed, []) if facts.square.index.is_dir() else {}
    rows = [{"store": store, "rows_of_removed_posts": count} for store, count in held.items()]
    said = f"The index was opened for this audit: {held.get('index', 0):,} rows are of removed posts."
    lacks = () if held else ("There is no index.",)
    return Item(10, "Suppression at retrieval", (said,) if held else (), {"stores": rows}, lacks)


def personal_data(facts: Facts) -> Item:
    curated = facts.ran("curate")
    masked = [{"kind": kind, "masked": n} for r in curated for kind, n in r.results.get("masked", {}).items()]
    dropped = [{"reason": why, "posts": n} for r in curated for why, n in r.counts.get("dropped", {}).items()]
    lacks = ("Sensitive traits are never derived from posts, so none are counted.",) if curated else (
        "There is no corpus yet.",)  # fmt: skip
    said = f"{sum(row['masked'] for row in masked):,} items of personal data were masked in the live corpus."
    return Item(11, "Personal data", (said,) if curated else (), {"masked": masked, "left_out": dropped}, lacks)


def redistribution(facts: Facts) -> Item:
    since = (dt.datetime.fromisoformat(facts.as_of) - dt.timedelta(days=DAYS_COUNTED)).isoformat()
    given: Counter[str] = Counter()
    for entry in facts.of("ids_given"):
        if entry.at >= since:
            given[entry.body["recipient"]] += entry.body["ids"]
    rows = [{"recipient": name, "post_ids_in_30_days": count} for name, count in sorted(given.items())]
    this = f"This bundle holds {facts.lineage.get('posts', 0):,} post ids, for {facts.config.recipient}."
    lacks = ("Counted are the ids in audits; what a person copies out of the square by hand is not seen.",)
    return Item(12, "Redistribution", (f"{given.total():,} post ids went out in 30 days before it.", this),
                {"recipients": rows}, lacks)  # fmt: skip


def eu_summary(facts: Facts) -> Item:
    says = ("The draft is eu-training-content-summary.md. Its marked places are the provider's to fill in.",)
    return Item(13, "Draft of the EU's public summary of training content", says)


def access(facts: Facts) -> Item:
    kinds = Counter(entry.kind for entry in facts.entries)
    rows = [{"kind": kind, "rows": count} for kind, count in sorted(kinds.items())]
    says = (
        f"{len(facts.entries):,} rows from {facts.entries[0].at[:19]} to {facts.as_of[:19]}.",
        f"Made by {facts.config.operator or 'somebody who gave no name'}, for {facts.config.recipient}.",
    )
    lacks = ("Who read files of the square is the operating system's to log, not the ledger's.",)
    return Item(14, "Access log and signed report", says, {"ledger": rows}, lacks)


ITEMS: tuple[Callable[[Facts], Item], ...] = (
    licences, sources, lawful_basis, lineage, events, completeness, found_nothing, register, memorisation, suppression,
    personal_data, redistribution, eu_summary, access,
)  # fmt: skip
