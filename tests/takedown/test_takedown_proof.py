"""`takedown prove` against leftovers planted in each store, each in the way in which that store can hold one."""

from __future__ import annotations

import dataclasses
import html
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import town_square

from townsquare.curate import tables as corpus
from townsquare.errors import ProofError
from townsquare.evaluate.replies import SCHEMA as ANSWERS
from townsquare.ingest import store, tables
from townsquare.ledger import Ledger
from townsquare.records import PAIRS, QUARANTINE
from townsquare.serve import index, opinions
from townsquare.square import Square
from townsquare.takedown.proof import prove
from townsquare.tokens import tables as shards
from townsquare.tokens.vocabulary import load

OTHER = "x:424242"  # a uid that no post here has, so that only the text can give it away


def _changed(rows: pa.Table, **values: str) -> pa.Table:
    for name, value in values.items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), pa.array([value]))
    return rows


def in_an_old_version_of_the_posts(square: Square, uid: str, text: str) -> None:
    rows = store.dataset(square, "posts").to_table(filter=f"uid = '{uid}'")
    store.upsert(square, "posts", _changed(rows, text=text))
    store.upsert(square, "posts", rows)
    assert store.dataset(square, "posts").to_table(filter=f"uid = '{uid}'")["text"].to_pylist() == [None]


def in_an_old_version_in_which_another_post_was_live(square: Square, _uid: str, text: str) -> None:
    rows = store.dataset(square, "posts").to_table(filter="state = 'live'").slice(0, 1)
    store.upsert(square, "posts", _changed(rows, uid=OTHER, text_raw=f"so: {text}!"))
    store.upsert(square, "posts", _changed(rows, uid=OTHER))


def in_another_post_that_is_live_no_more(square: Square, _uid: str, text: str) -> None:
    rows = store.dataset(square, "posts").to_table(filter="state = 'live'").slice(0, 1)
    store.upsert(square, "posts", _changed(rows, uid=OTHER, text=f"so: {text}!", state="tombstone"))


def in_quarantine_as_json_writes_it(square: Square, _uid: str, text: str) -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in text)
    row: dict[str, Any] = dict.fromkeys(QUARANTINE.names, "0")
    row |= {"raw": f'{{"said": "{escaped}"}}', "uid": None, "author_id": None, "detail": None}
    store.append(square, "quarantine", pa.Table.from_pylist([row], schema=QUARANTINE))


def _into(path: Path, **changes: Any) -> None:
    """The first row of a Parquet file once more, changed."""
    table = pq.read_table(path)
    row = table.slice(0, 1).to_pylist()[0] | changes
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist([row], schema=table.schema)]), path)


def in_a_document(square: Square, _uid: str, text: str) -> None:
    _into(corpus.version(square) / "documents.parquet", document_id=OTHER, uids=[OTHER], text=f"first. {text} last.")


def by_uid_alone_among_what_was_dropped(square: Square, uid: str, _text: str) -> None:
    _into(corpus.version(square) / "dropped.parquet", uid=uid)


def in_a_turn_of_a_conversation(square: Square, _uid: str, text: str) -> None:
    turns = [{"role": "user", "text": text.upper(), "uids": [OTHER]}]
    _into(corpus.version(square) / "conversations.parquet", conversation_id=OTHER, uids=[OTHER], turns=turns)


def in_the_loser_of_a_pair(square: Square, _uid: str, text: str) -> None:
    row: dict[str, Any] = dict.fromkeys(PAIRS.names, "0") | {"uids": [OTHER], "prompt": [], "scores": []}
    folder = corpus.version(square)
    rows = pa.Table.from_pylist([row | {"rejected": text}], schema=PAIRS)
    corpus.write(folder, "pairs", pa.concat_tables([corpus.read_pairs(square), rows]))


def in_a_version_of_the_corpus_that_is_not_live(square: Square, _uid: str, text: str) -> None:
    folder = square.corpus / "v0099"
    folder.mkdir()
    corpus.write(folder, "documents", corpus.read_documents(square))
    _into(folder / "documents.parquet", uids=[OTHER], text=text)


def in_a_dictionary_page_that_no_row_uses(square: Square, _uid: str, text: str) -> None:
    path = corpus.version(square) / "documents.parquet"
    table = pq.read_table(path)
    column = table["text"].combine_chunks().dictionary_encode()
    column = pa.DictionaryArray.from_arrays(column.indices, pa.concat_arrays([column.dictionary, pa.array([text])]))
    pq.write_table(table.set_column(table.schema.get_field_index("text"), "text", column), path)
    assert text not in pq.read_table(path)["text"].to_pylist()


def in_a_shard_as_tokens(square: Square, _uid: str, text: str) -> None:
    path = shards.shards(square, "documents", "train")[0]
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    ids = load(shards.vocabulary_path(square)).encode(f"well, {text}").ids
    row = {"document_id": OTHER, "uids": [OTHER], "ids": ids, "loss_mask": None}
    whole = pa.concat_tables([table, pa.Table.from_pylist([row], schema=table.schema)]).combine_chunks()
    path.unlink()  # what was read lies in the old file still
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, whole.schema) as writer:
        writer.write_table(whole)


def _index_row(square: Square, text: str) -> pa.Table:
    row = index.dataset(square).to_table().slice(0, 1).to_pylist()[0]
    return pa.Table.from_pylist([row | {"uid": OTHER, "text": text}], schema=index.INDEX)


def in_a_row_of_the_index(square: Square, _uid: str, text: str) -> None:
    import lance

    lance.write_dataset(_index_row(square, text), index.path(square), mode="append")


def in_the_dictionary_of_the_index(square: Square, _uid: str, text: str) -> None:
    """Its words were indexed; then its row went, with the row's old versions, and the dictionary stayed."""
    import datetime as dt

    import lance

    lance.write_dataset(_index_row(square, text), index.path(square), mode="append")
    index.add_search(index.dataset(square))
    index.dataset(square).delete(f"uid = '{OTHER}'")
    index.dataset(square).cleanup_old_versions(older_than=dt.timedelta(0), delete_unverified=True)


def in_a_kept_answer(square: Square, _uid: str, text: str) -> None:
    row: dict[str, Any] = dict.fromkeys(ANSWERS.names, "0") | {"right": True, "cited": [], "holds": []}
    path = square.evaluations / "some" / "answers.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row | {"answer": f"They say: {text}"}], schema=ANSWERS), path)


def by_uid_alone_in_an_opinion(square: Square, uid: str, _text: str) -> None:
    opinions.keep(square, opinions.Opinion("?", "As somebody said.", (uid,), "good", "first"))


def in_the_card_of_an_export(square: Square, _uid: str, text: str) -> None:
    (square.models / "first-export" / "README.md").write_text(f"# A model\n\nIt says things like:\n\n> {text}\n")


def in_the_report(square: Square, _uid: str, text: str) -> None:
    square.report.write_text(f"<p>{html.escape(text).replace(' ', '&#32;')}</p>", encoding="utf-8")


def in_a_file_that_somebody_left(square: Square, _uid: str, text: str) -> None:
    (square.root / "corpus" / "notes").mkdir()
    (square.root / "corpus" / "notes" / "mine.txt").write_text("x" * 5000 + f" {text} and more")


def in_a_log_line_of_json(square: Square, _uid: str, text: str) -> None:
    line = json.dumps({"said": text.replace(" ", "\n")})
    (square.runs / "first" / "log.jsonl").write_text(f'{{"step": 1}}\n{line}\n')


def in_a_database(square: Square, _uid: str, text: str) -> None:
    with sqlite3.connect(square.root / "cache.db") as database:
        database.execute("CREATE TABLE answers (question TEXT, answer TEXT)")
        database.execute("INSERT INTO answers VALUES ('?', ?)", (text,))
    database.close()


def in_a_freed_page_of_a_database(square: Square, _uid: str, text: str) -> None:
    with sqlite3.connect(square.root / "cache.db") as database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("CREATE TABLE answers (answer TEXT)")
        database.execute("INSERT INTO answers VALUES (?)", (text,))
        database.commit()
        database.execute("DELETE FROM answers")
    database.close()


PLANTS: dict[Callable[[Square, str, str], None], str] = {
    in_an_old_version_of_the_posts: "posts (1)",
    in_an_old_version_in_which_another_post_was_live: "posts (1)",
    in_another_post_that_is_live_no_more: "posts (1)",
    in_quarantine_as_json_writes_it: "quarantine (1)",
    in_a_document: "corpus_documents (1)",
    by_uid_alone_among_what_was_dropped: "corpus_dropped (1)",
    in_a_turn_of_a_conversation: "corpus_conversations (1)",
    in_the_loser_of_a_pair: "corpus_pairs (",  # one, or two where it is the least or the greatest text too
    in_a_version_of_the_corpus_that_is_not_live: "corpus_documents (1)",
    in_a_dictionary_page_that_no_row_uses: "corpus_documents (1)",
    in_a_shard_as_tokens: "shards (1)",
    in_a_row_of_the_index: "index (1)",
    in_the_dictionary_of_the_index: "index_dictionary (",
    in_a_kept_answer: "evaluations (1)",
    by_uid_alone_in_an_opinion: "opinions (1)",
    in_the_card_of_an_export: "file models/first-export/README.md (1)",
    in_the_report: "report (1)",
    in_a_file_that_somebody_left: "file corpus/notes/mine.txt (1)",
    in_a_log_line_of_json: "file runs/first/log.jsonl (1)",
    in_a_database: "file cache.db (1)",
    in_a_freed_page_of_a_database: "file cache.db (1)",
}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_leftover_is_found_and_its_place_named(
    without: Square, victim: tuple[str, str], plant: Callable[[Square, str, str], None]
) -> None:
    plant(without, *victim)
    with pytest.raises(ProofError) as caught:
        prove(without)
    assert caught.value.exit_code == 8
    places = caught.value.message.removeprefix("removed posts are still in: ")
    assert places.startswith(PLANTS[plant])
    assert ", " not in places, "one leftover, one place"
    with Ledger.open(without) as ledger:
        ledger.verify()
        [entry] = ledger.entries("takedown_proof")
    assert entry.body["left"] == sum(entry.body["copies"].values()) > 0


def test_the_proof_of_a_clean_square_is_recorded_and_holds_no_content(without: Square, victim: tuple[str, str]) -> None:
    uid, text = victim
    record = prove(without)
    assert record["left"] == 0
    assert set(record["copies"].values()) == {0}
    assert record["texts_searched"] > 0
    assert record["removed_count"] == len(tables.removed_uids(without))
    assert record["runs_that_saw_them"] == {"first": 1}
    assert record["models_that_saw_them"] == {"first-export": 1}
    [told] = record["takedowns"]
    assert told["touched"]["corpus_documents"] >= 1
    assert told["touched"]["index"] >= 1
    assert told["latency_seconds"] >= 0
    with Ledger.open(without) as ledger:
        ledger.verify()
        [entry], [takedown] = ledger.entries("takedown_proof"), ledger.entries("takedown")
        recorded = json.dumps([dataclasses.asdict(entry) for entry in (*ledger.entries("takedown_asked"), takedown)])
    assert (entry.seq, entry.hash) == (record["ledger_row"], record["ledger_hash"])
    assert (told["row"], told["hash"]) == (takedown.seq, takedown.hash)
    kept = recorded + json.dumps(dataclasses.asdict(entry))
    words = [text[at : at + 20] for at in range(0, len(text) - 20, 5)]
    assert not any(word in kept for word in words)
    assert uid in recorded, "which post it was stays known: an id is no content"


def test_a_second_takedown_mends_what_the_proof_found(without: Square, victim: tuple[str, str]) -> None:
    in_a_document(without, *victim)
    by_uid_alone_among_what_was_dropped(without, *victim)
    with pytest.raises(ProofError, match=r"corpus_documents \(1\), corpus_dropped \(1\)"):
        prove(without)
    with pytest.raises(ProofError, match=r"in: corpus_documents \(1\)\n"):  # a text under another name is for a person
        town_square.taken_down(without, victim[0])
    documents = corpus.version(without) / "documents.parquet"
    table = pq.read_table(documents)
    pq.write_table(table.filter(pa.compute.not_equal(table["document_id"], OTHER)), documents)
    town_square.taken_down(without, victim[0])
    assert prove(without)["left"] == 0
