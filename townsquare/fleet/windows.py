"""Hours of the week in which GPUs are lent, such as "Mon-Fri 20:00-08:00", in UTC."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence

from townsquare.errors import ConfigError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SHAPE = re.compile(r"(\w{3})(?:-(\w{3}))? (\d\d):(\d\d)-(\d\d):(\d\d)")
DAY = 24 * 60
WEEK = 7 * DAY

Span = tuple[dt.datetime, dt.datetime]


def minutes(window: str) -> list[tuple[int, int]]:
    """A window as minutes of the week from Monday 00:00; its end may lie past the week's. Raises ConfigError."""
    found = SHAPE.fullmatch(window.strip().lower())
    if found is None or not {found[1], found[2] or found[1]} <= set(DAYS):
        raise _unfit(window)
    opens, closes = (int(found[i]) * 60 + int(found[i + 1]) for i in (3, 5))
    if max(opens, closes) > DAY or int(found[4]) > 59 or int(found[6]) > 59 or opens == closes:
        raise _unfit(window)
    first, last = DAYS.index(found[1]), DAYS.index(found[2] or found[1])
    days = range(first, last + 1 if last >= first else last + 8)
    length = (closes - opens) % DAY or DAY
    return [(day % 7 * DAY + opens, day % 7 * DAY + opens + length) for day in days]


def _unfit(window: str) -> ConfigError:
    return ConfigError(
        f"a window cannot be {window!r}", remedy='Write it as "Mon-Fri 20:00-08:00" or "Sat 00:00-24:00".'
    )


def spans(windows: Sequence[str], start: dt.datetime, end: dt.datetime) -> Iterator[Span]:
    """The times between `start` and `end` at which a window is open, in order, none touching the next."""
    if start >= end:
        return
    if not windows:
        yield start, end
        return
    pieces = sorted(piece for window in windows for piece in minutes(window))
    monday = start.replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=start.weekday() + 7)
    held: Span | None = None
    while monday < end:
        for opens, closes in pieces:
            begin = max(monday + dt.timedelta(minutes=opens), start)
            finish = min(monday + dt.timedelta(minutes=closes), end)
            if begin >= finish:
                continue
            if held is not None and begin <= held[1]:
                held = (held[0], max(held[1], finish))
                continue
            if held is not None:
                yield held
            held = (begin, finish)
        monday += dt.timedelta(minutes=WEEK)
    if held is not None:
        yield held


def open_seconds(windows: Sequence[str], start: dt.datetime, end: dt.datetime) -> float:
    """Seconds between `start` and `end` at which a window is open."""
    return sum((until - since).total_seconds() for since, until in spans(windows, start, end))


def reached(windows: Sequence[str], start: dt.datetime, end: dt.datetime, seconds: float) -> dt.datetime | None:
    """When the windows have been open for so many seconds since `start`; None when not before `end`."""
    for since, until in spans(windows, start, end):
        length = (until - since).total_seconds()
        if seconds <= length:
            return since + dt.timedelta(seconds=seconds)
        seconds -= length
    return None
