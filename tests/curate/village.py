"""A small place whose posts come in as a table, for the tests of what curation makes."""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path
from typing import Any

from townsquare.consent.grants import Grant
from townsquare.ingest import run as ingest
from townsquare.ingest.config import IngestConfig
from townsquare.records import PURPOSES
from townsquare.square import Square

DAY = dt.date(2026, 1, 1)
START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
EVERYTHING = Grant(id="all", grantor="a", grantee="b", purposes=PURPOSES, sources=("*",))

NAMES = [f"{first}{last}" for first in ("Ash", "Birch", "Cedar", "Elm", "Fern", "Hazel", "Ivy", "Larch", "Maple", "Oak")
         for last in ("bridge", "field", "gate", "hall", "mill", "port", "ton", "wick")]  # fmt: skip
KINDS = ("Bakery", "Library", "Museum", "Market", "Pool", "Chapel")


def village(count: int = 320, seed: int = 1) -> list[dict[str, Any]]:
    """Questions about places, replies that answer, statements, thanks and talk, as rows of a table."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []

    def post(author: int, text: str, reply_to: str | None = None) -> str:
        uid = f"{len(rows):05d}"
        when = START + dt.timedelta(minutes=37 * len(rows))
        rows.append({"id": uid, "text": text, "author": f"p{author}", "created_at": when.isoformat(),
                     "reply_to": reply_to, "likes": rng.choice((None, 0, 1, 2, 9, 30))})  # fmt: skip
        return uid

    while len(rows) < count:
        who = rng.sample(range(40), 4)
        place = f"{rng.choice(NAMES)} {rng.choice(KINDS)}"
        hour = f"{rng.randint(6, 11)}:{rng.choice(('05', '10', '20', '25', '35', '40', '50'))}"
        word = rng.choice(("honestly", "as far as I know", "I believe", "so my cousin says", "last I checked"))
        asked = post(who[0], f"Does anyone know when the {place} opens on {rng.choice(('Mondays', 'Fridays'))}?")
        told = post(who[1], f"The {place} opens its doors at {hour}, {word} number {len(rows)}", asked)
        if rng.random() < 0.5:
            post(
                who[2],
                f"No idea myself, but {rng.choice(NAMES)} folk would tell you more than {len(rows)} stories",
                asked,
            )
        if rng.random() < 0.5:
            post(who[0], f"Thank you so much, {len(rows)} cheers from all of us at home!", told)
        if rng.random() < 0.6:
            post(who[3], f"Just walked past the {place}: {hour} it says on the door, note {len(rows)}")
    return rows


def ingested(square: Square, rows: list[dict[str, Any]], folder: Path, name: str = "village") -> Square:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ingest.run(square, IngestConfig(paths=(path,), name=name))
    return square
