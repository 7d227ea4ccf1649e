"""Grants: what one may say, how they are recorded, revoked and read back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import multiprocessing
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from townsquare.consent.grants import (
    Grant,
    add_grant,
    grants_from_toml,
    read_grants,
    revoke_grant,
    warnings_for,
    with_terms,
)
from townsquare.consent.inputs import grants_input, in_force_input
from townsquare.errors import ConfigError, InputError, ProofError
from townsquare.ledger import Ledger
from townsquare.ledger.chain import ledger_file
from townsquare.records import NETWORKS, PURPOSES
from townsquare.square import Square

GRANT = Grant(id="g1", grantor="A", grantee="B", purposes=("train",), sources=("*",))


@pytest.mark.parametrize(
    ("changes", "message", "remedy"),
    [
        ({"purposes": ("sell",)}, "purposes cannot hold 'sell'", "retrieve"),
        ({"purposes": ()}, "allows no purpose", "train"),
        ({"sources": ()}, "covers nothing", "--source '\\*'"),
        ({"networks": ("myspace",)}, "networks cannot hold 'myspace'", "bsky"),
        ({"visibilities": ("secret",)}, "visibilities cannot hold 'secret'", "public"),
        ({"starts": "soon"}, "starts cannot be 'soon'", "2026-12-31"),
        ({"ends": "20261231"}, "ends cannot be '20261231'", "2026-12-31"),
        ({"ends": "2026-W01-1"}, "ends cannot be", "2026-12-31"),
        ({"ends": "2026-1-1"}, "ends cannot be", "2026-12-31"),
        ({"ends": ""}, "ends cannot be ''", "2026-12-31"),
        ({"territory": ("UK",)}, "territory cannot hold 'UK'", "GB"),
        ({"territory": ("Germany",)}, "territory cannot hold 'Germany'", "ISO"),
        ({"territory": ()}, "holds nowhere", "worldwide"),
        ({"starts": "2026-02-01", "ends": "2026-01-01"}, "before it starts", "Mend"),
    ],
)
def test_what_a_grant_cannot_say(changes: dict[str, Any], message: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        dataclasses.replace(GRANT, **changes)
    assert remedy.replace("\\", "") in str(caught.value.remedy)


def test_added_revoked_and_read_back(square: Square) -> None:
    assert read_grants(square) == []
    other = dataclasses.replace(GRANT, id="g2", ends="2030-01-01", authors=("x:7",))
    add_grant(square, GRANT)
    add_grant(square, other)
    add_grant(square, GRANT)
    assert read_grants(square) == [GRANT, other]
    before = grants_input(square)
    revoke_grant(square, "g1")
    revoke_grant(square, "g1")
    assert read_grants(square) == [dataclasses.replace(GRANT, revoked=True), other]
    assert grants_input(square).sha256 != before.sha256
    with Ledger.open(square) as ledger:
        assert [entry.kind for entry in ledger.entries()] == ["grant_added", "grant_added", "grant_revoked"]


def test_an_id_means_one_grant_for_ever(square: Square) -> None:
    add_grant(square, GRANT)
    with pytest.raises(ConfigError, match="says something else") as caught:
        add_grant(square, dataclasses.replace(GRANT, purposes=("train", "tune")))
    assert "townsquare grant revoke g1" in str(caught.value.remedy)
    revoke_grant(square, "g1")
    with pytest.raises(ConfigError, match="was revoked"):
        add_grant(square, GRANT)
    with pytest.raises(ConfigError, match="no grant g9") as caught:
        revoke_grant(square, "g9")
    assert "g1" in str(caught.value.remedy)
    assert read_grants(square) == [dataclasses.replace(GRANT, revoked=True)]


def _add(root: str, purposes: tuple[str, ...], results: Any) -> None:
    try:
        add_grant(Square.open(root), dataclasses.replace(GRANT, purposes=purposes))
        results.put("added")
    except ConfigError:
        results.put("refused")


def test_of_two_grants_of_one_id_at_once_one_is_told_no(square: Square) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    writers = [context.Process(target=_add, args=(str(square.root), p, results)) for p in (("train",), ("tune",))]
    for writer in writers:
        writer.start()
    assert sorted(results.get(timeout=60) for _ in writers) == ["added", "refused"]
    for writer in writers:
        writer.join()
    results.close()


def test_a_grant_put_in_by_hand_opens_nothing(square: Square) -> None:
    add_grant(square, GRANT)
    connection = sqlite3.connect(ledger_file(square))
    with connection:
        connection.execute("UPDATE entries SET body = replace(body, 'train', 'tune')")
    connection.close()
    with pytest.raises(ProofError, match="row 1 was altered"):
        read_grants(square)


def test_grants_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "terms.pdf").write_bytes(b"the terms")
    path = tmp_path / "grants.toml"
    path.write_text(
        '[[grant]]\nid = "g1"\ngrantor = "A"\ngrantee = "B"\npurposes = ["train"]\nsources = ["*"]\n'
        'starts = 2026-01-01\nends = "2026-12-31"\nterms_document = "terms.pdf"\n'
        '[[grant]]\nid = "g2"\ngrantor = "A"\ngrantee = "B"\npurposes = ["display"]\nnetworks = ["x"]\n'
        'territory = "DE, EU"\n'
    )
    one, two = grants_from_toml(path)
    assert (one.starts, one.ends, one.terms_document) == ("2026-01-01", "2026-12-31", "terms.pdf")
    assert one.terms_sha256 == hashlib.sha256(b"the terms").hexdigest()
    assert (one.territory, two.territory) == (("worldwide",), ("DE", "EU"))
    assert two.networks == ("x",)
    assert with_terms(two, tmp_path) is two


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", InputError, "there are no grants in it"),
        (b"[grant]\nid = 'a'\n", InputError, "there are no grants in it"),
        (b"grant = [1]\n", InputError, "there are no grants in it"),
        (b"[[grant]\n", InputError, "no grants can be read"),
        (b"\xff\xfe", InputError, "no grants can be read"),
        (b"[[grant]]\nid = 'a'\n", ConfigError, "`grantor` is missing"),
        (b"[[grant]]\nname = 'a'\n", ConfigError, "there is no setting `name`"),
        (b"[[grant]]\nid = 1\n", ConfigError, "`id` cannot be 1"),
        (b"[[grant]]\npurposes = 'train'\n", ConfigError, "`purposes` cannot be 'train'"),
        (
            b"[[grant]]\nid='a'\ngrantor='A'\ngrantee='B'\npurposes=['train']\nsources=['*']\nterms_document='no'\n",
            InputError,
            "the terms document cannot be read",
        ),
    ],
)
def test_files_that_hold_no_grants(tmp_path: Path, content: bytes, error: type[Exception], message: str) -> None:
    path = tmp_path / "grants.toml"
    path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        grants_from_toml(path)
    assert str(tmp_path) in str(caught.value.place)  # type: ignore[attr-defined]
    assert caught.value.remedy  # type: ignore[attr-defined]
    with pytest.raises(InputError):
        grants_from_toml(tmp_path / "nowhere.toml")


def test_what_the_networks_terms_say_of_what_is_granted() -> None:
    """By hand: III.A(k) is about training, redistribution about display; a source may be of any network."""

    def told(**changes: Any) -> str:
        return "\n".join(warnings_for(dataclasses.replace(GRANT, **changes)))

    x = {"sources": (), "networks": ("x",)}
    assert "section III.A(k), 2026-04-27" in told(**x)
    assert "section III.A(k)" not in told(**x, purposes=("display",))
    assert "redistribution" in told(**x, purposes=("display",))
    assert "redistribution" not in told(**x)
    assert "Mastodon" not in told(**x)
    assert told(sources=(), authors=("x:7",)) == told(**x)
    assert "III.A(k)" in told()
    assert "mastodon.social" in told()
    assert "Bluesky" in told()
    assert told(sources=(), networks=("table",)) == ""
    for network in set(NETWORKS) - {"table", "hn"}:
        lines = warnings_for(dataclasses.replace(GRANT, sources=(), networks=(network,), purposes=PURPOSES))
        assert lines
        assert all(re.search(r"\(.+, 20\d\d-\d\d-\d\d\): ", line) for line in lines)


def test_a_grant_that_ends_makes_what_was_made_under_it_stale(square: Square) -> None:
    add_grant(square, dataclasses.replace(GRANT, ends="2026-01-31"))
    last, after = dt.date(2026, 1, 31), dt.date(2026, 2, 1)
    assert in_force_input(square, last) == in_force_input(square, dt.date(2026, 1, 1))
    assert in_force_input(square, last) != in_force_input(square, after)
