"""Answers are counted for the ledger: once each, to the key that asked, with no word of them."""

from __future__ import annotations

import dataclasses
import json
import time
from contextlib import closing

import httpx
import pytest

from tests.serve.serving import ANSWER, NOTHING, FakeAssistant, serving
from townsquare.errors import StorageError
from townsquare.ledger import Ledger
from townsquare.serve import tally
from townsquare.serve.config import Limits
from townsquare.serve.engines import Spent
from townsquare.serve.keys import Keys
from townsquare.serve.tally import Tally
from townsquare.square import Square

SPENT = dataclasses.replace(ANSWER, spent=Spent(30, 12))


def rows(square: Square) -> list[dict[str, object]]:
    with Ledger.open(square) as ledger:
        ledger.verify()
        return [entry.body for entry in ledger.entries("answers")]


def test_a_row_holds_counts_and_ids_of_keys_alone(square: Square) -> None:
    counting = Tally(square)
    for answer, key in ((SPENT, "1f2e"), (SPENT, "1f2e"), (NOTHING, "abcd"), (SPENT, "")):
        counting.count(answer, key)
    counting.record()
    [row] = rows(square)
    assert {name: row[name] for name in row if name not in ("since", "until")} == {
        "answers": 4, "nothing_found": 1, "posts_cited": 6, "tokens_read": 90, "tokens_written": 36,
        "answers_by_key": {"1f2e": 2, "abcd": 1},
    }  # fmt: skip
    assert not any(word in json.dumps(row) for word in ("library", "x:200", "ana"))
    counting.record()
    assert len(rows(square)) == 1, "nothing was answered since"


def test_what_the_ledger_could_not_take_is_counted_later(square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Tally(square)
    counting.count(SPENT)
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "append", lambda *_: (_ for _ in ()).throw(StorageError("full", remedy="Free some.")))
        with pytest.raises(StorageError):
            counting.record()
    counting.count(SPENT)
    counting.record()
    assert [row["answers"] for row in rows(square)] == [2]


def test_rows_are_written_as_time_goes_and_at_the_end(square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "SECONDS", 0.01)
    counting = Tally(square)
    with counting.recording():
        counting.count(SPENT)
        deadline = time.monotonic() + 20
        while not rows(square):
            assert time.monotonic() < deadline
        counting.count(NOTHING)
    assert sum(int(str(row["answers"])) for row in rows(square)) == 2


def test_the_server_counts_each_answer_to_its_key(square: Square) -> None:
    counting, body = Tally(square), {"model": "chat", "messages": [{"role": "user", "content": "When?"}]}
    with closing(Keys.open(square)) as keys:
        key, text = keys.add("site", Limits(), time.time())
        with serving(FakeAssistant(SPENT), keys=keys, tally=counting) as address:
            headers = {"authorization": f"Bearer {text}"}
            for more in ({}, {"stream": True}, {"n": 2}):
                httpx.post(f"{address}/v1/chat/completions", json=body | more, headers=headers).raise_for_status()
    counting.record()
    [row] = rows(square)
    assert (row["answers"], row["answers_by_key"]) == (4, {key.id: 4})
