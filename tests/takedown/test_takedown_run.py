"""Takedown on the raw tables: gone physically, proven, recorded, done once, resumed after a kill, reversible."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import lance
import pytest

from townsquare import receipts
from townsquare.errors import InputError, ProofError
from townsquare.ingest import store, tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.ledger import Ledger
from townsquare.receipts import Receipt
from townsquare.square import Square
from townsquare.takedown import copies
from townsquare.takedown import run as stage
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.proof import prove
from townsquare.takedown.run import run

SECRET = "the secret of the fair is kept in the third drawer of post {}"


@pytest.fixture(autouse=True)
def _only_the_raw_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "HOLDERS", ("ingest",))


def pages(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def page(*posts: dict[str, Any]) -> dict[str, Any]:
    users = [{"id": "100", "username": "Ann"}, {"id": "200", "username": "bob"}]
    return {"data": list(posts), "includes": {"users": users}}


def post(number: int, author: int = 100, text: str | None = None, **fields: Any) -> dict[str, Any]:
    said = SECRET.format(number) if text is None else text
    return {"id": str(1000000 + number), "text": said, "author_id": str(author), "public_metrics": {}, **fields}


@pytest.fixture
def filled(square: Square, tmp_path: Path) -> Square:
    """Posts 1 to 9 of Ann, 11 to 13 of bob, his repost of her first; ingested thrice, so that there are versions."""
    repost = post(14, 200, "RT @Ann: " + SECRET.format(1), referenced_tweets=[{"type": "retweeted", "id": "1000001"}])
    posts = [*(post(n) for n in range(1, 10)), *(post(n, 200, f"bob says {n} " * 5) for n in range(11, 14)), repost]
    for number, part in enumerate((posts[:6], posts[4:], posts)):
        ingest(square, IngestConfig(paths=(pages(tmp_path / f"{number}.jsonl", page(*part)),)))
    return square


def taken(square: Square, **settings: Any) -> Receipt:
    return run(square, TakedownConfig(**settings))


def states(square: Square) -> dict[str, str]:
    rows = tables.read_posts(square, ["uid", "state"]).to_pylist()
    return {row["uid"].removeprefix("x:1000"): row["state"] for row in rows}


def everything_stored(square: Square) -> str:
    """All that the tables hold, in every version, and the bytes of every file."""
    told = []
    for name in store.SCHEMAS:
        for version in store.dataset(square, name).versions():
            rows = lance.dataset(store.path(square, name), version=version["version"]).to_table().to_pylist()
            told.append(json.dumps(rows, default=str))
    told += [path.read_bytes().decode("latin-1") for path in sorted(square.posts.rglob("*")) if path.is_file()]
    return "\n".join(told)


def test_a_post_is_physically_gone_and_its_reposts_with_it(filled: Square) -> None:
    assert SECRET.format(1) in everything_stored(filled)
    receipt = taken(filled, post=("x:1000001",))
    assert SECRET.format(1) not in everything_stored(filled)
    assert SECRET.format(2) in everything_stored(filled)
    assert {uid for uid, state in states(filled).items() if state == "deleted"} == {"001", "014"}
    assert receipt.results["posts_newly_removed"] == 2
    assert receipt.results["texts_searched"] == 3  # the post's, the repost's, and that without its mention
    assert receipt.results["copies"] == {
        "posts": {"erased": 2, "left": 0},
        "quarantine": {"erased": 0, "left": 0},
        "other_files": {"erased": 0, "left": 0},
    }
    assert receipt.results["left"] == 0
    proof = prove(filled)
    assert (proof["left"], proof["copies"]["posts"], proof["copies"]["quarantine"]) == (0, 0, 0)
    row = tables.read_posts(filled, where="uid = 'x:1000001'").to_pylist()[0]
    assert {name: row[name] for name in store.CONTENT_COLUMNS} == dict.fromkeys(store.CONTENT_COLUMNS)
    assert (row["author_id"], row["state"]) == ("100", "deleted")


@pytest.mark.parametrize("name", ["x:100", "@ann", "@ANN"])
def test_an_author_by_id_or_handle(filled: Square, name: str) -> None:
    receipt = taken(filled, author=(name,))
    assert receipt.results["posts_removed"] == 10
    assert "secret" not in everything_stored(filled)
    assert sum(state == "live" for state in states(filled).values()) == 3
    again = taken(filled, author=(name,))
    assert again.skipped
    assert again == receipt


def test_a_list_names_posts_and_authors(filled: Square, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\ufeffx:1000001\r\n\n x:200 \nx:999999999\n", encoding="utf-8")
    assert taken(filled, list=path).results["posts_removed"] == 5
    with Ledger.open(filled) as ledger:
        [asked] = ledger.entries("takedown_asked")
    assert (asked.body["authors"], asked.body["posts"]) == (["x:200"], ["x:1000001", "x:999999999"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"post": ("1000001",)}, "'1000001' names neither"),
        ({"post": ("myspace:1",)}, "names neither"),
        ({"post": ("x:",)}, "names neither"),
        ({"author": ("@nobody",)}, "nobody here has the handle @nobody"),
        ({"author": ("ann",)}, "'ann' names neither"),
        ({"list": Path("/nowhere/list.txt")}, "the list cannot be read"),
    ],
)
def test_what_names_nothing_is_refused(filled: Square, settings: dict[str, Any], message: str) -> None:
    before = states(filled)
    with pytest.raises(InputError, match=message) as caught:
        taken(filled, **settings)
    assert caught.value.exit_code == 4
    assert caught.value.remedy
    assert states(filled) == before
    assert not receipts.read_all(filled, "takedown")


def test_a_handle_of_several_people_is_refused(filled: Square, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,text,user\n1,hello there,ann\n")
    ingest(filled, IngestConfig(paths=(table,)))
    with pytest.raises(InputError, match="several authors have the handle @ann: table:ann, x:100"):
        taken(filled, author=("@ann",))


def test_a_deletion_before_its_post_and_before_any_post(square: Square, tmp_path: Path) -> None:
    receipt = taken(square, post=("x:1000001",), author=("x:200",))
    assert receipt.results["posts_removed"] == 0
    ingest(square, IngestConfig(paths=(pages(tmp_path / "a.jsonl", page(post(1), post(2), post(3, 200))),)))
    assert states(square) == {"001": "deleted", "002": "live", "003": "deleted"}
    assert SECRET.format(1) not in everything_stored(square)
    assert taken(square, post=("x:1000001",), author=("x:200",)).skipped


def test_events_that_an_ingest_brought_are_applied_without_targets(filled: Square, tmp_path: Path) -> None:
    stream = {"data": {"delete": {"tweet": {"id": "1000002"}, "event_at": "2024-01-01T00:00:00Z"}}}
    ingest(filled, IngestConfig(paths=(pages(tmp_path / "stream.jsonl", stream),)))
    assert states(filled)["002"] == "deleted"
    assert SECRET.format(2) not in everything_stored(filled)
    receipt = taken(filled)
    assert receipt.results["posts_removed"] == 1
    assert taken(filled).skipped
    suppress = {"data": {"user_suspend": {"user": {"id": "100"}, "event_at": "2024-01-01T00:00:00Z"}}}
    ingest(filled, IngestConfig(paths=(pages(tmp_path / "more.jsonl", suppress),)))
    assert taken(filled).results["posts_removed"] == 10


def test_reversible_events_come_back_without_another_ingest_and_can_be_asked_again(filled: Square) -> None:
    def told(kind: str) -> tuple[bool, int]:
        receipt = taken(filled, author=("x:100",), kind=kind)
        return receipt.skipped, list(states(filled).values()).count("suppressed")

    assert told("protect") == (False, 10)
    assert told("protect") == (True, 10)
    assert SECRET.format(1) in everything_stored(filled)
    assert told("unprotect") == (False, 0)
    assert told("unprotect") == (True, 0)
    assert tables.read_posts(filled, ["text"], "uid = 'x:1000001'")["text"].to_pylist() == [SECRET.format(1)]
    assert told("protect") == (False, 10)
    assert told("unprotect") == (False, 0)
    assert told("opt_out") == (False, 10)
    assert told("opt_in") == (False, 0)


def test_a_deletion_is_for_good(filled: Square) -> None:
    taken(filled, author=("x:100",))
    taken(filled, author=("x:100",), kind="author_undelete")
    assert list(states(filled).values()).count("deleted") == 10


def test_an_edited_post_goes_with_all_its_versions(square: Square, tmp_path: Path) -> None:
    versions = [post(n) | {"edit_history_tweet_ids": ["1000001", "1000002"]} for n in (1, 2)]
    ingest(square, IngestConfig(paths=(pages(tmp_path / "a.jsonl", page(*versions)),)))
    taken(square, post=("x:1000001",))
    assert set(states(square).values()) == {"deleted"}


def test_quarantined_inputs_of_removed_posts_and_authors_are_emptied(filled: Square, tmp_path: Path) -> None:
    texts = {n: f"a private word for the circle only, number {n}" for n in (51, 52, 53)}
    broken = [
        json.dumps(page(post(51, 100, texts[51])))[:-30],
        json.dumps({"odd": {"id": 1000052, "said": texts[52]}}),
        json.dumps({"odd": {"said": SECRET.format(3)}}),
        json.dumps({"odd": {"said": "somebody else's line that stays where it is"}}),
    ]
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(page(post(4))) + "\n" + "\n".join(broken) + "\n")
    ingest(filled, IngestConfig(paths=(path,), format="x_api_v2"))
    archive = tmp_path / "archive"
    (archive / "data").mkdir(parents=True)
    circle = {"tweet": {"id_str": "1000053", "full_text": texts[53], "created_at": "Mon Aug 08 12:00:00 +0000 2022"}}
    (archive / "data" / "tweets.js").write_text("window.YTD.tweets.part0 = " + json.dumps([circle]))
    (archive / "data" / "account.js").write_text(
        'window.YTD.account.part0 = [{"account": {"accountId": "100", "username": "Ann"}}]'
    )
    (archive / "data" / "twitter-circle.js").write_text('window.YTD.twitter_circle.part0 = [{"twitterCircle": {}}]')
    ingest(filled, IngestConfig(paths=(archive,)))
    assert texts[53] in everything_stored(filled)

    taken(filled, post=("x:1000051", "x:1000052"))
    stored = everything_stored(filled)
    assert texts[51] not in stored
    assert texts[52] not in stored
    assert texts[53] in stored
    receipt = taken(filled, author=("x:100",))
    stored = everything_stored(filled)
    assert "private word" not in stored
    assert "secret" not in stored
    assert "somebody else's line" in stored
    assert receipt.results["left"] == 0
    assert len(tables.read_quarantine(filled)) == 5  # the rows stay, to be counted
    ingest(filled, IngestConfig(paths=(archive, path), format=None))  # and the same input again brings nothing back
    assert "private word" not in everything_stored(filled)


def test_the_ledger_and_the_receipt_say_when_and_hold_no_content(filled: Square) -> None:
    receipt = taken(filled, author=("@ann",), post=("x:1000011",), reason="asked by mail")
    with Ledger.open(filled) as ledger:
        ledger.verify()
        [asked], [done] = ledger.entries("takedown_asked"), ledger.entries("takedown")
    assert done.body["received_at"] == receipt.results["received_at"] == asked.at[:19] + "+00:00"
    assert done.body["applied_at"] == receipt.results["applied_at"]
    assert receipt.results["latency_seconds"] >= 0
    assert (done.body["authors"], done.body["posts"], done.body["removed_count"]) == (["x:100"], ["x:1000011"], 11)
    told = json.dumps([dataclasses.asdict(asked), dataclasses.asdict(done), receipt.to_json()]).lower()
    assert "secret" not in told
    assert "ann" not in told.replace("channel", "")
    assert "traces" in receipt.results["note"]


def test_a_copy_that_is_left_is_no_success(filled: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(store, "purge", lambda square: None)
        with pytest.raises(ProofError, match=r"still in: posts \(\d+\)") as caught:
            taken(filled, author=("x:100",))
    assert caught.value.exit_code == 8
    assert "again" in str(caught.value.remedy)
    assert receipts.read_all(filled, "takedown") == []
    with Ledger.open(filled) as ledger:
        assert ledger.entries("takedown") == []
    assert not taken(filled, author=("x:100",)).skipped
    assert "secret" not in everything_stored(filled)


def test_prove_finds_what_came_back_by_another_way(filled: Square) -> None:
    taken(filled, post=("x:1000001",))
    row = tables.read_posts(filled, where="uid = 'x:1000001'").to_pylist()[0]
    table = store.dataset(filled, "posts").to_table().slice(0, 0)
    import pyarrow as pa

    store.upsert(filled, "posts", pa.Table.from_pylist([{**row, "text": "back again"}], schema=table.schema))
    with pytest.raises(ProofError, match="posts"):
        prove(filled)


STEPS = (
    "tables.upsert_events",
    "tables.traces_of_removed",
    "tables.blank_quarantined",
    "tables.apply_events",
    "erase_everywhere",
    "find_everywhere",
    "seen_by_runs",
    "_entry",
)


class Killed(BaseException):
    """Ends a takedown as a kill does: nothing after it runs."""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_killed_anywhere_the_same_command_ends_it(
    filled: Square, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    holder, _, name = f"stage.{step}".rpartition(".")
    place: Any = stage.tables if holder.endswith("tables") else stage
    original = getattr(place, name)

    def dies(*arguments: Any) -> None:
        if after:
            original(*arguments)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(place, name, dies)
        with pytest.raises(Killed):
            taken(filled, author=("@ann",))
    with Ledger.open(filled) as ledger:
        [asked] = ledger.entries("takedown_asked")
    receipt = taken(filled, author=("@ann",))
    assert not receipt.skipped
    assert "secret" not in everything_stored(filled)
    assert receipt.results["posts_newly_removed"] == 10
    assert receipt.results["received_at"] == asked.at[:19] + "+00:00"
    with Ledger.open(filled) as ledger:
        assert len(ledger.entries("takedown_asked")) == len(ledger.entries("takedown")) == 1
    assert taken(filled, author=("@ann",)).skipped
    proof = prove(filled)
    assert (proof["left"], proof["copies"]["posts"], proof["copies"]["quarantine"]) == (0, 0, 0)


def test_an_ingest_killed_before_it_purged_is_purged_by_the_next(
    filled: Square, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = pages(tmp_path / "tweets.jsonl", {"id": "1000001", "action": "delete", "reason": "deleted"})

    def dies(_: Square) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(store, "purge", dies)
        with pytest.raises(Killed):
            ingest(filled, IngestConfig(paths=(event,)))
    assert SECRET.format(1) in everything_stored(filled)
    ingest(filled, IngestConfig(paths=(event,)))
    assert SECRET.format(1) not in everything_stored(filled)


def test_a_post_that_comes_with_its_own_deletion_leaves_no_old_version(filled: Square, tmp_path: Path) -> None:
    better = post(1) | {"note_tweet": {"text": SECRET.format(1) + " and more"}}
    folder = tmp_path / "both"
    folder.mkdir()
    pages(folder / "posts.jsonl", page(better))
    pages(folder / "tweets_compliance.jsonl", {"id": "1000001", "action": "delete", "reason": "deleted"})
    ingest(filled, IngestConfig(paths=(folder,)))
    assert SECRET.format(1) not in everything_stored(filled)


def test_somebody_elses_same_words_stay_and_are_not_searched(square: Square, tmp_path: Path) -> None:
    same = "exactly the same words by two people here"
    posts = page(
        post(1, 100, same), post(2, 200, same), post(3, 100, "only mine, all of these words"), post(4, 100, "hi")
    )
    ingest(square, IngestConfig(paths=(pages(tmp_path / "a.jsonl", posts),)))
    assert taken(square, author=("x:100",)).results["left"] == 0
    assert tables.traces_of_removed(square).uids.to_pylist() == ["x:1000003"]
    assert same in everything_stored(square)


def test_quotes_keep_their_own_words_and_lose_the_link_text_only(square: Square, tmp_path: Path) -> None:
    """What a quote says is its author's. X's quotes carry no copy of the quoted text, only its id."""
    quoting = post(2, 200, "I quite agree with this one", referenced_tweets=[{"type": "quoted", "id": "1000001"}])
    ingest(square, IngestConfig(paths=(pages(tmp_path / "a.jsonl", page(post(1), quoting)),)))
    taken(square, post=("x:1000001",))
    assert states(square) == {"001": "deleted", "002": "live"}
    assert SECRET.format(1) not in everything_stored(square)
    assert tables.read_posts(square, ["quote_of"], "uid = 'x:1000002'")["quote_of"].to_pylist() == ["x:1000001"]
