"""The page: whole and honest, from receipts alone, whatever they hold."""

from __future__ import annotations

import dataclasses
import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from townsquare import receipts
from townsquare.consent.grants import Grant, add_grant
from townsquare.ledger import Ledger
from townsquare.receipts import Receipt
from townsquare.report import copies
from townsquare.report.config import ReportConfig
from townsquare.report.run import run
from townsquare.report.view import MOST_LANGUAGES, funnel, groups_of, languages_of
from townsquare.square import Square, write_json

HOSTILE = "<script src=http://evil.example/x.js>alert(1)</script>\"'&"


def put(square: Square, stage: str, name: str | None = None, **fields: Any) -> Receipt:
    receipt = Receipt(
        stage=stage, square=square.root.name, inputs=(), config={}, counts=fields.get("counts", {}),
        results=fields.get("results", {}), seconds=1.5, peak_memory_bytes=10**8,
        fingerprint=receipts.fingerprint_of(stage, [], {"name": name, **fields}), versions={}, seed=None, name=name,
    )  # fmt: skip
    write_json(receipts.receipt_path(square, stage, name), receipt.to_json())
    return receipt


def put_story(square: Square, word: str = "plain") -> None:
    """A receipt of every stage, with `word` wherever a receipt can hold text."""
    put(square, "ingest", "one", counts={"seen": 100, "kept": 80, "events": 5, "quarantined": {word: 9, "broken": 6}})
    put(square, "ingest", "two", counts={"seen": 50, "kept": 50, "events": 0, "quarantined": {}})
    by_language = {"en": {"kept": 80, "spam": 30}, word: {"kept": 10}, "unknown": {word: 10}}
    sets = {word: {"texts": 7, "too_short": 1, "found": 2, "posts": 3}}
    put(
        square, "curate", counts={"seen": 130, "kept": 90, "dropped": {"spam": 30, word: 10}},
        results={"by_language": by_language, "decontamination": sets},
    )  # fmt: skip
    put(square, "train", "base", results={"curve": [[1, 5.0], [2, 4.0]], "steps": 2, "device": word})
    put(square, "export", "chat", results={"model": word, "parameters": 6_812_160})
    put(square, "index", counts={"seen": 130, "kept": 110})
    scores = {"town_open_book": {"right": 0.8, "right_low": 0.7, "right_high": 0.9, "n": 50}, word: {"m": 1.5, "n": 3}}
    details = {
        "town_filters": {
            "by_defect": {"spam": {"posts": 10, "left_out": 9}, "none": {"posts": 5, "left_out": 0}},
            "by_rule": {"promotion": {"left_out": 8, "precision": 0.875, "recall": None}},
        }
    }
    put(
        square, "evaluate", "chat",
        results={"scores": scores, "skipped": {"x": word}, "about": {word: word}, "details": details},
    )  # fmt: skip
    put(
        square, "takedown", "abc",
        results={
            "copies": {"index": {"erased": 3, "left": 0}, word: {"erased": 1, "left": 0}}, "left": 0,
            "posts_removed": 4, "runs_that_saw_them": {word: 2}, "note": word, "latency_seconds": 2.0,
            "received_at": "2026-11-25T15:00:01+00:00", "applied_at": word,
        },
    )  # fmt: skip
    put(
        square,
        "fleet",
        results={"asked": word, "time": {"days": 20.0, "days_low": 16.0, "days_high": 30.0, word: word}},
    )
    add_grant(square, Grant(id="g", grantor=word, grantee="us", purposes=("train",), authors=("x:77",)))


def written(square: Square) -> str:
    run(square, ReportConfig())
    return square.report.read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Elements, their attributes, and the text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def test_hostile_text_in_any_receipt_is_shown_and_does_nothing(square: Square) -> None:
    put_story(square, HOSTILE)
    page = written(square)
    outline = Outline(page)
    assert outline.open == []
    assert "script" not in outline.tags
    assert "<script" not in page
    # reason twice, device, task, about, skipped, copy, run, note, fleet's key and values, grantor
    assert "".join(outline.text).count("alert(1)") >= 11


def test_the_page_asks_nothing_of_the_network(square: Square) -> None:
    put_story(square)
    page = written(square)
    outline = Outline(page)
    assert {"link", "script", "img", "iframe", "a", "base", "object", "form"}.isdisjoint(outline.tags)
    assert not [name for name, _ in outline.attributes if name.endswith(("src", "href", "srcset", "action"))]
    assert not re.search(r"https?://|src=|@import|xmlns", page)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "default-src 'none'" in page


def test_the_funnel_is_the_receipts_sum(square: Square) -> None:
    put_story(square)
    ingest, curate = funnel(receipts.read_all(square, "ingest"), receipts.read_all(square, "curate"))
    assert [(row["label"], row["count"]) for row in ingest["rows"]] == [
        ("seen", 150), ("kept", 130), ("events", 5), ("quarantined", 15), ("plain", 9), ("broken", 6),
    ]  # fmt: skip
    assert [(row["label"], row["count"]) for row in curate["rows"]] == [
        ("seen", 130), ("kept", 90), ("dropped", 40), ("spam", 30), ("plain", 10),
    ]  # fmt: skip
    assert ingest["adds_up"]
    assert curate["adds_up"]
    page = written(square)
    assert "do not add up" not in page
    assert re.search(r"quarantined</td><td>\s*<svg[^>]*><rect[^>]*width=\"10.000%\"", page)


def test_the_headline_is_the_squares_name_unless_one_is_given(square: Square) -> None:
    assert f"<h1>{square.root.name}</h1>" in written(square)
    run(square, ReportConfig(title="A & B"))
    assert "<h1>A &amp; B</h1>" in square.report.read_text(encoding="utf-8")


def test_each_stage_says_its_one_figure(square: Square) -> None:
    put_story(square)
    flow = "".join(Outline(written(square)).text).split("Posts, and why")[0].replace("\u202f", " ")
    for figure in ("130 kept", "90 kept", "6.81 million parameters", "110 posts", "0 copies left", "in 2 runs"):
        assert figure in flow


def test_numbers_that_do_not_add_up_are_called_out(square: Square) -> None:
    put(square, "ingest", "one", counts={"seen": 10, "kept": 8, "events": 0, "quarantined": {"broken": 1}})
    assert "do not add up" in written(square)


def test_scores_come_with_interval_and_n(square: Square) -> None:
    put_story(square)
    shown = "".join(Outline(written(square)).text).replace("\u202f", " ")
    assert re.search(r"town open book, n = 50\.", shown)
    assert re.search(r"right\s+80 %\s*70 % to 90 %", shown)
    assert re.search(r"9 of 10\s*90 %", shown)
    assert re.search(r"days\s*20 \(16 to 30\)", shown)


def test_rules_come_with_precision_and_recall(square: Square) -> None:
    put_story(square)
    cells = [cell.strip() for cell in re.findall(r"<td[^>]*>([^<]*)</td>", written(square))]
    at = cells.index("promotion")
    assert cells[at : at + 4] == ["promotion", "8", "87.5\u202f%", ""], "what is not known stays empty"


def test_what_has_not_run_is_shown_with_its_command(square: Square) -> None:
    page = written(square)
    assert Outline(page).open == []
    for command in ("town", "ingest PATH", "curate", "tokens", "train", "evaluate", "takedown", "fleet estimate"):
        assert f"townsquare {command}" in html.unescape(page)
    assert "Nothing has run" in page
    assert "has no row yet" in page


@pytest.mark.parametrize("stage", ["ingest", "curate", "train", "evaluate", "takedown", "fleet", "ask"])
def test_a_receipt_that_says_little_is_shown_all_the_same(square: Square, stage: str) -> None:
    put(square, stage, "bare")
    assert Outline(written(square)).open == []


def test_the_same_receipts_make_the_same_bytes(square: Square) -> None:
    put_story(square)
    first = written(square)
    assert run(square, ReportConfig()).skipped
    square.report.unlink()
    assert written(square) == first


def test_another_receipt_makes_it_anew_without_asking(square: Square) -> None:
    put_story(square)
    before = run(square, ReportConfig())
    put(square, "takedown", "later", results={"left": 0, "posts_removed": 9})
    after = run(square, ReportConfig())
    assert not after.skipped
    assert after.fingerprint != before.fingerprint
    assert "later" in square.report.read_text(encoding="utf-8")


def test_a_stale_stage_is_named(square: Square) -> None:
    old = put(square, "curate")
    put(square, "tokens")
    path = receipts.receipt_path(square, "tokens")
    tokens = receipts.read(square, "tokens")
    assert tokens is not None
    write_json(path, dataclasses.replace(tokens, inputs=(receipts.as_input(old),)).to_json())
    assert "stale" not in "".join(Outline(written(square)).text)
    put(square, "curate", counts={"seen": 1, "kept": 1, "dropped": {}})
    assert "stale: other curate" in "".join(Outline(written(square)).text)


def test_the_ledgers_head_is_shown(square: Square) -> None:
    with Ledger.open(square) as ledger:
        ledger.append("note", {})
        head = ledger.verify()
    assert head is not None
    assert head.hash in written(square)


def test_parts_of_any_depth_become_rows() -> None:
    groups = groups_of({"a": 1, "part": {"x_y": None, "deep": {"z": 2.5}, "list": [1, 2]}, "outputs": {"f": "1"}})
    assert [(group["title"], group["rows"]) for group in groups] == [
        ("", [("a", "1")]),
        ("part", [("x y", "unknown"), ("deep: z", "2.5"), ("list", "1, 2")]),
    ]


def test_the_page_names_no_post_and_a_page_that_does_goes(square: Square) -> None:
    uid, text = "bsky:at://did:plc:a/app.bsky.feed.post/3k", 'He said "7 & 8" <loudly>,\n\ntwice'
    put_story(square)
    put(square, "ask", "before", results={"cited": [uid]})
    page = written(square)
    assert copies.find(square, frozenset([uid, "x:77"]), [text]) == {"report": 0}  # x:77 is an author here
    assert copies.erase(square, frozenset([uid])) == {"report": 0}
    assert square.report.is_file()
    square.report.write_text(page + html.escape(f"({uid}). {text}"), encoding="utf-8")
    assert copies.find(square, frozenset([uid]), [text]) == {"report": 2}
    assert copies.find(square, frozenset([uid[:-1]]), []) == {"report": 0}
    assert copies.erase(square, frozenset([uid])) == {"report": 1}
    assert not square.report.exists()
    assert receipts.read(square, "report") is None
    assert copies.find(square, frozenset([uid]), [text]) == {"report": 0}
    assert not run(square, ReportConfig()).skipped


def test_the_funnel_by_language_adds_up_and_small_languages_stand_together(square: Square) -> None:
    by_language = {f"l{n}": {"kept": 100 - n, "spam": n} for n in range(9)} | {"unknown": {"gate": 7}}
    curate = put(square, "curate", results={"by_language": by_language})
    told = languages_of([curate])
    assert told is not None
    assert told["columns"] == [*(f"l{n}" for n in range(MOST_LANGUAGES)), "others", "unknown"]
    rows = {row["label"]: row for row in told["rows"]}
    assert list(rows) == ["seen", "kept", "spam", "gate"]
    assert rows["seen"]["counts"] == [100] * MOST_LANGUAGES + [300, 7]
    assert rows["spam"]["counts"] == [0, 1, 2, 3, 4, 5, 6 + 7 + 8, 0]
    for column in range(len(told["columns"])):
        assert rows["seen"]["counts"][column] == sum(rows[name]["counts"][column] for name in ("kept", "spam", "gate"))
    assert rows["seen"]["all"] == 907
    assert languages_of([]) is None
    assert "by rule and language" in written(square)
