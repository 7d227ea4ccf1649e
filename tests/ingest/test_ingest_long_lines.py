"""A line of a hundred megabytes among others: it is read or quarantined, its neighbours are read, memory is bounded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzz_cases import (
    COMPLIANCE,
    ITEMS,
    OPT_OUTS,
    OUTBOX,
    RECORDS,
    REDDIT,
    STREAM,
    bluesky_views,
    jetstream_lines,
    ndjson,
    page,
)

ROOT = Path(__file__).resolve().parents[2]
LONG = 100 << 20
MOST_BYTES = 3 << 29  # measured: 0.3 to 1.0 GB
TAKEN = """
import json, resource, sys
from pathlib import Path
from fuzz import taken
rows = taken(Path(sys.argv[1]))
places = sorted({row["source_locator"].split(":")[1] for found in rows.values() for row in found})
longest = max(len(row["raw"] or "") for row in rows["quarantine"]) if rows["quarantine"] else 0
print(json.dumps([places, longest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""
LINES: dict[str, tuple[str, Any]] = {
    "x_api_v2": ("a.jsonl", page(1)),
    "x_api_v2_flat": ("a.jsonl", page(1)["data"][0]),
    "x_stream": ("stream.jsonl", STREAM[0]),
    "x_compliance": ("tweets.jsonl", COMPLIANCE[0]),
    "reddit": ("RC_2008-01", REDDIT[0]),
    "opt_out": ("out.jsonl", OPT_OUTS[0]),
    "bluesky_jetstream": ("j.jsonl", jetstream_lines()[0]),
    "bluesky_appview": ("v.jsonl", bluesky_views()[0]),
    "jsonl": ("t.jsonl", RECORDS[0]),
    "mastodon": ("a.ndjson", OUTBOX[0]),
    "hacker_news": ("items.ndjson", ITEMS[0]),
}


def _taken(path: Path) -> tuple[list[str], int, int]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "ingest")])}
    done = subprocess.run(
        [sys.executable, "-c", TAKEN, str(path)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    places, longest, peak = json.loads(done.stdout)
    return places, longest, peak


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
@pytest.mark.parametrize("name", LINES)
def test_a_line_of_a_hundred_megabytes(name: str, broken: bool, tmp_path: Path) -> None:
    file_name, record = LINES[name]
    line = ndjson([record]).rstrip(b"\n")
    long = line[:-1] + b', "more": "' + b"a" * LONG + (b"" if broken else b'"}')
    path = tmp_path / file_name
    path.write_bytes(b"\n".join([line, long, line, b""]))
    places, longest, peak = _taken(path)
    assert places == ["1", "2", "3"]
    assert longest <= 10_000
    assert peak < MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("quoted", [False, True])
def test_a_row_of_a_hundred_megabytes(quoted: bool, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    cell = b'"' + b"a" * LONG + b'"' if quoted else b"a" * LONG
    path.write_bytes(b"id,text\n1,first\n2," + cell + b"\n3,last\n")
    places, longest, peak = _taken(path)
    assert {"2", "3", "4"} <= set(places)
    assert longest <= 10_000
    assert peak < MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jsonl", "x_stream", "x_api_v2"])
def test_a_text_of_a_hundred_megabytes(name: str, tmp_path: Path) -> None:
    file_name, record = LINES[name]
    line = ndjson([record]).rstrip(b"\n")
    path = tmp_path / file_name
    path.write_bytes(b"\n".join([line, line.replace(b"mark", b"a" * LONG, 1), line, b""]))
    places, _, peak = _taken(path)
    assert places == ["1", "2", "3"]
    assert peak < MOST_BYTES
