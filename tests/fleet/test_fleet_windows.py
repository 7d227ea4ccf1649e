"""Windows of the week: against a count minute by minute, and by hand."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from townsquare.errors import ConfigError
from townsquare.fleet import windows

MONDAY = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)


def at(days: float) -> dt.datetime:
    return MONDAY + dt.timedelta(days=days)


def test_nights_and_weekends_by_hand() -> None:
    nights = ("Mon-Fri 20:00-08:00", "Sat-Sun 00:00-24:00")
    # Five nights of 12 h; Friday's runs into Saturday by 8 h, which Saturday has anyway; two days of 24 h.
    assert windows.open_seconds(nights, at(0), at(7)) / 3600 == 5 * 12 - 8 + 48
    first, *_ = windows.spans(nights, at(0.5), at(7))
    assert first == (at(20 / 24), at(1 + 8 / 24))
    assert windows.reached(nights, at(0), at(7), 13 * 3600) == at(1 + 21 / 24)
    assert windows.reached(nights, at(0), at(1), 13 * 3600) is None


def test_without_a_window_it_is_always_open() -> None:
    assert windows.open_seconds((), at(0), at(3)) == 3 * 86400
    assert windows.open_seconds((), at(3), at(0)) == 0
    assert windows.reached((), at(0), at(3), 60.0) == at(0) + dt.timedelta(seconds=60)


HOURS = st.integers(0, 23)
DAYS = st.sampled_from(windows.DAYS)
WINDOW = st.builds(
    lambda first, last, a, b: f"{first}-{last} {a:02}:00-{(a + b) % 24:02}:30", DAYS, DAYS, HOURS, st.integers(1, 23)
)


def is_open(window: str, moment: dt.datetime) -> bool:
    """Whether a window is open in a minute, by reading it day by day."""
    days, hours = window.split(" ")
    first, last = (windows.DAYS.index(day) for day in days.split("-"))
    listed = {day % 7 for day in range(first, last + (7 if last < first else 0) + 1)}
    opens, closes = (int(part[:2]) * 60 + int(part[3:]) for part in hours.split("-"))
    minute = moment.hour * 60 + moment.minute
    if opens < closes:
        return moment.weekday() in listed and opens <= minute < closes
    return (moment.weekday() in listed and minute >= opens) or (
        (moment.weekday() - 1) % 7 in listed and minute < closes
    )


@settings(max_examples=25)
@given(st.lists(WINDOW, min_size=1, max_size=3), st.integers(0, 20_000), st.integers(0, 12_000))
def test_open_seconds_are_those_of_a_count_minute_by_minute(listed: list[str], start: int, length: int) -> None:
    since = MONDAY + dt.timedelta(minutes=start)
    moments = (since + dt.timedelta(minutes=minute) for minute in range(length))
    counted = sum(any(is_open(window, moment) for window in listed) for moment in moments)
    until = since + dt.timedelta(minutes=length)
    assert windows.open_seconds(listed, since, until) == counted * 60
    found = list(windows.spans(listed, since, until))
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))


UNFIT = ("", "Mon", "Mon 8-9", "Xyz 08:00-09:00", "Mon 25:00-26:00", "Mon 08:70-09:00", "Mon 08:00-08:00")


@pytest.mark.parametrize("window", UNFIT)
def test_what_is_no_window_is_refused(window: str) -> None:
    with pytest.raises(ConfigError, match="window"):
        windows.minutes(window)
