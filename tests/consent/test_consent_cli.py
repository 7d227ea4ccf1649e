"""The commands about consent as a person types them: grants from files, exclusions, and why a post is out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from townsquare.cli import app
from townsquare.square import Square

SECRET = "the secret of the fair is in the third drawer"


def call(square: Square, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--square", str(square.root)])


def done(square: Square, *arguments: str | Path) -> str:
    result = call(square, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def filled(square: Square, tmp_path: Path) -> Square:
    path = tmp_path / "page.jsonl"
    made = "2024-06-01T00:00:00.000Z"
    records = [
        {"data": {"id": str(100 + i), "text": SECRET, "author_id": str(7 + i % 2), "created_at": made}}
        for i in range(4)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    done(square, "ingest", path)
    done(square, "grant", "add", "--grantor", "X", "--grantee", "AI", "--network", "x", "--purpose", "train")
    return square


def may(square: Square, uid: str = "x:100", purpose: str = "train") -> bool:
    first = done(square, "consent", "why", uid, "--for", purpose).splitlines()[0]
    assert first in (f"{uid} may be used to {purpose}.", f"{uid} may not be used to {purpose}.")
    return " not " not in first


def test_grants_from_a_file_with_their_terms_and_warnings(square: Square, tmp_path: Path) -> None:
    (tmp_path / "licence.txt").write_text("the whole contract")
    file = tmp_path / "grants.toml"
    file.write_text(
        '[[grant]]\nid = "forum"\ngrantor = "Forum"\ngrantee = "AI"\npurposes = ["train", "display"]\n'
        'networks = ["x"]\nterritory = ["DE", "EU"]\nstarts = 2024-01-01\nterms_document = "licence.txt"\n'
        '[[grant]]\nid = "ann"\ngrantor = "Ann"\ngrantee = "AI"\npurposes = ["retrieve"]\nauthors = ["hn:ann"]\n'
    )
    told = done(square, "grant", "add", "--file", file)
    assert "Recorded grant forum: Forum allows AI to train, display." in told
    assert "Know: X Developer Agreement (section III.A(k), 2026-04-27): content from X's API may not be used" in told
    warnings = told.split("Recorded grant ann")[0].count("Know: ")
    assert warnings >= 3  # the agreement, compliance, redistribution
    listed = json.loads(done(square, "grant", "list", "--json"))
    assert [grant["id"] for grant in listed] == ["forum", "ann"]
    assert listed[0]["terms_sha256"] == hashlib.sha256(b"the whole contract").hexdigest()
    assert (listed[0]["starts"], listed[0]["territory"]) == ("2024-01-01", ["DE", "EU"])
    assert "Forum" in done(square, "grant", "list")


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("[[grant]]\ngrantor = 'F'\n", 2, "is missing"),
        ("grants = 1\n", 4, "there are no grants in it"),
        ("[[grant]\n", 4, "no grants can be read"),
        ("[[grant]]\nid='g'\ngrantor='F'\ngrantee='A'\npurposes=['fly']\nsources=['*']\n", 2, "cannot hold 'fly'"),
        (
            "[[grant]]\nid='g'\ngrantor='F'\ngrantee='A'\npurposes=['train']\nsources=['*']\nterms_document='no.txt'\n",
            4,
            "the terms document cannot be read",
        ),
    ],
)
def test_a_file_of_grants_that_is_wrong_records_nothing(
    square: Square, tmp_path: Path, content: str, code: int, said: str
) -> None:
    file = tmp_path / "grants.toml"
    file.write_text(content)
    result = call(square, "grant", "add", "--file", file)
    assert said in result.stderr
    assert str(file) in result.stderr or "no.txt" in result.stderr or "cannot hold" in result.stderr
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert json.loads(done(square, "grant", "list", "--json")) == []


def test_an_author_is_excluded_listed_and_let_back(filled: Square) -> None:
    assert done(filled, "consent", "list") == "There are no exclusions.\n"
    assert may(filled)
    words = ("--author", "x:7", "--reason", "letter of 3 May", "--id", "ann", "--unknown", "keep")
    assert "Recorded exclusion ann." in done(filled, "consent", "exclude", *words)
    assert "Recorded exclusion ann." in done(filled, "consent", "exclude", *words)
    assert not may(filled, "x:100")
    assert may(filled, "x:101")
    told = done(filled, "consent", "why", "x:100", "--for", "train")
    assert "refuses  excluded: ann: letter of 3 May (1 authors)" in told
    assert "To change it: Lifting it: townsquare consent lift ann" in told
    assert SECRET not in told
    assert done(filled, "consent", "list") == "ann: x:7, out of train, tune, retrieve, display: letter of 3 May\n"
    assert "Lifted ann." in done(filled, "consent", "lift", "ann")
    assert may(filled)
    assert done(filled, "consent", "list").startswith("ann (lifted): x:7")
    again = call(filled, "consent", "exclude", *words)
    assert again.exit_code == 2
    assert "was lifted, and stays so" in again.stderr


def test_authors_of_a_region_are_excluded_for_a_while(filled: Square, tmp_path: Path) -> None:
    where = tmp_path / "where.csv"
    where.write_text("author,region\nx:7,FR\nx:8,US\n")
    words = ("--region", "EU", "--authors-by-region", where, "--purpose", "train", "--reason", "undertaking")
    (made,) = json.loads(
        done(filled, "consent", "exclude", *words, "--starts", "2024-05-07", "--ends", "2024-08-01", "--json")
    )
    assert made["regions"] == ["EU"]
    assert made["regions_sha256"] == hashlib.sha256(where.read_bytes()).hexdigest()
    assert [may(filled, f"x:{i}") for i in (100, 101)] == [False, True]
    assert "EU, posts 2024-05-07 to 2024-08-01, out of train: undertaking" in done(filled, "consent", "list")


def test_exclusions_from_a_file(filled: Square, tmp_path: Path) -> None:
    file = tmp_path / "out.toml"
    file.write_text('[[exclusion]]\nid = "one"\nreason = "a letter"\nauthors = ["x:8"]\nunknown = "keep"\n')
    done(filled, "consent", "exclude", "--file", file)
    assert [may(filled, f"x:{i}") for i in (100, 101)] == [True, False]
    assert [row["id"] for row in json.loads(done(filled, "consent", "list", "--json"))] == ["one"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exclude", "--author", "x:7"], "has no reason"),
        (["exclude", "--reason", "r"], "would take everything out"),
        (["exclude", "--author", "ann", "--reason", "r"], "Write an author as x:2244994945"),
        (["exclude", "--region", "EU", "--reason", "r"], "--authors-by-region"),
        (["exclude", "--author", "x:7", "--reason", "r", "--starts", "3 May"], "Write a date as"),
        (["lift", "nothing"], "there is no exclusion nothing"),
    ],
)
def test_what_cannot_be_excluded_is_told_with_what_to_do(square: Square, words: list[str], said: str) -> None:
    result = call(square, "consent", *words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_why_as_json_names_every_rule(filled: Square) -> None:
    spoken = json.loads(done(filled, "consent", "why", "x:100", "--for", "train", "--json"))
    assert [one["rule"] for one in spoken] == [
        "deleted", "suppressed", "no_grant", "not_public", "withheld", "opted_out", "excluded", "unknown_original",
        "denied_by_author", "repost", "truncated",
    ]  # fmt: skip
    assert not any(one["refuses"] or one["change"] for one in spoken)
    assert not may(filled, purpose="display")


def test_why_of_a_post_that_is_not_here_and_of_no_purpose(filled: Square) -> None:
    result = call(filled, "consent", "why", "100", "--for", "train")
    assert result.exit_code == 4
    assert "there is no post 100 here" in result.stderr
    assert "Write it as x:" in " ".join(result.stderr.split())
    assert call(filled, "consent", "why", "x:100", "--for", "fun").exit_code == 2
    assert call(filled, "consent", "why", "x:100").exit_code == 2


def test_why_after_a_takedown(filled: Square) -> None:
    done(filled, "takedown", "--post", "x:100")
    told = done(filled, "consent", "why", "x:100", "--for", "train")
    assert told.startswith("x:100 may not be used to train.\nrefuses  deleted: its state is deleted, by delete on ")
    assert "To change it: Nothing: a deletion wins over every source, in any order." in told


def test_help_of_each_command_has_an_example() -> None:
    for name in ("exclude", "lift", "list", "why"):
        told = CliRunner().invoke(app, ["consent", name, "--help"]).stdout
        assert f"townsquare consent {name}" in told
