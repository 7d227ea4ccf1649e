"""The public door: the town's source files, its hidden truth, its questions, and the grant that it gives."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from townsquare import receipts
from townsquare.consent.grants import ANY, Grant
from townsquare.errors import StaleError
from townsquare.records import PURPOSES
from townsquare.square import Square
from townsquare.town.questions import Question
from townsquare.town.stream import stream
from townsquare.town.threads import Talk
from townsquare.town.world import World

__all__ = [
    "Question",
    "demo_questions",
    "grant",
    "read_expected",
    "read_facts",
    "read_questions",
    "read_texts",
    "read_truth",
    "source_paths",
    "takedown_candidate",
]  # fmt: skip


def _need(path: Path) -> Path:
    if not path.exists():
        raise StaleError("there is no town in this square yet", place=str(path), remedy="Run first: townsquare town")
    return path


def source_paths(square: Square) -> list[Path]:
    """The town's files in the order of ingest, one ingest each. Raises StaleError when there is no town."""
    return sorted(_need(square.town / "sources").iterdir())


def read_truth(square: Square) -> pa.Table:
    """One row a post: uid, author, kind, lang, defects, fact_id, fact_version, state, secrets (truth.TRUTH)."""
    return pq.read_table(_need(square.town / "truth" / "posts.parquet"))


def read_texts(square: Square, uids: Collection[str]) -> dict[str, str]:
    """What these posts said, by uid, removed ones too: the town is told once more from its seed, and stored nowhere."""
    config = receipts.need(square, "town").config
    told = stream(World(config["posts"], config["seed"]), Talk(), config["posts"], config["seed"])
    return {post.uid: post.text for post in told if post.uid in uids}


def _lines(path: Path) -> list[dict[str, Any]]:
    with _need(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_facts(square: Square) -> list[dict[str, Any]]:
    """Every fact: fact_id, subject, attribute, value, forms, valid_from, before, owner, stated."""
    return _lines(square.town / "truth" / "facts.jsonl")


def read_expected(square: Square) -> list[dict[str, Any]]:
    """What ingest must make of each source: name, format, kept, events, quarantined by reason."""
    found: list[dict[str, Any]] = json.loads(_need(square.town / "truth" / "sources.json").read_text(encoding="utf-8"))
    return found


def read_questions(square: Square) -> list[Question]:
    """The held-out questions, answerable ones first."""
    lines = _lines(square.town / "truth" / "questions.jsonl")
    lists = ("answers", "evidence", "authors")
    return [Question(**{**line, **{name: tuple(line[name]) for name in lists}}) for line in lines]


def takedown_candidate(square: Square) -> Question:
    """An answerable question that exactly one author's posts answer: the one told most often."""
    single = [q for q in read_questions(square) if q.answerable and len(q.authors) == 1]
    if not single:
        raise StaleError(
            "this town is too small to have a fact that only one author tells", remedy="Make a larger town."
        )
    return max(single, key=lambda q: (len(q.evidence), q.id))


def demo_questions(square: Square) -> list[Question]:
    """Three questions to show: the two of different kinds that most authors answer, then the takedown candidate."""
    many = sorted(
        (q for q in read_questions(square) if q.answerable and len(q.authors) > 1),
        key=lambda q: (-len(q.authors), q.id),
    )
    first = many[0]
    second = next(q for q in many if q.kind != first.kind)
    return [first, second, takedown_candidate(square)]


def grant(square: Square) -> Grant:
    """The town's own grant: all its posts, for every purpose."""
    name = (_need(square.town / "truth" / "names.txt")).read_text(encoding="utf-8").split("\n", 1)[0]
    return Grant(
        id="town",
        grantor=f"The town of {name}",
        grantee="Town Assistant Ltd",
        purposes=PURPOSES,
        sources=(ANY,),
    )
