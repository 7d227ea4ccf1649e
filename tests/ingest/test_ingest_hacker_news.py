"""Hacker News: items with every trap, and roots against a walk told anew in plain Python."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingesting import events_of, ingest, posts_of, quarantine_of

from townsquare.ingest.files import members
from townsquare.ingest.sources import SOURCES
from townsquare.ingest.sources.hacker_news import _climb
from townsquare.square import Square

STORY = {
    "by": "Ann", "descendants": 3, "id": 10, "kids": [11, 13], "score": 111, "time": 1175714200, "type": "story",
    "title": "Show HN: Q&amp;A < AT&T", "url": "https://e.example/q",
}  # fmt: skip
COMMENT = {
    "by": "bob", "id": 11, "kids": [12], "parent": 10, "time": 1175714260, "type": "comment",
    "text": "It&#x27;s <i>good</i>:<p><a href=\"https:&#x2F;&#x2F;e.example&#x2F;abcdef\" rel=\"nofollow\">"
            "https:&#x2F;&#x2F;e.example&#x2F;abc...</a><p><pre><code>  a &lt; b\n</code></pre>\nend",
}  # fmt: skip


def reply(number: int, parent: int | None, **fields: Any) -> dict[str, Any]:
    named = {} if parent is None else {"parent": parent}
    return {
        "by": "eve",
        "id": number,
        "text": f"reply {number}",
        "time": 1175714300,
        "type": "comment",
        **named,
        **fields,
    }


def lines(path: Path, *items: Any) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def taken(square: Square, folder: Path, *items: Any) -> dict[str, dict[str, Any]]:
    ingest(square, lines(folder / "items.ndjson", *items))
    return {uid.removeprefix("hn:"): row for uid, row in posts_of(square).items()}


def test_a_story_and_its_comments(square: Square, tmp_path: Path) -> None:
    found = taken(square, tmp_path, STORY, COMMENT, reply(12, 11))
    story, comment = found["10"], found["11"]
    assert (story["text"], story["text_raw"]) == ("Show HN: Q&A < AT&T", "Show HN: Q&amp;A < AT&T")
    assert (story["author_id"], story["network"], story["visibility"]) == ("Ann", "hn", "public")  # case counts
    assert story["created_at"] == dt.datetime(2007, 4, 4, 19, 16, 40, tzinfo=dt.UTC)
    assert (story["created_at_precision"], story["created_at_trust"]) == ("s", "server")
    assert (story["score"], story["likes"], story["replies"]) == (111, None, 2)
    assert story["links"] == [{"short": None, "expanded": "https://e.example/q", "title": None}]
    assert (story["reply_to"], story["conversation_root"], story["root_source"]) == (None, "hn:10", "derived")
    assert comment["text"] == "It's good:\n\nhttps://e.example/abcdef\n\n  a < b\n\nend"
    assert comment["text_status"] == "html_stripped"
    assert (comment["score"], comment["replies"], found["12"]["replies"]) == (None, 1, None)
    assert [found[i]["reply_to"] for i in ("11", "12")] == ["hn:10", "hn:11"]
    assert {row["conversation_root"] for row in found.values()} == {"hn:10"}


def test_a_poll_and_its_options(square: Square, tmp_path: Path) -> None:
    poll = {
        "by": "ann",
        "id": 20,
        "parts": [21, 22],
        "text": "",
        "time": 1204403652,
        "title": "Poll: tea?",
        "type": "poll",
    }
    options = [
        {"by": "ann", "id": 21, "parent": 20, "score": 5, "text": "Yes", "time": 1204403652, "type": "pollopt"},
        {"by": "ann", "id": 22, "poll": 20, "score": 6, "text": "No", "time": 1204403652, "type": "pollopt"},
    ]
    found = taken(square, tmp_path, poll, *options)
    assert [(found[i]["text"], found[i]["reply_to"], found[i]["score"]) for i in ("20", "21", "22")] == [
        ("Poll: tea?", None, None), ("Yes", "hn:20", 5), ("No", "hn:20", 6),
    ]  # fmt: skip
    assert {row["conversation_root"] for row in found.values()} == {"hn:20"}


def test_title_and_text_of_an_ask(square: Square, tmp_path: Path) -> None:
    ask = {"by": "a", "id": 1, "title": "Ask HN: why?", "text": "<i>So</i> why<p>Tell me", "type": "story", "url": ""}
    assert taken(square, tmp_path, ask)["1"]["text"] == "Ask HN: why?\n\nSo why\n\nTell me"


def test_deleted_items_are_events_and_their_words_never_enter(square: Square, tmp_path: Path) -> None:
    gone = {
        "deleted": True,
        "id": 11,
        "parent": 10,
        "time": 1175714260,
        "type": "comment",
        "text": "secret",
        "by": "bob",
    }
    found = taken(square, tmp_path, STORY, gone, reply(12, 11))
    assert found.keys() == {"10", "12"}
    assert found["12"]["conversation_root"] == "hn:10"  # the way leads through the deleted one
    [event] = events_of(square)
    assert (event["kind"], event["target_uid"], event["reversible"]) == ("delete", "hn:11", False)
    assert "secret" not in str([*found.values(), event, *quarantine_of(square)])


def test_a_dead_item_is_held_back_also_where_it_came_before(square: Square, tmp_path: Path) -> None:
    ingest(square, lines(tmp_path / "before.ndjson", STORY, COMMENT))
    ingest(square, lines(tmp_path / "after.ndjson", STORY, {**COMMENT, "dead": True}, {**reply(12, 11), "dead": True}))
    states = {uid: row["state"] for uid, row in posts_of(square).items()}
    assert states == {"hn:10": "live", "hn:11": "suppressed"}
    assert {(e["kind"], e["target_uid"], e["reversible"]) for e in events_of(square)} == {
        ("drop", "hn:11", True), ("drop", "hn:12", True),
    }  # fmt: skip
    assert "reply 12" not in str([*posts_of(square).values(), *events_of(square), *quarantine_of(square)])


def test_null_items_are_counted(square: Square, tmp_path: Path) -> None:
    path = lines(tmp_path / "items.ndjson", None, STORY, None)
    assert ingest(square, path).counts["quarantined"] == {"null_item": 2}


def test_an_array_says_the_same_as_lines(tmp_path: Path) -> None:
    items = [None, STORY, COMMENT, None, reply(12, 11)]
    lines(tmp_path / "items.ndjson", *items)
    (tmp_path / "array.json").write_text(json.dumps(items))
    (tmp_path / "indented.json").write_text(json.dumps(items, indent=2))
    told = []
    for path in sorted(tmp_path.iterdir()):
        square = Square.create(tmp_path.parent / f"{tmp_path.name}-{path.name}")
        receipt = ingest(square, path)
        assert receipt.counts["quarantined"] == {"null_item": 2}
        told.append([{k: v for k, v in row.items() if "source" not in k} for row in posts_of(square).values()])
    assert told[0] == told[1] == told[2]
    assert len(told[0]) == 3


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (5, "no_id"), ("x", "no_id"), ([], "no_id"), ({"type": "story", "title": "a"}, "no_id"),
        ({**STORY, "id": 1.5}, "no_id"), ({**STORY, "id": True}, "no_id"), ({**STORY, "id": -1}, "no_id"),
        ({**STORY, "id": 10**30}, "no_id"), ({**STORY, "id": "1e5"}, "no_id"), ({"id": 1, "by": "a"}, "unknown_type"),
        ({**STORY, "type": "user"}, "unknown_type"), ({**STORY, "title": ""}, "no_text"),
        ({**COMMENT, "text": 5}, "no_text"),
        ({**COMMENT, "text": "<p> </p>"}, "no_text"),
    ],
)  # fmt: skip
def test_what_is_no_item(item: Any, reason: str, square: Square, tmp_path: Path) -> None:
    receipt = ingest(square, lines(tmp_path / "items.ndjson", reply(99, 98), item))
    assert receipt.counts["quarantined"] == {reason: 1}
    assert receipt.counts["kept"] == 1


def test_numbers_as_text_as_tables_export_them(square: Square, tmp_path: Path) -> None:
    item = {**COMMENT, "id": "9007199254740993", "parent": "10", "time": "1175714260", "dead": None, "deleted": None}
    found = taken(square, tmp_path, item, STORY)["9007199254740993"]
    assert (found["reply_to"], found["conversation_root"]) == ("hn:10", "hn:10")
    assert found["created_at"] == dt.datetime(2007, 4, 4, 19, 17, 40, tzinfo=dt.UTC)


def test_roots_end_where_the_file_does(square: Square, tmp_path: Path) -> None:
    deep = [reply(i + 1, i) for i in range(1_000, 6_000)]
    found = taken(square, tmp_path, *reversed(deep), {**STORY, "id": 1_000}, reply(8, 7), reply(9, 8), reply(3, None))
    assert found["6000"]["conversation_root"] == "hn:1000"
    assert {found[i]["conversation_root"] for i in ("8", "9", "3")} == {None}


def test_a_thread_that_goes_round_ends(square: Square, tmp_path: Path) -> None:
    found = taken(square, tmp_path, reply(1, 2), reply(2, 3), reply(3, 1), reply(4, 4), reply(5, 4))
    assert {row["conversation_root"] for row in found.values()} == {None}


@given(st.dictionaries(st.integers(1, 30), st.tuples(st.integers(0, 32), st.booleans()), max_size=30))
def test_roots_are_what_a_walk_finds(tree: dict[int, tuple[int, bool]]) -> None:
    def walk(number: int) -> int:
        seen = set()
        while number in tree and number not in seen:
            if tree[number][1]:
                return number
            seen.add(number)
            number = tree[number][0]
        return 0

    ids = sorted(tree)
    found = _climb(
        np.array(ids, np.int64),
        np.array([tree[i][0] for i in ids], np.int64),
        np.array([tree[i][1] for i in ids], bool),
    )
    assert found.tolist() == [walk(i) for i in ids]


def test_damage_in_an_array_loses_nothing_but_itself(square: Square, tmp_path: Path) -> None:
    whole = json.dumps([STORY, COMMENT, reply(12, 11), reply(13, 12), reply(14, 12)])
    broken = whole.replace("reply 12", 'reply "12')
    (tmp_path / "items.json").write_text(broken[:-30])
    receipt = ingest(square, tmp_path / "items.json")
    assert posts_of(square).keys() == {"hn:10", "hn:11", "hn:13"}
    assert receipt.counts["quarantined"] == {"broken_json": 2}
    assert "reply" in str(quarantine_of(square))
    (tmp_path / "items.ndjson").write_text(json.dumps(STORY) + '\n{"id": 5, "by": "x\n' + json.dumps(reply(12, 10)))
    assert ingest(square, tmp_path / "items.ndjson").counts["quarantined"] == {"broken_json": 1}


OTHERS = {
    "v2.jsonl": b'{"data": [{"id": "1", "text": "a", "author_id": "2", "public_metrics": {}}]}\n',
    "reddit.ndjson": b'{"id": "a", "author": "ann", "body": "hi", "link_id": "t3_x", "type": "comment"}\n',
    "note.ndjson": b'{"id": "https://a.example/1", "type": "Note", "attributedTo": "https://a.example/u"}\n',
    "t.jsonl": b'{"id": 1, "text": "hello", "type": "story"}\n',
    "users.jsonl": b'{"id": "ann", "about": "x", "karma": 5}\n',
    "nulls.jsonl": b"null\nnull\n",
}


def test_it_claims_its_own_files_and_no_others(tmp_path: Path) -> None:
    own = {
        "items.ndjson": b"null\n" + json.dumps(STORY).encode(),
        "array.json": json.dumps([None, COMMENT], indent=1).encode(),
        "gone.ndjson": b'{"deleted": true, "id": 5, "time": 1, "type": "comment"}',
        "long.json": json.dumps([STORY] * 2_000).encode(),
    }
    for name, content in {**own, **OTHERS}.items():
        (tmp_path / name).write_bytes(content)
        with ExitStack() as open_files:
            [member] = members(tmp_path / name, open_files)
            claim = next((source.NAME for source in SOURCES if source.detect(member)), None)
        assert (claim == "hacker_news") == (name in own), f"{name} is claimed by {claim}"
