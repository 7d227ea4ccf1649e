"""Mutated inputs of one source, alone: python tests/ingest/fuzz.py x_archive_zip --inputs 10000

Without a name every source has its turn. A failure names its seed: --seed 4711 --inputs 1 makes that input again.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
from fuzz_cases import CASES, Rows
from fuzz_mutations import NEST, nested

from townsquare.errors import InputError
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.files import members
from townsquare.ingest.rows import Origin
from townsquare.ingest.run import _units, gather
from townsquare.ingest.tally import Tally
from townsquare.progress import Bar
from townsquare.records import EVENTS, POSTS, QUARANTINE

SCHEMAS = {"post": POSTS, "event": EVENTS, "quarantine": QUARANTINE}


def taken(path: Path, **settings: Any) -> Rows:
    """Everything an ingest would commit, without a square."""
    rows: Rows = {"post": [], "event": [], "quarantine": []}
    tally = Tally()
    config = IngestConfig(paths=(path,), **settings)
    with ExitStack() as open_files:
        units = list(_units(path, members(path, open_files), Origin("s", "0", ""), config))
        for slab in gather(units, tally, Bar("fuzz", None, "rows")):
            for kind, found in (("post", slab.posts), ("event", slab.events), ("quarantine", slab.quarantine)):
                found.validate(full=True)
                rows[kind] += found.to_pylist()
    assert tally.seen == sum(map(len, rows.values()))
    for kind, schema in SCHEMAS.items():
        pa.Table.from_pylist(rows[kind], schema=schema).validate(full=True)
    assert all(row["uid"] and (row["text"] is not None or row["text_status"] == "missing") for row in rows["post"])
    places = [(row["source_locator"], row["reason"]) for row in rows["quarantine"]]
    assert len(places) == len(set(places)), "two quarantined inputs would be stored as one"
    return rows


def input_of(name: str, seed: int) -> bytes:
    """The seed's input of a case. Where a value was marked for it, one nested a thousand deep takes its place."""
    chance = random.Random(f"{name} {seed}")
    content = CASES[name][1](chance)
    return content.replace(b'"%s"' % NEST.encode(), nested(chance))


def fuzz(name: str, seeds: range, folder: Path) -> None:
    """Hold every seed's input of a case to what must hold. Raises AssertionError naming the seed."""
    file_name, _, check = CASES[name]
    path = folder / file_name
    refusals: list[InputError] = []
    for seed in seeds:
        content = input_of(name, seed)
        path.write_bytes(content)
        try:
            rows = taken(path)
        except InputError as error:
            refusals.append(error)
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed} of {name}") from error
        try:
            check(name, content, rows)
        except AssertionError as error:
            raise AssertionError(f"seed {seed} of {name}: something was lost") from error
    assert all(error.remedy and error.place for error in refusals)
    assert len(refusals) < len(seeds) * 0.8, (
        "most inputs were refused whole: the mutations are too crude to test anything"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", choices=[[], *CASES], metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--inputs", type=int, default=10_000, help="how many mutated inputs of each")
    parser.add_argument("--seed", type=int, default=0, help="the first input's number")
    asked = parser.parse_args()
    for name in asked.name or CASES:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            fuzz(name, range(asked.seed, asked.seed + asked.inputs), Path(folder))
        print(f"{name}: {asked.inputs:,} inputs hold, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
