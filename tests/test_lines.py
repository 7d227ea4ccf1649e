"""Files of JSON lines: what is added stays, whoever else writes, and a line that was cut off harms no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from townsquare import lines

ROWS = [
    {"name": "a\u2028b", "n": 1},
    {"name": "Zoë \ud83c", "n": 2},
]  # a separator that no JSON needs escaped; half a pair


def test_what_was_added_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "words.jsonl"
    assert list(lines.read(path)) == []
    for row in ROWS:
        lines.append(path, row)
    assert list(lines.read(path)) == ROWS


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 60))
def test_a_line_that_was_cut_off_harms_no_other(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "words.jsonl"
    path.unlink(missing_ok=True)
    for row in ROWS:
        lines.append(path, row)
    whole = path.read_bytes()
    left = max(len(whole) - cut, 0)
    path.write_bytes(whole[:left])
    lines.append(path, {"n": 3})
    ends = [whole.index(b"\n"), len(whole) - 1]  # a line that lacks its end alone is whole
    assert [row["n"] for row in lines.read(path)] == [*(n for n, end in enumerate(ends, 1) if left >= end), 3]


def test_writers_at_once_and_a_rewrite_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "words.jsonl"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: lines.append(path, {"n": n}), range(40)))
    assert sorted(row["n"] for row in lines.read(path)) == list(range(40))
    assert lines.rewrite(path, lambda row: None if row["n"] % 2 else {"n": -row["n"]}) == 39  # 0 stays 0
    assert sorted(row["n"] for row in lines.read(path)) == sorted(-n for n in range(0, 40, 2))
