"""Progress of long work: a bar with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from townsquare import ranks

LINE_EVERY_SECONDS = 10.0


class Bar:
    """Counts work done towards `total` (None: unknown) and shows it on standard error."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._started = self._spoke = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Add `count` units of finished work; `note` is a short live figure, such as a loss."""
        self.done += count
        now = time.monotonic()
        if now - self._spoke >= LINE_EVERY_SECONDS and ranks.leads():
            self._spoke = now
            print(self._line(now, note), file=sys.stderr, flush=True)

    def _line(self, now: float, note: str) -> str:
        rate = self.done / max(now - self._started, 1e-9)
        share = f"{self.done:,}" if self.total is None else f"{self.done:,}/{self.total:,}"
        left = "" if self.total is None else f", {max(self.total - self.done, 0) / max(rate, 1e-9):.0f} s left"
        return f"{self.label}: {share} {self.unit}, {rate:,.0f} {self.unit}/s{left} {note}".rstrip()


class _TerminalBar(Bar):
    def __init__(self, label: str, total: int | None, unit: str) -> None:
        super().__init__(label, total, unit)
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self.view = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.view.add_task(label, total=total, rate="", note="")

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        rate = self.done / max(time.monotonic() - self._started, 1e-9)
        self.view.update(self.task, advance=count, rate=f"{rate:,.0f} {self.unit}/s", note=note)


@contextmanager
def progress(label: str, total: int | None = None, unit: str = "posts") -> Iterator[Bar]:
    """A bar for the work inside the block; `unit` is what `advance` counts."""
    if not sys.stderr.isatty() or not ranks.leads():
        yield Bar(label, total, unit)
        return
    try:
        bar = _TerminalBar(label, total, unit)
    except ImportError:  # a bare GPU image has no rich
        yield Bar(label, total, unit)
        return
    with bar.view:
        yield bar
