"""The ingest stage: sources -> posts, events, quarantine."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Literal

import pyarrow as pa

from townsquare import receipts
from townsquare.errors import InputError
from townsquare.ingest import events as event_states
from townsquare.ingest import named_by_handle, store
from townsquare.ingest.ahead import ahead
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import BROKEN, Member, head, members
from townsquare.ingest.known import Known
from townsquare.ingest.rows import Items, Origin, quarantine
from townsquare.ingest.slabs import Gathering, Slab, commit
from townsquare.ingest.sources import ARCHIVES, BY_NAME, SOURCES
from townsquare.ingest.tally import Tally
from townsquare.ingest.text import sound
from townsquare.progress import Bar, progress
from townsquare.receipts import Input, Receipt
from townsquare.square import Square

SHOW_EVERY = 20_000  # rows
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
    with ThreadPoolExecutor() as pool:  # hashing leaves Python's lock
        hashing = pool.map(receipts.sha256_of, config.paths)
        import lance  # noqa: F401 - a third of a second, for which nobody need wait once the files are hashed

        hashes = list(hashing)
    digests = [Input(sound(path.resolve().name), sha256) for path, sha256 in zip(config.paths, hashes, strict=True)]
    together = hashlib.sha256("\n".join(sorted(i.sha256 for i in digests)).encode()).hexdigest()
    name = config.name or f"{NOT_IN_NAMES.sub('-', config.paths[0].resolve().stem)[:60]}-{together[:8]}"
    mode: Literal["dry", "beside"] = "dry" if config.dry_run else "beside"
    settings = dataclasses.replace(config, paths=tuple(Path(digest.name) for digest in digests), name=name)
    with (
        receipts.stage(square, "ingest", inputs=digests, config=settings, name=name, mode=mode) as work,
        ExitStack() as open_files,
    ):
        if work.done:
            return work.done
        tally = Tally()
        sources = [
            (path, _renamed(members(path, open_files), digest, digests), Origin(name, digest.sha256, ""))
            for path, digest in zip(config.paths, digests, strict=True)
        ]
        units = [unit for path, found, origin in sources for unit in _units(path, found, origin, config)]
        with progress(f"Ingesting {name}", None, "rows") as bar:
            if config.dry_run:
                for _ in gather(units, tally, bar):
                    pass
            else:
                _store(square, gather(units, tally, bar), tally)
        work.count(
            seen=tally.seen, kept=tally.kept, events=tally.events, quarantined=dict(sorted(tally.reasons.items()))
        )
        work.results.update(tally.results())
        work.results["outputs"] = {} if config.dry_run else {"rows": tally.digest()}
    return work.receipt


def _store(square: Square, slabs: Iterable[Slab], tally: Tally) -> None:
    with store.writing(square):
        store.ensure(square)
    known = Known(square)
    for _ in ahead(iter(slabs), lambda slab: commit(square, slab, known), threads=1):
        pass
    with store.writing(square):
        named_by_handle.resolve(square)
        tally.changed = event_states.apply(square)
        if store.purge_due(square):
            store.purge(square)


def _renamed(found: list[Member], digest: Input, digests: list[Input]) -> list[Member]:
    """Members named so that no two of an ingest share a name: rows are told apart by it."""
    if len(digests) == 1:
        return found
    same = sum(other.name == digest.name for other in digests) > 1
    prefix = f"{digest.sha256[:8]}/" if same else ""
    folder = f"{digest.name}/" if len(found) > 1 or (found[:1] and found[0].name != digest.name) else ""
    return [dataclasses.replace(member, name=f"{prefix}{folder}{member.name}") for member in found]


def _units(path: Path, found: list[Member], origin: Origin, config: IngestConfig) -> Iterator[Unit]:
    if not found:
        raise InputError("there is nothing in it", place=str(path), remedy="Give a file with posts.")
    archive, why = _archive(found, config)
    inside = bool(origin.member)  # of another archive or a folder, whose other members shall not suffer
    if archive is not None:
        items = _guarded(archive.read_archive(found, origin, config), origin, alone=not inside)
        yield Unit(origin.member or path.name, items, archive.NAME, why)
        return
    for member in found:
        here = dataclasses.replace(origin, member=member.name)
        if member.inner is not None:
            yield from _nested(path, member, here, config)
            continue
        source, why = (None, member.unsafe) if member.unsafe else _source(member, config)
        if source is not None:
            items = _guarded(source.read(member, here, config), here, alone=len(found) == 1 and not inside)
            yield Unit(member.name, items, source.NAME, why)
        elif len(found) == 1 and not inside:
            raise _unknown(path, why)
        else:
            reason = "unsafe_member" if member.unsafe else "unknown_format"
            yield Unit(member.name, iter([quarantine(here, 0, reason, detail=why)]), "none", why)


def _nested(path: Path, member: Member, origin: Origin, config: IngestConfig) -> Iterator[Unit]:
    """The units of an archive that stands in another or in a folder."""
    try:
        found = member.unfolded()
        why = "" if found else "there is nothing in it"
    except InputError as error:
        found, why = [], error.message
    if found:
        yield from _units(path, found, origin, config)
    else:
        yield Unit(member.name, iter([quarantine(origin, 0, "unfit_file", detail=why)]), "none", why)


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


def gather(units: Iterable[Unit], tally: Tally, bar: Bar) -> Iterator[Slab]:
    """Everything the units hold, counted, in slabs."""
    held, shown = Gathering(), 0
    for unit in units:
        tally.begin(unit.label, unit.format, unit.why)
        for item in unit.items:
            shown += tally.add(unit.label, item)
            held.add(item)
            if shown >= SHOW_EVERY:
                bar.advance(shown, note=unit.label)
                shown = 0
            if held.full:
                yield held.take()
    bar.advance(shown)
    yield held.take()
