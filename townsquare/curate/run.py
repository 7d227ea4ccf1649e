"""The curate stage: posts -> an immutable version of the corpus, and a reason for every post left out."""

from __future__ import annotations

import dataclasses
import gc
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
import pyarrow as pa

from townsquare import receipts
from townsquare.consent.gate import today
from townsquare.curate import (
    alone,
    card,
    chitchat,
    conversations,
    decontaminate,
    documents,
    duplicates,
    gated,
    grounded,
    near,
    overrules,
    pairs,
    runners,
    tables,
)
from townsquare.curate.config import CurateConfig
from townsquare.curate.decontaminate import EvaluationSet
from townsquare.curate.rules import all_rules
from townsquare.curate.splits import split_of
from townsquare.curate.threads import hit_rate
from townsquare.progress import Bar, progress
from townsquare.receipts import Receipt
from townsquare.records import DROPPED, score
from townsquare.square import Square, next_version, publish, write_json

PHASES = 7
JUDGED_BY = ("fold", "letters", "template", "source_app", "author_kind", "is_latest_edit", "engagement")
"""Columns that only rules and the choice between copies read."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What becomes a version: its tables, and what the receipt tells of them."""

    tables: dict[str, pa.Table]
    counts: dict[str, Any]
    results: dict[str, Any]


def run(square: Square, config: CurateConfig) -> Receipt:
    """Make a new version of the corpus. Raises GrantError when no grant allows any post to train or tune."""
    day = today()
    told = dataclasses.replace(config, runner="native")  # who does the work is no part of what is made
    sets = decontaminate.evaluation_sets(square, config.decontaminate)
    inputs = [*gated.inputs(square, day), overrules.as_input(square), *(one.as_input for one in sets)]
    with receipts.stage(square, "curate", inputs=inputs, config=told) as work:
        if work.done:
            return work.done
        corpus = build(gated.read_gated(square, day), config, sets, overrules.standing(square))
        version = _publish(square, corpus, card.facts(square, day, told))
        work.count(**corpus.counts)
        work.results.update(version=version.name, **corpus.results, outputs={"corpus": receipts.sha256_of(version)})
    return work.receipt


def build(
    posts: pl.DataFrame,
    config: CurateConfig,
    sets: Sequence[EvaluationSet] = (),
    overruled: overrules.Standing = overrules.NONE,
) -> Corpus:
    """The corpus of gated posts (see `gated.gated`). Pure: the same posts, in any order, make the same tables."""
    posts = posts.sort("uid")
    with progress("Curating", PHASES, "steps") as bar, _no_search_for_cycles():
        usable = gated.usable(posts)
        posts = posts.select("uid", "train_refusal", "reply_to")  # all that is told of a post that is left out
        judged, masked = runners.judge_alone(usable, config)
        usable = usable.with_columns(judged)
        bar.advance(note="posts by themselves")
        usable = usable.with_columns(cluster=near.clusters(usable["fold"], config.near_duplicate))
        bar.advance(note="near duplicates")
        reasons, overlaps = judge(usable, config, sets, overruled)
        bar.advance(note="rules")
        usable = usable.drop(JUDGED_BY, cs.starts_with(alone.REASON))
        made = _assemble(usable, reasons, config, bar)
    dropped = _dropped(posts, reasons, made)
    kept = len(posts) - len(dropped)
    made["dropped"] = dropped
    return Corpus(
        made,
        {"seen": len(posts), "kept": kept, "dropped": _counted(dropped["rule"])},
        _results(posts, made, masked)
        | {"decontamination": overlaps, "by_language": _by_language(posts, usable, dropped)},
    )


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Python's collector rests: conversations are millions of small objects, none in a cycle, and searching them anew
    at every growth took a third of their time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def judge(
    usable: pl.DataFrame,
    config: CurateConfig,
    sets: Sequence[EvaluationSet] = (),
    overruled: overrules.Standing = overrules.NONE,
) -> tuple[pl.DataFrame, dict[str, dict[str, int]]]:
    """`uid`, `rule`, `reason` and `context` of every usable post that is left out, with its first reason; and
    what was found of each evaluation set.

    Rules judge all usable posts; copies are looked for among those that the rules leave.
    """
    found = []
    for rule in all_rules():
        reason = usable[alone.REASON + rule.NAME] if rule.ALONE else rule.judge(usable, config)
        verdict = usable.select("uid", reason=reason, rule=pl.lit(rule.NAME), context=pl.lit(rule.CONTEXT))
        found.append(verdict.filter(pl.col("reason").is_not_null()).select("uid", "rule", "reason", "context"))
    ruled = overrules.respected(pl.concat(found), usable, overruled).unique("uid", keep="first", maintain_order=True)
    out = ruled.filter(~pl.col("context"))
    left = usable.join(out.select("uid"), on="uid", how="anti", maintain_order="left")
    known = decontaminate.overlap(left, sets)
    ruled = pl.concat([known.posts, ruled]).unique("uid", keep="first", maintain_order=True)
    left = usable.join(ruled.select("uid"), on="uid", how="anti", maintain_order="left")
    same = overrules.respected(duplicates.copies(left), usable, overruled).with_columns(context=pl.lit(True))
    return pl.concat([ruled, same]).sort("uid"), known.told


def _assemble(usable: pl.DataFrame, reasons: pl.DataFrame, config: CurateConfig, bar: Bar) -> dict[str, pa.Table]:
    """Documents, conversations and pairs of what the rules leave."""
    ruled = usable.join(reasons.select("uid", "context"), on="uid", how="left", maintain_order="left")
    stay = ruled.filter(pl.col("context").is_null() | pl.col("context")).with_columns(
        context=pl.col("context").is_not_null(),
        copies=pl.len().over(pl.coalesce("cluster", -1 - pl.int_range(pl.len()))),
    )
    stay = stay.with_columns(split=split_of(stay, config))
    bar.advance(note="splits")
    made = {"documents": documents.build(stay.filter(pl.col("train_refusal").is_null() & ~pl.col("context")))}
    bar.advance(note="documents")
    threads = conversations.Threads.of(stay.filter(pl.col("tune_refusal").is_null()))
    taken = np.zeros(len(threads.uids), bool)
    rows = grounded.build(threads, taken, config)
    rows += conversations.plain(threads, taken, config.conversation_posts)
    if config.chitchat:
        rows += chitchat.conversations(config)
    made["conversations"] = conversations.table(rows)
    bar.advance(note="conversations")
    made["pairs"] = pairs.build(threads)
    bar.advance(note="pairs")
    return made


def _dropped(posts: pl.DataFrame, reasons: pl.DataFrame, made: dict[str, pa.Table]) -> pa.Table:
    """Every post that is in no document and no conversation, with its first reason.

    A post that may only tune, and found no conversation, is left out by the gate's word on training.
    """
    used = pl.concat(
        pl.Series(pl.from_arrow(made[name]["uids"]), dtype=pl.List(pl.String)).explode()
        for name in ("documents", "conversations")
    )
    left = posts.filter(~pl.col("uid").is_in(used.drop_nulls().unique().implode()))
    told = left.join(reasons, on="uid", how="left", maintain_order="left").select(
        "uid",
        rule=pl.coalesce("rule", pl.lit("gate")),
        reason=pl.coalesce("reason", "train_refusal"),
        score=pl.lit(None, pl.Float32),
    )
    return told.sort("uid").to_arrow().cast(DROPPED)


def _by_language(posts: pl.DataFrame, usable: pl.DataFrame, dropped: pa.Table) -> dict[str, dict[str, int]]:
    """Posts by language: `kept`, and those left out by rule. What the gate refuses is not read, so of no language."""
    told = (
        posts.select("uid")
        .join(usable.select("uid", "lang"), on="uid", how="left")
        .join(pl.DataFrame(pl.from_arrow(dropped)).select("uid", "rule"), on="uid", how="left")
        .with_columns(pl.col("lang").fill_null("unknown"), pl.col("rule").fill_null("kept"))
    )
    counts: dict[str, dict[str, int]] = {}
    for lang, rule, count in told.group_by("lang", "rule").len().sort("lang", "rule").iter_rows():
        counts.setdefault(lang, {})[rule] = count
    return counts


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    counts = Counter(value for value in column.to_pylist() if value is not None)
    return {key: counts[key] for key in sorted(counts)}


def _results(posts: pl.DataFrame, made: dict[str, pa.Table], masked: dict[str, int]) -> dict[str, Any]:
    talks = made["conversations"]
    turns = talks["turns"].combine_chunks()
    kinds = Counter(score(scores, "grounded") for scores in talks["scores"].to_pylist())
    return {
        "documents": len(made["documents"]),
        "conversations": len(talks),
        "pairs": len(made["pairs"]),
        "turns": int(pa.compute.sum(pa.compute.list_value_length(turns)).as_py() or 0),
        "grounded": {
            name: kinds[float(kind)] for kind, name in enumerate(("plain", "answered", "stated", "unanswered"))
        },
        "pair_biases": pairs.biases(made["pairs"]),
        "reasons": _counted(made["dropped"]["reason"]),
        "languages": _counted(made["documents"]["lang"]),
        "masked": masked,
        "parent_hit_rate": hit_rate(posts["uid"], posts["reply_to"]),
        "splits": {name: _counted(made[name]["split"]) for name in ("documents", "conversations", "pairs")},
    }


def _publish(square: Square, corpus: Corpus, facts: dict[str, Any]) -> Path:
    partial, version = square.corpus / ".partial", next_version(square.corpus)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, table in corpus.tables.items():
        tables.write(partial, name, table)
    rows = {name: len(corpus.tables[name]) for name in tables.SCHEMAS}
    told = {name: corpus.results[name] for name in ("masked", "parent_hit_rate", "decontamination")}
    write_json(partial / "manifest.json", {"rows": rows, "made": rows, "counts": corpus.counts, **told, **facts})
    card.write(partial)
    partial.rename(version)
    publish(version)
    return version
