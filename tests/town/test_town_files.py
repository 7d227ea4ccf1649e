"""The town's files pass through the doors that real data passes, and come out as the truth says."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from townsquare import receipts
from townsquare.consent import gate
from townsquare.consent.grants import Grant
from townsquare.errors import ConfigError, StaleError
from townsquare.ingest import tables as ingested
from townsquare.square import Square
from townsquare.town import tables
from townsquare.town.config import TownConfig
from townsquare.town.formats.x_archive import PRIVATE
from townsquare.town.networks import NETWORK_OF
from townsquare.town.run import run
from townsquare.town.stream import stream
from townsquare.town.threads import Talk
from townsquare.town.world import World

POSTS, SEED = 2_000, 1  # as in conftest.py


def test_ingest_counts_what_the_truth_expects(town: Any) -> None:
    expected = {item["name"]: item for item in tables.read_expected(town.square)}
    assert expected.keys() == town.ingests.keys()
    assert {item["format"] for item in expected.values()} == {
        "x_api_v2", "x_stream", "bluesky_jetstream", "mastodon", "x_archive", "x_compliance", "opt_out",
    }  # fmt: skip
    for name, receipt in town.ingests.items():
        counts, wanted = receipt.counts, expected[name]
        assert (counts["kept"], counts["events"]) == (wanted["kept"], wanted["events"]), name
        assert counts["quarantined"] == wanted["quarantined"], name
        assert receipt.results["files"].popitem()[1]["format"] == wanted["format"]


def test_every_post_ends_in_the_state_that_the_truth_names(town: Any) -> None:
    nowhere = {"absent", "quarantined"}
    wanted = {uid: row["state"] for uid, row in town.truth.items() if row["state"] not in nowhere}
    assert {uid: row["state"] for uid, row in town.rows.items()} == wanted
    held = {row["uid"] for row in ingested.read_quarantine(town.square).to_pylist() if row["uid"]}
    assert {uid for uid, row in town.truth.items() if row["state"] == "quarantined"} <= held
    assert len(town.truth) == POSTS


def test_the_text_comes_back_as_it_was_written(town: Any) -> None:
    """Through escaping, short links, mentions, long posts' notes and zips."""
    compared = Counter()
    for post in stream(World(POSTS, SEED), Talk(), POSTS, SEED):
        row = town.rows.get(post.uid)
        if row is None or row["state"] == "deleted":
            continue
        assert row["author_id"] == post.person.account
        assert row["created_at"].timestamp() == post.ms // 1000
        assert row["reply_to"] == post.parent_uid
        if post.repost is None:
            assert row["text"] == post.text
            assert row["quote_of"] == (post.quote.uid if post.quote else None)
        compared[post.person.home] += 1
    assert set(compared) == set(NETWORK_OF)
    assert min(compared.values()) > 50


def test_labels_match_what_ingest_sees(town: Any) -> None:
    """Facts about a row that the importers find by themselves, against the hidden labels."""
    api = {uid: row for uid, row in town.rows.items() if row["source_locator"].startswith("20-")}
    labelled = {uid: set(town.truth[uid]["defects"]) for uid in api}
    live = {uid: row for uid, row in api.items() if row["state"] == "live"}
    for uid, row in live.items():
        assert (row["repost_of"] is not None) == ("repost" in labelled[uid])
        assert (row["text_status"] == "truncated") == ("truncated" in labelled[uid])
        assert (row["is_latest_edit"] is False) == ("superseded" in labelled[uid])
        for secret in town.truth[uid]["secrets"]:
            assert secret in row["text"]
    hidden = {uid for uid, row in api.items() if row["visibility"] == "protected"}
    assert hidden
    assert all("protected" in labelled[uid] for uid in hidden)
    lost = {u for u, r in live.items() if r["reply_to"] and r["reply_to"] not in town.truth}
    assert lost == {u for u in live if "missing_parent" in labelled[u]}


def test_the_towns_grant_lets_in_what_is_live_public_and_consented(town: Any) -> None:
    posts, grant = ingested.read_posts(town.square), tables.grant(town.square)
    consent = dataclasses.replace(ingested.read_consent(town.square), grants=[grant])
    reasons = gate.refusals(posts, consent, "train", gate.today()).to_pylist()
    refused = dict(zip(posts["uid"].to_pylist(), reasons, strict=True))
    assert isinstance(grant, Grant)
    for uid, reason in refused.items():
        defects = set(town.truth[uid]["defects"])
        out = defects & {"deleted", "opted_out", "suspended", "author_deleted", "protected", "repost"}
        assert (reason is None) == (not out), (reason, defects)


def test_every_defect_is_there(town: Any) -> None:
    wanted = {
        "spam", "bot", "copy", "near_copy", "personal_data", "boilerplate", "low_information", "injection", "toxic",
        "missing_parent", "superseded", "deleted", "protected", "suspended", "opted_out", "repost", "truncated",
        "mistaken", "author_deleted", "circle",
    }  # fmt: skip
    assert wanted <= set(town.receipt.results["defects"])
    assert set(town.receipt.results["languages"]) == {"en", "de", "fr", "es", "it", "pt", "nl"}
    assert town.receipt.results["languages"]["en"] > 0.9 * POSTS


def test_conversations_are_deep_and_branch(town: Any) -> None:
    children = Counter(row["reply_to"] for row in town.rows.values() if row["reply_to"])

    def depth(uid: str) -> int:
        parent = town.rows[uid]["reply_to"]
        return 1 if parent is None or parent not in town.rows else 1 + depth(parent)

    depths = Counter(depth(uid) for uid in town.rows)
    assert {2, 3, 4, 5, 6, 7} <= set(depths)
    assert max(depths) <= 12
    assert sum(count > 1 for count in children.values()) > 20
    for row in town.rows.values():
        parent = town.rows.get(row["reply_to"] or "")
        assert parent is None or parent["created_at"] <= row["created_at"], "an answer comes after what it answers"


def test_the_zips_hold_what_must_never_be_read(town: Any) -> None:
    archives = [path for path in tables.source_paths(town.square) if path.suffix == ".zip"]
    everything = json.dumps([*town.rows.values()], default=str)
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            assert PRIVATE.encode() in archive.read("data/direct-messages.js")
            assert {info.date_time for info in archive.infolist()} == {(2024, 11, 5, 0, 0, 0)}
            likes = archive.read("data/like.js").decode()
            assert '"fullText"' in likes
    assert len(archives) >= 3
    assert PRIVATE not in everything


def test_the_same_seed_makes_the_same_bytes_in_any_process(square: Square, tmp_path: Path) -> None:
    outputs = run(square, TownConfig(posts=400, seed=9)).results["outputs"]
    code = (
        "import json,sys; from townsquare.square import Square; from townsquare.town.run import run;"
        "from townsquare.town.config import TownConfig as C;"
        "print(json.dumps(run(Square.create(sys.argv[1]), C(posts=400, seed=9)).results['outputs']))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    command = [sys.executable, "-c", code, str(tmp_path / "other")]
    root = Path(__file__).resolve().parents[2]
    again = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=root)
    assert json.loads(again.stdout) == outputs
    elsewhere = Square.create(tmp_path / "third")
    assert run(elsewhere, TownConfig(posts=400, seed=10)).results["outputs"] != outputs


def test_a_killed_town_is_made_whole(square: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(square, TownConfig(posts=300)).results["outputs"]
    receipts.receipt_path(square, "town").unlink()
    (square.town / "truth").rename(square.town / "elsewhere")  # killed between the two renames
    (square.town / ".partial" / "sources").mkdir(parents=True)
    (square.town / ".partial" / "sources" / "junk").write_text("half")
    assert run(square, TownConfig(posts=300)).results["outputs"] == whole
    assert run(square, TownConfig(posts=300)).skipped
    assert sorted(p.name for p in square.town.iterdir()) == ["elsewhere", "sources", "truth"]


def test_mistakes_have_their_messages(square: Square) -> None:
    with pytest.raises(ConfigError, match="posts cannot be 3"):
        TownConfig(posts=3)
    with pytest.raises(StaleError, match="no town in this square"):
        tables.source_paths(square)
