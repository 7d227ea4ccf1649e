"""Overrules: a person's word that a rule errs on a post, or on an author. One JSON line each, only ever added to.

They name posts and authors by id. A takedown takes a line of its post away and leaves the line's hash, so that the
corpus, from which the post went too, is not stale for it. The gate is no rule: who opted out stays out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import polars as pl

from townsquare import lines
from townsquare.curate import duplicates
from townsquare.curate.rules import all_rules
from townsquare.errors import InputError
from townsquare.receipts import Input
from townsquare.square import Square

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
    lines.append(path(square), dataclasses.asdict(dataclasses.replace(overrule, why=overrule.why[:LONGEST_WHY])))


def read(square: Square) -> list[Overrule]:
    """All of them, oldest first, but for those that a takedown took."""
    return [Overrule(**row) for row in lines.read(path(square)) if "erased" not in row]


def standing(square: Square) -> Standing:
    """Those that hold now."""
    last = {overrule.key: overrule.keep for overrule in read(square)}
    return frozenset(key for key, keep in last.items() if keep)


def as_input(square: Square) -> Input:
    """What holds, as an input of curation. Neither a takedown nor an overrule that was taken back changes it."""
    digests = {_digest(*key) for key in standing(square)}
    digests |= {row["erased"] for row in lines.read(path(square)) if "erased" in row}
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
    return lines.rewrite(path(square), lambda row: _erased(row) if row.get("post") in uids else row)


def find(square: Square, uids: frozenset[str]) -> int:
    """How many lines name one of the posts."""
    return sum(row.get("post") in uids for row in lines.read(path(square)))


def _erased(row: lines.Row) -> lines.Row | None:
    if not row["keep"]:
        return None
    return {"at": row["at"], "by": row["by"], "erased": _digest(row["rule"], row["post"], row["author"])}


def _digest(*key: str | None) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()
