"""Shards: what stands in them, by hand; their manifest; and that a takedown leaves nothing."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from small_square import make_shards, posts

from townsquare import receipts
from townsquare.errors import InputError, StaleError
from townsquare.records import shard_schema
from townsquare.tokens import copies, tables
from townsquare.tokens.config import TokensConfig
from townsquare.tokens.vocabulary import Encoder, load

TALKS = [
    [("user", f"is the pool open at {hour}?"), ("assistant", f"yes, till {hour + 3}"), ("user", "ta")]
    for hour in range(8, 19)
]
PAIRS = [(f"is the mill open at {n}?", f"yes, from {n - 1} to {n + 2}", "dunno") for n in range(8, 20)]
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


def test_a_pair_is_two_conversations_of_which_the_replies_bear_loss(square, monkeypatch):
    make_shards(square, monkeypatch, conversations=[[("user", p), ("assistant", c)] for p, c, _ in PAIRS], pairs=PAIRS)
    (path,) = tables.shards(square, "pairs", "train")
    (talks,) = tables.shards(square, "conversations", "train")
    rows = read(path).to_pylist()
    trained = [(number, pair) for number, pair in enumerate(PAIRS) if number % 10 != 9]
    assert [row["uids"] for row in rows] == [[f"x:{number}p{i}" for i in range(3)] for number, _ in trained]
    encode = Encoder(tables.vocabulary_path(square)).encode
    for row, talk, (_, (prompt, _, rejected)) in zip(rows, read(talks).to_pylist(), trained, strict=True):
        middle = row["rejected_at"]
        assert (row["ids"][:middle], row["loss_mask"][:middle]) == (talk["ids"], talk["loss_mask"])
        user, assistant, newline, asked, reply = encode(["user\n", "assistant\n", "\n", prompt, rejected])
        head = [1, *user, *asked, 2, *newline, 1, *assistant]
        assert row["ids"][middle:] == [*head, *reply, 2, *newline]
        assert row["loss_mask"][middle:] == [False] * len(head) + [True] * (len(reply) + 1) + [False] * len(newline)
    assert len(tables.shards(square, "pairs", "validation")) == 1


def test_a_reply_inside_a_pair_s_prompt_bears_no_loss(square, monkeypatch):
    from townsquare.records import PAIRS as SCHEMA
    from townsquare.tokens.shards import pair_rows

    make_shards(square, monkeypatch)
    turns = [("user", "open?"), ("assistant", "who asks?"), ("user", "Ada")]
    prompt = [{"role": role, "text": text, "uids": []} for role, text in turns]
    row = {"pair_id": "a>b", "prompt": prompt, "chosen": "yes", "rejected": "no", "uids": [], "split": "train"}
    encoder = Encoder(tables.vocabulary_path(square))
    (found,) = pair_rows(pa.Table.from_pylist([row | {"scores": None}], schema=SCHEMA), encoder)
    learned = [i for i, counts in zip(found["ids"], found["loss_mask"], strict=True) if counts]
    assert learned == [*encoder.encode(["yes"])[0], 2, *encoder.encode(["no"])[0], 2]


def test_the_manifest_counts_what_is_on_disk(square, monkeypatch):
    texts = posts(100)
    receipt = make_shards(
        square,
        monkeypatch,
        texts=texts,
        conversations=TALKS,
        pairs=PAIRS,
        config=TokensConfig(vocabulary_size=400, shard_rows=32),
    )
    manifest = tables.manifest(square)
    assert [s["rows"] for s in manifest["shards"]["documents-train"]] == [32, 32, 26]
    for kind in ("documents", "conversations", "pairs"):
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
    assert receipt.counts == {"seen": 123, "kept": 123}
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
    pairs = [*PAIRS[:4], ("is it true?", "yes", "no, for all the geese have flown over the mill"), *PAIRS[4:]]
    make_shards(square, monkeypatch, texts=texts, conversations=TALKS, pairs=pairs)
    # The secret, the reply of the fourth conversation, the rejected reply of the fifth pair.
    uids = frozenset({"x:60", "x:301", "x:4p2"})
    sought = [SECRET, TALKS[3][1][1], pairs[4][2]]
    secret_ids = load(tables.vocabulary_path(square)).encode(SECRET).ids
    needle = pa.array(secret_ids, pa.uint16()).buffers()[1].to_pybytes()[: 2 * len(secret_ids)]
    assert copies.find(square, uids, [])["shards"] == 3
    assert copies.find(square, frozenset(), sought)["shards"] == 3
    assert copies.find(square, uids, sought)["shards"] == 3  # a row that both find counts once
    assert any(needle in path.read_bytes() for path in square.tokens.rglob("*.arrow"))
    before = read(tables.shards(square, "documents", "train")[0])

    assert copies.erase(square, uids) == {"shards": 3}
    assert copies.find(square, uids, sought) == {"shards": 0}
    assert not any(needle in path.read_bytes() for path in square.tokens.rglob("*.arrow"))
    assert [path.name for path in square.tokens.glob("v*")] == ["v0002"]
    after = read(tables.shards(square, "documents", "train")[0])
    assert after.to_pylist() == [row for row in before.to_pylist() if row["document_id"] != "x:60"]
    manifest = json.loads((tables.version(square) / "manifest.json").read_text())
    assert manifest["rows"] == len(texts) + len(TALKS) + len(pairs) - 3
    for entries in manifest["shards"].values():
        for entry in entries:
            assert entry["sha256"] == receipts.sha256_of(tables.version(square) / entry["file"])
    compared = read(tables.shards(square, "pairs", "train")[0])
    assert "x:4p1>x:4p2" not in compared["document_id"].to_pylist()
    assert len(compared) == 11
    assert compared.schema == shard_schema(manifest["vocabulary_size"], pairs=True)
    assert copies.erase(square, uids) == {"shards": 0}
    assert tables.version(square).name == "v0002"


def test_a_square_without_shards_has_nothing_to_erase(square):
    assert copies.erase(square, frozenset({"x:1"})) == {"shards": 0}
    assert copies.find(square, frozenset({"x:1"}), ["text"]) == {"shards": 0}
