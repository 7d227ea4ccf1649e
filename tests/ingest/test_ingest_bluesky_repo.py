"""Repositories (CAR): the tree, what an account says of itself in it, and every way in which a file can be damaged."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from bluesky_made import (
    ANN,
    BOB,
    KEY,
    POST,
    REPOST,
    STATED,
    Link,
    block,
    cbor,
    cid,
    posts_of_a_repository,
    put,
    record,
    ref,
    repository,
    tree,
    uri,
    varint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from ingesting import events_of, ingest, posts_of, quarantine_of

from townsquare.ingest.car import Blocks, read_blocks, records
from townsquare.square import Square

UID = f"bsky:{uri()}"
ONE = {f"{POST}/{KEY}": record("hi")}
DAMAGE = {"broken_file", "damaged_block", "damaged_tree", "missing_block", "broken_record", "no_commit"}


def write(path: Path, *pieces: bytes) -> Path:
    path.write_bytes(b"".join(pieces))
    return path


def reasons(square: Square) -> set[str]:
    return {row["reason"] for row in quarantine_of(square)}


def test_a_repository(square: Square, tmp_path: Path) -> None:
    held = {
        **ONE,
        f"{REPOST}/{KEY}": {"$type": REPOST, "subject": ref(BOB), "createdAt": STATED},
        f"app.bsky.feed.like/{KEY}": {"subject": ref(BOB), "createdAt": STATED},
        "app.bsky.actor.profile/self": {"displayName": "Ann"},
    }
    receipt = ingest(square, write(tmp_path / "ann.car", *repository(held)))
    assert receipt.counts == {"seen": 4, "kept": 2, "events": 1, "quarantined": {"not_taken:like": 1}}
    assert receipt.results["files"]["ann.car"]["format"] == "bluesky_repo"
    made = posts_of(square)[UID]
    assert (made["text"], made["author_id"], made["source_locator"]) == ("hi", ANN, f"ann.car:{POST}/{KEY}")
    assert (made["visibility"], made["consent_intent"]) == ("public", "undefined")
    assert made["observed_at"].isoformat() == "2024-09-09T19:46:02.251036+00:00"  # the commit's own key
    assert posts_of(square)[f"bsky:{uri(collection=REPOST)}"]["repost_of"] == f"bsky:{uri(BOB)}"


def test_the_real_repository_against_its_decoded_posts(square: Square, tmp_path: Path, shared_data: Path) -> None:
    """Every post, exactly: against the records as another tool wrote them."""
    ingest(square, shared_data / "bluesky" / "staging.repo.car")
    wanted = {
        given["uri"]: given["value"]
        for line in (shared_data / "bluesky" / "staging.posts.jsonl").read_text().splitlines()
        for given in [json.loads(line)]
    }
    made = {uid.removeprefix("bsky:"): row for uid, row in posts_of(square).items() if f"/{POST}/" in uid}
    assert made.keys() == wanted.keys()
    assert len(made) == 101
    for address, said in wanted.items():
        row, embed = made[address], said.get("embed", {})
        assert row["text_raw"] == said["text"]
        assert row["created_at"].isoformat(timespec="milliseconds") == said["createdAt"].replace("Z", "+00:00")
        parent = said.get("reply", {}).get("parent", {}).get("uri")
        assert row["reply_to"] == (parent and f"bsky:{parent}")
        quoted = embed.get("record", {})
        quoted = quoted.get("record", quoted).get("uri")
        assert row["quote_of"] == (quoted and f"bsky:{quoted}")
        pictures = embed.get("images") or embed.get("media", {}).get("images") or []
        assert [item["alt"] for item in row["media"] or []] == [item["alt"] or None for item in pictures]
        links = [item["value"] for item in said.get("entities", []) if item["type"] == "link"]
        assert set(links) <= {item["expanded"] for item in row["links"] or []}
    assert sum(row["reply_to"] is not None for row in made.values()) == 19
    assert reasons(square) == {"not_taken:like", "not_taken:follow"}


def test_the_real_posts_as_lines_are_the_same_posts(tmp_path: Path, shared_data: Path) -> None:
    squares = [Square.create(tmp_path / name) for name in ("car", "lines")]
    for square, name in zip(squares, ("staging.repo.car", "staging.posts.jsonl"), strict=True):
        ingest(square, shared_data / "bluesky" / name)
    names = ("text", "created_at", "created_at_trust", "reply_to", "conversation_root", "quote_of", "media", "links")
    car, lines = ({u: {n: row[n] for n in names} for u, row in posts_of(square).items()} for square in squares)
    assert {uid: row for uid, row in car.items() if f"/{POST}/" in uid} == lines


def test_the_real_repository_is_walked_as_another_reader_walks_it(shared_data: Path) -> None:
    import libipld

    path = shared_data / "bluesky" / "staging.repo.car"
    header, values = libipld.decode_car(path.read_bytes())

    def walked(address: bytes | None) -> list[tuple[str, bytes]]:
        if address is None:
            return []
        node, found, key = values[address], [], b""
        found += walked(node["l"])
        for entry in node["e"]:
            key = key[: entry["p"]] + entry["k"]
            found += [(key.decode(), entry["v"]), *walked(entry["t"])]
        return found

    with path.open("rb") as stream:
        blocks = read_blocks(stream)
    assert blocks.roots == header["roots"]
    assert len(blocks) == len(values) == 452
    root = values[header["roots"][0]]["data"]
    assert list(records(blocks, root)) == walked(root)


@settings(max_examples=30)
@given(st.dictionaries(st.text("abcdef./-", min_size=1, max_size=12), st.integers(0, 5), max_size=60))
def test_any_tree_gives_its_records_in_the_order_of_their_keys(said: dict[str, int]) -> None:
    held = {key: cbor({"n": value}) for key, value in said.items()}
    nodes, blocks = tree({key: cid(data) for key, data in held.items()}), Blocks()
    for number, data in enumerate([*nodes.values(), *held.values()]):
        blocks.add(number, cid(data), data)
    assert list(records(blocks, list(nodes)[-1])) == [(key, cid(held[key])) for key in sorted(held)]


def declaration(allow: Any) -> dict[str, Any]:
    return {"org.user-intents.declaration/self": {"syntheticContentGeneration": {"allow": allow}}}


def labelled(*labels: str) -> dict[str, Any]:
    return {"app.bsky.actor.profile/self": {"labels": {"values": [{"val": label} for label in labels]}}}


def test_what_the_account_says_of_itself_holds_for_its_posts(square: Square, tmp_path: Path) -> None:
    held = {**ONE, **labelled("!no-unauthenticated", "bot"), **declaration(False)}
    ingest(square, write(tmp_path / "a.car", *repository(held)))
    made = posts_of(square)[UID]
    assert (made["visibility"], made["consent_intent"], made["author_kind"]) == ("community", "deny", "bot")
    assert made["consent_seen_at"].isoformat() == "2024-09-09T19:46:02.251036+00:00"
    assert made["consent_source"] == "org.user-intents.declaration"
    kinds = sorted((event["kind"], event["scope"], event["target_author"]) for event in events_of(square))
    author = f"bsky:{ANN}"
    assert kinds == [("opt_out", "retrieve", author), ("opt_out", "train", author), ("protect", "all", author)]


def test_an_allow_and_an_intent_under_its_name_in_the_demo(square: Square, tmp_path: Path) -> None:
    demo = {key.replace("declaration", "demo.declaration"): value for key, value in declaration(False).items()}
    ingest(square, write(tmp_path / "a.car", *repository({**ONE, **demo})))
    assert posts_of(square)[UID]["consent_intent"] == "deny"
    other = Square.create(tmp_path / "other")
    ingest(other, write(tmp_path / "b.car", *repository({**ONE, **demo, **declaration(True)})))
    assert posts_of(other)[UID]["consent_intent"] == "allow"


def test_older_versions_and_blobs_are_no_posts(square: Square, tmp_path: Path) -> None:
    old = cbor(record("an older version"))
    receipt = ingest(square, write(tmp_path / "a.car", *repository(ONE), block(old)))
    assert receipt.counts == {"seen": 1, "kept": 1, "events": 0, "quarantined": {}}


def test_repositories_before_revisions(square: Square, tmp_path: Path) -> None:
    ingest(square, write(tmp_path / "a.car", *repository(ONE, rev=None, version=2)))
    assert posts_of(square)[UID]["observed_at"] is None


def test_odd_records_and_keys(square: Square, tmp_path: Path) -> None:
    held: dict[str, Any] = {
        **ONE,
        f"{POST}/b": {"text": 5},
        f"{POST}/c": ["a list"],
        f"{REPOST}/d": {"subject": "x"},
        f"{REPOST}/e": {"subject": ref(BOB, "f", "app.bsky.feed.generator")},
        "no-slash": record("nowhere"),
        "a/b/c": record("nowhere"),
    }
    receipt = ingest(square, write(tmp_path / "a.car", *repository(held)))
    assert receipt.counts["kept"] == 1
    assert receipt.counts["quarantined"] == {
        "not_a_post": 2,
        "not_a_record": 1,
        "not_taken:repost": 1,
        "strange_key": 2,
    }
    uids = {row["source_locator"].rpartition(":")[2]: row["uid"] for row in quarantine_of(square)}
    assert uids[f"{POST}/b"] == f"bsky:{uri(key='b')}"
    assert uids[f"{POST}/c"] == f"bsky:{uri(key='c')}"


def test_a_block_with_another_hash_is_damaged_and_its_post_is_told(square: Square, tmp_path: Path) -> None:
    held = posts_of_a_repository(5)
    pieces = repository(held)
    at = next(i for i, piece in enumerate(pieces) if b"mark3x" in piece)
    pieces[at] = pieces[at].replace(b"mark3x", b"forged")
    receipt = ingest(square, write(tmp_path / "a.car", *pieces))
    assert receipt.counts["kept"] == 4
    assert receipt.counts["quarantined"] == {"damaged_block": 1, "missing_block": 1}
    lost = f"bsky:at://{ANN}/{list(held)[3]}"
    assert [row["uid"] for row in quarantine_of(square) if row["reason"] == "missing_block"] == [lost]
    assert {row["visibility"] for row in posts_of(square).values()} == {"public"}, "the tree is whole"


def test_a_file_cut_anywhere_gives_what_is_whole_and_says_so(tmp_path: Path) -> None:
    pieces = repository(posts_of_a_repository(12))
    whole = b"".join(pieces)
    chance = random.Random(1)
    for number, cut in enumerate([1, 30, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(12))]):
        square = Square.create(tmp_path / str(number))
        path = write(tmp_path / f"{number}.car", whole[:cut])
        ingest(square, path)
        kept = {row["text"].split()[0] for row in posts_of(square).values()}
        assert len(kept) <= 12
        blob_alone = cut > len(whole) - len(pieces[-1])
        assert reasons(square) & DAMAGE
        if blob_alone:
            assert len(kept) == 12
        for i in range(12):
            if f"mark{i}x" not in kept and f"mark{i}x".encode() in whole[:cut] and len(pieces[0]) < cut:
                assert reasons(square) & {"no_commit", "unplaced_blocks", "missing_block", "broken_file"}


def test_a_tree_that_is_not_whole_may_lack_what_its_author_asked(square: Square, tmp_path: Path) -> None:
    """Its posts are kept, for nobody's use until a whole copy says that they are public."""
    held = {**posts_of_a_repository(60), **labelled("!no-unauthenticated")}
    pieces = repository(held)
    profile = cid(cbor(held["app.bsky.actor.profile/self"]))
    pieces.pop(next(i for i, piece in enumerate(pieces) if b"\0" + profile in piece))  # the node that links to it
    ingest(square, write(tmp_path / "a.car", *pieces))
    kept = posts_of(square)
    assert reasons(square) >= {"missing_block", "unplaced_blocks"}
    assert {row["visibility"] for row in kept.values()} <= {"unknown"}
    assert events_of(square) == []
    ingest(square, write(tmp_path / "b.car", *repository(posts_of_a_repository(60))))
    assert {row["visibility"] for row in posts_of(square).values()} == {"public"}


def test_a_lost_profile_leaves_it_unknown_whether_posts_are_public(square: Square, tmp_path: Path) -> None:
    pieces = [piece for piece in repository({**ONE, **labelled("bot")}) if b"values" not in piece]
    ingest(square, write(tmp_path / "a.car", *pieces))
    assert posts_of(square)[UID]["visibility"] == "unknown"


def test_a_header_that_names_no_root_leaves_the_commit_to_be_found(square: Square, tmp_path: Path) -> None:
    pieces = repository(ONE)
    for number, header in enumerate(
        [
            cbor({"roots": [], "version": 1}),
            cbor({"roots": [Link(b"\x01\x71\x12\x20" + b"x" * 32)], "version": 1}),
            b"\xff\xff",
        ]
    ):
        place = Square.create(tmp_path / str(number))
        ingest(place, write(tmp_path / f"{number}.car", varint(len(header)) + header, *pieces[1:]))
        assert posts_of(place)[UID]["text"] == "hi"


def test_without_a_commit_nobody_is_the_author(square: Square, tmp_path: Path) -> None:
    pieces = repository(ONE)
    ingest(square, write(tmp_path / "a.car", pieces[0], *pieces[2:]))
    assert posts_of(square) == {}
    assert reasons(square) == {"no_commit"}
    ingest(square, write(tmp_path / "b.car", *repository(ONE, did="ann.example")))
    assert posts_of(square) == {}
    assert "strange_key" in reasons(square)


@pytest.mark.parametrize(
    "tail",
    [
        b"\xff" * 20,
        varint(2**62) + b"\x01\x71\x12\x20",
        varint(2**62) + b"\x01\x55\x12\x20",
        varint(0) + varint(3) + b"abc",
        varint(5 << 20) + b"\x01\x71\x12\x20" + b"x" * 100,
        b"\x80" * 12,
    ],
)
def test_hostile_lengths_end_the_reading_and_cost_nothing_before(square: Square, tmp_path: Path, tail: bytes) -> None:
    ingest(square, write(tmp_path / "a.car", *repository(ONE), tail))
    assert posts_of(square)[UID]["text"] == "hi"
    assert reasons(square) & {"broken_file", "damaged_block"}


def test_a_hostile_header(square: Square, tmp_path: Path) -> None:
    ingest(square, write(tmp_path / "a.car", varint(2**62), b"\xa2eroots"))
    assert reasons(square) == {"broken_file", "no_commit"}


def lying_repository(data: bytes, *blocks: bytes) -> list[bytes]:
    """A repository whose root node is `data`."""
    latest = cbor({"did": ANN, "version": 3, "data": cid(data), "prev": None, "rev": "3l3qo2vutsw2b", "sig": b""})
    header = cbor({"roots": [cid(latest)], "version": 1})
    return [varint(len(header)) + header, block(latest), block(data), *blocks]


def test_a_node_that_comes_twice_doubles_nothing(square: Square, tmp_path: Path) -> None:
    """A hundred levels that each name the next one twice would be 2 to the 100th records."""
    leaf = cbor(record("hi"))
    node = cbor({"l": None, "e": [{"p": 0, "k": f"{POST}/{KEY}".encode(), "v": cid(leaf), "t": None}]})
    blocks = [block(leaf), block(node)]
    for _ in range(100):
        entry = {"p": 0, "k": b"a/b", "v": cid(leaf), "t": cid(node)}
        node = cbor({"l": cid(node), "e": [entry]})
        blocks.append(block(node))
    receipt = ingest(square, write(tmp_path / "a.car", *lying_repository(node, *blocks)))
    assert receipt.counts["seen"] < 400
    assert posts_of(square)[UID]["text"] == "hi"
    assert "damaged_tree" in reasons(square)


def test_a_tree_ten_thousand_deep(square: Square, tmp_path: Path) -> None:
    leaf = cbor(record("hi"))
    node = cbor({"l": None, "e": [{"p": 0, "k": f"{POST}/{KEY}".encode(), "v": cid(leaf), "t": None}]})
    blocks = [block(leaf), block(node)]
    for _ in range(10_000):
        node = cbor({"l": cid(node), "e": []})
        blocks.append(block(node))
    ingest(square, write(tmp_path / "a.car", *lying_repository(node, *blocks)))
    assert posts_of(square)[UID]["text"] == "hi"


@pytest.mark.parametrize(
    "node",
    [
        {"e": "x"},
        {"l": None},
        {"e": [{"p": 5, "k": b"a", "v": Link(b"\x01\x71\x12\x20" + b"x" * 32)}]},
        {"e": [{"p": -1, "k": b"a", "v": Link(b"\x01\x71\x12\x20" + b"x" * 32)}]},
        {"e": [{"p": 0, "k": "a", "v": None}]},
        {"e": [{"p": 0, "k": b"a" * 2000, "v": Link(b"\x01\x71\x12\x20" + b"x" * 32)}]},
        {"e": [5]},
        ["e"],
    ],
)
def test_nodes_of_another_form(square: Square, tmp_path: Path, node: Any) -> None:
    ingest(square, write(tmp_path / "a.car", *lying_repository(cbor(node))))
    assert reasons(square) == {"damaged_tree"}


def test_a_record_nested_beyond_reason(square: Square, tmp_path: Path) -> None:
    deep = b"\x81" * 100_000 + b"\x00"
    nodes = tree({f"{POST}/{KEY}": cid(deep)})
    root = list(nodes.values())[-1]
    ingest(square, write(tmp_path / "a.car", *lying_repository(root, block(deep))))
    assert [(row["reason"], row["uid"]) for row in quarantine_of(square)] == [("broken_record", UID)]


def test_a_deletion_from_the_stream_wins_over_a_repository(square: Square, tmp_path: Path) -> None:
    from bluesky_made import commit

    ingest(square, put(tmp_path / "a.jsonl", commit(None, operation="delete")))
    ingest(square, write(tmp_path / "a.car", *repository(ONE)))
    row = posts_of(square)[UID]
    assert (row["state"], row["text"]) == ("deleted", None)
