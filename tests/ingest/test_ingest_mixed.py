"""One post in an archive, from the API, in streams and in events: whatever comes first, together or apart, the same."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingesting import account_js, js, note, tweet, tweets_js, write

from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run
from townsquare.square import Square

WHOLE = "a long post about the fair and the weather and the band and everything else there is to say " * 4
CUT = WHOLE[:270] + "…"
PROVENANCE = ("source_id", "source_sha256", "source_locator")


def _stream(number: int, ms: int, likes: int, **fields: Any) -> dict[str, Any]:
    user = {"id_str": "2244994945", "screen_name": "somebody", "protected": False}
    made = {"id_str": str(number), "text": CUT, "truncated": True, "user": user, "favorite_count": likes}
    return {**made, "created_at": "Sat Feb 18 12:33:11 +0000 2023", "timestamp_ms": str(ms), **fields}


def _page(number: int, text: str, likes: int, **fields: Any) -> dict[str, Any]:
    metrics = {"public_metrics": {"like_count": likes}}
    return {"data": {"id": str(number), "text": text, "author_id": "2244994945", **metrics, **fields}}


def _files(folder: Path) -> dict[str, Path]:
    """Posts 1 to 4 in five formats: 2 is whole only in a stream, 3 is deleted, 4 comes from the stream twice."""
    day = 86_400_000
    lines: dict[str, list[Any]] = {
        "early.jsonl": [_stream(n, day, 0) for n in (1, 2, 3, 4)],
        "late.jsonl": [
            _stream(2, 2 * day, 7, extended_tweet={"full_text": WHOLE}),
            _stream(4, 2 * day, 9),
            _stream(4, 3 * day, 11),
            {"limit": {"track": 1}},
        ],
        "page.jsonl": [_page(1, CUT, 3, note_tweet={"text": WHOLE}), _page(3, WHOLE[:200], 5), {"data": "odd"}],
        "again.jsonl": [_page(1, WHOLE[:250], 4), _page(4, CUT, 2), _page(5, "the same time, other words", 1)],
        "other.jsonl": [_page(5, "the same time, these words", 2)],
        "tweets.jsonl": [{"id": "3", "action": "delete", "reason": "deleted", "redacted_at": "2024-01-01T00:00:00Z"}],
        "stream.jsonl": [{"data": {"drop": {"tweet": {"id": "4"}, "event_at": "2024-01-01T00:00:00Z"}}}],
        "undrop.jsonl": [{"data": {"undrop": {"tweet": {"id": "4"}, "event_at": "2024-01-02T00:00:00Z"}}}],
    }
    for name, records in lines.items():
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    archive = write(
        folder / "archive",
        tweets=tweets_js(tweet(1, CUT), tweet(3, WHOLE[:200])),
        note__tweet=js("note_tweet", [note(WHOLE)]),
        account=account_js(),
    )
    return {"archive": archive, **{name: folder / name for name in lines}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return _files(tmp_path_factory.mktemp("files"))


def _told(square: Square) -> dict[str, Any]:
    """All that the tables hold, but for which ingest brought it: how the files are shared out may decide that."""
    found = {
        "posts": tables.read_posts(square),
        "events": tables.read_events(square),
        "quarantine": tables.read_quarantine(square),
    }
    rows = {name: table.drop_columns(["source_id"]).to_pylist() for name, table in found.items()}
    for row in (*rows["posts"], *rows["events"], *rows["quarantine"]):
        row["source_locator"] = row["source_locator"].removeprefix("archive/")  # as a path among others is named
    return {name: sorted(found, key=str) for name, found in rows.items()}


@pytest.fixture(scope="module")
def at_once(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    square = Square.create(tmp_path_factory.mktemp("at-once") / "square")
    run(square, IngestConfig(paths=tuple(files.values())))
    return _told(square)


def test_full_beats_cut_later_beats_earlier_and_deletion_beats_all(at_once: dict[str, Any]) -> None:
    posts = {row["uid"]: row for row in at_once["posts"]}
    assert sorted(posts) == [f"x:{i}" for i in range(1, 6)]
    assert [posts[f"x:{i}"]["text"].strip() for i in (1, 2)] == [WHOLE.strip()] * 2
    assert (posts["x:2"]["likes"], posts["x:4"]["likes"]) == (7, 11)
    assert (posts["x:4"]["text_status"], posts["x:4"]["state"]) == ("truncated", "live")
    assert (posts["x:3"]["state"], posts["x:3"]["text"]) == ("deleted", None)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False))
def test_any_order_split_and_repetition(files: dict[str, Path], at_once: dict[str, Any], chance: random.Random) -> None:
    order = [*files.values(), *chance.sample(list(files.values()), chance.randint(0, 3))]
    chance.shuffle(order)
    with tempfile.TemporaryDirectory() as folder:
        square = Square.create(Path(folder) / "square")
        while order:
            count = chance.choice([1, 1, 2, 3, len(order)])
            part, order = list(dict.fromkeys(order[:count])), order[count:]
            run(square, IngestConfig(paths=tuple(part)))
        assert _told(square) == at_once
