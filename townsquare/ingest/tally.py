"""What an ingest counts as the rows go by."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pyarrow as pa

from townsquare.ingest.rows import Item

TOLD = ("uid", "event_id", "reason", "text", "source_locator")


class Tally:
    """Counts per file and in all; kept + events + quarantined = seen."""

    def __init__(self) -> None:
        self.kept = self.events = 0
        self.reasons: Counter[str] = Counter()
        self.files: dict[str, dict[str, Any]] = {}
        self.changed: dict[str, int] = {}
        self.facts: Counter[str] = Counter()
        self._rows = 0  # of single rows: combined so that their order does not matter
        self._tables = hashlib.sha256()

    @property
    def seen(self) -> int:
        return self.kept + self.events + self.reasons.total()

    def begin(self, label: str, form: str, why: str) -> None:
        self.files[label] = {"kept": 0, "events": 0, "quarantined": 0, "format": form, "why": why}

    def add(self, label: str, item: Item) -> int:
        """Count a row, or a table of posts; returns how many rows it is."""
        if item[0] == "posts":
            return self._add_table(label, item[1])
        kind, row = item
        here = self.files[label]
        if kind == "post":
            self.kept += 1
            here["kept"] += 1
            self.facts["replies"] += row.get("reply_to") is not None
            self.facts["reposts"] += (row.get("repost_of") or row.get("repost_of_author")) is not None
            self.facts["quotes"] += row.get("quote_of") is not None
        elif kind == "event":
            self.events += 1
            here["events"] += 1
        else:
            self.reasons[row["reason"]] += 1
            here["quarantined"] += 1
        said = "|".join(str(row.get(key)) for key in TOLD)
        self._rows ^= int.from_bytes(hashlib.sha256(said.encode()).digest(), "big")
        return 1

    def _add_table(self, label: str, posts: pa.Table) -> int:
        count = len(posts)
        self.kept += count
        self.files[label]["kept"] += count
        for name, column in (("replies", "reply_to"), ("reposts", "repost_of"), ("quotes", "quote_of")):
            self.facts[name] += count - posts[column].null_count
        told = posts.select(["uid", "text", "source_locator"])
        with pa.ipc.new_stream(pa.PythonFile(_Hashing(self._tables), "w"), told.schema) as stream:
            stream.write_table(told)
        return count

    def digest(self) -> str:
        """SHA-256 over what came out of the sources."""
        self._tables.update(f"{self._rows:064x}".encode())
        return self._tables.hexdigest()

    def results(self) -> dict[str, Any]:
        return {
            **{name: self.facts[name] for name in ("replies", "reposts", "quotes")},
            "states_changed": self.changed,
            "files": self.files,
        }


class _Hashing:
    """A file to write to that keeps only a hash."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""
