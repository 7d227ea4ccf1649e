"""Progress: lines now and then where there is no terminal, never on standard output."""

from __future__ import annotations

import re

import pytest

from townsquare import progress as module
from townsquare.progress import Bar, progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_line_now_and_then_with_rate_and_time_left(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with progress("Reading", 100, "posts") as bar:
        for _ in range(4):
            clock[0] += 4
            bar.advance(10, note="loss 1.2")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "Reading: 30/100 posts, 2 posts/s, 28 s left loss 1.2\n"


def test_without_a_total_there_is_no_time_left(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with progress("Reading") as bar:
        clock[0] += 11
        bar.advance(22_000)
    assert capsys.readouterr().err == "Reading: 22,000 posts, 2,000 posts/s\n"
    assert bar.done == 22_000


def test_more_than_expected_is_no_negative_time(clock: list[float]) -> None:
    bar = Bar("x", 5, "rows")
    clock[0] += 1
    bar.done = 10
    assert " 0 s left" in bar._line(clock[0], "")


def test_on_a_terminal_a_bar_is_drawn_and_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress("Reading", 10, "rows") as bar:
        assert isinstance(bar, module._TerminalBar)
        bar.advance(10, note="n")
    assert bar.done == 10
    assert capsys.readouterr().out == ""


def test_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), progress("x", 1):
        raise ZeroDivisionError
    assert re.match("x: 0/1", Bar("x", 1, "rows")._line(0.0, ""))
