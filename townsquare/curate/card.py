"""A corpus describes itself: README.md for people, croissant.json for programs.

Both are made from the version's own tables and manifest alone, so that a takedown, which rewrites the tables, makes
them anew and they never say more than the tables hold. They name no author, no post and no word of one.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from townsquare import receipts
from townsquare.consent.gate import LEARNING
from townsquare.consent.grants import ANY, Grant, read_grants
from townsquare.curate import croissant, tables
from townsquare.curate.config import CurateConfig
from townsquare.curate.rules import all_rules
from townsquare.records import SPLITS
from townsquare.square import Square, write_atomically, write_json

CARD = """\
---
configs:
{configs}
license: other
license_name: see-the-grants-below
{languages_yaml}---

# A corpus of posts

Posts of a social network, chosen and arranged for training a language model: {posts:,} posts in {documents:,} documents
and {conversations:,} conversations, and {pairs:,} preference pairs. It is no public data set: who may use it, and for
what, the grants say. townsquare made it and wrote this page from the tables beside it; it names no author and no post.

## What is in it

{rows}

Every row names the posts that it was made from (`uids`). A post trains at most once: it stands in one document, and is
spoken by the assistant in one conversation.{removed}

Languages of the documents: {languages}. {span}

## Where the posts come from

{sources}

Networks of the documents: {networks}.

## Who allows it

{grants}

Only posts that a grant covers were used; opt-outs, authors' declarations and deletions go before every grant.

## What was left out, and why

Of {seen:,} posts that came in, {kept:,} were kept and {out:,} left out:

{dropped}

## What each rule is for, and where it errs

{rules}

Settings: {settings}.

## Personal data

E-mail addresses, phone and card numbers and the like are masked by type, for example [email]: {masked}. Names and
postal addresses are not masked.

## Evaluation sets

{sets}

A post is left out that shares 13 words in a row with a text of such a set, or all of a text of 8 to 12 words, or that
is a text of 4 to 7 words (after Brown et al. 2020, arXiv:2005.14165, appendix C). What is reworded is not found.

## How it is split

By time: the newest {test} of the posts, with their whole threads, are the test. By author: threads that one of
{validation} of the authors began are for validation. Near duplicates stand on one side. An author of a validation
thread may have replied in a training thread, for threads are not torn apart.

## Known gaps

- Of the replies, {hit_rate} have the post at hand that they answer; the others stand alone.
- Posts without a known date are never in the test. {undated}
- Rules that look for phrases know English best; other languages keep more of what they should lose.
- The posts are what these people said, on these networks, in these years. They are no sample of how people speak.
- What a post claims was not checked.

## How to read it

    import datasets
    documents = datasets.load_dataset("PATH/OF/THIS/FOLDER", "documents", split="{split}")

    import duckdb
    duckdb.sql("SELECT lang, count(*) FROM 'documents.parquet' WHERE split = 'train' GROUP BY lang")

`croissant.json` describes the same tables in the Croissant format. A takedown in the square does not reach a copy
that was made of this folder: whoever makes one has to follow the square's takedowns.
"""
SPLIT = "corpus"
"""The one split in which `datasets` shows each table whole; the column `split` says what may train."""

Facts = dict[str, Any]


def facts(square: Square, day: Any, config: CurateConfig) -> Facts:
    """What the manifest keeps for the card of how the corpus came to be. Nothing of it hangs on where the
    square lies. Raises ProofError for an altered ledger."""
    kept: Counter[str] = Counter()
    ingests: Counter[str] = Counter()
    for receipt in receipts.read_all(square, "ingest"):
        for file in receipt.results.get("files", {}).values():
            if file["kept"]:
                kept[file["format"]] += file["kept"]
                ingests[file["format"]] += 1
    grants = [grant for grant in read_grants(square) if grant.live(day) and {*LEARNING} & {*grant.purposes}]
    return {
        "settings": receipts.plain(config),
        "sources": {name: {"posts": kept[name], "files": ingests[name]} for name in sorted(kept)},
        "grants": [_grant(grant) for grant in grants],
    }


def _grant(grant: Grant) -> Facts:
    """A grant as the card tells it: whom it covers only as a number."""
    covers = ["every source"] if ANY in grant.sources else [f"{len(grant.sources)} sources"] if grant.sources else []
    covers += [f"the networks {', '.join(grant.networks)}"] if grant.networks else []
    covers += [f"{len(grant.authors):,} authors"] if grant.authors else []
    told = dataclasses.asdict(grant)
    names = ("id", "grantor", "grantee", "purposes", "visibilities", "territory", "starts", "ends", "terms_sha256")
    return {name: list(told[name]) if isinstance(told[name], tuple) else told[name] for name in names} | {
        "covers": " and ".join(covers)
    }


def write(folder: Path) -> None:
    """README.md and croissant.json of the version in `folder`, from its tables and its manifest."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    held = {name: tables.read(folder, name) for name in tables.SCHEMAS}
    write_atomically(folder / "README.md", _readme(manifest, held).encode())
    span = _span(held["documents"])
    licences = [_told(grant) for grant in manifest["grants"]]
    about = {
        "name": "townsquare-corpus",
        "description": "Posts of a social network, chosen and arranged for training a language model by townsquare. "
        "Who may use it, and for what, its grants say.",
        "digest": receipts.sha256_of(folder / "documents.parquet")[:12],
        "licences": licences,
        "creators": sorted({grant["grantee"] for grant in manifest["grants"]}),
        "languages": sorted(_known(held["documents"]["lang"])),
        "span": "/".join(span) if span else None,
    }
    write_json(folder / "croissant.json", croissant.metadata(folder, about))


def _readme(manifest: Facts, held: Mapping[str, pa.Table]) -> str:
    documents, settings = held["documents"], manifest["settings"]
    rows, made = {name: len(table) for name, table in held.items()}, manifest["made"]
    gone = sum(made[name] - rows[name] for name in rows)
    languages = _known(documents["lang"])
    counts, span = manifest["counts"], _span(documents)
    undated = documents["created_at"].null_count
    used = pa.concat_arrays([pc.list_flatten(held[n]["uids"]).combine_chunks() for n in ("documents", "conversations")])
    return CARD.format(
        configs="\n".join(_config(name) for name in held),
        languages_yaml="".join(["language:\n", *(f"- {code}\n" for code in sorted(languages))]) if languages else "",
        posts=len(used.unique()),
        documents=rows["documents"],
        conversations=rows["conversations"],
        pairs=rows["pairs"],
        rows=_table(("table", *SPLITS, "all"), [_by_split(name, held[name]) for name in held]),
        removed=f" Takedowns have removed {gone:,} {'row' if gone == 1 else 'rows'} since it was made." if gone else "",
        languages=_listed([*languages.most_common(), *_unknown(documents["lang"])]) or "none",
        span=f"Dates: {span[0]} to {span[1]}." if span else "No date is known.",
        sources=_bullets([*_sources(manifest["sources"]), *_packaged(held["conversations"])]),
        networks=_listed(_known(documents["network"]).most_common()) or "none",
        grants=_bullets(_told(grant) for grant in manifest["grants"]),
        seen=counts["seen"],
        kept=counts["kept"],
        out=sum(counts["dropped"].values()),
        dropped=_table(("rule", "posts"), [(name, f"{n:,}") for name, n in _largest(counts["dropped"])]),
        rules=_bullets(_rule(rule.NAME, rule.__doc__ or "") for rule in all_rules()),
        settings=", ".join(f"{name} {_value(settings[name])}" for name in settings if name != "runner"),
        masked=_listed(_largest({kind: n for kind, n in manifest["masked"].items() if n})) or "none was found",
        sets=_bullets(
            f"{name}: {of['texts']:,} texts, {of['found']:,} found in {of['posts']:,} posts, which were left out; "
            f"{of['too_short']:,} too short to look for"
            for name, of in manifest["decontamination"].items()
        ),
        test=f"{settings['test_share']:.0%}",
        validation=f"{settings['validation_share']:.0%}",
        hit_rate="an unknown share" if manifest["parent_hit_rate"] is None else f"{manifest['parent_hit_rate']:.1%}",
        undated=f"{undated:,} documents have none." if undated else "Every document has one.",
        split=SPLIT,
    )


def _config(name: str) -> str:
    """How `datasets` finds a table: one configuration each."""
    return (
        f"- config_name: {name}\n  data_files:\n  - split: {SPLIT}\n    path: {name}.parquet"
        + ("\n  default: true" if name == "documents" else "")
    )  # fmt: skip


def _known(column: pa.ChunkedArray) -> Counter[str]:
    return Counter({row["values"]: row["counts"] for row in column.drop_null().value_counts().to_pylist()})


def _unknown(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    return [("unknown", column.null_count)] if column.null_count else []


def _sources(sources: Facts) -> Iterable[str]:
    for name, of in sources.items():
        yield f"{name}: {of['posts']:,} posts of {of['files']:,} {'file' if of['files'] == 1 else 'files'}"


def _packaged(conversations: pa.Table) -> Iterable[str]:
    for name, count in sorted(_known(conversations["source"]).items()):
        if name != "posts":
            yield f"{name}, a data set of its own: {count:,} conversations"


def _span(documents: pa.Table) -> tuple[str, str] | None:
    ends = pc.min_max(documents["created_at"]).as_py()
    return (ends["min"].date().isoformat(), ends["max"].date().isoformat()) if ends["min"] else None


def _by_split(name: str, table: pa.Table) -> tuple[str, ...]:
    if "split" not in table.column_names:
        return (name, *[""] * len(SPLITS), f"{len(table):,}")
    counts = _known(table["split"])
    return (name, *(f"{counts[split]:,}" for split in SPLITS), f"{len(table):,}")


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] + ["---:"] * (len(heading) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "- none is recorded"


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts)


def _told(grant: Facts) -> str:
    until = f"until {grant['ends']}" if grant["ends"] else "until revoked"
    since = f"from {grant['starts']} " if grant["starts"] else ""
    terms = f"; its terms have the SHA-256 {grant['terms_sha256']}" if grant["terms_sha256"] else ""
    return (
        f"grant `{grant['id']}`: {grant['grantor']} allows {grant['grantee']} to {', '.join(grant['purposes'])} "
        f"{', '.join(grant['visibilities'])} posts of {grant['covers']}, {', '.join(grant['territory'])}, "
        f"{since}{until}{terms}"
    )


def _rule(name: str, doc: str) -> str:
    """What a rule's own docstring says first, and what it says of its errors."""
    said = " ".join(doc.split())
    errors = said.partition("Known errors: ")[2]
    return f"**{name}**: {doc.strip().splitlines()[0]}" + (f" Known errors: {errors}" if errors else "")


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "all"
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
