"""Numbers as the page shows them: a table by hand."""

from __future__ import annotations

import pytest

from townsquare.report import numbers


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.count(None), "unknown"),
        (numbers.count(0), "0"),
        (numbers.count(1234567), "1,234,567"),
        (numbers.seconds(None), "unknown"),
        (numbers.seconds(0.04), "under 0.1 s"),
        (numbers.seconds(9.96), "10 s"),
        (numbers.seconds(59.4), "59 s"),
        (numbers.seconds(59.7), "1 min 0 s"),
        (numbers.seconds(119.8), "2 min 0 s"),
        (numbers.seconds(3599.9), "1 h 0 min"),
        (numbers.seconds(7500), "2 h 5 min"),
        (numbers.seconds(172800), "2.0 days"),
        (numbers.size(999), "999 B"),
        (numbers.size(1500), "1.5 kB"),
        (numbers.size(312_400_000), "312 MB"),
        (numbers.size(2.5e13), "25.0 TB"),
        (numbers.share(0.843), "84.3 %"),
        (numbers.share(1), "100 %"),
        (numbers.share(None), "unknown"),
        (numbers.figure(True), "yes"),
        (numbers.figure(None), "unknown"),
        (numbers.figure(0.25812), "0.258"),
        (numbers.figure(999_999), "999,999"),
        (numbers.figure(6_812_160), "6.81 million"),
        (numbers.figure(213_400_000_000), "213 billion"),
        (numbers.figure("text"), "text"),
        (numbers.moment("2026-11-25T15:00:01+00:00"), "2026-11-25 15:00:01 UTC"),
        (numbers.moment(None), "unknown"),
    ],
)
def test_as_people_read_them(shown: str, expected: str) -> None:
    assert shown.replace("\u202f", " ") == expected
