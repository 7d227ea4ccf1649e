"""How figures look on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from townsquare.show import show_results


def test_a_score_stands_with_its_interval() -> None:
    console = Console(width=120, file=io.StringIO())
    scores = {"right": 0.9584, "right_low": 0.9387, "right_high": 0.9759, "n": 457, "too_low": 3}
    show_results("scores", {"town": scores}, console)
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "n 457, too low 3, right 0.9584 (0.9387 to 0.9759)" in text
    assert "right low" not in text
