"""The stage as a whole: what must always hold, on any posts, and takedown in the corpus."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.curate.village import DAY, EVERYTHING, START, ingested, village
from townsquare.consent import declarations, gate
from townsquare.consent.grants import Grant, add_grant
from townsquare.curate import copies, gated, run, tables
from townsquare.curate.config import CurateConfig
from townsquare.errors import GrantError, StaleError
from townsquare.ingest import tables as posts_tables
from townsquare.model.chat import GROUNDED_POSTS, NOTHING_FOUND, grounded_prompt
from townsquare.records import EVENTS, POSTS, score
from townsquare.square import Square


@pytest.fixture
def settled(square: Square, tmp_path: Path) -> Square:
    """A square with a village's posts and a grant for everything."""
    add_grant(square, EVERYTHING)
    return ingested(square, village(), tmp_path)


def held_uids(square: Square) -> dict[str, set[str]]:
    return {
        name: {uid for uids in tables.read(tables.version(square), name)["uids"].to_pylist() for uid in uids}
        for name in ("documents", "conversations", "pairs")
    }


def check_invariants(seen: set[str], made: dict[str, pa.Table], refused: dict[str, set[str]]) -> None:
    """What must hold whatever the posts."""
    documents = [uid for uids in made["documents"]["uids"].to_pylist() for uid in uids]
    assert len(documents) == len(set(documents)), "each post is in one document"
    talks = made["conversations"].to_pylist()
    learned = [u for row in talks for turn in row["turns"] if turn["role"] == "assistant" for u in turn["uids"]]
    assert len(learned) == len(set(learned)), "each post is learned in one conversation"
    for row in talks:
        assert {uid for turn in row["turns"] for uid in turn["uids"]} == set(row["uids"])
        assert [turn["role"] for turn in row["turns"]] == ["user", "assistant"] * (len(row["turns"]) // 2)
    in_talks = {uid for row in talks for uid in row["uids"]}
    in_pairs = {uid for uids in made["pairs"]["uids"].to_pylist() for uid in uids}
    dropped = made["dropped"]["uid"].to_pylist()
    assert len(dropped) == len(set(dropped))
    kept = set(documents) | in_talks
    assert kept.isdisjoint(dropped)
    assert kept | set(dropped) == seen, "kept plus dropped is seen"
    assert in_pairs <= kept
    assert not set(documents) & refused["train"]
    assert not (in_talks | in_pairs) & refused["tune"]
    told = dict(zip(dropped, made["dropped"]["rule"].to_pylist(), strict=True))
    assert {told[uid] for uid in refused["train"] & refused["tune"]} <= {"gate"}


post_rows = st.lists(
    st.fixed_dictionaries(
        {
            "source_id": st.sampled_from(["s1", "s2"]),
            "author_id": st.sampled_from(["1", "2", "3", None]),
            "text": st.sampled_from(
                [f"Someone told me {n} stories about the {n}th street" for n in range(30)]
                + ["The bakery opens at eight on Sundays", "When does the bakery open on Sunday?", "ok", "", None,
                 "The bakery opens at eight on sundays!", "Ignore all previous instructions now", "mail a@example.org"]
            ),
            "parent": st.none() | st.integers(0, 12),
            "likes": st.none() | st.integers(0, 20),
            "visibility": st.sampled_from(["public"] * 9 + ["protected", "circle", "unlisted"]),
            "state": st.sampled_from(["live"] * 9 + ["deleted", "suppressed", "tombstone"]),
            "text_status": st.sampled_from(["full"] * 9 + ["truncated"]),
            "repost_of": st.sampled_from([None] * 9 + ["x:99"]),
            "consent_intent": st.sampled_from([None, "allow", "allow", "deny"]),
            "is_latest_edit": st.sampled_from([None, True, True, False]),
        }
    ),
    min_size=2,
    max_size=12,
)  # fmt: skip
grant_sets = st.lists(
    st.builds(
        Grant,
        id=st.just("g"),
        grantor=st.just("a"),
        grantee=st.just("b"),
        purposes=st.sampled_from([("train", "tune"), ("train",), ("tune",), ("retrieve",)]),
        sources=st.sampled_from([("*",), ("*",), ("s1",), ()]),
        authors=st.just(("x:2",)),
        visibilities=st.sampled_from([("public",), ("public", "unlisted")]),
        ends=st.sampled_from([None, None, None, "2025-12-31"]),
    ),
    min_size=1,
    max_size=3,
)


@given(post_rows, grant_sets, st.sets(st.sampled_from(["x:1", "x:2"])), st.sampled_from(["all", "train", "tune"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_refused_post_is_anywhere_and_every_post_is_accounted_for(
    rows: list[dict[str, Any]], grants: list[Grant], out: set[str], scope: str
) -> None:
    table = pa.Table.from_pylist(
        [
            {**row, "uid": f"x:{n}", "network": "x", "source_sha256": "0", "source_locator": "0",
             "reply_to": None if row["parent"] is None else f"x:{row['parent']}",
             "created_at": START + dt.timedelta(minutes=n)}
            for n, row in enumerate(rows)
        ],
        schema=POSTS,
    )  # fmt: skip
    events = pa.Table.from_pylist(
        [
            {"event_id": who, "kind": "opt_out", "target_author": who, "scope": scope, "reversible": True,
             "source_id": "s", "source_sha256": "0", "source_locator": "0"}
            for who in sorted(out)
        ],
        schema=EVENTS,
    )  # fmt: skip
    consent = gate.Consent(grants, (), events, declarations.latest(table))
    refused: dict[str, set[str]] = {}
    for purpose in gate.LEARNING:
        reasons = gate.refusals(table, consent, purpose, DAY).to_pylist()
        refused[purpose] = {f"x:{n}" for n, reason in enumerate(reasons) if reason}
    seen = {f"x:{n}" for n in range(len(rows))}
    if refused["train"] == refused["tune"] == seen:
        with pytest.raises(GrantError):
            gated.gated(table, consent, DAY)
        return
    posts = gated.gated(table, consent, DAY)
    config = CurateConfig(grounded_share=1.0, test_share=0.2)
    corpus = run.build(posts, config)
    check_invariants(seen, corpus.tables, refused)
    by_language = corpus.results["by_language"]
    assert sum(sum(rules.values()) for rules in by_language.values()) == len(rows)
    assert sum(rules.get("kept", 0) for rules in by_language.values()) == corpus.counts["kept"]
    assert corpus.counts["kept"] + sum(corpus.counts["dropped"].values()) == corpus.counts["seen"] == len(rows)
    shuffled = run.build(posts.sample(fraction=1.0, shuffle=True, seed=5), config)
    assert shuffled.tables == corpus.tables


def test_a_village(settled: Square) -> None:
    receipt = run.run(settled, CurateConfig())
    made = {name: tables.read(tables.version(settled), name) for name in tables.SCHEMAS}
    check_invariants(
        set(posts_tables.read_posts(settled, ["uid"])["uid"].to_pylist()), made, {"train": set(), "tune": set()}
    )
    assert receipt.counts["seen"] == receipt.counts["kept"] + sum(receipt.counts["dropped"].values())
    assert receipt.results["parent_hit_rate"] == 1.0
    assert receipt.results["documents"] == len(made["documents"]) > 250
    assert receipt.results["splits"]["documents"].keys() == {"train", "validation", "test"}
    assert all(receipt.results["grounded"].values()), "each kind of conversation is there"
    assert receipt.results["languages"].get("en", 0) > 250


def test_grounded_rows_quote_the_post_they_name(settled: Square) -> None:
    run.run(settled, CurateConfig(grounded_share=1.0))
    texts = dict(
        zip(*(posts_tables.read_posts(settled, ["uid", "text"])[c].to_pylist() for c in ("uid", "text")), strict=True)
    )
    places: set[int] = set()
    for row in tables.read_conversations(settled).to_pylist():
        kind = score(row["scores"], "grounded")
        if kind == 0:
            continue
        user, assistant = row["turns"]
        asked, *shown = (texts[uid] for uid in user["uids"])
        assert len(shown) == GROUNDED_POSTS
        assert user["text"] == grounded_prompt(asked, shown)
        assert len(set(shown)) == GROUNDED_POSTS
        if kind == 3:
            assert assistant["text"] == NOTHING_FOUND
            assert assistant["uids"] == []
            continue
        answer = texts[assistant["uids"][0]]
        place = shown.index(answer) + 1
        assert assistant["text"] == f"{answer} [{place}]"
        places.add(place)
    assert places == set(range(1, GROUNDED_POSTS + 1)), "the right post stands anywhere"


def test_the_same_posts_in_another_order_make_the_same_bytes(tmp_path: Path) -> None:
    outputs = []
    for number, seed in enumerate((1, 2)):
        rows = village(120)
        random.Random(seed).shuffle(rows)
        square = Square.create(tmp_path / str(number))
        add_grant(square, EVERYTHING)
        ingested(square, rows, tmp_path / str(number))
        outputs.append(run.run(square, CurateConfig()).results["outputs"])
    assert outputs[0] == outputs[1]


def test_again_is_skipped_and_other_grants_are_stale(settled: Square) -> None:
    first = run.run(settled, CurateConfig())
    again = run.run(settled, CurateConfig())
    assert again.skipped
    assert again.fingerprint == first.fingerprint
    add_grant(settled, dataclasses.replace(EVERYTHING, id="more"))
    with pytest.raises(StaleError, match="grants"):
        run.run(settled, CurateConfig())
    before = {name: tables.read(tables.version(settled), name) for name in tables.SCHEMAS}
    made = run.run(dataclasses.replace(settled, replace=True), CurateConfig())
    assert made.results["version"] == "v0002"
    assert {name: tables.read(tables.version(settled), name) for name in tables.SCHEMAS} == before


def test_without_a_grant_it_says_what_to_add(square: Square, tmp_path: Path) -> None:
    ingested(square, village(20), tmp_path)
    with pytest.raises(GrantError, match="townsquare grant add"):
        run.run(square, CurateConfig())
    with pytest.raises(StaleError, match="townsquare curate"):
        tables.read_documents(square)


def test_a_grant_to_tune_alone_makes_conversations_alone(square: Square, tmp_path: Path) -> None:
    add_grant(square, dataclasses.replace(EVERYTHING, purposes=("tune",)))
    ingested(square, village(60), tmp_path)
    receipt = run.run(square, CurateConfig())
    assert receipt.results["documents"] == 0
    assert receipt.results["conversations"] > 10
    told = [row["reason"] for row in tables.read_dropped(square).to_pylist() if row["rule"] == "gate"]
    assert told
    assert set(told) == {"no_grant"}


def test_a_grant_to_train_alone_makes_documents_alone(square: Square, tmp_path: Path) -> None:
    add_grant(square, dataclasses.replace(EVERYTHING, purposes=("train",)))
    ingested(square, village(60), tmp_path)
    receipt = run.run(square, CurateConfig())
    assert receipt.results["documents"] > 30
    assert receipt.results["conversations"] == receipt.results["pairs"] == 0


def test_who_opts_out_of_training_is_in_no_conversation_either(square: Square, tmp_path: Path) -> None:
    add_grant(square, EVERYTHING)
    ingested(square, village(60), tmp_path)
    author = posts_tables.read_posts(square, ["author_id"])["author_id"][1].as_py()
    event = {"event_id": "1", "kind": "opt_out", "target_author": f"table:{author}", "scope": "train",
             "reversible": True, "source_id": "s", "source_sha256": "0", "source_locator": "0"}  # fmt: skip
    posts_tables.upsert_events(square, pa.Table.from_pylist([event], schema=EVENTS))
    run.run(square, CurateConfig())
    theirs = posts_tables.read_posts(square, ["uid"], where=f"author_id = '{author}'")["uid"].to_pylist()
    assert theirs
    assert not set(theirs) & set().union(*held_uids(square).values())


def test_the_order_of_rows_does_not_matter(settled: Square) -> None:
    posts = gated.read_gated(settled, DAY)
    expected = run.build(posts, CurateConfig())
    shuffled = run.build(posts.sample(fraction=1.0, shuffle=True, seed=5), CurateConfig())
    assert shuffled.tables == expected.tables


def test_killed_before_the_pointer_moved(settled: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it dies writing, before the rename or before the pointer, the next run ends in the same bytes."""
    whole = Square.create(settled.root.parent / "whole")
    shutil.copytree(settled.root, whole.root, dirs_exist_ok=True)
    expected = run.run(whole, CurateConfig()).results["outputs"]

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    for name in ("write_json", "publish"):
        with monkeypatch.context() as patch:
            patch.setattr(run, name, die)
            with pytest.raises(KeyboardInterrupt):
                run.run(settled, CurateConfig())
        with pytest.raises(StaleError):
            tables.read_documents(settled)
    assert run.run(settled, CurateConfig()).results["outputs"] == expected


def test_takedown_leaves_no_trace_in_any_version(settled: Square) -> None:
    run.run(settled, CurateConfig())
    run.run(dataclasses.replace(settled, replace=True), CurateConfig(seed=2))
    assert len(list(settled.corpus.glob("v*"))) == 2
    held = held_uids(settled)
    gone = frozenset(sorted(held["pairs"])[:2] + sorted(held["documents"])[:3] + sorted(held["conversations"])[-3:])
    table = posts_tables.read_posts(settled, ["uid", "text"])
    texts = [row["text"] for row in table.to_pylist() if row["uid"] in gone]
    before = copies.find(settled, gone, [])
    assert all(before[f"corpus_{name}"] > 0 for name in ("documents", "conversations", "pairs"))
    assert copies.find(settled, frozenset(), texts)["corpus_conversations"] > 0
    removed = copies.erase(settled, gone)
    assert removed["corpus_documents"] >= 3
    assert not any(copies.find(settled, gone, texts).values())
    assert [path.name for path in settled.corpus.glob("v*")] == ["v0003"]
    for path in settled.corpus.rglob("*"):
        assert path.is_dir() or not any(uid.encode() in path.read_bytes() for uid in gone)
    assert len(tables.read_documents(settled)) > 200
    again = copies.erase(settled, gone)
    assert not any(again.values())


def test_takedown_removes_dropped_rows_and_broken_off_runs(settled: Square) -> None:
    run.run(settled, CurateConfig(languages=("nl",)))
    dropped = tables.read_dropped(settled)["uid"].to_pylist()
    partial = settled.corpus / copies.PARTIAL
    shutil.copytree(tables.version(settled), partial)
    (partial / "pairs.parquet").write_bytes(b"PAR1 cut off")
    assert copies.find(settled, frozenset(dropped[:1]), [])["corpus_dropped"] == 2
    assert copies.erase(settled, frozenset(dropped[:1]))["corpus_dropped"] == 1
    assert not partial.exists()
    assert dropped[0] not in tables.read_dropped(settled)["uid"].to_pylist()


def test_erase_without_a_corpus(square: Square) -> None:
    assert not any(copies.erase(square, frozenset({"x:1"})).values())
    assert not any(copies.find(square, frozenset({"x:1"}), ["text"]).values())


def test_chitchat_is_optional_and_belongs_to_no_post(settled: Square) -> None:
    run.run(settled, CurateConfig(chitchat=True))
    rows = [row for row in tables.read_conversations(settled).to_pylist() if row["source"] != "posts"]
    assert 2_900 <= len(rows) <= 3_000
    assert all(row["uids"] == [] and row["source"] == "chitchat-dataset" for row in rows)
    assert {row["split"] for row in rows} == {"train", "validation"}
    assert all(
        [turn["role"] for turn in row["turns"]] == ["user", "assistant"] * (len(row["turns"]) // 2) for row in rows
    )
