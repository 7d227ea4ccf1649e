"""An organisation's own opt-out list: CSV or JSONL with network, author_id, handle or post_id, and scope."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, event, quarantine
from townsquare.ingest.text import parse_time
from townsquare.records import NETWORKS, PURPOSES

NAME = "opt_out"
TABLE = (
    ("reads", "network, author_id or post_id, kind, reason, requested_at, scope"),
    ("never reads", "requester_ref and evidence_ref: they stay with the owner"),
    ("quarantines", "rows without an id: a bare handle can change hands, so it opts nobody out"),
)
SCOPES = {"": "all", "all": "all", **{purpose: purpose for purpose in PURPOSES}}


def detect(member: Member) -> str | None:
    """Why this is an opt-out list, or None."""
    first = head(member, 4096).split(b"\n")[0].lower()
    if b"network" in first and b"requested_at" in first and (b"author_id" in first or b"post_id" in first):
        return "its first line has network, requested_at and author_id or post_id"
    return None


def read(member: Member, origin: Origin, config: IngestConfig) -> Items:
    """opt_out and opt_in events, one a row."""
    for number, row in _rows(member):
        if row is None:
            yield quarantine(origin, number, "broken_row")
        else:
            yield _event(origin, number, row)


def _rows(member: Member) -> Iterator[tuple[int, dict[str, Any] | None]]:
    with member.open() as stream:
        if head(member, 64).lstrip(b"\xef\xbb\xbf \r\n").startswith(b"{"):
            for number, line in lines(stream):
                try:
                    row = json.loads(line)
                except ValueError:
                    row = None
                yield number, row if isinstance(row, dict) else None
            return
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
        for number, row in enumerate(csv.DictReader(text), start=2):
            yield number, None if None in row else row


def _event(origin: Origin, number: int, row: dict[str, Any]) -> Item:
    network, author, uid = (str(row.get(key) or "").strip() for key in ("network", "author_id", "post_id"))
    scope = SCOPES.get(str(row.get("scope") or "").strip())
    raw = json.dumps(row, default=str, ensure_ascii=False)
    if network not in NETWORKS or scope is None:
        return quarantine(origin, number, "unknown_network_or_scope", raw)
    if not (author or uid):
        return quarantine(origin, number, "no_id", raw)
    when = parse_time(row.get("requested_at"))[0]
    kind = str(row.get("kind") or "opt_out")
    fields = {
        "kind": kind if kind in ("opt_out", "opt_in") else "opt_out",
        "target_uid": (uid if uid.startswith(f"{network}:") else f"{network}:{uid}") if uid else None,
        "target_author": f"{network}:{author}" if author and not uid else None,
        "scope": scope,
        "reversible": True,
        "reason": str(row.get("reason") or "") or None,
        "event_at": when,
        "received_at": when,
    }
    return event(origin, number, fields)
