"""An ingest that is broken off, at any of its writes or at any moment, and run again: the tables of an unbroken one."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ingesting import ingest
from processes import assert_alike, ended, killed, start

from townsquare import receipts
from townsquare.ingest import copies, events, held_back, removed, slabs, store, tables
from townsquare.ingest import run as stage
from townsquare.square import Square
from townsquare.town.config import TownConfig
from townsquare.town.run import run as make_town

WRITES = (
    (store, "ensure"), (store, "upsert"), (store, "append"), (store, "put_first"), (store, "purge"),
    (store, "mark_purge"), (removed, "remember"), (removed, "cut_quotes"), (held_back, "blank"), (slabs, "merged"),
    (events, "with_states"), (stage, "commit"),
)  # fmt: skip
"""Where an ingest is broken off: before and after each call of these."""


class Killed(BaseException):
    """Stands in for a kill: nothing that runs catches it."""


class Breaking:
    """Breaks off at the `last` step; counts the steps."""

    def __init__(self, last: int | None) -> None:
        self.steps, self._last = 0, last

    def step(self) -> None:
        self.steps += 1
        if self.steps == self._last:
            raise Killed

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def broken(*arguments: Any, **named: Any) -> Any:
            self.step()
            result = work(*arguments, **named)
            self.step()
            return result

        return broken


def _inputs(folder: Path) -> list[Path]:
    """Posts that are deleted before they come, after, and between, with quotations, reposts and odd lines."""
    said = "what the author of this post said about the weather in the town on that day"
    records = [{"data": {"id": str(i), "text": f"{said}, {i}", "author_id": str(i % 5)}} for i in range(100, 160)]
    answer = {"text": f"> {said}, 101\nI do not think so", "referenced_tweets": [{"type": "replied_to", "id": "101"}]}
    repost = {"text": f"RT @a: {said}, 108", "referenced_tweets": [{"type": "retweeted", "id": "108"}]}
    records += [{"data": {"id": "200", **answer}}, {"data": {"id": "201", **repost}}, {"data": {"id": "101"}}]
    gone = [{"id": str(i), "action": "delete", "reason": "deleted"} for i in range(101, 160, 7)]
    early, late = gone[: len(gone) // 2], gone[len(gone) // 2 :]
    files = {"1-tweets.jsonl": early, "2-pages.jsonl": records, "3-tweets.jsonl": late, "4-pages.jsonl": records[:9]}
    for name, lines in files.items():
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return [folder / name for name in files]


@pytest.fixture
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slabs, "SLAB_ROWS", 30)
    monkeypatch.setattr("townsquare.ingest.sources.x_api_v2.BATCH_BYTES", 1500)


def _broken_off(square: Square, paths: list[Path], last: int | None) -> int:
    """An ingest that ends at a step, or at none; returns how many steps it made."""
    breaking = Breaking(last)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in WRITES:
            patch.setattr(module, name, breaking.around(getattr(module, name)))
        if last is None:
            ingest(square, *paths)
        else:
            with pytest.raises(Killed):
                ingest(square, *paths)
    return breaking.steps


@pytest.mark.usefixtures("small_commits")
@pytest.mark.parametrize("part", range(2))
def test_broken_off_before_or_after_any_write_and_run_again(tmp_path: Path, part: int) -> None:
    paths, unbroken = _inputs(tmp_path), Square.create(tmp_path / "unbroken")
    steps = _broken_off(unbroken, paths, None)
    assert steps > 50
    chance = random.Random(part)
    for last in chance.sample(range(1, steps + 1), 8):
        square = Square.create(tmp_path / f"broken-{last}")
        _broken_off(square, paths, last)
        assert not receipts.read_all(square)
        ingest(square, *paths)
        assert_alike(square, unbroken)
        _nothing_is_left_of_the_deleted(square)


SAID = "what this person said about the weather in the town on that day"
POST = {"data": {"id": "108", "text": f"{SAID}, and more"}}
DELETES = {"id": "108", "action": "delete", "reason": "deleted"}
QUOTES = {"id": "200", "text": f"> {SAID}, and more\nI do not think so"}
ANSWER = {"data": {**QUOTES, "referenced_tweets": [{"type": "replied_to", "id": "108"}]}}


@pytest.mark.parametrize(
    "ingests",
    [
        [[POST], [DELETES]],
        [[DELETES], [POST]],
        [[POST], [DELETES, POST]],
        [[POST, ANSWER], [DELETES]],
        [[DELETES, POST], [ANSWER]],
        [[POST], [ANSWER], [DELETES, ANSWER], [POST, ANSWER]],
    ],
)
def test_however_a_deletion_comes_no_version_of_a_table_has_the_words(
    square: Square, tmp_path: Path, ingests: list[list[Any]]
) -> None:
    for number, lines in enumerate(ingests):
        paths = []
        for name, mine in (("tweets", [DELETES]), ("pages", [POST, ANSWER])):
            path = tmp_path / f"{number}-{name}.jsonl"
            path.write_text("".join(json.dumps(line) + "\n" for line in lines if line in mine), encoding="utf-8")
            paths += [path] * (path.stat().st_size > 0)
        ingest(square, *paths)
    assert copies.find(square, frozenset({"x:108"}), [f"{SAID}, and more"]) == {"posts": 0, "quarantine": 0}
    answers = [row["text"] for row in tables.read_posts(square).to_pylist() if row["uid"] == "x:200"]
    assert answers == ["> […]\nI do not think so"] * (ANSWER in [line for lines in ingests for line in lines])


@pytest.mark.slow
@pytest.mark.usefixtures("small_commits")
def test_broken_off_before_and_after_every_write_and_run_again(tmp_path: Path) -> None:
    paths, unbroken = _inputs(tmp_path), Square.create(tmp_path / "unbroken")
    for last in range(1, _broken_off(unbroken, paths, None) + 1):
        square = Square.create(tmp_path / f"broken-{last}")
        _broken_off(square, paths, last)
        ingest(square, *paths)
        assert_alike(square, unbroken)
        _nothing_is_left_of_the_deleted(square)


def _nothing_is_left_of_the_deleted(square: Square) -> None:
    gone = tables.read_posts(square, ["uid"], "state = 'deleted'")["uid"].to_pylist()
    assert gone
    assert set(copies.find(square, frozenset(gone), tables.traces_of_removed(square)).values()) == {0}
    assert not store.purge_due(square)


POSTS = 200_000
SQUARES, KILLS = 10, 5


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """X API v2 pages of the town, cut in two, among the events that come before, between and after."""
    square = Square.create(tmp_path_factory.mktemp("town") / "square")
    make_town(square, TownConfig(posts=POSTS))
    [pages] = square.town.rglob("*x_api_v2*.jsonl")
    before, after = sorted(square.town.rglob("*x_compliance*.jsonl"))
    halves = [pages.with_name("20-first.jsonl"), pages.with_name("40-second.jsonl")]
    with pages.open("rb") as lines:
        found = lines.readlines()
    for path, part in zip(halves, (found[: len(found) // 2], found[len(found) // 2 :]), strict=True):
        path.write_bytes(b"".join(part))
    return [before, halves[0], after, halves[1]]


@pytest.mark.slow
def test_killed_at_fifty_moments_of_two_hundred_thousand_posts(tmp_path: Path, town: list[Path]) -> None:
    """Ten ingests, each killed five times before it may end."""
    unbroken, chance = Square.create(tmp_path / "unbroken"), random.Random(1)
    started = time.monotonic()
    ended(start(unbroken, town, slab_rows=20_000))
    seconds, kills = time.monotonic() - started, 0
    for number in range(SQUARES):
        square = Square.create(tmp_path / f"square{number}")
        for _ in range(KILLS):
            process = start(square, town, slab_rows=20_000)
            time.sleep(chance.random() * seconds)
            kills += killed(process)
        ended(start(square, town, slab_rows=20_000))
        assert_alike(square, unbroken)
        assert len(tables.removed_uids(square)) == len(tables.removed_uids(unbroken)) > 1000
        _nothing_is_left_of_the_deleted(square)
    assert kills > SQUARES * KILLS / 2, "most came after the end"
