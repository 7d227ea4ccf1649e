"""What the tests of ingest share: X archives made by hand, and a run with its checks that always hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from townsquare.ingest import tables
from townsquare.ingest.config import IngestConfig
from townsquare.ingest.run import run
from townsquare.receipts import Receipt
from townsquare.square import Square

OWN = "2244994945"


def ingest(square: Square, *paths: Path, **settings: Any) -> Receipt:
    """Ingest; whatever came in must add up, in the receipt, by file, and in the tables."""
    receipt = run(square, IngestConfig(paths=paths, **settings))
    counts = receipt.counts
    assert counts["kept"] + counts["events"] + sum(counts["quarantined"].values()) == counts["seen"]
    files = receipt.results["files"].values()
    for part, whole in (("kept", counts["kept"]), ("events", counts["events"])):
        assert sum(file[part] for file in files) == whole
    assert sum(file["quarantined"] for file in files) == sum(counts["quarantined"].values())
    if not settings.get("dry_run"):
        held = tables.read_quarantine(square)["source_id"].to_pylist()
        assert held.count(receipt.name) == sum(counts["quarantined"].values())
    return receipt


def posts_of(square: Square) -> dict[str, dict[str, Any]]:
    return {row["uid"]: row for row in tables.read_posts(square).to_pylist()}


def events_of(square: Square) -> list[dict[str, Any]]:
    return tables.read_events(square).to_pylist()


def quarantine_of(square: Square) -> list[dict[str, Any]]:
    return tables.read_quarantine(square).to_pylist()


def tweet(number: int | str, text: str, **fields: Any) -> dict[str, Any]:
    """A post as X archives have it: numbers are text."""
    return {
        "id": str(number),
        "id_str": str(number),
        "created_at": "Sat Feb 18 12:33:11 +0000 2023",
        "full_text": text,
        "lang": "en",
        "favorite_count": "1",
        "retweet_count": "0",
        "truncated": False,
        "source": '<a href="https://mobile.twitter.com" rel="nofollow">Twitter Web App</a>',
        "entities": {"hashtags": [], "symbols": [], "user_mentions": [], "urls": []},
        **fields,
    }


def note(text: str, created: str = "2023-02-18T12:33:11.000Z", **core: Any) -> dict[str, Any]:
    return {"noteTweet": {"noteTweetId": "1626922779000000000", "createdAt": created, "core": {"text": text, **core}}}


def js(name: str, items: list[Any], *, part: int = 0, indent: int | None = 2) -> bytes:
    """A file of an X archive: an assignment of an array."""
    return f"window.YTD.{name}.part{part} = {json.dumps(items, indent=indent)}".encode()


def tweets_js(*tweets: dict[str, Any], name: str = "tweets", **layout: Any) -> bytes:
    return js(name, [{"tweet": one} for one in tweets], **layout)


def account_js(username: str = "somebody") -> bytes:
    account = {"email": "somebody@example.org", "username": username, "accountId": OWN, "createdVia": "web"}
    return js("account", [{"account": account}])


def write(folder: Path, **files: bytes) -> Path:
    """Files under `data/`; in names two underscores stand for a dash and the ending is .js."""
    for name, content in files.items():
        path = folder / "data" / f"{name.replace('__', '-')}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
