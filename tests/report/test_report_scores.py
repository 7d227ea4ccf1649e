"""The page of scores: every model, whole and honest, from receipts alone, whatever they hold."""

from __future__ import annotations

import html
import re

import pytest

from tests.report.test_report_page import HOSTILE, Outline, put
from townsquare import receipts
from townsquare.report import copies
from townsquare.report.config import ReportConfig
from townsquare.report.run import run
from townsquare.square import Square


def put_scores(square: Square, model: str, right: float, word: str = "plain") -> None:
    book = {"right": right, "right_low": right - 0.1, "right_high": right + 0.05, "n": 500}
    month = {"bits_per_byte": 1.25, "bits_per_byte_low": 1.2, "bits_per_byte_high": 1.3, "n": 40}
    put(
        square, "evaluate", model,
        results={
            "scores": {"town_open_book": book, "bits_per_byte": month, word: {"citations": 812, "n": 3}},
            "about": {"town_open_book": f"Right if {word}"},
            "skipped": {"gsm8k": f"no files, {word}"},
            "details": {
                "bits_per_byte": {"by_month": {"2026-03": month, "2026-04": month}, "by_network": {"x": month}},
                "town_open_book": {"errors": {"found nothing": 3, word: 1}, "citation_errors": {}},
            },
        },
    )  # fmt: skip


def put_pair(square: Square, word: str = "plain") -> None:
    shares = {
        "task": "town_open_book", "metric": "right", "score": 0.9, "other": 0.7, "difference": 0.2,
        "difference_low": 0.15, "difference_high": 0.25, "n": 500, "test": "McNemar, exact", "only_this": 120,
        "only_other": 20, "p": 1e-9,
    }  # fmt: skip
    bits = {
        "task": word, "metric": "bits_per_byte", "score": 1.25, "other": 1.75, "difference": -0.5,
        "difference_low": -0.6, "difference_high": -0.4, "n": 40, "test": "paired bootstrap",
    }  # fmt: skip
    put(square, "compare", "chat-and-base", results={"models": ["chat", "base"], "pairs": [shares, bits]})


def text_of(square: Square) -> str:
    page = re.sub(r"<(style).*?</\1>", "", square.scores_page.read_text(encoding="utf-8"), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_every_model_stands_beside_the_others(square: Square) -> None:
    put_scores(square, "chat", 0.9)
    put_scores(square, "base", 0.7)
    put_pair(square)
    receipt = run(square, ReportConfig(title="Our town"))
    assert receipt.results["files"] == ["report.html", "scores.html"]
    text = text_of(square)
    for said in ("Our town", "90 %", "70 %", "80 % to 95 %", "n = 500", "1.25", "812", "found nothing", "no files"):
        assert said in text, said
    assert "+20.0 (+15.0 to +25.0)" in text
    assert "p < 0.001; 120 right here alone, 20 there alone" in text
    assert "-0.500 (-0.600 to -0.400)" in text
    assert "the interval leaves zero out" in text
    assert "125 %" not in text  # bits are no share
    page = square.scores_page.read_text(encoding="utf-8")
    assert page.count('<svg class="curve"') == 1  # by month; a single network makes no drawing


def test_the_page_of_one_model_needs_no_comparison(square: Square) -> None:
    put_scores(square, "chat", 0.9)
    run(square, ReportConfig())
    text = text_of(square)
    assert "Side by side" not in text
    assert "Where it goes wrong" in text


def test_without_an_evaluation_there_is_no_page_of_scores(square: Square) -> None:
    put(square, "index", counts={"seen": 1, "kept": 1})
    assert run(square, ReportConfig()).results["files"] == ["report.html"]
    assert not square.scores_page.exists()


@pytest.mark.parametrize("word", [HOSTILE, "\u202ereversed", "a" * 300])
def test_what_receipts_hold_is_escaped(square: Square, word: str) -> None:
    put_scores(square, "chat", 0.9, word)
    put_scores(square, "base", 0.7, word)
    put_pair(square, word)
    run(square, ReportConfig())
    outline = Outline(square.scores_page.read_text(encoding="utf-8"))
    assert {"link", "script", "img", "iframe", "a", "base", "object", "form"}.isdisjoint(outline.tags)


def test_the_same_receipts_give_the_same_bytes_and_a_lost_page_is_made_anew(square: Square) -> None:
    put_scores(square, "chat", 0.9)
    run(square, ReportConfig())
    before = square.scores_page.read_bytes()
    square.scores_page.unlink()
    assert not run(square, ReportConfig()).skipped
    assert square.scores_page.read_bytes() == before
    assert run(square, ReportConfig()).skipped


def test_a_page_that_names_a_removed_post_goes(square: Square) -> None:
    put_scores(square, "chat", 0.9, "x:123")
    run(square, ReportConfig())
    uids = frozenset(["x:123"])
    assert copies.find(square, uids, [])["report"] >= 1
    assert copies.erase(square, uids)["report"] >= 1
    assert not square.scores_page.exists()
    assert copies.find(square, uids, []) == {"report": 0}
    assert receipts.read(square, "report") is None
