"""Receipts: what a stage writes last. Same fingerprint: skip. Other: refuse and say what differs.

A stage wraps its work in `stage(...)`:

    with stage(square, "curate", inputs=inputs, config=config) as work:
        if work.done:
            return work.done
        ...
        work.count(seen=10, kept=9, dropped={"spam": 1})
        work.results["bits_per_byte"] = 1.2
    return work.receipt
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from townsquare.errors import StaleError
from townsquare.square import Square, disk_errors_explained, write_json

FREE = {"fingerprint": False}
"""Metadata of a config field that changes how a stage works and not what it makes: it may differ when it goes on."""
VERSIONS_OF = ("townsquare", "torch", "pylance", "pyarrow", "tokenizers", "xllamacpp")


@dataclasses.dataclass(frozen=True)
class Input:
    """Something a stage read: its name and the SHA-256 (hex) of its content."""

    name: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What a stage did. `fingerprint` covers stage, inputs, config and seed, known before the work starts;
    `results["outputs"]` holds the SHA-256 of what came out, known after it."""

    stage: str
    square: str
    inputs: tuple[Input, ...]
    config: dict[str, Any]
    counts: dict[str, Any]
    results: dict[str, Any]
    seconds: float
    peak_memory_bytes: int
    fingerprint: str
    versions: dict[str, str]
    seed: int | None
    name: str | None = None
    skipped: bool = dataclasses.field(default=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        record = dataclasses.asdict(self)
        record["inputs"] = [dataclasses.asdict(item) for item in self.inputs]
        del record["skipped"]
        return record


class Work:
    """A stage at work: collects counts and results, and becomes a receipt when the stage ends well."""

    def __init__(self, done: Receipt | None, fingerprint: str) -> None:
        self.done = done
        self.fingerprint = fingerprint
        self.counts: dict[str, Any] = {}
        self.results: dict[str, Any] = {}
        self._receipt = done

    def count(self, **counts: int | Mapping[str, int]) -> None:
        """Set counts by DESIGN's names: seen, kept, events, quarantined={reason: n}, dropped={reason: n}."""
        self.counts.update(counts)

    @property
    def receipt(self) -> Receipt:
        if self._receipt is None:
            raise RuntimeError("the receipt is written when the stage's `with` block ends")
        return self._receipt


def plain(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON values; paths become text, tuples lists."""
    record: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str, sort_keys=True))
    return record


def deciding(config: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings of a config, now or then, those that decide what its stage makes: all that are not FREE."""
    free = {field.name for field in dataclasses.fields(config) if field.metadata.get("fingerprint") is False}
    return {name: value for name, value in settings.items() if name not in free}


def fingerprint_of(stage: str, inputs: Sequence[Input], config: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON of stage, inputs (by name) and config."""
    record = {"stage": stage, "inputs": sorted((i.name, i.sha256) for i in inputs), "config": config}
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, or of a folder's files by sorted relative name and content."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(os.fsencode(file.relative_to(path).as_posix()) + b"\0")
        with file.open("rb") as handle:
            for block in iter(lambda: handle.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def receipt_path(square: Square, stage: str, name: str | None = None) -> Path:
    return square.receipts / (f"{stage}-{name}.json" if name else f"{stage}.json")


def read(square: Square, stage: str, name: str | None = None) -> Receipt | None:
    """The receipt of a stage (and of one named output of it), or None."""
    path = receipt_path(square, stage, name)
    return load(path) if path.is_file() else None


def read_all(square: Square, stage: str | None = None) -> list[Receipt]:
    """Every receipt in the square, or those of one stage, by file name."""
    found = [load(path) for path in sorted(square.receipts.glob("*.json"))]
    return [receipt for receipt in found if stage is None or receipt.stage == stage]


def need(square: Square, stage: str, name: str | None = None) -> Receipt:
    """The receipt of an earlier stage. Raises StaleError, naming the command to run, when there is none."""
    receipt = read(square, stage, name)
    if receipt is None:
        what = f"{stage} {name}" if name else stage
        raise StaleError(
            f"`{what}` has not run in this square yet",
            place=str(square.root),
            remedy=f"Run first: townsquare {stage}",
        )
    return receipt


def revise(square: Square, receipt: Receipt, **now: Any) -> None:
    """Note beside a stage's results what a takedown left of its output (`results.revised`).

    The fingerprint stays, since inputs and config do: no later stage is stale, for it was revised too.
    """
    revised = dataclasses.replace(receipt, results={**receipt.results, "revised": now})
    write_json(receipt_path(square, receipt.stage, receipt.name), revised.to_json())


def as_input(receipt: Receipt) -> Input:
    """A receipt as the input of a later stage."""
    return Input(f"{receipt.stage}-{receipt.name}" if receipt.name else receipt.stage, receipt.fingerprint)


def sources_of(receipts: Sequence[Receipt], receipt: Receipt) -> list[Receipt]:
    """The receipts that this one was made from, direct and indirect, as far as the square still has them."""
    present = {as_input(found): found for found in receipts}
    chain: list[Receipt] = []
    waiting = list(receipt.inputs)
    while waiting:
        found = present.get(waiting.pop(0))
        if found is not None and found not in chain:
            chain.append(found)
            waiting += found.inputs
    return chain


def load(path: Path) -> Receipt:
    """A receipt from its file. Raises StaleError when it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["inputs"] = tuple(Input(**item) for item in record["inputs"])
        return Receipt(**record)
    except (ValueError, TypeError, KeyError) as error:
        raise StaleError(
            f"a receipt cannot be read: {error}",
            place=str(path),
            remedy="It was altered, or written by another version. Remove it and run its stage again.",
        ) from error


@contextmanager
def stage(
    square: Square,
    stage: str,
    *,
    inputs: Sequence[Input],
    config: Any,
    name: str | None = None,
    mode: Literal["alone", "beside", "dry", "follow"] = "alone",
) -> Iterator[Work]:
    """Run a stage's body under the square's lock and write its receipt last.

    `name` tells apart several outputs of one stage (two runs, two sources). `config` is the stage's
    dataclass; its `seed`, if any, goes into the receipt. When a receipt with the same fingerprint
    exists, `work.done` holds it and the body must return at once. A stage may run `beside` others that
    say so too, or only `alone`; when `dry`, nothing is skipped and no receipt is written; processes that `follow`
    the one that leads their run skip and refuse as it does, and neither lock nor write. Raises StaleError
    when a receipt with another fingerprint exists and the square was not opened with `replace`,
    LockedError, and StorageError.
    """
    settings = plain(config)
    fingerprint = fingerprint_of(stage, inputs, deciding(config, settings))
    holder = f"{stage} {name}" if name else stage
    lock = nullcontext() if mode == "follow" else square.lock(holder, alone=mode == "alone")
    with disk_errors_explained(square.root), lock:
        before = read(square, stage, name) if mode != "dry" else None
        if before is not None and before.fingerprint != fingerprint and not square.replace:
            raise StaleError(
                f"`{holder}` was run before with " + _difference(before, inputs, config),
                place=str(receipt_path(square, stage, name)),
                remedy="Pass --replace to make it anew; later stages are then stale until run again.",
            )
        done = before if before is not None and before.fingerprint == fingerprint else None
        if done is not None:
            done = dataclasses.replace(done, skipped=True)
        work = Work(done, fingerprint)
        started = time.monotonic()
        yield work
        if done is not None:
            return
        receipt = Receipt(
            stage=stage,
            square=square.root.name,
            inputs=tuple(inputs),
            config=settings,
            counts=work.counts,
            results=work.results,
            seconds=round(time.monotonic() - started, 3),
            peak_memory_bytes=peak_memory_bytes(),
            fingerprint=fingerprint,
            versions=versions(),
            seed=settings.get("seed"),
            name=name,
        )
        if mode in ("alone", "beside"):
            write_json(receipt_path(square, stage, name), receipt.to_json())
        work._receipt = receipt


def _difference(before: Receipt, inputs: Sequence[Input], config: Any) -> str:
    old_inputs, new_inputs = ({i.name: i.sha256 for i in side} for side in (before.inputs, inputs))
    old_settings, settings = (deciding(config, side) for side in (before.config, plain(config)))
    parts = [
        f"other {label} `{key}` (then {str(old.get(key))[:40]}, now {str(new.get(key))[:40]})"
        for label, old, new in (("input", old_inputs, new_inputs), ("setting", old_settings, settings))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    return "; ".join(parts)


def peak_memory_bytes() -> int:
    """This process's peak resident memory so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def versions() -> dict[str, str]:
    """Installed versions of the parts whose change can change a result."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for package in VERSIONS_OF:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
