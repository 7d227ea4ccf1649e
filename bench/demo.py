"""The demo's whole-process seconds and peak memory, first run and second, and a table of seconds by stage.

    python bench/demo.py [--square FOLDER]

The ratio is the second run's time to the first's: what receipts save.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from townsquare import receipts
from townsquare.square import Square


def run(folder: Path) -> tuple[float, float]:
    """Seconds and peak resident MB (of the largest process) of one demo."""
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "townsquare.cli", "demo", "--square", str(folder)], check=True, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def main() -> None:
    """Run the demo twice in a fresh square and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--square", type=Path, default=Path(tempfile.mkdtemp()) / "demo-square")
    folder = parser.parse_args().square
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    first, memory = run(folder)
    second, _ = run(folder)
    print(f"first run {first:.1f} s, peak {memory:,.0f} MB; second run {second:.1f} s; ratio {second / first:.3f}")
    for receipt in sorted(receipts.read_all(Square.open(folder)), key=lambda r: -r.seconds):
        name = f"{receipt.stage} {receipt.name}" if receipt.name else receipt.stage
        print(f"{name:40} {receipt.seconds:8.1f} s")


if __name__ == "__main__":
    main()
