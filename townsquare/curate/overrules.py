"""Overrules: a person's word that a rule errs on a post, or on an author. One JSON line each, only ever added to.

They name posts and authors by id. A takedown takes a line of its post away and leaves the line's hash, so that the
corpus, from which the post went too, is not stale for it. The gate is no rule: who opted out stays out.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from townsquare.curate import duplicates
from townsquare.curate.rules import all_rules
from townsquare.errors import InputError
from townsquare.receipts import Input
from townsquare.square import Square, disk_errors_explained, write_atomically

LONGEST_WHY = 200  # characters


@dataclasses.dataclass(frozen=True)
class Overrule:
    """One word of one person. Of several about the same rule and post or author, the last holds."""

    at: str
    """When (ISO 8601, UTC)."""
    by: str
    """Who says so."""
    rule: str
    post: str | None
    """Uid; or null where it is about an author."""
    author: str | None
    """NETWORK:ID; or null where it is about a post."""
    why: str
    keep: bool = True
    """False takes an earlier overrule back."""

    @property
    def key(self) -> tuple[str, str | None, str | None]:
        return self.rule, self.post, self.author


Standing = frozenset[tuple[str, str | None, str | None]]
"""The keys of the overrules that hold: rule, post, author."""
NONE: Standing = frozenset()


def names() -> list[str]:
    """The rules that a person may overrule: all but the gate, exact copies and evaluation sets, which judge nothing."""
    return [*(rule.NAME for rule in all_rules()), duplicates.NEAR]


def path(square: Square) -> Path:
    return square.root / "overrules" / "overrules.jsonl"


def add(square: Square, overrule: Overrule) -> None:
    """Add one. Raises InputError for a rule that cannot be overruled, or one that is about nothing."""
    if overrule.rule not in names():
        raise InputError(f"{overrule.rule!r} is no rule to overrule", remedy="Rules: " + ", ".join(names()))
    if (overrule.post is None) == (overrule.author is None):
        raise InputError("an overrule is about a post or about an author", remedy="Name one of them.")
    line = dataclasses.asdict(dataclasses.replace(overrule, why=overrule.why[:LONGEST_WHY]))
    with disk_errors_explained(path(square)), _alone(square), path(square).open("ab") as file:
        file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())


def read(square: Square) -> list[Overrule]:
    """All of them, oldest first, but for those that a takedown took."""
    return [Overrule(**row) for row in _rows(square) if "erased" not in row]


def standing(square: Square) -> Standing:
    """Those that hold now."""
    last = {overrule.key: overrule.keep for overrule in read(square)}
    return frozenset(key for key, keep in last.items() if keep)


def as_input(square: Square) -> Input:
    """What holds, as an input of curation. Neither a takedown nor an overrule that was taken back changes it."""
    digests = {_digest(*key) for key in standing(square)}
    digests |= {row["erased"] for row in _rows(square) if "erased" in row}
    return Input("overrules", hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest())


def respected(found: pl.DataFrame, posts: pl.DataFrame, keys: Standing) -> pl.DataFrame:
    """The verdicts (`uid`, `rule`, …) without those that a person overruled. `posts` has uid and author."""
    if not keys:
        return found
    named = pl.DataFrame(sorted(keys, key=str), schema=["rule", "uid", "author"], orient="row").cast(pl.String)
    by_post = named.filter(pl.col("uid").is_not_null()).select("rule", "uid")
    by_author = named.filter(pl.col("author").is_not_null()).select("rule", "author")
    told = found.join(posts.select("uid", "author"), on="uid", how="left", maintain_order="left")
    told = told.join(by_post, on=["rule", "uid"], how="anti", maintain_order="left")
    return told.join(by_author, on=["rule", "author"], how="anti", maintain_order="left").drop("author")


def erase(square: Square, uids: frozenset[str]) -> int:
    """Take away what the lines about these posts say; returns how many there were."""
    if not path(square).is_file():
        return 0
    with _alone(square):
        rows = list(_rows(square))
        kept = [_erased(row) if row.get("post") in uids else row for row in rows]
        if kept != rows:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept if row)
            write_atomically(path(square), text.encode("utf-8", "backslashreplace"))
    return sum(one != other for one, other in zip(rows, kept, strict=True))


def find(square: Square, uids: frozenset[str]) -> int:
    """How many lines name one of the posts."""
    return sum(row.get("post") in uids for row in _rows(square))


def _erased(row: dict[str, Any]) -> dict[str, Any]:
    if not row["keep"]:
        return {}
    return {"at": row["at"], "by": row["by"], "erased": _digest(row["rule"], row["post"], row["author"])}


def _digest(*key: str | None) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()


def _rows(square: Square) -> Iterator[dict[str, Any]]:
    """The lines; one that a kill cut off is none."""
    if not path(square).is_file():
        return
    for line in path(square).read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


@contextmanager
def _alone(square: Square) -> Iterator[None]:
    path(square).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (path(square).parent / ".writing").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
