"""The demo, small: every stage on one town, run twice, and killed in between."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from townsquare import receipts
from townsquare.square import Square

SETTINGS = """\
[town]
posts = 1500
[curate]
chitchat = true
[tokens]
vocabulary_size = 1024
[train]
size = "400K"
steps = 12
[evaluate]
questions = 5
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """The demo as its own process."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "townsquare.toml").write_text(SETTINGS)
    command = [sys.executable, "-m", "townsquare.cli", "demo", "--square", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outputs(folder: Path) -> dict[str, object]:
    """What each stage made, as the hashes in its receipt."""
    found = receipts.read_all(Square.open(folder))
    return {f"{r.stage}-{r.name}": (r.fingerprint, r.results.get("outputs")) for r in found if r.stage != "report"}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo, run once without a break, and what it printed."""
    folder = tmp_path_factory.mktemp("story") / "square"
    process = start(folder)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, out[-3000:] + err[-3000:]
    return folder, out


def test_the_story_is_told(unbroken: tuple[Path, str]) -> None:
    folder, out = unbroken
    square = Square.open(folder)
    told = (
        "A town is made",
        "Pretraining",
        "Tuning",
        "[1]",
        "asks to be forgotten",
        "The ledger holds",
        "What to try next",
    )
    assert [part for part in told if part not in out] == []
    takedown = receipts.read_all(square, "takedown")[0]
    assert takedown.results["posts_removed"] > 0
    assert takedown.results["left"] == 0
    assert square.report.is_file()
    ingested = receipts.read_all(square, "ingest")
    for receipt in [*ingested, receipts.need(square, "curate")]:
        counts = receipt.counts
        left_out = sum(counts.get("quarantined", counts.get("dropped", {})).values())
        assert counts["kept"] + counts.get("events", 0) + left_out == counts["seen"], receipt.stage


def test_a_second_demo_skips_what_is_done(unbroken: tuple[Path, str]) -> None:
    folder, _ = unbroken
    before = {path.name: path.read_bytes() for path in Square.open(folder).receipts.glob("*.json")}
    process = start(folder)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err[-3000:]
    assert out.count("as before, nothing to do") == len(before)
    assert {path.name: path.read_bytes() for path in Square.open(folder).receipts.glob("*.json")} == before


@pytest.mark.slow
def test_a_demo_killed_five_times_ends_the_same(unbroken: tuple[Path, str], tmp_path: Path) -> None:
    folder, rng = tmp_path / "killed", random.Random(4)
    for _ in range(5):
        process = start(folder)
        time.sleep(rng.uniform(4, 20))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(folder)
    _, err = process.communicate(timeout=400)
    assert process.returncode == 0, err[-3000:]
    assert json.dumps(outputs(folder), sort_keys=True) == json.dumps(outputs(unbroken[0]), sort_keys=True)
