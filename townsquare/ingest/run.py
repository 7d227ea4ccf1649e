"""The ingest stage: sources -> posts, events, quarantine."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pyarrow as pa

from townsquare import receipts
from townsquare.errors import InputError
from townsquare.ingest import events as event_states
from townsquare.ingest import removed, store
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import BROKEN, Member, head, members
from townsquare.ingest.merging import merged
from townsquare.ingest.rows import Item, Items, Origin, quarantine
from townsquare.ingest.sources import ARCHIVES, BY_NAME, SOURCES
from townsquare.ingest.text import sound
from townsquare.progress import Bar, progress
from townsquare.receipts import Input, Receipt
from townsquare.records import EVENTS, POSTS, QUARANTINE
from townsquare.square import Square

BATCH = 50_000
NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclasses.dataclass
class Unit:
    """One thing to read: an archive or a file, its format and why it is taken for that."""

    label: str
    items: Items
    format: str
    why: str


def run(square: Square, config: IngestConfig) -> Receipt:
    """Read the paths into the square. Raises InputError when a path is of no known format or cannot be opened."""
    for path in config.paths:
        if not path.exists():
            raise InputError("there is no such file or folder", place=str(path), remedy="Mend the path.")
    digests = [Input(sound(path.resolve().name), receipts.sha256_of(path)) for path in config.paths]
    together = hashlib.sha256("\n".join(sorted(i.sha256 for i in digests)).encode()).hexdigest()
    name = config.name or f"{NOT_IN_NAMES.sub('-', config.paths[0].resolve().stem)[:60]}-{together[:8]}"
    settings = dataclasses.replace(config, paths=tuple(Path(digest.name) for digest in digests), name=name)
    with (
        receipts.stage(square, "ingest", inputs=digests, config=settings, name=name, keep=not config.dry_run) as work,
        ExitStack() as open_files,
    ):
        if work.done:
            return work.done
        tally, origin = Tally(), Origin(name, together, "")
        sources = [
            (path, _renamed(members(path, open_files), digest, digests))
            for path, digest in zip(config.paths, digests, strict=True)
        ]
        units = [unit for path, found in sources for unit in _units(path, found, origin, config)]
        with progress(f"Ingesting {name}", None, "rows") as bar:
            if not config.dry_run:
                store.ensure(square)
            for batch in _batches(units, tally, bar):
                if not config.dry_run:
                    _commit(square, batch)
        if not config.dry_run:
            tally.changed = event_states.apply(square)
            if store.purge_due(square):
                store.purge(square)
        work.count(
            seen=tally.seen, kept=tally.kept, events=tally.events, quarantined=dict(sorted(tally.reasons.items()))
        )
        work.results.update(tally.results())
        work.results["outputs"] = {} if config.dry_run else {"rows": tally.digest()}
    return work.receipt


def _renamed(found: list[Member], digest: Input, digests: list[Input]) -> list[Member]:
    """Members named so that no two of an ingest share a name: rows are told apart by it."""
    if len(digests) == 1:
        return found
    same = sum(other.name == digest.name for other in digests) > 1
    prefix = f"{digest.sha256[:8]}/" if same else ""
    folder = f"{digest.name}/" if len(found) > 1 or (found[:1] and found[0].name != digest.name) else ""
    return [dataclasses.replace(member, name=f"{prefix}{folder}{member.name}") for member in found]


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


def _units(path: Path, found: list[Member], origin: Origin, config: IngestConfig) -> Iterator[Unit]:
    if not found:
        raise InputError("there is nothing in it", place=str(path), remedy="Give a file with posts.")
    archive, why = _archive(found, config)
    if archive is not None:
        items = _guarded(archive.read_archive(found, origin, config), origin, alone=True)
        yield Unit(str(path.name), items, archive.NAME, why)
        return
    for member in found:
        here = dataclasses.replace(origin, member=member.name)
        source, why = (None, member.unsafe) if member.unsafe else _source(member, config)
        if source is not None:
            items = _guarded(source.read(member, here, config), here, alone=len(found) == 1)
            yield Unit(member.name, items, source.NAME, why)
        elif len(found) == 1:
            raise _unknown(path, why)
        else:
            reason = "unsafe_member" if member.unsafe else "unknown_format"
            yield Unit(member.name, iter([quarantine(here, 0, reason, detail=why)]), "none", why)


def _archive(found: list[Member], config: IngestConfig) -> tuple[ModuleType | None, str]:
    """The format whose archive these members are together, and why; or None where each is to be read by itself."""
    for source in ARCHIVES:
        if config.format == source.NAME:
            return source, "it was named"
        if config.format is None and len(found) > 1 and (why := source.detect_members(found)):
            return source, why
    return None, ""


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


def _unknown(path: Path, why: str) -> InputError:
    return InputError(
        f"the format is not known: {why}",
        place=str(path),
        remedy="Formats are: " + ", ".join(BY_NAME) + ". Name one with --format, a table's columns with --column.",
    )


def _guarded(items: Items, origin: Origin, *, alone: bool) -> Items:
    """A source's rows; a file that breaks off leaves what came before and a quarantine row, and stops no other."""
    number = 0
    try:
        for item in items:
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
    store.put_first(square, "events", pa.Table.from_pylist(batch["event"], schema=EVENTS))
    events = store.dataset(square, "events").to_table()
    posts = pa.Table.from_pylist(batch["post"], schema=POSTS)
    if len(posts):
        best = merged(square, posts)
        if len(events):
            wanted = _states(square, best, events)
            removed.remember(square, event_states.leaving(best, wanted))
            best = event_states.with_states(best, wanted)
            if pa.compute.any(pa.compute.equal(best["state"], "deleted")).as_py():
                store.mark_purge(square)  # the post may stand in the table with its content until now
        store.upsert(square, "posts", best)
    store.put_first(square, "quarantine", pa.Table.from_pylist(batch["quarantine"], schema=QUARANTINE))


def _states(square: Square, coming: pa.Table, events: pa.Table) -> pl.DataFrame:
    """The states of the coming posts, which may hang on stored ones: a repost's on its original's."""
    columns = list(event_states.READS)
    stored = store.dataset(square, "posts").to_table(columns=columns)
    others = stored.filter(pa.compute.invert(pa.compute.is_in(stored["uid"], coming["uid"].combine_chunks())))
    return event_states.states(pa.concat_tables([others, coming.select(columns)]), events)
