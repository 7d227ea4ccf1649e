"""What of the server goes into the ledger: keys by id and terms, never their text, its hash or whose they are."""

from __future__ import annotations

from townsquare.ledger import Ledger
from townsquare.serve.keys import Key
from townsquare.square import Square


def key_made(square: Square, key: Key) -> None:
    """Record a new key, once. Times are seconds since 1970, UTC."""
    body = {
        "id": key.id,
        "scopes": list(key.scopes),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_day": key.tokens_per_day,
    }
    with Ledger.open(square) as ledger:
        ledger.append("key_made", body, key=f"key_made:{key.id}")


def key_revoked(square: Square, key_id: str) -> None:
    """Record that a key was revoked, once."""
    with Ledger.open(square) as ledger:
        ledger.append("key_revoked", {"id": key_id}, key=f"key_revoked:{key_id}")
