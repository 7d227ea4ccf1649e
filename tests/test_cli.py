"""The command line as a person meets it: order, help, messages, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from townsquare.cli import app
from townsquare.square import Square

FLOW = [
    "init", "grant", "consent", "town", "ingest", "takedown", "lookup", "curate", "tokens", "train", "runs", "export",
    "index", "evaluate", "compare", "ask", "chat", "reply", "serve", "keys", "fleet", "ledger", "audit", "report",
    "status", "demo",
]  # fmt: skip


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_lists_the_commands_in_the_order_of_the_flow() -> None:
    listed = re.findall(r"^│ (\w+) ", call("--help").stdout, re.MULTILINE)
    assert listed == FLOW


GROUPS = ("grant", "consent", "runs", "keys", "fleet", "ledger", "audit")


@pytest.mark.parametrize("name", [name for name in FLOW if name not in (*GROUPS, "demo")])
def test_help_of_each_command_has_an_example(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"townsquare {name}" in result.stdout


def test_a_folder_that_is_no_square_is_told_so(tmp_path: Path) -> None:
    result = call("curate", "--square", tmp_path)
    assert result.exit_code == 2
    assert "is not a square" in result.stderr
    assert "townsquare init" in result.stderr
    assert "Traceback" not in result.output


def test_without_posts_curate_names_the_command_that_is_missing(square: Square) -> None:
    result = call("curate", "--square", square.root)
    assert result.exit_code == 5
    assert "townsquare ingest" in result.stderr


def test_without_a_grant_nothing_is_curated(square: Square, tmp_path: Path) -> None:
    table = tmp_path / "posts.jsonl"
    table.write_text('{"id": "1", "text": "The bakery opens at seven on Sundays, they say.", "author": "ann"}\n')
    assert call("ingest", table, "--square", square.root).exit_code == 0
    result = call("curate", "--square", square.root)
    assert result.exit_code == 3
    assert "no_grant" in result.stderr
    assert "townsquare grant add" in result.stderr


def test_a_grant_is_recorded_listed_and_revoked(square: Square) -> None:
    here = ("--square", square.root)
    said = ("--grantor", "Forum", "--grantee", "AI", "--source", "*", "--purpose", "train", "--id", "forum")
    assert "Forum allows AI to train" in call("grant", "add", *said, *here).stdout
    assert call("grant", "add", *said, *here).exit_code == 0, "the same grant again changes nothing"
    assert call("grant", "revoke", "forum", *here).exit_code == 0
    (grant,) = json.loads(call("grant", "list", "--json", *here).stdout)
    assert (grant["purposes"], grant["revoked"]) == (["train"], True)
    assert "2 rows" in call("ledger", "verify", *here).stdout


def test_a_grant_without_a_grantor_is_refused(square: Square) -> None:
    result = call("grant", "add", "--grantee", "AI", "--source", "*", "--purpose", "train", "--square", square.root)
    assert result.exit_code == 2
    assert "--grantor" in result.stderr


def test_json_is_the_receipt(square: Square, tmp_path: Path) -> None:
    table = tmp_path / "posts.csv"
    table.write_text("id,text,author\n1,hello there,ann\n2,good morning,bob\n")
    record = json.loads(call("ingest", table, "--json", "--square", square.root).stdout)
    assert (record["stage"], record["counts"]["seen"], record["counts"]["kept"]) == ("ingest", 2, 2)
    assert len(record["fingerprint"]) == 64


def test_status_names_the_next_command(square: Square) -> None:
    assert "townsquare grant add" in call("status", "--square", square.root).stdout
    assert json.loads(call("status", "--json", "--square", square.root).stdout)["stages"] == []


def test_a_setting_of_the_wrong_type_is_named(square: Square, tmp_path: Path) -> None:
    (square.root / "townsquare.toml").write_text('[tokens]\nvocabulary_size = "large"\n')
    result = call("tokens", "--square", square.root)
    assert result.exit_code == 2
    assert "vocabulary_size" in result.stderr
    assert "'large'" in result.stderr


def test_the_command_line_starts_without_heavy_imports() -> None:
    heavy = "{'torch', 'lance', 'daft', 'polars', 'fastapi', 'matplotlib', 'xllamacpp'}"
    code = f"import sys, townsquare.cli; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout.strip() == "[]"
