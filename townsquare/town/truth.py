"""The hidden truth, written beside the sources and never shown to a pipeline: posts, facts, names, expectations."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from townsquare.town.formats import Expected
from townsquare.town.posts import Post
from townsquare.town.questions import Question
from townsquare.town.world import DAYS, START_MS, Fact, World

TRUTH = pa.schema(
    [
        pa.field("uid", pa.string(), nullable=False),
        pa.field("author", pa.string(), nullable=False),  # author key
        pa.field("kind", pa.string(), nullable=False),  # statement, ask, answer, thanks, chat, spam, …
        pa.field("lang", pa.string(), nullable=False),
        pa.field("defects", pa.list_(pa.string()), nullable=False),
        pa.field("fact_id", pa.string()),  # the fact that it states
        pa.field("fact_version", pa.int8()),  # 0: the first value, 1: the value after the change
        pa.field("state", pa.string(), nullable=False),  # live, suppressed, deleted; quarantined; absent: only an event
        pa.field("secrets", pa.list_(pa.string()), nullable=False),  # personal data as it stands in the text
    ]
)
ROW_GROUP = 50_000


class Truth:
    """Writes posts.parquet as the posts go by, the rest at the end; counts by kind and defect."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = pq.ParquetWriter(folder / "posts.parquet", TRUTH, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self.defects: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.langs: Counter[str] = Counter()
        self.states: Counter[str] = Counter()

    def post(self, post: Post) -> None:
        self.defects.update(post.defects)
        self.kinds[post.kind] += 1
        self.langs[post.lang] += 1
        self.states[post.state] += 1
        fact = post.fact
        self._rows.append(
            {
                "uid": post.uid,
                "author": post.person.key,
                "kind": post.kind,
                "lang": post.lang,
                "defects": post.defects,
                "fact_id": fact.id if fact else None,
                "fact_version": post.version if fact else None,
                "state": post.state,
                "secrets": post.secrets,
            }
        )
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=TRUTH))
            self._rows = []

    def close(self, world: World, expected: list[Expected], questions: list[Question]) -> None:
        self._flush()
        self._writer.close()
        _write_lines(self._folder / "facts.jsonl", map(_fact, world.facts))
        _write_lines(self._folder / "questions.jsonl", map(dataclasses.asdict, questions))
        with (self._folder / "names.txt").open("w", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name in world.all_names())
        sources = [dataclasses.asdict(item) for item in sorted(expected, key=lambda item: item.name)]
        (self._folder / "sources.json").write_text(json.dumps(sources, indent=2) + "\n", encoding="utf-8")


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _fact(fact: Fact) -> dict[str, Any]:
    """A fact with its newest value; `before` holds what it was until then."""
    (since, forms), before = fact.versions[-1], fact.versions[:-1]
    return {
        "fact_id": fact.id,
        "subject": fact.subject,
        "attribute": fact.attribute,
        "value": forms[0],
        "forms": forms,
        "valid_from": _day(since),
        "before": [{"value": old[0], "forms": old, "valid_from": _day(start)} for start, old in before],
        "slots": fact.slots,
        "owner": fact.owner.key if fact.owner else None,
        "stated": not fact.silent,
    }


def _day(fraction: float) -> str:
    """The date at a fraction of the town's time."""
    return dt.datetime.fromtimestamp(START_MS // 1000 + int(fraction * DAYS) * 86_400, dt.UTC).date().isoformat()
