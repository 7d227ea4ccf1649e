"""The index and what is found in it: BM25 by hand, reasons for leaving posts out, order, and physical removal."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path

import lance
import pytest
from assistant_square import POSTS, Row, allow, indexed, write_posts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lance.file import LanceFileReader

from townsquare import receipts
from townsquare.consent.grants import Grant, add_grant, revoke_grant
from townsquare.errors import ConfigError, GrantError, StaleError
from townsquare.ledger import chain
from townsquare.serve import copies, index, meaning, retrieval
from townsquare.serve.config import IndexConfig, ServeConfig
from townsquare.serve.run import run as build_index
from townsquare.serve.standing import Now, Standing
from townsquare.serve.words import fingerprint, sentences, words
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.run import run as take_down

WHEN = "2024-01-01T00:00:00Z"


def found(square: Square, question: str) -> list[str]:
    return [hit.uid for hit in retrieval.search(square, question, 4)]


def test_bm25_orders_as_worked_out_by_hand(square: Square) -> None:
    texts = ["apple pear pear", "apple apple plum fig", "plum plum fig pear apple", "fig plum kiwi kiwi lime lime"]
    indexed(square, [(str(n), "a", text, None, WHEN) for n, text in enumerate(texts)])
    query, k1, b = ["pear", "apple"], 1.2, 0.75
    split = [text.split() for text in texts]
    mean = sum(map(len, split)) / len(split)

    def bm25(tokens: list[str]) -> float:
        total = 0.0
        for term in query:
            holding, times = sum(term in other for other in split), tokens.count(term)
            idf = math.log(1 + (len(split) - holding + 0.5) / (holding + 0.5))
            total += idf * times * (k1 + 1) / (times + k1 * (1 - b + b * len(tokens) / mean))
        return total

    by_hand = sorted((n for n in range(4) if bm25(split[n]) > 0), key=lambda n: -bm25(split[n]))
    found = index.match(index.dataset(square), "pear apple", asks=False, limit=9)
    assert [post.uid for post in found] == [f"table:{n}" for n in by_hand]


def test_every_post_is_in_the_index_or_has_a_reason(square: Square) -> None:
    rows: list[Row] = [
        ("1", "ann", "The pool opens at nine on Monday", None, "2024-01-02T00:00:00Z"),
        ("2", "bob", "the POOL opens at nine, on Monday!! 🎉 https://example.org/x", None, "2024-01-01T00:00:00Z"),
        ("3", "bob", "the pool opens at ten on Monday", None, WHEN),
        ("4", "cid", "nice", None, WHEN),
    ]
    receipt = indexed(square, rows)
    assert receipt.counts == {"seen": 4, "kept": 2, "dropped": {"copy": 1, "short": 1}}
    table = index.dataset(square).to_table()
    assert sorted(table["uid"].to_pylist()) == ["table:2", "table:3"]  # of copies the earliest


def test_no_grant_no_index(square: Square) -> None:
    write_posts(square, POSTS)
    add_grant(square, Grant("t", "Owner", "User", ("train", "display"), sources=("*",)))
    with pytest.raises(GrantError, match="retrieve"):
        build_index(square, IndexConfig())
    assert not index.path(square).exists()


def test_the_same_posts_give_the_same_digest_in_any_order_of_arrival(tmp_path: Path) -> None:
    digests = set()
    for name, rows in (("a", POSTS), ("b", POSTS[::-1])):
        square = Square.create(tmp_path / name / "square")
        for number, row in enumerate(rows):
            write_posts(square, [row], name=f"{name}{number}")
        allow(square)
        digests.add(build_index(square, IndexConfig()).results["outputs"]["index"])
    assert len(digests) == 1


def test_run_again_skips_and_a_killed_build_is_made_again(square: Square) -> None:
    first = indexed(square)
    assert build_index(square, IndexConfig()).skipped
    receipts.receipt_path(square, "index").unlink()
    (square.index / ".partial" / "posts.lance").mkdir(parents=True)
    again = build_index(square, IndexConfig())
    assert again.results["outputs"] == first.results["outputs"]
    assert [path.name for path in square.index.iterdir()] == ["posts.lance"]


def test_nothing_to_search_names_the_command(square: Square) -> None:
    with pytest.raises(StaleError, match="townsquare index"):
        retrieval.search(square, "anything", 4)


def test_statements_come_before_questions_and_replies_are_read_with_theirs(square: Square) -> None:
    indexed(square)
    assert found(square, "When does Harbour Bakery open?") == ["table:3", "table:2"]


def test_of_equals_the_newest_first_but_what_several_say_before_what_one_says(square: Square) -> None:
    def said(number: str, author: str, hour: int, month: int) -> Row:
        return (number, author, f"Harbour Bakery opens at {hour}:15 #{number}x", None, f"2024-{month:02d}-01T00:00:00Z")

    indexed(square, [said("1", "ann", 6, 1), said("2", "bob", 7, 2)])
    assert found(square, "When does Harbour Bakery open?")[0] == "table:2"
    write_posts(square, [said("3", "cid", 6, 1)], name="more")
    again = Square.open(square.root, replace=True)
    build_index(again, IndexConfig())
    assert found(again, "When does Harbour Bakery open?")[0] in ("table:1", "table:3")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who is the owner of Harbour Bakery?", ["table:4"]),
        ("Who owns Harbor Bakery?", ["table:4"]),  # a letter off
        ("What was the score of Lowfield Otters against Marsh Rovers?", ["table:5"]),
        ("When does Zorblax Bakery open?", []),  # a name that nobody knows
        ("What does a rye loaf cost at Harbour Bakery?", []),  # known, but nobody says a price
        ("In which year was Harbour Bakery built?", []),
        ("Until what time is Harbour Bakery open?", []),  # opening is not closing
    ],
)
def test_found_or_honestly_nothing(square: Square, question: str, expected: list[str]) -> None:
    indexed(square)
    assert found(square, question) == expected


def test_erase_leaves_no_trace_in_rows_or_versions(square: Square) -> None:
    secret: Row = ("99", "zoe", "My zyzzyva collection opens at Harbour Bakery", None, WHEN)
    indexed(square, [*POSTS, secret])
    gone, texts = frozenset({"table:99"}), [secret[2]]
    assert copies.find(square, gone, texts) == {"index": 1, "index_dictionary": 0, "opinions": 0}
    assert copies.erase(square, gone) == {"index": 1, "opinions": 0}
    assert copies.find(square, gone, texts) == {"index": 0, "index_dictionary": 0, "opinions": 0}
    held = b"".join(path.read_bytes() for path in square.index.rglob("*") if path.is_file())
    assert b"zyzzyva" not in held
    assert len(lance.dataset(index.path(square)).versions()) == 1
    assert found(square, "When does Harbour Bakery open?")[0] == "table:3"
    assert copies.erase(square, gone) == {"index": 0, "opinions": 0}


def dictionary(square: Square) -> list[tuple[int, bytes]]:
    """(how many words, the compressed dictionary) of each full-text index on disk, read by its own format.

    A search of the bytes proves nothing here: the words are packed letter by letter.
    """
    files = sorted(index.path(square).rglob("*tokens.lance"))
    tables = [LanceFileReader(str(path)).read_all().to_table() for path in files]
    return [(t["_token_next_id"][0].as_py(), t["_token_fst_bytes"][0].as_py()) for t in tables]


def test_after_erasing_the_dictionary_is_that_of_a_square_that_never_had_the_post(tmp_path: Path) -> None:
    secret: Row = ("99", "zoe", "My zyzzyva collection opens at Harbour Bakery", None, WHEN)
    had, never = Square.create(tmp_path / "a" / "square"), Square.create(tmp_path / "b" / "square")
    indexed(had, [*POSTS, secret])
    indexed(never, POSTS)
    assert dictionary(had) != dictionary(never)
    copies.erase(had, frozenset({"table:99"}))
    assert dictionary(had) == dictionary(never)


def test_find_sees_an_old_version_and_a_text_under_another_uid(square: Square) -> None:
    indexed(square)
    index.dataset(square).delete("uid = 'table:3'")
    assert copies.find(square, frozenset({"table:3"}), []) == {"index": 1, "index_dictionary": 1, "opinions": 0}
    assert copies.find(square, frozenset(), [POSTS[4][2]])["index"] == 2  # in both versions
    copies.erase(square, frozenset({"table:3"}))  # as after a kill between deleting and compacting
    assert copies.find(square, frozenset({"table:3"}), [POSTS[2][2]]) == {
        "index": 0,
        "index_dictionary": 0,
        "opinions": 0,
    }


def test_erasing_everything_and_nothing(square: Square) -> None:
    assert copies.erase(square, frozenset({"table:1"})) == {"index": 0, "opinions": 0}
    assert copies.find(square, frozenset({"table:1"}), ["x"]) == {"index": 0, "index_dictionary": 0, "opinions": 0}
    indexed(square)
    uids = frozenset(f"table:{row[0]}" for row in POSTS)
    copies.erase(square, uids)
    assert copies.find(square, uids, [row[2] for row in POSTS]) == {"index": 0, "index_dictionary": 0, "opinions": 0}
    assert found(square, "When does Harbour Bakery open?") == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80))
def test_no_question_breaks_the_search(tmp_path_factory: pytest.TempPathFactory, question: str) -> None:
    hits = retrieval.search(_shared(tmp_path_factory), question, 4)
    uids = [hit.post.uid for hit in hits]
    assert len(set(uids)) == len(uids) <= 4
    assert set(uids) <= {f"table:{row[0]}" for row in POSTS}


def _shared(factory: pytest.TempPathFactory, made: list[Square] = []) -> Square:  # noqa: B006 - one square for all
    if not made:
        made.append(Square.create(factory.mktemp("shared") / "square"))
        indexed(made[0])
    return made[0]


@pytest.mark.parametrize(
    ("uid", "network", "url"),
    [
        ("x:12", "x", "https://x.com/ann/status/12"),
        ("masto:https://example.org/@ann/1", "masto", "https://example.org/@ann/1"),
        ("masto:javascript:alert(1)", "masto", None),
        ("bsky:at://did:plc:abc/app.bsky.feed.post/3k", "bsky", "https://bsky.app/profile/did:plc:abc/post/3k"),
        ("hn:7", "hn", "https://news.ycombinator.com/item?id=7"),
        ("table:7", "table", None),
        ("x:1 onmouseover=x", "x", None),
    ],
)
def test_addresses(uid: str, network: str, url: str | None) -> None:
    assert index.url_of(uid, network, "ann") == url


def test_times_and_sums_in_any_spelling_are_one_value() -> None:
    times = ["at 17:15", "5.15 pm", "quarter past five", "5:15"]
    assert {meaning.values(text, frozenset({"time"})) for text in times} == {frozenset({"time 315"})}
    assert {meaning.values(t, frozenset({"time"})) for t in ("half past four", "16:30")} == {frozenset({"time 270"})}
    assert {meaning.values(t, frozenset({"time"})) for t in ("opens at nine", "at 9 on Saturdays")} == {
        frozenset({"time 540"})
    }
    assert meaning.kinds("at nine euros") & {"time"} == set()
    assert all("score" in meaning.kinds(text) for text in ("beat us two to one", "3-1", "won 2 to 0", "one all"))
    assert meaning.values("quarter to six", frozenset({"time"})) == {"time 345"}
    sums = ["€3.20", "3.20 euros", "3 euros 20"]
    assert {meaning.values(text, frozenset({"money"})) for text in sums} == {frozenset({"money 3.20"})}


def test_what_asks_and_what_states() -> None:
    for text in (
        "When does it open?",
        "My mum wants to know when it opens",
        "trying to find out who runs it",
        "any clue?",
    ):
        assert meaning.statements(text) == []
    assert meaning.statements("Anyone coming? It opens at 6.") == ["It opens at 6."]
    assert sentences("Dr. Holt opens at 6.30. Come!") == ["Dr. Holt opens at 6.30.", "Come!"]


def test_words_that_differ_in_ending_only_have_one_key() -> None:
    for group in ("open opens opened opening", "close closes closed closing", "story stories", "café Cafe cafes"):
        assert len({word.key for word in words(group)}) == 1, group


@given(st.text(max_size=120))
def test_any_text_has_words_sentences_and_a_fingerprint(text: str) -> None:
    assert all(text[word.start :] for word in words(text))
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
    assert fingerprint(text) == fingerprint(text.upper().lower()) or not text.isascii()
    meaning.topics(text)
    meaning.values(text, meaning.wanted("how much, when"))


@pytest.mark.parametrize(
    "values",
    [
        {"port": 70000},
        {"posts": 0},
        {"context_tokens": 8},
        {"engine": "gpt"},
        {"timeout_seconds": 0.0},
        {"threads": -1},
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ServeConfig(**values)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        IndexConfig(shortest_words=0)


def _kept(square: Square) -> tuple[Standing, Callable[[], list[str]]]:
    """One Standing for all questions, as a server has it."""
    standing = Standing(square)
    return standing, lambda: [hit.uid for hit in retrieval.search(standing, "When does Harbour Bakery open?", 4)]


def test_nothing_is_read_anew_while_nothing_changes(square: Square) -> None:
    indexed(square)
    standing, ask = _kept(square)
    first, now = ask(), standing.now()
    assert first == ask() != []
    assert standing.now() is now


def test_what_is_kept_ends_with_a_takedown_a_grant_and_an_index(square: Square) -> None:
    indexed(square)
    _, ask = _kept(square)
    assert ask() == ["table:3", "table:2"]
    take_down(square, TakedownConfig(post=("table:3",)))
    assert ask() == ["table:2"]
    later = ("9", "kim", "Harbour Bakery opens at 9:00 from now on", None, "2024-05-01T10:00:00Z")
    write_posts(square, [later], "more")
    build_index(dataclasses.replace(square, replace=True), IndexConfig())
    assert ask() == ["table:9", "table:2"]
    revoke_grant(square, "all")
    assert ask() == []


def test_who_reads_what_a_takedown_removes_is_asked_anew(square: Square) -> None:
    indexed(square)
    standing = Standing(square)
    asked: list[Now] = []

    def ask(now: Now) -> tuple[set[str], str]:
        assert now.words.rows == 7 - len(asked)  # the index is open
        now.allowed(["table:7"])  # and so is the posts table
        if not asked:
            take_down(square, TakedownConfig(post=("table:3",)))
        asked.append(now)
        return set(now.allowed(["table:2", "table:3"])), str(now.words.newest)[:10]

    assert standing.read(ask) == ({"table:2"}, "2024-02-05")
    assert len(asked) == 2


def test_a_grant_revoked_and_given_within_one_tick_of_the_clock_are_two_states(square: Square) -> None:
    """A file's time is coarse: of ledgers that differ, written at the same moment, only the count of commits tells."""
    indexed(square)
    file = chain.ledger_file(square)
    before, moment = chain.state(square), file.stat()
    revoke_grant(square, "all")
    os.utime(file, ns=(moment.st_atime_ns, moment.st_mtime_ns))
    assert chain.state(square) != before
