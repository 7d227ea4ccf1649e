"""What can be said of a post by itself: its words without personal data, its forms, its language, and the rules that
look at no other post. So any part of the posts may be judged anywhere; see `runners`."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import Any

import polars as pl
import pyarrow as pa

from townsquare.curate import normal
from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import abuse, all_rules, language, personal_data

READS = ("text", "lang", "sensitive", "is_latest_edit")
REASON = "alone_"
"""What the column of a rule's reasons is called, before the rule's name."""


def judge(posts: pl.DataFrame, config: CurateConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """For posts with the columns READS: `text` masked, `fold`, `letters`, `template`, `lang`, `abusive` and a column of
    reasons a rule; and how much personal data of each kind was masked."""
    texts, masked = personal_data.mask(posts["text"])
    posts = posts.with_columns(text=texts)
    posts = posts.with_columns(fold=normal.folded(pl.col("text")), letters=normal.letters(pl.col("text")))
    posts = posts.with_columns(template=normal.template(pl.col("fold")), lang=language.languages(posts))
    reasons = {REASON + rule.NAME: rule.judge(posts, config) for rule in all_rules() if rule.ALONE}
    return posts.select("text", "fold", "letters", "template", "lang", abusive=abuse.abusive(), **reasons), masked


def answer(question: bytes, settings: dict[str, Any]) -> bytes:
    """`judge` for another process: Arrow in, Arrow out, what was masked as metadata."""
    with pa.ipc.open_stream(question) as reader:
        posts = pl.DataFrame(pl.from_arrow(reader.read_all()))
    config = CurateConfig(**settings | {"languages": tuple(settings["languages"])})
    judged, masked = judge(posts, config)
    return to_bytes(judged, {"masked": json.dumps(masked)})


def to_bytes(frame: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    table = frame.to_arrow().replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_answers(answers: list[bytes]) -> tuple[pl.DataFrame, dict[str, int]]:
    """The parts' answers as one, in order."""
    tables, masked = [], Counter(dict.fromkeys(personal_data.KINDS, 0))
    for data in answers:
        with pa.ipc.open_stream(data) as reader:
            tables.append(reader.read_all())
            masked.update(json.loads(tables[-1].schema.metadata[b"masked"]))
    table = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    return pl.DataFrame(pl.from_arrow(table)), dict(masked)


def settings_of(config: CurateConfig) -> dict[str, Any]:
    """What another process needs of the config. No rule that it judges by opens a file."""
    settings = dataclasses.asdict(config)
    del settings["decontaminate"]
    return settings
