"""Rows as sources make them: a post, an event or a quarantined input, each with where it came from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from townsquare.ingest.text import Time, sound

Row = tuple[Literal["post", "event", "quarantine"], dict[str, Any]]
Item = tuple[Literal["post", "event", "quarantine", "posts"], Any]
"""One row, or a table of many posts (records.POSTS) at once, from sources that read whole columns."""
Items = Iterator[Item]

RAW_CHARACTERS = 10_000


@dataclasses.dataclass(frozen=True)
class Origin:
    """What every row says of its source: the ingest's name, the content's SHA-256, the file or member."""

    source_id: str
    sha256: str
    member: str

    def at(self, place: Any) -> dict[str, Any]:
        return {
            "source_id": self.source_id,
            "source_sha256": self.sha256,
            "source_locator": f"{self.member}:{place}",
        }


def post(origin: Origin, place: Any, created: Time, fields: dict[str, Any]) -> Row:
    """A post. `fields` are columns of records.POSTS; a missing one is unknown."""
    row = {
        "text_status": "full",
        "visibility": "public",
        "state": "live",
        "created_at": created[0],
        "created_at_precision": created[1],
        **origin.at(place),
        **fields,
    }
    return "post", row


def event(origin: Origin, place: Any, fields: dict[str, Any]) -> Row:
    """An event. Its id follows from what it says, so that a replay, from any source, is the same event."""
    return "event", {"event_id": event_id(fields), "scope": "all", **origin.at(place), **fields}


def event_id(fields: Mapping[str, Any]) -> str:
    """The id of the event that says this."""
    said = {key: str(fields.get(key)) for key in ("kind", "target_uid", "target_author", "scope", "event_at")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


def quarantine(origin: Origin, place: Any, reason: str, raw: Any = "", **fields: Any) -> Row:
    """An input that became neither. `reason` is short and fixed; `detail`, `uid` and `author_id` may follow.

    `raw` is the input as received, text or bytes; a JSON value that was decoded already is written anew.
    """
    if isinstance(raw, bytes):
        raw = raw[: 4 * RAW_CHARACTERS].decode("utf-8", errors="replace")
    elif not isinstance(raw, str):
        raw = _as_json(raw)
    row = {"reason": reason, "raw": sound(raw[:RAW_CHARACTERS]) or None, **origin.at(place), **fields}
    if row.get("detail"):
        row["detail"] = sound(str(row["detail"]))[:500]
    return "quarantine", row


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except RecursionError:
        return ""  # nested deeper than it can be written; the locator still says where it stands
