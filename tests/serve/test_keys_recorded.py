"""Keys made and revoked are rows of the ledger, without their text or whose they are."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from townsquare.cli import app
from townsquare.ledger import Ledger
from townsquare.square import Square


def call(square: Square, *words: str) -> str:
    done = CliRunner().invoke(app, ["keys", *words, "--square", str(square.root)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_key_made_and_revoked_is_two_rows_without_a_secret(square: Square) -> None:
    made = json.loads(call(square, "add", "Ann of the town website", "--days", "2", "--json"))
    for _ in range(2):
        call(square, "revoke", made["id"])
    with Ledger.open(square) as ledger:
        ledger.verify()
        rows = [(entry.kind, entry.body) for entry in ledger.entries()]
    assert [(kind, body["id"]) for kind, body in rows] == [("key_made", made["id"]), ("key_revoked", made["id"])]
    assert rows[0][1]["expires_at"] - rows[0][1]["created_at"] == 2 * 86_400
    assert "Ann" not in str(rows)
    assert made["key"] not in str(rows)
