"""An organisation's own opt-out list: CSV or JSONL with network, author_id, handle or post_id, and scope.

A handle is stored as its one-way hash only. It can change hands, so where a row has an id too, the id says who
is meant; and an opt-in must name an id, or it could bring back somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from townsquare.consent import handles
from townsquare.ingest import delimited
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import Member, head, lines
from townsquare.ingest.rows import Item, Items, Origin, event, quarantine
from townsquare.ingest.text import parse_time, sound
from townsquare.records import NETWORKS, PURPOSES

NAME = "opt_out"
TABLE = (
    (
        "reads",
        "network, post_id, author_id or handle (which becomes a one-way hash), kind, reason, requested_at, scope",
    ),
    ("trap", "a handle names whoever has posts here under it, now or later; with an id beside it the id counts"),
    ("never reads", "requester_ref and evidence_ref: they stay with the owner; expires: an opt-out ends by an opt-in"),
    (
        "quarantines",
        "rows that name nobody, opt-ins by a bare handle, unknown networks and scopes (likes: none are used)",
    ),
    ("quarantines", "cut rows, without their text: it may name people"),
)
IDS = ("author_id", "post_id", "handle")
READS = ("network", "author_id", "post_id", "handle", "kind", "reason", "requested_at", "scope")
SCOPES = {"": "all", "all": "all", **{purpose: purpose for purpose in PURPOSES}}


def detect(member: Member) -> str | None:
    """Why this is an opt-out list, or None."""
    first = head(member, 4096).split(b"\n")[0].lower()
    if b"network" in first and b"requested_at" in first and any(name.encode() in first for name in IDS):
        return "its first line has network, requested_at and author_id, post_id or handle"
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
                except (ValueError, RecursionError):
                    row = None
                yield number, row if isinstance(row, dict) else None
        else:
            header: list[str] | None = None
            for number, cells, _raw in delimited.rows(stream, ","):
                if header is None and cells is not None:
                    header = [cell.strip().lower() for cell in cells]
                    if "network" not in header or not {*IDS} & {*header}:
                        yield number, None  # such as a damaged line of JSON, which would pass for the header
                elif cells is None or header is None or len(cells) != len(header):
                    # A cut row may hold a cut id, which would opt out somebody else.
                    yield number, None
                else:
                    yield number, dict(zip(header, cells, strict=True))


def _event(origin: Origin, number: int, row: dict[str, Any]) -> Item:
    said = {key: _cell(row.get(key)) for key in READS}
    network, author, uid = said["network"], said["author_id"], said["post_id"]
    scope, kind = SCOPES.get(said["scope"]), "opt_in" if said["kind"] == "opt_in" else "opt_out"
    by_handle = handles.handle_key(network, said["handle"]) if handles.normalised(said["handle"]) else None
    said["handle"] = by_handle or ""
    if network not in NETWORKS or scope is None:
        return quarantine(origin, number, "unknown_network_or_scope", said)
    if not (author or uid) and (kind == "opt_in" or not by_handle):
        return quarantine(origin, number, "opt_in_by_handle" if by_handle else "no_id", said)
    when = parse_time(row.get("requested_at"))[0]
    fields = {
        "kind": kind,
        "target_uid": (uid if uid.startswith(f"{network}:") else f"{network}:{uid}") if uid else None,
        "target_author": None if uid else f"{network}:{author.removeprefix(f'{network}:')}" if author else by_handle,
        "scope": scope,
        "reversible": True,
        "reason": said["reason"] or None,
        "event_at": when,
        "received_at": when,
    }
    return event(origin, number, fields)


def _cell(value: Any) -> str:
    """A cell as text; a number with a fraction is none, for as an id it would have lost digits."""
    return "" if value is None or isinstance(value, float) else sound(str(value)).strip()
