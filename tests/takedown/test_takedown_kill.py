"""A takedown in a process of its own, killed by SIGKILL at random moments, ends as an unbroken one does."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from townsquare import receipts
from townsquare.curate import tables as corpus
from townsquare.ingest import tables
from townsquare.ledger import Ledger
from townsquare.serve import index
from townsquare.square import Square, current_version
from townsquare.takedown.proof import prove

SQUARES, KILLS = 12, 2  # of each square, so that kills fall on early steps and on those after a resumption
COMMAND = (
    "import sys\n"
    "from townsquare.square import Square\n"
    "from townsquare.takedown.config import TakedownConfig\n"
    "from townsquare.takedown.run import run\n"
    "print('at work', flush=True)\n"
    "run(Square.open(sys.argv[1]), TakedownConfig(post=(sys.argv[2],), author=(sys.argv[3],)))\n"
)


def start(square: Square, *targets: str) -> subprocess.Popen[str]:
    """A takedown at work: what Python takes to start lies behind it."""
    command = [sys.executable, "-c", COMMAND, str(square.root), *targets]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    return process


def state(square: Square) -> dict[str, Any]:
    """What must be the same however often it was killed: rows of every copy, files of every version, what is known."""
    shards = current_version(square.tokens)
    assert shards is not None
    record = receipts.read_all(square, "takedown")[0]
    kept = ("posts_removed", "posts_newly_removed", "posts_with_a_quotation_cut", "texts_searched", "left")
    return {
        "posts": _digest(tables.read_posts(square)),
        "quarantine": _digest(tables.read_quarantine(square)),
        "events": tables.read_events(square)["event_id"].to_pylist(),
        "corpus": receipts.sha256_of(corpus.version(square)),
        "shards": receipts.sha256_of(shards),
        "index": _digest(index.dataset(square).to_table().sort_by("uid")),
        "remembered": sorted(path.name for path in (square.posts / "removed").iterdir()),
        "files": sorted(p.name for folder in (square.corpus, square.tokens) for p in folder.glob("[!.]*")),
        "revised": [receipts.need(square, name).results["revised"] for name in ("curate", "tokens", "index")],
        "receipt": {name: record.results[name] for name in kept},
    }


def _digest(table: pa.Table) -> str:
    return hashlib.sha256(json.dumps(table.to_pylist(), default=str).encode()).hexdigest()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_state(
    town_built: Square, victim: tuple[str, str], tmp_path: Path
) -> None:
    uid, text = victim
    authors = tables.read_posts(town_built, ["network", "author_id"], f"state = 'live' AND uid <> '{uid}'").to_pylist()
    targets = (uid, f"{authors[0]['network']}:{authors[0]['author_id']}")

    def copied(name: str) -> Square:
        shutil.copytree(town_built.root, tmp_path / name / "square")
        return Square.open(tmp_path / name / "square")

    whole = copied("whole")
    begun = time.monotonic()
    process = start(whole, *targets)
    assert process.communicate()[1].count("Traceback") == 0
    seconds, expected = time.monotonic() - begun, state(whole)

    killed, rng = 0, random.Random(1)
    for number in range(SQUARES):
        broken = copied(f"broken-{number}")
        for _ in range(KILLS):
            process = start(broken, *targets)
            time.sleep(rng.random() * 0.6 * seconds)
            process.kill()
            process.communicate()
            killed += process.returncode == -9
        process = start(broken, *targets)
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert state(broken) == expected
        with Ledger.open(broken) as ledger:
            ledger.verify()
            assert len(ledger.entries("takedown_asked")) == len(ledger.entries("takedown")) == 1
        assert prove(broken)["left"] == 0
        assert text not in "".join(p.read_bytes().decode("latin-1") for p in broken.posts.rglob("*") if p.is_file())
    assert killed, "kills must fall on takedowns that are at work"
