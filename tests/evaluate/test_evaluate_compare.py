"""Two models side by side: pairs made by hand, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.evaluate.evaluate_square import put_receipt
from townsquare.errors import ConfigError, InputError, StaleError
from townsquare.evaluate import cases, compare
from townsquare.evaluate.card import with_scores
from townsquare.evaluate.cases import Cases
from townsquare.evaluate.config import CompareConfig, EvaluateConfig
from townsquare.evaluate.run import run
from townsquare.square import Square


def put_cases(square: Square, name: str, found: list[tuple[str, Cases]]) -> None:
    put_receipt(square, "evaluate", name)
    path = cases.path(square, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(cases.table_of(found), path)


def rights(text: str, ids: str = "abcdefgh") -> Cases:
    return Cases.of_rights("right", list(ids), [mark == "1" for mark in text])


def test_pairs_are_counted_by_hand(square: Square) -> None:
    bits = (
        Cases("bits_per_byte", ("x", "y"), (10.0, 20.0), (10.0, 10.0)),
        Cases("bits_per_byte", ("x", "y"), (12.0, 26.0), (10.0, 10.0)),
    )
    put_cases(square, "new", [("town", rights("11111100")), ("bits", bits[0]), ("alone", rights("1", "a"))])
    put_cases(square, "old", [("town", rights("11000001")), ("bits", bits[1])])
    receipt = compare.run(square, CompareConfig("new", "old"))
    town, text = receipt.results["pairs"]
    assert (town["task"], town["metric"], town["n"]) == ("town", "right", 8)
    assert (town["only_this"], town["only_other"]) == (4, 1)
    assert town["p"] == pytest.approx(2 * (1 + 5) / 32)  # none or one of five, twice
    assert (town["score"], town["other"], town["difference"]) == (6 / 8, 3 / 8, 3 / 8)
    assert (text["score"], text["other"]) == (1.5, 1.9)
    assert text["difference"] == pytest.approx(-0.4)
    assert text["difference_low"] <= -0.4 <= text["difference_high"] < 0
    assert "p" not in text
    assert receipt.counts == {"seen": 3, "kept": 2}
    assert receipt.name == "new-and-old"
    assert compare.run(square, CompareConfig("new", "old")).skipped


def test_only_cases_in_common_are_paired(square: Square) -> None:
    put_cases(square, "new", [("town", rights("110", "abc"))])
    put_cases(square, "old", [("town", rights("101", "bcd"))])
    (town,) = compare.run(square, CompareConfig("new", "old")).results["pairs"]
    assert (town["n"], town["score"], town["other"]) == (2, 1 / 2, 1 / 2)


def test_what_cannot_be_compared_is_refused(square: Square) -> None:
    with pytest.raises(ConfigError, match="itself"):
        CompareConfig("chat", "chat")
    with pytest.raises(StaleError, match="evaluate new"):
        compare.run(square, CompareConfig("new", "old"))
    put_cases(square, "new", [("town", rights("110", "abc"))])
    put_cases(square, "old", [("town", rights("101", "xyz"))])
    with pytest.raises(StaleError, match="in common"):
        compare.run(square, CompareConfig("new", "old"))
    cases.path(square, "old").write_bytes(b"broken")
    with pytest.raises(InputError, match="evaluate old --replace"):
        compare.run(square, CompareConfig("new", "old"))


def test_cases_of_real_tasks_pair_with_themselves(evaluated: Square) -> None:
    run(evaluated, EvaluateConfig())
    put_receipt(evaluated, "evaluate", "twin")
    twin = cases.path(evaluated, "twin")
    twin.parent.mkdir()
    twin.write_bytes(cases.path(evaluated, "chat").read_bytes())
    pairs = compare.run(evaluated, CompareConfig("chat", "twin")).results["pairs"]
    assert {pair["task"] for pair in pairs} >= {"bits_per_byte", "town_open_book", "town_closed_book", "flagged"}
    assert {pair["difference"] for pair in pairs} == {0.0}
    assert {pair["p"] for pair in pairs if "p" in pair} == {1.0}


def test_the_card_holds_the_newest_scores_once(evaluated: Square) -> None:
    card = Path(evaluated.models / "chat" / "README.md")
    card.write_text("# chat\n\n## Figures\n\n- loss: 1\n\n## Limits\n\n- some\n")
    run(evaluated, EvaluateConfig())
    text = card.read_text()
    assert "| town_closed_book | right | 0.333 (0.000 to 1.000) | 3 |" in text
    assert text.index("## Figures") < text.index("## Scores") < text.index("## Limits")
    again = with_scores(text, {"scores": {"t": {"m": 0.5, "m_low": 0.25, "m_high": 0.75, "n": 9}}})
    assert again.count("## Scores") == 1
    assert "| t | m | 0.500 (0.250 to 0.750) | 9 |" in again
    assert "town_closed_book" not in again
    assert "- some" in again
    assert with_scores("# bare\n", {"scores": {}}).startswith("# bare\n\n## Scores")
