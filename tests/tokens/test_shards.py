"""Shards: what stands in them, by hand; their manifest; and that a takedown leaves nothing."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from small_square import make_shards, posts

from townsquare import receipts
from townsquare.errors import InputError, StaleError
from townsquare.tokens import copies, tables
from townsquare.tokens.config import TokensConfig
from townsquare.tokens.vocabulary import Encoder, load

TALKS = [
    [("user", f"is the pool open at {hour}?"), ("assistant", f"yes, till {hour + 3}"), ("user", "ta")]
    for hour in range(8, 19)
]
SECRET = "only Zebulon knows where the blue lantern hangs tonight"


def read(path) -> pa.Table:
    with pa.OSFile(str(path), "rb") as source:
        return pa.ipc.open_file(source).read_all()


def test_a_document_is_its_text_between_ends(square, monkeypatch):
    texts = posts(40)
    make_shards(square, monkeypatch, texts=texts)
    tokenizer = load(tables.vocabulary_path(square))
    (train,) = tables.shards(square, "documents", "train")
    rows = read(train).to_pylist()
    kept = [(f"x:{i}", text) for i, text in enumerate(texts) if i % 10 != 9]
    assert [(row["document_id"], row["uids"]) for row in rows] == [(uid, [uid]) for uid, _ in kept]
    for row, (_, text) in zip(rows, kept, strict=True):
        assert row["ids"] == [0, *tokenizer.encode(text).ids, 0]
        assert row["loss_mask"] == [False] + [True] * (len(row["ids"]) - 1)


def test_only_the_assistant_s_turns_bear_loss(square, monkeypatch):
    make_shards(square, monkeypatch, conversations=TALKS)
    encode = Encoder(tables.vocabulary_path(square)).encode
    (train,) = tables.shards(square, "conversations", "train")
    row = read(train).to_pylist()[0]
    user, assistant, newline, first, reply, last = encode(
        ["user\n", "assistant\n", "\n", *(text for _, text in TALKS[0])]
    )
    parts = [
        ([1, *user], False),
        ([*first, 2], False),
        ([*newline, 1, *assistant], False),
        ([*reply, 2], True),
        ([*newline, 1, *user], False),
        ([*last, 2, *newline], False),
    ]
    assert row["ids"] == [i for ids, _ in parts for i in ids]
    assert row["loss_mask"] == [learned for ids, learned in parts for _ in ids]
    assert row["uids"] == ["x:000", "x:001", "x:002"]


def test_the_manifest_counts_what_is_on_disk(square, monkeypatch):
    texts = posts(100)
    receipt = make_shards(
        square, monkeypatch, texts=texts, conversations=TALKS, config=TokensConfig(vocabulary_size=400, shard_rows=32)
    )
    manifest = tables.manifest(square)
    assert [s["rows"] for s in manifest["shards"]["documents-train"]] == [32, 32, 26]
    for kind in ("documents", "conversations"):
        for split in ("train", "validation", "test"):
            files = tables.shards(square, kind, split)
            entries = manifest["shards"][f"{kind}-{split}"]
            assert [path.name for path in files] == [entry["file"] for entry in entries]
            for path, entry in zip(files, entries, strict=True):
                table = read(path)
                assert entry["rows"] == len(table)
                assert entry["tokens"] == sum(len(ids) for ids in table["ids"].to_pylist())
                assert entry["sha256"] == receipts.sha256_of(path)
                assert table.schema.field("ids").type == pa.list_(pa.uint16())
    assert receipt.counts == {"seen": 111, "kept": 111}
    total_bytes = sum(len(text.encode()) for text in texts)
    tokens = sum(
        s["tokens"] - 2 * s["rows"] for name in manifest["shards"] if "doc" in name for s in manifest["shards"][name]
    )
    assert manifest["bytes_per_token"] == pytest.approx(total_bytes / tokens)


def test_the_same_corpus_gives_the_same_bytes_and_is_skipped(square, monkeypatch, tmp_path):
    from townsquare.square import Square

    first = make_shards(square, monkeypatch)
    again = make_shards(square, monkeypatch)
    assert again.skipped
    elsewhere = make_shards(Square.create(tmp_path / "other"), monkeypatch)
    assert elsewhere.results["outputs"] == first.results["outputs"]
    (square.tokens / ".partial").mkdir()  # as a killed run leaves it
    (square.tokens / ".partial" / "junk").write_text("x")
    with pytest.raises(StaleError, match="shard_rows"):
        make_shards(square, monkeypatch, config=TokensConfig(vocabulary_size=512, shard_rows=9))
    anew = Square.open(square.root, replace=True)
    make_shards(anew, monkeypatch, config=TokensConfig(vocabulary_size=512, shard_rows=90))
    assert tables.version(square).name == "v0002"
    assert not (tables.version(square) / "junk").exists()


def test_no_shards_yet_names_the_command(square):
    with pytest.raises(StaleError, match="townsquare tokens"):
        tables.version(square)


def test_a_base_that_is_not_there_is_refused(square, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="no such base"):
        make_shards(square, monkeypatch, config=TokensConfig(base=tmp_path / "nowhere"))


def test_a_takedown_leaves_neither_row_nor_byte(square, monkeypatch):
    texts = [*posts(60), SECRET, *posts(20, seed=3)]
    make_shards(square, monkeypatch, texts=texts, conversations=TALKS)
    uids = frozenset({"x:60", "x:301"})  # the secret, and the reply of the fourth conversation
    sought = [SECRET, TALKS[3][1][1]]
    secret_ids = load(tables.vocabulary_path(square)).encode(SECRET).ids
    needle = pa.array(secret_ids, pa.uint16()).buffers()[1].to_pybytes()[: 2 * len(secret_ids)]
    assert copies.find(square, uids, [])["shards"] == 2
    assert copies.find(square, frozenset(), sought)["shards"] == 2
    assert copies.find(square, uids, sought)["shards"] == 2  # a row that both find counts once
    assert any(needle in path.read_bytes() for path in square.tokens.rglob("*.arrow"))
    before = read(tables.shards(square, "documents", "train")[0])

    assert copies.erase(square, uids) == {"shards": 2}
    assert copies.find(square, uids, sought) == {"shards": 0}
    assert not any(needle in path.read_bytes() for path in square.tokens.rglob("*.arrow"))
    assert [path.name for path in square.tokens.glob("v*")] == ["v0002"]
    after = read(tables.shards(square, "documents", "train")[0])
    assert after.to_pylist() == [row for row in before.to_pylist() if row["document_id"] != "x:60"]
    manifest = json.loads((tables.version(square) / "manifest.json").read_text())
    assert manifest["rows"] == len(texts) + len(TALKS) - 2
    for entries in manifest["shards"].values():
        for entry in entries:
            assert entry["sha256"] == receipts.sha256_of(tables.version(square) / entry["file"])
    assert copies.erase(square, uids) == {"shards": 0}
    assert tables.version(square).name == "v0002"


def test_a_square_without_shards_has_nothing_to_erase(square):
    assert copies.erase(square, frozenset({"x:1"})) == {"shards": 0}
    assert copies.find(square, frozenset({"x:1"}), ["text"]) == {"shards": 0}
