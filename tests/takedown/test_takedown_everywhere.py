"""A takedown through every copy of the town's square: versions, pointers, receipts, runs, and who asks where it is."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import town_square
from typer.testing import CliRunner, Result

from townsquare import receipts
from townsquare.cli import app
from townsquare.consent.grants import Grant, add_grant
from townsquare.curate import tables as corpus
from townsquare.curate.config import CurateConfig
from townsquare.curate.run import run as curate
from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run as ingest
from townsquare.ledger import Ledger
from townsquare.serve import index
from townsquare.square import Square
from townsquare.takedown.config import TakedownConfig
from townsquare.takedown.copies import find_everywhere
from townsquare.takedown.lookup import lookup
from townsquare.takedown.run import run
from townsquare.tokens import tables as shards
from townsquare.tokens.config import TokensConfig
from townsquare.tokens.run import run as make_shards

TABLES = ("documents", "conversations", "pairs", "dropped")


def call(square: Square, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--square", str(square.root)])


def test_every_copy_holds_it_before_and_none_after(full: Square, victim: tuple[str, str]) -> None:
    uid, text = victim
    before = find_everywhere(full, frozenset([uid]), [text])
    held = {"corpus_documents", "corpus_conversations", "corpus_pairs", "shards", "index"}
    assert all(before[copy] for copy in held)
    assert text in town_square.everything_on_disk(full)
    receipt = run(full, TakedownConfig(post=(uid,)))
    assert all(receipt.results["copies"][copy]["erased"] for copy in held)
    assert text not in town_square.everything_on_disk(full)
    after = find_everywhere(full, frozenset([uid]), [text])
    assert set(after.values()) == {0}


def test_new_versions_are_live_and_the_old_ones_are_no_more(full: Square, victim: tuple[str, str]) -> None:
    uid, _ = victim
    before = {name: corpus.read(corpus.version(full), name).to_pylist() for name in TABLES}
    receipt = run(full, TakedownConfig(post=(uid,)))
    gone = tables.removed_uids(full)
    assert receipt.results["versions"] == {"corpus": ["v0001", "v0002"], "shards": ["v0001", "v0002"]}
    for folder in (full.corpus, full.tokens):
        assert [path.name for path in folder.glob("v*")] == ["v0002"]
        assert (folder / "CURRENT").read_text().strip() == "v0002"
    for name in TABLES:  # exactly the rows that hold a removed post are gone, and no other is touched
        kept = [row for row in before[name] if gone.isdisjoint(row.get("uids") or [row.get("uid")])]
        assert corpus.read(corpus.version(full), name).to_pylist() == kept
    assert len(before["documents"]) > len(corpus.read_documents(full)) > 0.5 * len(before["documents"])


def test_the_receipts_say_what_is_left(full: Square, victim: tuple[str, str]) -> None:
    stages = ("curate", "tokens", "index")
    before = {name: receipts.need(full, name) for name in stages}
    run(full, TakedownConfig(post=(victim[0],)))
    revised = town_square.rows_of_receipts(full)
    rows = {name: len(corpus.read(corpus.version(full), name)) for name in TABLES}
    assert revised["curate"]["rows"] == rows
    assert revised["curate"]["outputs"] == {"corpus": receipts.sha256_of(corpus.version(full))}
    held = [
        pa.ipc.open_file(str(path)).read_all()
        for kind in ("documents", "conversations", "pairs")
        for split in ("train", "validation", "test")
        for path in shards.shards(full, kind, split)
    ]
    assert revised["tokens"]["rows"] == sum(map(len, held))
    assert sum(revised["tokens"]["tokens"].values()) == sum(len(row) for t in held for row in t["ids"])
    assert revised["index"] == {"kept": index.dataset(full).count_rows()}
    for name in stages:  # so that no later stage is stale
        assert receipts.need(full, name).fingerprint == before[name].fingerprint


def test_every_row_of_the_index_can_still_be_searched(full: Square, victim: tuple[str, str]) -> None:
    run(full, TakedownConfig(post=(victim[0],)))
    table = index.dataset(full)
    told = table.stats.index_stats("text")
    assert (told["num_unindexed_rows"], told["num_indexed_rows"]) == (0, table.count_rows())


def test_runs_and_models_that_saw_it_are_named_and_others_are_not(full: Square, victim: tuple[str, str]) -> None:
    town_square.a_run_that_saw(full, "second", {"x:1": 0})
    (full.runs / "second" / "setup.json").write_text('{"start_from": "first"}')
    town_square.a_run_that_saw(full, "blind", {"x:1": 0, victim[0]: town_square.STEPS})  # a step it never reached
    receipt = run(full, TakedownConfig(post=(victim[0],)))
    seen = receipt.results["runs_that_saw_them"]
    assert set(seen) == {"first", "second"}
    assert receipt.results["models_that_saw_them"] == {f"{name}-export": count for name, count in seen.items()}
    with Ledger.open(full) as ledger:
        [entry] = ledger.entries("takedown")
    assert entry.body["runs_that_saw_them"] == seen


def test_a_reader_never_sees_the_post_after_the_first_commit(full: Square, victim: tuple[str, str]) -> None:
    """Readers go on while a takedown is at work: once one has found the post gone, none finds it again."""
    uid, text = victim
    stop, seen, failures = threading.Event(), list[bool](), list[BaseException]()

    def read() -> None:
        try:
            while not stop.is_set():
                live = tables.read_posts(full, ["uid", "text"], "state = 'live'").to_pylist()
                words = tables.read_posts(full, ["text"])["text"].to_pylist()
                seen.append(any(row["uid"] == uid for row in live) or text in words)
        except BaseException as error:  # told below, for a thread's own error fails no test
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    while len(seen) < 3 and not failures:
        pass
    run(full, TakedownConfig(post=(uid,)))
    told = len(seen)
    while len(seen) < told + 3 and not failures:
        pass
    stop.set()
    reader.join()
    assert not failures
    assert seen[0]
    assert not seen[-1]
    assert sorted(seen, reverse=True) == seen, "first there, then gone, and never back"


def _author_of(square: Square, uid: str) -> tuple[str, str]:
    row = tables.read_posts(square, ["network", "author_id", "author_handle"], f"uid = '{uid}'").to_pylist()[0]
    return f"{row['network']}:{row['author_id']}", f"@{row['author_handle']}"


def test_lookup_by_post_author_and_handle_before_and_after(full: Square, victim: tuple[str, str]) -> None:
    uid, text = victim
    author, handle = _author_of(full, uid)
    theirs = tables.read_posts(full, ["text", "state"], f"author_id = '{author.split(':', 1)[1]}'").to_pylist()
    one, by_id, by_handle = (lookup(full, name) for name in (uid, author, handle))
    assert (one["known"], one["posts"], one["authors"], one["takedowns"]) == (True, {"live": 1}, [author], [])
    assert one["copies"]["corpus_documents"] >= 1
    assert one["runs_that_saw_them"] == {"first": 1}
    assert by_id == by_handle
    assert sum(by_id["posts"].values()) == len(theirs)

    run(full, TakedownConfig(author=(handle,)))
    one, by_id, by_handle = (lookup(full, name) for name in (uid, author, handle))
    assert by_id == by_handle, "the handle still leads to the author, though no row holds it"
    assert one["posts"] == {"deleted": 1}
    assert set(one["copies"].values()) == set(by_id["copies"].values()) == {0}
    assert one["runs_that_saw_them"] == {"first": 1}, "weights are not unlearned by a takedown"
    assert [event["kind"] for event in by_id["events"]][-1:] == ["author_delete"]
    assert len(by_id["takedowns"]) == 1
    told = json.dumps([one, by_id, by_handle])
    assert not any(row["text"] in told for row in theirs if row["text"])
    assert text not in told


def test_lookup_of_nobody(full: Square) -> None:
    for name in ("x:1", "@nobody_at_all"):
        record = lookup(full, name)
        assert (record["known"], record["posts"], record["events"]) == (False, {}, [])
    result = call(full, "lookup", "somebody")
    assert result.exit_code == 4
    assert "names neither a post nor an author" in result.stderr


def test_on_the_command_line(full: Square, victim: tuple[str, str]) -> None:
    uid, text = victim
    found = call(full, "lookup", uid, "--json")
    assert json.loads(found.stdout)["posts"] == {"live": 1}
    taken = call(full, "takedown", "--post", uid, "--json")
    assert taken.exit_code == 0
    assert json.loads(taken.stdout)["results"]["left"] == 0
    proof = call(full, "takedown", "prove", "--json")
    assert proof.exit_code == 0
    assert json.loads(proof.stdout)["left"] == 0
    after = call(full, "lookup", uid)
    assert after.exit_code == 0
    assert "deleted" in after.stdout
    (full.root / "mine.txt").write_text(f"I kept this: {text}")
    failed = call(full, "takedown", "prove")
    assert failed.exit_code == 8
    assert "file mine.txt (1)" in failed.stderr
    assert "Traceback" not in failed.output
    told = "".join(result.output for result in (found, taken, proof, after, failed))
    assert text not in told


def test_a_curation_after_a_takedown_makes_what_the_takedown_left(full: Square, victim: tuple[str, str]) -> None:
    """The posts do not come back by building anew."""
    from townsquare.curate.config import CurateConfig
    from townsquare.curate.run import run as curate

    run(full, TakedownConfig(post=(victim[0],)))
    gone = tables.removed_uids(full)
    curate(Square.open(full.root, replace=True), CurateConfig(seed=7))
    held: list[dict[str, Any]] = [
        row for path in full.corpus.rglob("*.parquet") for row in pq.read_table(path).to_pylist()
    ]
    assert not any(not gone.isdisjoint(row.get("uids") or []) for row in held)
    assert victim[1] not in json.dumps(held, default=str)


@pytest.mark.parametrize("kind", ["protect", "suspend", "opt_out"])
def test_a_reversible_event_leaves_the_copies_and_its_reversal_allows_building_again(
    full: Square, victim: tuple[str, str], kind: str
) -> None:
    uid, text = victim
    author, _ = _author_of(full, uid)
    back = {"protect": "unprotect", "suspend": "unsuspend", "opt_out": "opt_in"}[kind]
    assert run(full, TakedownConfig(author=(author,), kind=kind)).results["left"] == 0  # type: ignore[arg-type]
    assert set(find_everywhere(full, frozenset([uid]), [text]).values()) == {0}
    run(full, TakedownConfig(author=(author,), kind=back))  # type: ignore[arg-type]
    row = tables.read_posts(full, ["text", "state"], f"uid = '{uid}'").to_pylist()[0]
    assert row == {"text": text, "state": "live"}


def test_two_live_posts_side_by_side_are_not_a_third_that_was_removed(square: Square, tmp_path: Path) -> None:
    """One's end and the next one's beginning, joined in a document, may say by chance what another post said."""
    said = [
        ("1", "ann", "Nonsense, bans make it sweet, talk instead", None),
        ("2", "ann", "Please, the teachers begged for it for a whole week", "1"),
        ("3", "bob", "Nonsense, bans make it sweet, talk instead :P", None),
    ]
    path = tmp_path / "posts.jsonl"
    keys = ("id", "author", "text", "reply_to")
    path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in said), encoding="utf-8")
    ingest(square, IngestConfig(paths=(path,)))
    add_grant(square, Grant("all", "Owner", "User", ("train",), sources=("*",)))
    curate(square, CurateConfig())
    make_shards(square, TokensConfig(vocabulary_size=300))
    assert "\n".join(text for _, _, text, _ in said[:2]) in corpus.read_documents(square)["text"].to_pylist()
    receipt = run(square, TakedownConfig(post=("table:3",)))
    assert (receipt.results["left"], receipt.results["texts_searched"]) == (0, 1)
    assert corpus.read_documents(square)["uids"].to_pylist() == [["table:1", "table:2"]]
