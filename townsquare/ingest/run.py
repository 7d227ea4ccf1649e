"""The ingest stage: sources -> posts, events, quarantine."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from townsquare import receipts
from townsquare.errors import InputError
from townsquare.ingest import events as event_states
from townsquare.ingest import store
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import BROKEN, Member, head, members
from townsquare.ingest.rows import Item, Items, Origin, quarantine
from townsquare.ingest.sources import BY_NAME, SOURCES, x_archive
from townsquare.progress import Bar, progress
from townsquare.receipts import Input, Receipt
from townsquare.records import EVENTS, POSTS, QUARANTINE
from townsquare.square import Square

BATCH = 50_000


@dataclasses.dataclass
class Unit:
    """One thing to read: an archive or a file, its format and why it is taken for that."""

    label: str
    items: Items
    format: str
    why: str


def run(square: Square, config: IngestConfig) -> Receipt:
    """Read the paths into the square. Raises InputError when a path is of no known format or cannot be opened."""
    known = [path for path in config.paths if path.exists()]
    if len(known) < len(config.paths):
        missing = next(path for path in config.paths if not path.exists())
        raise InputError("there is no such file or folder", place=str(missing), remedy="Mend the path.")
    digests = [Input(path.name, receipts.sha256_of(path)) for path in config.paths]
    together = hashlib.sha256("\n".join(sorted(i.sha256 for i in digests)).encode()).hexdigest()
    name = config.name or f"{config.paths[0].resolve().stem}-{together[:8]}"
    settings = dataclasses.replace(config, paths=tuple(Path(path.name) for path in config.paths), name=name)
    with receipts.stage(square, "ingest", inputs=digests, config=settings, name=name, keep=not config.dry_run) as work:
        if work.done:
            return work.done
        tally = Tally()
        units = [unit for path in config.paths for unit in _units(path, Origin(name, together, ""), config, tally)]
        if not config.dry_run:
            store.ensure(square)
        with progress(f"Ingesting {name}", None, "rows") as bar:
            for batch in _batches(units, tally, bar):
                if not config.dry_run:
                    _commit(square, batch)
        if not config.dry_run:
            tally.changed = event_states.apply(square)
            if tally.changed.get("deleted"):
                store.purge(square)
        work.count(
            seen=tally.seen, kept=tally.kept, events=tally.events, quarantined=dict(sorted(tally.reasons.items()))
        )
        work.results.update(tally.results())
        work.results["outputs"] = {} if config.dry_run else {"rows": tally.digest()}
    return work.receipt


class Tally:
    """Counts as the rows go by, per file and in all; kept + events + quarantined = seen."""

    def __init__(self) -> None:
        self.kept = self.events = 0
        self.reasons: Counter[str] = Counter()
        self.files: dict[str, dict[str, Any]] = {}
        self.changed: dict[str, int] = {}
        self.facts: Counter[str] = Counter()
        self._digest = 0

    @property
    def seen(self) -> int:
        return self.kept + self.events + self.reasons.total()

    def add(self, label: str, item: Item) -> None:
        kind, row = item
        here = self.files.setdefault(label, {"kept": 0, "events": 0, "quarantined": 0})
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
        said = "|".join(str(row.get(key)) for key in ("uid", "event_id", "reason", "text", "source_locator"))
        self._digest ^= int.from_bytes(hashlib.sha256(said.encode()).digest(), "big")

    def digest(self) -> str:
        """SHA-256 of every row, combined so that the order of the rows does not matter."""
        return f"{self._digest:064x}"

    def results(self) -> dict[str, Any]:
        return {
            **{name: self.facts[name] for name in ("replies", "reposts", "quotes")},
            "states_changed": self.changed,
            "files": self.files,
        }


def _units(path: Path, origin: Origin, config: IngestConfig, tally: Tally) -> Iterator[Unit]:
    found = members(path)
    if not found:
        raise InputError("there is nothing in it", place=str(path), remedy="Give a file with posts.")
    why = x_archive.detect_members(found) if config.format in (None, x_archive.NAME) and len(found) > 1 else None
    if why is not None:
        yield Unit(path.name, x_archive.read_archive(found, origin, config), x_archive.NAME, why)
        return
    for member in found:
        here = dataclasses.replace(origin, member=member.name)
        source, why = _source(member, config)
        if source is not None and not member.unsafe:
            yield Unit(member.name, _guarded(source, member, here, config, alone=len(found) == 1), source.NAME, why)
        elif len(found) == 1:
            raise _unknown(path, member, why)
        else:
            reason = "unsafe_member" if member.unsafe else "unknown_format"
            yield Unit(member.name, iter([quarantine(here, 0, reason, detail=member.unsafe or why)]), "none", why)


def _source(member: Member, config: IngestConfig) -> tuple[ModuleType | None, str]:
    """The format of one file, and why; or None and what was seen instead."""
    if config.format is not None:
        if config.format not in BY_NAME:
            raise InputError(f"there is no format {config.format!r}", remedy="Formats are: " + ", ".join(BY_NAME))
        return BY_NAME[config.format], "it was named"
    start = head(member, 64)
    if not start.strip():
        return None, "it is empty or cannot be read"
    for source in SOURCES:
        why = source.detect(member)
        if why:
            return source, why
    return None, f"it begins with {start[:40]!r}"


def _unknown(path: Path, member: Member, why: str) -> InputError:
    return InputError(
        f"the format is not known: {member.unsafe or why}",
        place=str(path),
        remedy="Formats are: " + ", ".join(BY_NAME) + ". Name one with --format, a table's columns with --column.",
    )


def _guarded(source: ModuleType, member: Member, origin: Origin, config: IngestConfig, *, alone: bool) -> Items:
    """A source's rows; a file that breaks off leaves what came before and a quarantine row, and stops no other."""
    number = 0
    try:
        for item in source.read(member, origin, config):
            number += 1
            yield item
    except InputError as error:
        if alone:
            raise
        yield quarantine(origin, 0, "unfit_file", detail=error.message)
    except (OSError, RuntimeError, pa.ArrowInvalid, *BROKEN) as error:
        yield quarantine(origin, number + 1, "broken_file", detail=f"read up to row {number}: {error}")


def _batches(units: Iterable[Unit], tally: Tally, bar: Bar) -> Iterator[dict[str, list[dict[str, Any]]]]:
    batch: dict[str, list[dict[str, Any]]] = {"post": [], "event": [], "quarantine": []}
    held = 0
    for unit in units:
        tally.files[unit.label] = {"kept": 0, "events": 0, "quarantined": 0, "format": unit.format, "why": unit.why}
        for kind, row in unit.items:
            tally.add(unit.label, (kind, row))
            batch[kind].append(row)
            held += 1
            if held == BATCH:
                bar.advance(held, note=unit.label)
                yield batch
                batch, held = {"post": [], "event": [], "quarantine": []}, 0
    bar.advance(held)
    yield batch


def _commit(square: Square, batch: dict[str, list[dict[str, Any]]]) -> None:
    """Events first, so that no reader ever sees a post that was already deleted."""
    store.insert_missing(square, "events", _unique(pa.Table.from_pylist(batch["event"], schema=EVENTS), "events"))
    posts = pa.Table.from_pylist(batch["post"], schema=POSTS)
    if len(posts):
        best = store.winners(square, posts)
        events = store.dataset(square, "events").to_table()
        store.upsert(square, "posts", event_states.with_states(best, events) if len(events) else best)
    held_back = pa.Table.from_pylist(batch["quarantine"], schema=QUARANTINE)
    store.insert_missing(square, "quarantine", _unique(held_back, "quarantine"))


def _unique(table: pa.Table, name: str) -> pa.Table:
    """One row a key: the same event may stand in a file twice."""
    import polars as pl

    keys = pl.DataFrame(pl.from_arrow(table.select(store.KEYS[name]))).with_row_index("row")
    rows = keys.unique(store.KEYS[name], keep="first")["row"].sort()
    return table.take(rows.to_arrow())
