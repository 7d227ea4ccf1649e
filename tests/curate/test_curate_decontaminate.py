"""Posts that overlap an evaluation set, against runs of words compared one by one in plain Python."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curate.village import EVERYTHING, ingested, village
from townsquare import receipts
from townsquare.consent.grants import add_grant
from townsquare.curate import run, tables
from townsquare.curate.config import CurateConfig
from townsquare.curate.decontaminate import EvaluationSet, evaluation_sets, overlap
from townsquare.errors import InputError
from townsquare.square import Square

ALPHABET = ("a", "b", "é", "42")  # few, so that runs repeat
sentences = st.lists(st.sampled_from(ALPHABET), max_size=18).map(" ".join)


def runs_of(words: list[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def overlaps(post: list[str], text: list[str]) -> bool:
    """The rule as the docstring has it."""
    if len(text) < 4:
        return False
    if len(text) < 8:
        return post == text
    size = min(len(text), 13)
    return bool(runs_of(post, size) & runs_of(text, size))


@given(st.lists(sentences, max_size=8), st.lists(sentences, max_size=6))
@settings(max_examples=150)
def test_it_finds_what_words_compared_one_by_one_find(posts: list[str], texts: list[str]) -> None:
    frame = pl.DataFrame({"uid": [f"x:{n}" for n in range(len(posts))], "fold": posts},
                         schema={"uid": pl.String, "fold": pl.String})  # fmt: skip
    made = overlap(frame, [EvaluationSet("set", tuple(texts))])
    hits = {(p, t) for p, post in enumerate(posts) for t, text in enumerate(texts)
            if overlaps(post.split(), text.split())}  # fmt: skip
    assert made.posts["uid"].to_list() == [f"x:{p}" for p in sorted({p for p, _ in hits})]
    told = made.told["set"]
    found = (len(texts), len({t for _, t in hits}), len({p for p, _ in hits}))
    assert (told["texts"], told["found"], told["posts"]) == found
    assert told["too_short"] == sum(len(text.split()) < 4 for text in texts)


def test_case_punctuation_links_and_mentions_hide_nothing() -> None:
    asked = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?"
    fold = "hm: a robe takes 2 bolts… of «blue» fiber, and half that much white fiber how"
    frame = pl.DataFrame({"uid": ["x:1", "x:2"], "fold": [fold, "a robe takes 2 bolts of blue fiber"]})
    made = overlap(frame, [EvaluationSet("gsm", (f"@all {asked} https://example.org/1",))])
    assert made.posts["uid"].to_list() == ["x:1"]


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_sets_are_read_from_every_kind_of_file(square: Square, tmp_path: Path) -> None:
    lines = write(tmp_path, "a.jsonl", '{"q": "one", "choices": ["two", {"deep": "three"}], "gold": 0}\n\n')
    folder = tmp_path / "many"
    folder.mkdir()
    write(folder, "b.csv", '"four, five",A\n')
    write(folder, "c.tsv", "six\tB\n")
    write(folder, "d.txt", "seven\neight\n")
    write(folder, "e.json", '["nine"]')
    write(folder, "left.md", "ten")
    first, second = evaluation_sets(square, [lines, folder])
    assert (first.name, first.texts) == ("a", ("one", "two", "three"))
    assert second.texts == ("four, five", "A", "six", "B", "seven", "eight", "nine")


@pytest.mark.parametrize("name", ["none.jsonl", "broken.jsonl", "wrong.pdf", "empty"])
def test_a_set_that_cannot_be_read_is_named(square: Square, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path, "broken.jsonl", '{"q": ')
    write(tmp_path, "wrong.pdf", "x")
    with pytest.raises(InputError) as told:
        evaluation_sets(square, [tmp_path / name])
    assert name in str(told.value)


def test_what_overlaps_is_in_no_table_and_is_counted(square: Square, tmp_path: Path) -> None:
    add_grant(square, EVERYTHING)
    rows = village(120)
    asked = next(row for row in rows if row["reply_to"] is None and "opens on" in row["text"])
    ingested(square, rows, tmp_path)
    paths = (write(tmp_path, "mine.jsonl", json.dumps({"question": asked["text"].upper()})),)
    receipt = run.run(square, CurateConfig(decontaminate=paths))
    told = receipt.results["decontamination"]["mine"]
    assert told["found"] == 1
    assert receipt.counts["dropped"]["decontamination"] == told["posts"] >= 1
    text = asked["text"]
    for name in ("documents", "conversations", "pairs"):
        assert text not in json.dumps(tables.read(tables.version(square), name).to_pylist(), default=str)
    said = (tables.version(square) / "README.md").read_text(encoding="utf-8")
    assert "mine" in said
    assert "evaluation set mine" in {item.name for item in receipt.inputs}
    again = run.run(Square.open(square.root), CurateConfig(decontaminate=paths))
    assert again.skipped
    counts = receipts.need(square, "curate").counts
    assert counts["seen"] == counts["kept"] + sum(counts["dropped"].values())
